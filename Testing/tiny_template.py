"""A template of generated ellipsoids, small enough to be trained while the tests run, and patients to go with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from ReShapeITLib.cli.main import main
from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.core.labels import LabelVolume
from ReShapeITLib.io.volumes import write_labels

SIZE_MM = 40.0
ORGAN = "test_organ"
TINY_CONFIG = """\
preset: compact
model: {hidden: 32, depth: 4, code_size: 8, hyper_hidden: 16, first_omega: 10.0, hidden_omega: 15.0}
optimiser:
  steps: 120
  shapes_per_step: 6
  surface_points: 150
  free_points: 150
  laplacian_points: 30
  learning_rate: 2.0e-3
  code_learning_rate: 2.0e-3
  warmup_steps: 10
  template_resolution: 24
"""


def ellipsoid_mask(geometry: ImageGeometry, centre_ras, radii_mm, power: float = 2.0) -> np.ndarray:
    """(K, J, I) bool voxels of a superellipsoid; power 2 is an ellipsoid, more is boxier."""
    k, j, i = np.indices(geometry.shape_kji).reshape(3, -1)
    points = geometry.ijk_to_ras_points(np.stack([i, j, k], axis=1))
    values = (np.abs((points - centre_ras) / radii_mm) ** power).sum(axis=1)
    return (values <= 1).reshape(geometry.shape_kji)


def patient(rng: np.random.Generator, spacing_mm=(3.0, 3.0, 3.0)) -> tuple[np.ndarray, ImageGeometry]:
    """Mask and geometry of one generated patient; three unlike axes keep the pose unambiguous."""
    radii = SIZE_MM * np.array([1.0, 0.7, 0.5]) * rng.uniform(0.88, 1.12, size=3)
    centre = rng.uniform(-5, 5, size=3) + [60, -20, 900]
    size = np.ceil(2 * (radii.max() + 15) / np.array(spacing_mm)).astype(int)
    geometry = ImageGeometry.from_parts(size, spacing_mm, centre - 0.5 * (size - 1) * spacing_mm)
    return ellipsoid_mask(geometry, centre, radii, rng.uniform(2.0, 3.0)), geometry


def label_volume(mask: np.ndarray, geometry: ImageGeometry, label: int = 1) -> LabelVolume:
    """One label in a plain label map."""
    return LabelVolume.from_array((mask * label).astype(np.uint8), geometry)


def write_training_labels(folder: Path, n_shapes: int = 6) -> None:
    """One label file per generated training case."""
    rng = np.random.default_rng(7)
    folder.mkdir(parents=True)
    for number in range(n_shapes):
        write_labels(label_volume(*patient(rng)), folder / f"case{number}.nrrd")


def train_tiny_template(folder: Path) -> Path:
    """Prepare and train by the commands a user would type; returns the template file in ``folder``."""
    write_training_labels(folder / "labels")
    (folder / "config.yaml").write_text(TINY_CONFIG, encoding="utf-8")
    prepare = ["prepare", str(folder / "labels"), "--output", str(folder / "samples")]
    assert main([*prepare, "--surface-points", "3000", "--free-points", "3000"]) == 0
    target = folder / f"{ORGAN}.safetensors"
    train = ["train", "--data", str(folder / "samples"), "--output", str(folder / "run"), "--template-out", str(target)]
    settings = ["--config", str(folder / "config.yaml"), "--organ", ORGAN, "--device", "cpu"]
    assert main([*train, *settings, "--licence", "CC0-1.0", "--source", "generated superellipsoids"]) == 0
    return target


def with_licence(template: Path, licence: str, target: Path) -> Path:
    """A copy of a template file under another licence."""
    from ReShapeITLib.templates.template import OrganTemplate

    loaded = OrganTemplate.load(template)
    replace(loaded, info=replace(loaded.info, licence=licence)).save(target)
    return target
