"""A patient that never was: organs drawn from the shipped templates, damaged, with a CT-like image around them.

Run as a program, in a process of its own because it needs torch::

    PythonSlicer samplePatient.py FOLDER

Writes ``SamplePatientCT.nrrd``, ``SamplePatient.seg.nrrd`` (damaged) and ``SamplePatientTruth.seg.nrrd``.
"""

import sys
from pathlib import Path

CT_FILE, SEGMENTATION_FILE, TRUTH_FILE = "SamplePatientCT.nrrd", "SamplePatient.seg.nrrd", "SamplePatientTruth.seg.nrrd"
SPACING_MM = (1.5, 1.5, 3.0)
SIZE_IJK = (248, 184, 92)
# Centre in RAS mm, HU and colour of each organ; those that come first keep the voxels that two of them want.
ORGANS = {
    "liver": ((52.0, 12.0, 1100.0), 112.0, (0.87, 0.51, 0.40)),
    "kidney_right": ((62.0, -52.0, 1014.0), 178.0, (0.73, 0.40, 0.17)),
    "kidney_left": ((-62.0, -52.0, 1034.0), 178.0, (0.73, 0.40, 0.17)),
    "spleen": ((-98.0, -42.0, 1112.0), 122.0, (0.62, 0.42, 0.64)),
}
SEED = 4


def main(folder: str) -> None:
    """Draw the patient and write the three files."""
    import numpy as np
    import torch

    from ReShapeITLib.core.labels import LabelVolume
    from ReShapeITLib.io.volumes import write_labels

    torch.set_num_threads(1)  # sums depend on the number of threads, and where the damage falls on single voxels
    if not Path(folder).is_dir():
        sys.exit(f"there is no folder {folder}")
    geometry = patientGeometry()
    truth = drawnOrgans(geometry)
    damaged = damagedOrgans(truth, geometry)
    for masks, name in ((truth, TRUTH_FILE), (damaged, SEGMENTATION_FILE)):
        labels = np.zeros(geometry.shape_kji, np.uint8)
        for value, mask in enumerate(masks.values(), 1):
            labels[mask & (labels == 0)] = value
        volume = LabelVolume((labels,), geometry, tuple(segments()), header=forSlicer(geometry), source=name)
        write_labels(volume, Path(folder, name))
    writeImage(ctImage(truth, geometry), geometry, Path(folder, CT_FILE))


def patientGeometry():
    """The scanner's grid: columns run to the left, rows to the back."""
    import numpy as np

    from ReShapeITLib.core.geometry import ImageGeometry

    half_mm = 0.5 * (np.array(SIZE_IJK) - 1) * SPACING_MM
    origin = half_mm * (1, 1, -1) + (0.0, 0.0, 1080.0)
    return ImageGeometry.from_parts(SIZE_IJK, SPACING_MM, origin, np.diag([-1.0, -1.0, 1.0]))


def drawnOrgans(geometry) -> dict:
    """(K, J, I) bool mask of each organ, without overlaps."""
    import dataclasses

    import numpy as np

    from ReShapeITLib.core.geometry import Similarity
    from ReShapeITLib.distance.narrow_band import label_voxels
    from ReShapeITLib.job.demo import sample_field
    from ReShapeITLib.templates.store import find_template
    from ReShapeITLib.templates.template import OrganTemplate

    masks, taken = {}, np.zeros(geometry.shape_kji, bool)
    for name, (centre, _, _) in ORGANS.items():
        centre_ras = np.array(centre)
        field = sample_field(OrganTemplate.load(find_template(name)), SEED)
        scale = field.ras_to_unit.scale
        field = dataclasses.replace(field, ras_to_unit=Similarity(scale, np.eye(3), -scale * centre_ras))
        reach = field.mm_per_unit * 1.1
        part, start_ijk = label_voxels(field.sdf_mm, geometry, (centre_ras - reach, centre_ras + reach))
        mask = np.zeros(geometry.shape_kji, bool)
        mask[tuple(slice(s, s + n) for s, n in zip(start_ijk[::-1], part.shape, strict=True))] = part
        masks[name] = mask & ~taken
        taken |= mask
    return masks


def damagedOrgans(truth: dict, geometry) -> dict:
    """What a careless segmentation would have made of the organs; the left kidney stays as it is."""
    import numpy as np

    from ReShapeITLib.damage.shapes import bite, holes, island

    damaged, rng = dict(truth), np.random.default_rng(SEED)
    damaged["liver"] = holes(bite(damaged["liver"], geometry, rng, 35.0), geometry, rng, 4, 8.0)
    damaged["liver"] = island(damaged["liver"], geometry, rng, 14.0, 10.0)
    damaged["kidney_right"] = island(damaged["kidney_right"], geometry, rng, 9.0, 8.0)
    damaged["spleen"] = bite(damaged["spleen"], geometry, rng, 20.0)
    return damaged


def segments():
    """Name, id, colour and terminology of each segment as Slicer writes them."""
    from ReShapeITLib.core.labels import Segment

    structure, anywhere = "SCT^123037004^Anatomical Structure", "Anatomic codes - DICOM master list~^^~^^"
    kinds = {
        "liver": "SCT^10200004^Liver~^^",
        "kidney_right": "SCT^64033007^Kidney~SCT^24028007^Right",
        "kidney_left": "SCT^64033007^Kidney~SCT^7771000^Left",
        "spleen": "SCT^78961009^Spleen~^^",
    }
    for value, (name, (_, _, colour)) in enumerate(ORGANS.items(), 1):
        context = "Segmentation category and type - 3D Slicer General Anatomy list"
        tags = {"TerminologyEntry": f"{context}~{structure}~{kinds[name]}~{anywhere}"}
        yield Segment(value, name.replace("_", " "), f"Segment_{value}", colour, tags=tags)


def forSlicer(geometry) -> dict[str, str]:
    """Header fields by which Slicer makes the surfaces when it reads the file, and knows the grid of the image."""
    extent = [number for size in geometry.size_ijk for number in (0, size - 1)]
    grid = "".join(f"{number};" for number in [*map(float, geometry.ijk_to_ras.ravel()), *extent])
    return {
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|Closed surface|",
        "Segmentation_ConversionParameters": f"Reference image geometry|{grid}|&",
    }


def ctImage(truth: dict, geometry):
    """(K, J, I) int16 image in HU: air, skin and fat, muscle, a spine, and the organs, blurred and noisy."""
    import numpy as np
    from scipy import ndimage

    _, j, i = np.ogrid[tuple(slice(n) for n in geometry.shape_kji)]
    matrix = geometry.ijk_to_ras
    x, y = matrix[0, 0] * i + matrix[0, 3], matrix[1, 1] * j + matrix[1, 3]
    image = np.full(geometry.shape_kji, -1000.0, np.float32)
    for half_x, half_y, hu in ((176.0, 128.0, -100.0), (160.0, 112.0, 50.0), (150.0, 102.0, -95.0)):
        image[np.broadcast_to((x / half_x) ** 2 + (y / half_y) ** 2 <= 1, image.shape)] = hu
    image[np.broadcast_to((x / 46) ** 2 + ((y + 78) / 34) ** 2 <= 1, image.shape)] = 55.0
    image[np.broadcast_to((x / 21) ** 2 + ((y + 62) / 18) ** 2 <= 1, image.shape)] = 320.0
    image[np.broadcast_to(x**2 + ((y + 84) / 1.0) ** 2 <= 64, image.shape)] = 20.0
    for name, mask in truth.items():
        image[mask] = ORGANS[name][1]
    image = ndimage.gaussian_filter(image, (0.4, 0.8, 0.8))
    image += np.random.default_rng(SEED).normal(0.0, 14.0, image.shape)
    return np.round(image).astype(np.int16)


def writeImage(image, geometry, path: Path) -> None:
    """Write (K, J, I) voxels as a compressed NRRD file."""
    import numpy as np
    import SimpleITK as sitk

    volume = sitk.GetImageFromArray(image)
    to_lps = np.diag([-1.0, -1.0, 1.0]) @ geometry.ijk_to_ras[:3]
    volume.SetSpacing([float(value) for value in geometry.spacing_mm])
    volume.SetOrigin([float(value) for value in to_lps[:, 3]])
    volume.SetDirection([float(value) for value in (to_lps[:, :3] / geometry.spacing_mm).ravel()])
    sitk.WriteImage(volume, str(path), useCompression=True)


if __name__ == "__main__":
    main(sys.argv[1])
