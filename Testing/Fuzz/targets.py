"""What is fuzzed: for each kind of file some sound ones, and how the library reads it."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.core.labels import LabelVolume, Segment
from ReShapeITLib.core.mesh import TriangleSurface
from ReShapeITLib.io.surfaces import read_surface, write_surface
from ReShapeITLib.io.volumes import read_labels, write_labels
from Testing.review_files import write_case
from Testing.untrained import untrained_template

YAML_CONFIG = """\
preset: compact
model: {hidden: 32, depth: 4, code_size: 8, first_omega: 10.0}
optimiser:
  steps: 120
  learning_rate: 2.0e-3
code_start: pca
"""


@dataclass(frozen=True)
class Target:
    """One kind of file.

    Args:
        suffix: of its files.
        seeds: sound contents.
        read: reads a file; may raise a ReShapeITError and nothing else.
        packed: the damage is done to what gzip packs, and packed again.
    """

    suffix: str
    seeds: tuple[bytes, ...]
    read: Callable[[Path], object]
    packed: bool = False


def make_targets(folder: Path) -> dict[str, Target]:
    """All kinds by name; ``folder`` is for the sound files they are made from."""
    targets = {}
    for name, suffix, volumes in (
        ("nrrd", ".nrrd", _volumes()),
        ("seg.nrrd", ".seg.nrrd", _segmentations()),
        ("nii", ".nii", _volumes()),
        ("nii.gz", ".nii.gz", _volumes()),
        ("mha", ".mha", _volumes()),
        ("mhd", ".mhd", _volumes()),
    ):
        targets[name] = Target(suffix, _written(folder, suffix, volumes, write_labels), _labels, name == "nii.gz")
    targets["nrrd raw"] = Target(".nrrd", (_raw_nrrd(),), _labels)
    for suffix in (".vtp", ".vtk", ".ply", ".stl", ".obj"):
        targets[suffix[1:]] = Target(suffix, _written(folder, suffix, (_surface(),), write_surface), _mesh)
    untrained_template().save(folder / "t.safetensors")
    _restoration().save(folder / "r.safetensors")
    targets["template"] = Target(".safetensors", ((folder / "t.safetensors").read_bytes(),), _template)
    targets["restoration"] = Target(".safetensors", ((folder / "r.safetensors").read_bytes(),), _network)
    summary = write_case(folder / "case", "a").read_bytes()
    targets["summary json"] = Target(".json", (summary,), _summary)
    targets["index json"] = Target(".json", (_index(),), _index_entries)
    targets["config yaml"] = Target(".yaml", (YAML_CONFIG.encode(),), _config)
    targets["table csv"] = Target(".csv", (b"case,input,output,label,status\na,a.nrrd,b.nrrd,1,done\n",), _table)
    return targets


def _written(folder: Path, suffix: str, values, write) -> tuple[bytes, ...]:
    contents = []
    for number, value in enumerate(values):
        path = folder / f"seed{number}{suffix}"
        write(value, path)
        content = path.read_bytes()
        contents.append(gzip.decompress(content) if suffix == ".nii.gz" else content)
    return tuple(contents)


def _volumes() -> tuple[LabelVolume, ...]:
    rng = np.random.default_rng(0)
    tilted = np.eye(4)
    tilted[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0] * (0.8, 0.9, 2.5)
    return tuple(
        LabelVolume((rng.integers(0, 4, (5, 6, 7)).astype(dtype),), ImageGeometry(matrix, (7, 6, 5)))
        for dtype, matrix in ((np.uint8, np.eye(4)), (np.int16, tilted))
    )


def _segmentations() -> tuple[LabelVolume, ...]:
    rng = np.random.default_rng(1)
    layers = tuple(rng.integers(0, 3, (5, 6, 7)).astype(np.uint8) for _ in range(2))
    segments = tuple(
        Segment(label, f"part {layer} {label}", f"s{layer}{label}", (0.5, 0.25, 1.0), layer, {"Status": "done"})
        for layer in range(2)
        for label in (1, 2)
    )
    whole = LabelVolume(layers, ImageGeometry(np.diag([1.0, 2.0, 3.0, 1.0]), (7, 6, 5)), segments, {"Kept": "yes"})
    return whole, LabelVolume(layers[:1], whole.geometry, segments[:2])


def _raw_nrrd() -> bytes:
    lines = (
        "NRRD0004",
        "type: uint8",
        "dimension: 3",
        "space: left-posterior-superior",
        "sizes: 7 6 5",
        "encoding: raw",
        "space directions: (1,0,0) (0,2,0) (0,0,3)",
        "space origin: (1,2,3)",
        "endian: little",
        "kinds: domain domain domain",
    )
    return "\n".join([*lines, "", ""]).encode() + bytes(np.random.default_rng(2).integers(0, 3, 210, np.uint8))


def _surface() -> TriangleSurface:
    corners = np.array([[0.0, 0, 0], [10, 0, 0], [0, 10, 0], [0, 0, 10]])
    surface = TriangleSurface.from_triangles(corners, np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]))
    return surface.with_point_data(signed_change_mm=np.array([0.5, -1.0, 2.0, 0.0]))


def _restoration():
    from ReShapeITLib.restoration.model import RestorationInfo, RestorationModel
    from ReShapeITLib.restoration.network import NetworkOptions, RestorationNetwork

    info = RestorationInfo("CC0-1.0", "random numbers", {"test_organ": ["a"]}, {"test_organ": "ab" * 32})
    return RestorationModel(info, RestorationNetwork(NetworkOptions((), (4, 8, 8), (1, 1, 1))).requires_grad_(False))


def _index() -> bytes:
    entry = {"name": "liver", "url": "liver.safetensors", "bytes": 1000, "sha256": "ab" * 32, "licence": "CC0-1.0"}
    return json.dumps({"format": "reshapeit-index-1", "templates": [entry, {**entry, "name": "spleen"}]}).encode()


def _labels(path: Path) -> None:
    """Read, and use what was read as callers do."""
    volume = read_labels(path)
    assert all(layer.shape == volume.geometry.shape_kji for layer in volume.layers)
    assert np.isfinite(volume.geometry.ijk_to_ras).all() and volume.geometry.voxel_volume_mm3 > 0
    for label in volume.label_values()[:3]:
        assert volume.layers and isinstance(label, int)
    volume.with_segments()


def _mesh(path: Path) -> None:
    surface = read_surface(path)
    assert np.isfinite(surface.vertices_ras).all() and surface.faces.max() < len(surface.vertices_ras)
    assert surface.faces.min() >= 0 and math.isfinite(surface.volume_mm3)


def _template(path: Path) -> None:
    from ReShapeITLib.templates.template import OrganTemplate, read_info

    read_info(path)
    OrganTemplate.load(path)


def _network(path: Path) -> None:
    from ReShapeITLib.restoration.model import RestorationModel
    from ReShapeITLib.restoration.store import restoration_sha256

    restoration_sha256(path)
    RestorationModel.load(path)


def _summary(path: Path) -> None:
    from ReShapeITLib.review.build import Reviewed
    from ReShapeITLib.review.measures import told
    from ReShapeITLib.review.page import page_html
    from ReShapeITLib.review.sources import find_cases

    cases = find_cases(path)
    assert "</html>" in page_html([Reviewed(case, told(case)) for case in cases], "fuzz")


def _table(path: Path) -> None:
    from ReShapeITLib.review.sources import find_cases

    find_cases(path)


def _index_entries(path: Path) -> None:
    from ReShapeITLib.templates.index import parse_index

    for entry in parse_index(path.read_bytes(), "https://host.example/index.json").values():
        assert entry.url.startswith("https://host.example/") and "/" not in entry.name and "." not in entry.name


def _config(path: Path) -> None:
    from ReShapeITLib.training.config import read_config

    read_config(path).as_dict()
