"""From label files to prepared training shapes in one canonical frame.

The paper scales every mesh into the unit sphere by itself. Here all shapes are first aligned to the most central of
them by similarity CPD, the same step that later brings a new patient's organ into the frame, so training and use see
the same poses; a common factor then brings the group into the unit sphere.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..core.errors import BadInputError
from ..core.geometry import ImageGeometry, Similarity
from ..core.mesh import TriangleSurface
from ..core.progress import Progress
from ..distance.surface import SurfaceOptions, surface_from_mask
from ..interaction.cpd import CpdOptions, similarity_cpd
from ..io.volumes import read_labels
from .sampling import SamplingOptions, sample_shape

SUFFIX = ".samples.safetensors"


@dataclass(frozen=True)
class PrepareOptions:
    """How label files become samples.

    Args:
        sampling: numbers of points.
        surface: smoothing of the label surfaces.
        alignment_points: points per shape for the group alignment.
        least_spacing_mm: finer label grids are thinned to about this spacing, which shapes of this size do not miss.
        largest_radius_unit: radius within which the furthest point of the median shape comes to lie.
        seed: of every draw.
    """

    sampling: SamplingOptions = field(default_factory=SamplingOptions)
    surface: SurfaceOptions = field(default_factory=SurfaceOptions)
    alignment_points: int = 800
    least_spacing_mm: float = 0.0
    largest_radius_unit: float = 0.9
    seed: int = 0


def prepare_shapes(
    paths: list[Path],
    folder: Path,
    options: PrepareOptions,
    label: int | None = None,
    label_modulo: int | None = None,
    progress: Progress | None = None,
    reference: np.ndarray | None = None,
) -> list[Path]:
    """Write one samples file per label file into ``folder``; returns their paths.

    Args:
        paths: label files, one organ each; the file's stem names the case.
        folder: made if absent.
        options: see :class:`PrepareOptions`.
        label: label value of the organ; None where each file holds one label.
        label_modulo: label values are taken modulo this first (some data sets mark voxels by an added flag).
        reference: (M, 3) surface points of a template in whose frame the shapes shall lie, so that what knows its
            frame (restoration networks) knows theirs; None makes a new frame.

    Raises:
        BadInputError: a file cannot be read or lacks the organ, or two files name the same case.
    """
    progress = progress or Progress("none")
    if not paths:
        raise BadInputError(
            "There is no label file to prepare", "give files or a folder that holds some", "prepare.nothing"
        )
    _require_distinct_cases(paths)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    surfaces = []
    for index, path in enumerate(paths):
        progress.stage("surfaces", 0.3 * index / len(paths), case_name(path))
        surfaces.append(_read_surface(path, options, label, label_modulo))
    progress.stage("align", 0.3)
    frames = group_alignment(surfaces, options, reference)
    written = []
    for index, (path, surface, frame) in enumerate(zip(paths, surfaces, frames, strict=True)):
        progress.stage("sample", 0.4 + 0.6 * index / len(paths), case_name(path))
        rng = np.random.default_rng([options.seed, index])
        samples = sample_shape(surface, frame, options.sampling, rng, case_name(path))
        written.append(folder / f"{case_name(path)}{SUFFIX}")
        samples.save(written[-1])
    return written


def case_name(path: Path) -> str:
    """The file's name without its image suffixes."""
    name = Path(path).name
    for suffix in (".gz", ".nii", ".nrrd", ".seg", ".mha", ".mhd"):
        name = name.removesuffix(suffix)
    return name


def _require_distinct_cases(paths: list[Path]) -> None:
    first: dict[str, Path] = {}
    for path in paths:
        case = case_name(path)
        if case in first:
            raise BadInputError(
                "{input} and {other} both name the case '{case}', so one would overwrite the other",
                "rename one",
                "prepare.same_case",
                input=first[case],
                other=path,
                case=case,
            )
        first[case] = path


def _read_surface(path, options: PrepareOptions, label: int | None, modulo: int | None) -> TriangleSurface:
    volume = read_labels(path)
    if modulo is not None:
        volume = replace(volume, layers=tuple(layer % modulo for layer in volume.layers), segments=())
    mask = volume.mask(volume.single_label() if label is None else label)
    if not mask.any():
        raise BadInputError(
            "{input} has no voxel of label {label}",
            "check the label value",
            "prepare.no_voxels",
            input=path,
            label=label,
        )
    mask, geometry = thinned(mask, volume.geometry, options.least_spacing_mm)
    return surface_from_mask(mask, geometry, options.surface)


def thinned(mask: np.ndarray, geometry: ImageGeometry, least_spacing_mm: float) -> tuple[np.ndarray, ImageGeometry]:
    """Every n-th voxel along each axis, such that the spacing is about ``least_spacing_mm`` or coarser."""
    step = np.maximum(1, np.round(least_spacing_mm / geometry.spacing_mm).astype(int))
    if (step == 1).all():
        return mask, geometry
    return mask[:: step[2], :: step[1], :: step[0]], geometry.every(step)


def group_alignment(
    surfaces: list[TriangleSurface], options: PrepareOptions, reference: np.ndarray | None = None
) -> list[Similarity]:
    """A similarity from RAS mm to the canonical unit frame for each surface.

    The frame keeps the directions of RAS. It is that of the ``reference`` points, (M, 3), where there are any; else it
    has its origin at the centroid of the most central shape, and its unit is such that the median shape reaches to
    ``largest_radius_unit``.
    """
    rng = np.random.default_rng(options.seed)
    clouds = [s.sample_points(options.alignment_points, rng)[0] for s in surfaces]
    rough = [_centroid_frame(cloud) for cloud in clouds]
    centred = [frame.apply(cloud) for frame, cloud in zip(rough, clouds, strict=True)]
    new_frame = reference is None
    if new_frame:
        reference, start = centred[_most_central(centred)], Similarity.identity()
    else:
        reference = reference[rng.permutation(len(reference))[: options.alignment_points]]
        start = _centroid_frame(reference)
    frames = []
    for cloud, frame in zip(centred, rough, strict=True):
        fitted = similarity_cpd(reference, cloud, CpdOptions(), start).transform.inverse()
        frames.append(fitted.after(frame))
    if not new_frame:
        return frames
    radii = [np.linalg.norm(f.apply(c), axis=1).max() for f, c in zip(frames, clouds, strict=True)]
    unit = Similarity(options.largest_radius_unit / float(np.median(radii)), np.eye(3), np.zeros(3))
    return [unit.after(frame) for frame in frames]


def _centroid_frame(cloud: np.ndarray) -> Similarity:
    """Centroid to the origin, root mean square radius to one."""
    centre = cloud.mean(0)
    scale = 1.0 / np.sqrt(((cloud - centre) ** 2).sum(1).mean())
    return Similarity(scale, np.eye(3), -scale * centre)


def _most_central(clouds: list[np.ndarray]) -> int:
    """Index of the cloud with the smallest summed chamfer distance to the others."""
    from scipy.spatial import cKDTree

    trees = [cKDTree(c) for c in clouds]
    total = [
        sum(tree.query(c)[0].mean() + t.query(c2)[0].mean() for c2, tree in zip(clouds, trees, strict=True))
        for c, t in zip(clouds, trees, strict=True)
    ]
    return int(np.argmin(total))
