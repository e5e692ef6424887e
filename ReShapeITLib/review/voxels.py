"""The voxels of one case, cut down to what the pictures show."""

from __future__ import annotations

from dataclasses import dataclass
from os.path import exists
from pathlib import Path

import numpy as np
from scipy import ndimage

from ..core.errors import BadInputError
from ..core.geometry import ImageGeometry
from ..core.labels import LabelVolume
from ..image.reading import image_voxels
from ..io.volumes import read_labels
from .cases import ReviewCase

_MARGIN_MM = 15.0
_CT_AIR_HU, _CT_WINDOW = -200.0, (-160.0, 240.0)


@dataclass(frozen=True, eq=False)
class CaseVoxels:
    """One organ before and after, on the part of the grid around both.

    Args:
        before, after: (K, J, I) bool.
        geometry: of these arrays.
        grey: (K, J, I) float32 to show behind outlines: intensities, or all labels where there is no image.
        window: values of ``grey`` shown black and white.
        truth: (K, J, I) bool or None.
    """

    before: np.ndarray
    after: np.ndarray
    geometry: ImageGeometry
    grey: np.ndarray
    window: tuple[float, float]
    truth: np.ndarray | None = None


def load_voxels(case: ReviewCase) -> CaseVoxels:
    """Read what a case names.

    Raises:
        BadInputError: a file is missing or unreadable, lies on another grid, or lacks the label.
    """
    if case.before is None or case.after is None:
        raise BadInputError(
            "{name} names no input or no output file, so there is nothing to show",
            "complete its summary or row",
            "review.no_files",
            name=case.name,
        )
    if _same_file(case.before, case.after):
        raise BadInputError(
            "{output} has replaced its input, so what was before cannot be shown",
            "write the next result to another file",
            "review.replaced",
            output=case.after,
        )
    before, after = read_labels(case.before), read_labels(case.after)
    if not before.geometry.same_grid_as(after.geometry):
        raise BadInputError(
            "{output} lies on another grid than {input}",
            "give the files of one run",
            "review.other_grid",
            output=case.after,
            input=case.before,
        )
    label = before.single_label() if case.label is None else case.label
    volumes = [(before, label), (after, label)]
    if case.truth is not None:
        truth = _truth(case.truth, before)
        volumes.append((truth, label if label in truth.label_values() else truth.single_label()))
    box = _box([volume.extent(which)[0] for volume, which in volumes], before.geometry)
    masks = [volume.cropped(box).mask(which) for volume, which in volumes]
    part = before.cropped(box)
    if case.image is not None and exists(case.image):
        grey = _resampled(case.image, part.geometry)
        window = _window(grey)
    else:
        grey, window = _labels_as_grey(part, masks[0]), (0.0, 1.0)
    return CaseVoxels(masks[0], masks[1], part.geometry, grey, window, *masks[2:])


def change_depth_mm(voxels: CaseVoxels) -> np.ndarray:
    """(K, J, I) mm from each added voxel to the nearest of before, from each removed one to the nearest of after."""
    spacing_kji = voxels.geometry.spacing_mm[::-1]
    depth = np.zeros(voxels.before.shape, np.float32)
    for one, other in ((voxels.after, voxels.before), (voxels.before, voxels.after)):
        changed = one & ~other
        if changed.any():
            depth[changed] = ndimage.distance_transform_edt(~other, sampling=spacing_kji)[changed]
    return depth


def largest_change_ras(voxels: CaseVoxels, depth_mm: np.ndarray) -> np.ndarray:
    """(3,) RAS mm of the voxel where most has changed; where nothing has, a voxel in the middle of the organ.

    Of the connected pieces that were added or removed, the one with the largest sum of depths counts (many voxels, far
    from the other surface), and of it the deepest voxel.

    Args:
        depth_mm: see ``change_depth_mm``.
    """
    pieces, count = ndimage.label(depth_mm > 0, structure=np.ones((3, 3, 3)))
    if not count:
        inside = ndimage.distance_transform_edt(voxels.after, sampling=voxels.geometry.spacing_mm[::-1])
        return _centre_ras(voxels.geometry, inside)
    sums = ndimage.sum_labels(depth_mm, pieces, np.arange(1, count + 1))
    return _centre_ras(voxels.geometry, np.where(pieces == 1 + int(np.argmax(sums)), depth_mm, 0.0))


def _centre_ras(geometry: ImageGeometry, values: np.ndarray) -> np.ndarray:
    k, j, i = np.unravel_index(int(values.argmax()), values.shape)
    return geometry.ijk_to_ras_points(np.array([[i, j, k]], dtype=np.float64))[0]


def _same_file(one: Path, other: Path) -> bool:
    return exists(one) and exists(other) and one.samefile(other)


def _truth(path: Path, before: LabelVolume) -> LabelVolume:
    truth = read_labels(path)
    if not truth.geometry.same_grid_as(before.geometry, tolerance_mm=1e-2):
        raise BadInputError(
            "The truth {truth} lies on another grid than {input}",
            "resample it to that grid",
            "review.truth_grid",
            truth=path,
            input=before.source,
        )
    return truth


def _box(boxes, geometry: ImageGeometry) -> tuple[slice, slice, slice]:
    """(k, j, i) box around boxes, with a margin for what is behind the outlines."""
    margin = np.ceil(_MARGIN_MM / geometry.spacing_mm[::-1]).astype(int)
    filled = [box for box in boxes if all(s.stop > s.start for s in box)]
    box = []
    for axis in range(3):
        start = min((b[axis].start for b in filled), default=0) - margin[axis]
        stop = max((b[axis].stop for b in filled), default=1) + margin[axis]
        box.append(slice(max(0, int(start)), min(geometry.shape_kji[axis], int(stop))))
    return tuple(box)


def _labels_as_grey(part: LabelVolume, before: np.ndarray) -> np.ndarray:
    """Shades where there is no image: background dark, other labels and the organ as it was lighter."""
    grey = np.full(before.shape, 0.12, np.float32)
    for layer in part.layers:
        grey[layer != 0] = 0.22
    grey[before] = 0.34
    return grey


def _resampled(path: Path, geometry: ImageGeometry) -> np.ndarray:
    """(K, J, I) float32 intensities of an image on a grid; beyond the image its least value."""
    image = image_voxels(path)
    if not np.issubdtype(image.voxels.dtype, np.number):
        raise BadInputError(
            "{image} holds no numbers", "give an image with one value per voxel", "review.image", image=path
        )
    k, j, i = np.indices(geometry.shape_kji, dtype=np.float32).reshape(3, -1)
    ijk = image.geometry.ras_to_ijk_points(geometry.ijk_to_ras_points(np.stack([i, j, k], axis=1)))
    least = float(image.voxels.min())
    values = ndimage.map_coordinates(image.voxels, ijk[:, ::-1].T, order=1, cval=least, output=np.float32)
    return np.nan_to_num(values, nan=least).reshape(geometry.shape_kji)


def _window(grey: np.ndarray) -> tuple[float, float]:
    """Soft tissue for a CT, which shows air or bone in HU; else nearly all values."""
    if float(grey.min()) <= _CT_AIR_HU:
        return _CT_WINDOW
    low, high = (float(value) for value in np.percentile(grey, (1.0, 99.0)))
    return (low, high) if high > low else (low - 0.5, low + 0.5)
