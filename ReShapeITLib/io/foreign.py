"""Files that are not read, and the tool that converts each."""

from __future__ import annotations

from pathlib import Path

from ..core.errors import BadInputError
from .atomic import FilePath, file_suffix

_SLICER = "open it in 3D Slicer and save it as .nrrd"
_SLICES = "stack the slices in 3D Slicer (File, Add Data) and save them as .nrrd with their spacing"
_ARRAY = "save the array and its affine as .nii.gz with nibabel: Nifti1Image(array, affine).to_filename(...)"
_UNPACK = "unpack it first"
_CONVERTERS = {
    (".mgz", ".mgh"): ("a FreeSurfer volume", "convert it with FreeSurfer: mri_convert {name} {stem}.nii.gz"),
    (".mnc",): ("a MINC volume", "convert it with the MINC tools: mnc2nii {name} {stem}.nii"),
    (".gipl", ".gipl.gz", ".pic"): ("a volume of another format", "convert it with c3d {name} -o {stem}.nii.gz"),
    (".mif", ".mif.gz", ".mih"): ("an MRtrix volume", "convert it with MRtrix: mrconvert {name} {stem}.nii.gz"),
    (".brik", ".head"): ("an AFNI volume", "convert it with AFNI: 3dAFNItoNIFTI {name}"),
    (".mat", ".h5", ".hdf5", ".npy", ".zarr"): ("an array without the geometry of an image", _ARRAY),
    (".nhdr",): ("a NRRD header whose voxels lie in another file", _SLICER),
    (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"): ("a picture without the geometry of an image", _SLICES),
    (".nii.bz2", ".nii.zst", ".zip", ".tar", ".tgz", ".rar", ".7z"): ("a packed file", _UNPACK),
    (".vti", ".am", ".img.gz", ".hdr.gz", ".xml", ".mrb", ".mrml"): ("a file of another format", _SLICER),
}
_BY_SUFFIX = {suffix: told for suffixes, told in _CONVERTERS.items() for suffix in suffixes}


def foreign_input(path: FilePath, known: tuple[str, ...]) -> BadInputError:
    """What to raise for an input that is not read: what it is, and what converts it.

    Args:
        path: the input.
        known: suffixes that are read.
    """
    name = Path(path).name
    suffix = next((s for s in _BY_SUFFIX if s.count(".") > 1 and name.lower().endswith(s)), file_suffix(path))
    if suffix not in _BY_SUFFIX:
        return BadInputError(
            "{input} has no known label map extension",
            "use one of {known}",
            "input.extension",
            input=path,
            known=", ".join(known),
        )
    what, convert = _BY_SUFFIX[suffix]
    way = convert.format(name=name, stem=name[: len(name) - len(suffix)])
    return BadInputError(
        "{input} is {what}, which is not read", "{way}", "input.foreign", input=path, what=what, way=way
    )
