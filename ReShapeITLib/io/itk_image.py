"""Voxels and geometry by SimpleITK: MetaImage files, and the voxels of NRRD files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..core.errors import BadInputError
from ..core.geometry import LPS_TO_RAS, ImageGeometry
from .atomic import file_suffix

if TYPE_CHECKING:
    import SimpleITK

_IMAGE_IO = {".nrrd": "NrrdImageIO", ".seg.nrrd": "NrrdImageIO", ".mha": "MetaImageIO", ".mhd": "MetaImageIO"}


def damaged(path: Path) -> BadInputError:
    """What to raise for a file that a reader cannot make sense of."""
    return BadInputError(
        "Cannot read {input}, it is damaged or of another format", "export it again", "input.damaged", input=path
    )


def broken_spacing(path: Path) -> BadInputError:
    """What to raise where spacing or directions of the voxels make no grid."""
    words = "{input} has a zero, missing or NaN voxel spacing or direction"
    return BadInputError(words, "export it again with its geometry", "geometry.broken", input=path)


def geometry_from_sitk(image: SimpleITK.Image) -> ImageGeometry:
    """Geometry of a 3D SimpleITK image (LPS there, RAS here)."""
    lps = np.eye(4)
    lps[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    lps[:3, 3] = image.GetOrigin()
    return ImageGeometry(LPS_TO_RAS @ lps + 0.0, image.GetSize())


def geometry_to_sitk(image: SimpleITK.Image, geometry: ImageGeometry) -> SimpleITK.Image:
    """Give a SimpleITK image the geometry, such that ``geometry_from_sitk`` returns it to the last bit.

    Returns the image. Its size must be that of the geometry.
    """
    if tuple(image.GetSize()) != geometry.size_ijk:
        raise ValueError(f"the image has size {image.GetSize()}, the geometry {geometry.size_ijk}")
    lps = LPS_TO_RAS @ geometry.ijk_to_ras + 0.0
    parts = [_spacing_and_direction(lps[:3, column]) for column in range(3)]
    image.SetSpacing([spacing for spacing, _ in parts])
    image.SetDirection(np.column_stack([direction for _, direction in parts]).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image


def _spacing_and_direction(vector: np.ndarray) -> tuple[float, np.ndarray]:
    """Split a voxel edge into length and direction whose floating-point product is the edge again.

    Plain division often misses by the last bit; a length a few bits beside the true one usually does not.
    """
    length = float(np.linalg.norm(vector))
    steps = np.arange(512)
    steps = np.where(steps % 2, -(steps + 1) // 2, steps // 2)  # 0, -1, 1, -2, 2 ...
    lengths = (length * (1.0 + steps * 2.0**-52))[:, None, None]
    nearest = vector / lengths[:, 0]
    choices = np.stack([nearest, np.nextafter(nearest, -np.inf), np.nextafter(nearest, np.inf)], axis=1)
    hit = choices * lengths == vector
    usable = np.flatnonzero(hit.any(axis=1).all(axis=1))
    if not len(usable):
        return length, vector / length
    first = usable[0]
    return float(lengths[first, 0, 0]), choices[first][hit[first].argmax(axis=0), range(3)]


def read_with_itk(path: Path, layered: bool = False) -> tuple[np.ndarray, ImageGeometry]:
    """Voxels (K, J, I) of any type, or (K, J, I, layer) where ``layered`` and there are several, and the geometry;
    BadInputError where the file is damaged, not 3D, or (unless ``layered``) has several values per voxel."""
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetImageIO(_IMAGE_IO[file_suffix(path)])
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        size = reader.GetSize()
        if len(size) < 3 or any(n != 1 for n in size[3:]):
            raise BadInputError(
                "{input} is {count}D", "give a 3D label map", "input.not_3d", input=path, count=len(size)
            )
        if reader.GetNumberOfComponents() > 1 and not layered:
            raise BadInputError(
                "{input} is a colour or vector image",
                "give a label map with one value per voxel",
                "input.vector",
                input=path,
            )
        if len(size) > 3:
            reader.SetExtractSize([*size[:3], *[0] * (len(size) - 3)])
        image = reader.Execute()
    except RuntimeError as error:
        raise damaged(path) from error
    try:
        geometry = geometry_from_sitk(image)
    except ValueError as error:
        raise broken_spacing(path) from error
    return sitk.GetArrayFromImage(image), geometry


def write_with_itk(array: np.ndarray, geometry: ImageGeometry, path: Path) -> None:
    """Write (K, J, I) voxels, compressed; RuntimeError where ITK fails."""
    import SimpleITK as sitk

    image = geometry_to_sitk(sitk.GetImageFromArray(array), geometry)
    sitk.WriteImage(image, str(path), useCompression=True)


def read_classes_with_itk(path: Path) -> tuple[np.ndarray, ImageGeometry]:
    """Values (K, J, I) or (class, K, J, I), where the classes are a fourth axis or several values a voxel.

    Raises:
        BadInputError: the file is damaged, or has other axes.
    """
    import SimpleITK as sitk

    try:
        whole = sitk.ReadImage(str(path), imageIO=_IMAGE_IO[file_suffix(path)])
    except RuntimeError as error:
        raise damaged(path) from error
    values, size = sitk.GetArrayFromImage(whole), whole.GetSize()
    components = whole.GetNumberOfComponentsPerPixel()
    if len(size) not in (3, 4) or (len(size) == 4 and components > 1):
        words, hint = "{input} is {count}D", "give a volume for each class, or one with the classes as fourth axis"
        raise BadInputError(words, hint, "threshold.axes", input=path, count=len(size))
    if components > 1:
        values = np.moveaxis(values, -1, 0)
    image = whole if len(size) == 3 else sitk.Extract(whole, (*size[:3], 0), (0, 0, 0, 0))
    try:
        return values, geometry_from_sitk(image)
    except ValueError as error:
        raise broken_spacing(path) from error
