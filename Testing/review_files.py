"""Files of refined cases as ``reshapeit refine`` leaves them, made without refining, for tests of the review."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.core.labels import LabelVolume
from ReShapeITLib.io.volumes import write_labels
from ReShapeITLib.job.report import OrganReport, RefineReport, voxel_changes

GEOMETRY = ImageGeometry.from_parts((26, 24, 20), (2.0, 2.0, 3.0), (-25.0, 40.0, 900.0))


def box(*extent: int) -> np.ndarray:
    """(K, J, I) bool mask of GEOMETRY's grid: i0, i1, j0, j1, k0, k1 (ends left out)."""
    i0, i1, j0, j1, k0, k1 = extent
    mask = np.zeros(GEOMETRY.shape_kji, dtype=bool)
    mask[k0:k1, j0:j1, i0:i1] = True
    return mask


ORGAN = box(6, 16, 6, 16, 5, 15)
ISLAND = box(20, 23, 18, 21, 15, 17)


def write_case(folder: Path, name: str, before=ORGAN, after=ORGAN, label: int = 1, **organ) -> Path:
    """Input, output and summary of one case in ``folder``; ``organ`` overrules entries. Returns the summary."""
    folder.mkdir(parents=True, exist_ok=True)
    files = folder / f"{name}_in.nrrd", folder / f"{name}.nrrd"
    for mask, path in zip((before, after), files, strict=True):
        write_labels(LabelVolume.from_array(mask.astype(np.uint8) * label, GEOMETRY), path)
    values = {
        "label": label,
        "organ": "test_organ",
        "template": "test_organ.safetensors",
        "template_sha256": "ab" * 32,
        "licence": "CC0-1.0",
        "non_commercial": False,
        "restoration": None,
        "restoration_licence": None,
        "detail": None,
        "detail_licence": None,
        "device": "cpu",
        "device_reason": "asked for",
        "signed_change_mm": None,
        "field_share": 0.25,
        "islands_removed": 0,
        "holes_filled": 0,
        "seconds": {"fit": 1.0},
        "alignment": {"mean_residual_mm": 1.5},
        "plausibility": {"volume_z": 0.5, "problems": []},
        **voxel_changes(before, after, GEOMETRY),
        **organ,
    }
    report = RefineReport(str(files[0]), str(files[1]), "standard", 7, 9.5, 100.0, (OrganReport(**values),))
    report.write(folder / f"{name}.json")
    return folder / f"{name}.json"
