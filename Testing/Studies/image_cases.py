"""Cases for the image's network: real outputs, truths and made damage of the patients that have a CT.

What shape alone makes of an output is computed once and kept in a folder; made damage is made anew from its seed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from scipy import ndimage

from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.core.labels import LabelVolume
from ReShapeITLib.distance.protocol import box_around
from ReShapeITLib.distance.surface import DistanceGrid, signed_distance_grid
from ReShapeITLib.image.band import CELL_MM, Image, cropped_grid, sampled_distance, sampled_image, working_grid
from ReShapeITLib.image.features import Band, band_features
from ReShapeITLib.image.reading import read_image
from ReShapeITLib.io.volumes import read_labels
from ReShapeITLib.refinement.options import REFINE_PRESETS
from ReShapeITLib.refinement.refine import refine
from ReShapeITLib.restoration.model import RestorationModel
from ReShapeITLib.templates.store import find_template
from ReShapeITLib.templates.template import OrganTemplate

from .evaluation.measure import calibrated_without

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
ORGANS = {"spleen": 1, "kidney_right": 2, "kidney_left": 3, "liver": 5, "pancreas": 8}
OUTPUTS = tuple(f"obelisk_{name}" for name in ("ens4", "fold1", "fold2", "fold3", "fold4", "visc5"))
SIX_NETWORKS = {"t3_48": "btcv_0005", "t3_53": "btcv_0010"}
# The patients of the six other networks stand on one side.
FOLDS = (
    ("btcv_0005", "btcv_0010", "btcv_0028", "btcv_0034"),
    ("btcv_0006", "btcv_0021", "btcv_0030"),
    ("btcv_0009", "btcv_0023", "btcv_0031"),
    ("btcv_0024", "btcv_0026", "btcv_0027", "btcv_0037"),
)
PATIENTS = tuple(sorted(patient for fold in FOLDS for patient in fold))
TRUTH = "truth"
DAMAGES = (TRUTH, "mixed")
_FARTHEST_MM = 60.0


@dataclass(frozen=True, eq=False)
class Case:
    """One organ's given and refined distances on the working grid.

    Args:
        patient, organ, given: names; ``given`` is the network or the damage.
        grid: the working grid.
        given_mm, shape_mm, truth_mm: (K, J, I) float32 signed distances.
        shape_mask: (K, J, I) bool voxels by shape alone on the truth's grid; None for made damage.
    """

    patient: str
    organ: str
    given: str
    grid: ImageGeometry
    given_mm: np.ndarray
    shape_mm: np.ndarray
    truth_mm: np.ndarray
    shape_mask: np.ndarray | None = None

    def band(self, chosen: Callable[[np.ndarray], np.ndarray] = lambda band: band) -> Band | None:
        """Features of the patient's CT, of all cells or of some."""
        return band_features(*sampled_image(ct_of(self.patient), self.grid), self.given_mm, self.shape_mm, chosen)


@lru_cache(maxsize=1)
def ct_of(patient: str) -> Image:
    """The patient's CT."""
    return read_image(DATA / "ct" / patient / "ct.nii.gz")


@lru_cache(maxsize=8)
def labels(path: Path) -> LabelVolume:
    """A label file."""
    return read_labels(path)


@lru_cache(maxsize=4)
def truth_of(patient: str, organ: str) -> DistanceGrid | None:
    """Signed distance of the manual organ; None where the patient has none."""
    volume = labels(DATA / "ct" / patient / "truth.nii.gz")
    mask = volume.mask(ORGANS[organ])
    return signed_distance_grid(mask, volume.geometry) if mask.any() else None


def real_inputs(organ: str) -> Iterator[tuple[str, str]]:
    """Patient and network of each real output of an organ."""
    for output in OUTPUTS if organ != "kidney_right" else OUTPUTS[-1:]:
        yield from ((patient, output) for patient in PATIENTS)
    if organ == "liver":
        for case, patient in SIX_NETWORKS.items():
            files = sorted((DATA / "predictions" / "liver" / case).glob("*.nii.gz"))
            yield from ((patient, f"{case}_{file.name.removesuffix('.nii.gz')}") for file in files)


def files_of(patient: str, network: str, organ: str) -> tuple[Path, int, Path, int]:
    """Output and its label, truth and its label."""
    if network.startswith("obelisk"):
        folder = DATA / "ct" / patient
        return folder / f"{network}.nii.gz", ORGANS[organ], folder / "truth.nii.gz", ORGANS[organ]
    case = network[:5]
    output = DATA / "predictions" / "liver" / case / f"{network[6:]}.nii.gz"
    return output, 1, DATA / "liver" / f"{case}.nii.gz", 1


def real_case(
    folder: Path,
    patient: str,
    organ: str,
    network: str,
    preset: str = "draft",
    beside_ct: bool = False,
    calibrations: Path | None = None,
) -> Case | None:
    """A real output and what shape alone makes of it, computed unless the folder has it; None without the organ.

    Args:
        beside_ct: the CT has its say on the suggestions that are taken, but none yet on where the surface lies.
        calibrations: folder of calibrations each without a patient (``calibration --left-out``).
    """
    path = folder / f"{patient}__{organ}__{network}{'__ct' if beside_ct else ''}.npz"
    truth = truth_of(patient, organ)
    output, label, truth_file, _ = files_of(patient, network, organ)
    if truth is None or label not in labels(output).label_values():
        return None
    if not path.exists():
        image = ct_of(patient) if beside_ct else None
        with calibrated_without(calibrations, patient):
            _refine(path, labels(output), label, organ, labels(truth_file).geometry, preset, image)
    kept = np.load(path)
    grid = ImageGeometry(kept["aff"], tuple(kept["size"]))
    shape = tuple(int(n) for n in kept["msize"])
    mask = np.unpackbits(kept["shape_mask"], count=int(np.prod(shape))).reshape(shape).astype(bool)
    given, refined = (kept[name].astype(np.float32) for name in "gr")
    around, grid = cropped_grid(grid, refined)
    given, refined = given[around], refined[around]
    return Case(patient, organ, network, grid, given, refined, sampled_distance(truth, grid), mask)


def _refine(
    path: Path,
    volume: LabelVolume,
    label: int,
    organ: str,
    grid: ImageGeometry,
    preset: str,
    image: Image | None,
) -> None:
    part, file = volume.around(label), find_template(organ)
    template, network = OrganTemplate.load(file), RestorationModel.for_template(file)
    mask = part.mask(label)
    shape = refine(mask, part.geometry, template, REFINE_PRESETS[preset], force=True, restoration=network, image=image)
    vertices = shape.given_surface.vertices_ras
    working = working_grid(box_around(shape.bounds_ras, (vertices.min(axis=0), vertices.max(axis=0))))
    distances = (np.clip(sampled_distance(d, working), -_FARTHEST_MM, _FARTHEST_MM) for d in (shape.field.given, shape))
    given, refined = (values.astype(np.float16) for values in distances)
    voxels = shape.mask(grid)
    np.savez_compressed(
        path,
        g=given,
        r=refined,
        aff=working.ijk_to_ras,
        size=np.array(working.size_ijk),
        shape_mask=np.packbits(voxels),
        msize=np.array(voxels.shape),
    )


def made_case(patient: str, organ: str, number: int) -> Case | None:
    """Damage number ``number`` of DAMAGES on the truth; None where the patient has no such organ."""
    truth = truth_of(patient, organ)
    if truth is None:
        return None
    lower, upper = truth.bounds_ras
    grid = working_grid((lower + 8.0, upper - 8.0))  # its own grid has a margin already
    truth_mm = sampled_distance(truth, grid)
    rng = np.random.default_rng([PATIENTS.index(patient), list(ORGANS).index(organ), number])
    kind = DAMAGES[number]
    return Case(patient, organ, kind, grid, *damaged(rng, truth_mm, kind), truth_mm)


def damaged(rng: np.random.Generator, truth_mm: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """(K, J, I) given distance with damage of a kind, and one that stands for what shape alone makes of it."""
    if kind == TRUTH:
        return truth_mm, truth_mm
    base = _bias(rng, truth_mm) if rng.random() < 0.5 else _wavy(rng, truth_mm)
    given, count = base, int(rng.integers(1, 4))
    given = np.maximum(given, -_balls(rng, truth_mm, count))
    given = np.minimum(given, _balls(rng, truth_mm, count))
    if np.count_nonzero(given < 0) < 100:
        given = base
    return given, given if rng.random() < 0.4 else _repaired(rng, given, base)


def _bias(rng: np.random.Generator, truth_mm: np.ndarray) -> np.ndarray:
    """Too small or too large all round."""
    off_mm = rng.uniform(0.8, 3.0 if _is_thin(truth_mm) else 4.5) * rng.choice([-1, 1])
    return truth_mm - off_mm + _waves(rng, truth_mm.shape, (8, 16), (0.2, 0.8))


def _wavy(rng: np.random.Generator, truth_mm: np.ndarray) -> np.ndarray:
    """Too small here and too large there."""
    return truth_mm + _waves(rng, truth_mm.shape, (8, 24), (1.0, 2.0 if _is_thin(truth_mm) else 3.5))


def _is_thin(truth_mm: np.ndarray) -> bool:
    return bool(-truth_mm.min() < 9.0)


def _repaired(rng: np.random.Generator, given: np.ndarray, base: np.ndarray) -> np.ndarray:
    """What was damaged put back, not quite where it was."""
    rough = base + _waves(rng, base.shape, (12, 12), (0.5, 2.0))
    weight = ndimage.gaussian_filter((np.abs(given - base) > 0.5).astype(np.float32), 1.5)
    return given + np.clip(1.5 * weight, 0.0, 1.0) * (rough - given)


def _waves(rng: np.random.Generator, shape: tuple[int, ...], width_mm: tuple, height_mm: tuple) -> np.ndarray:
    """Smooth random displacement in mm."""
    coarse = rng.standard_normal([n // 2 + 2 for n in shape]).astype(np.float32)
    sigma = rng.uniform(*width_mm) / (2.0 * CELL_MM)
    smooth = ndimage.gaussian_filter(coarse, sigma, truncate=2.5, mode="wrap")
    fine = ndimage.zoom(smooth / (smooth.std() + 1e-9), 2, order=1)
    return (rng.uniform(*height_mm) * fine[tuple(slice(n) for n in shape)]).astype(np.float32)


def _balls(rng: np.random.Generator, truth_mm: np.ndarray, count: int) -> np.ndarray:
    """Distance to ellipsoids whose centres lie on the surface."""
    near = np.argwhere(np.abs(truth_mm) < CELL_MM)
    places = np.indices(truth_mm.shape, dtype=np.float32)
    size = max(1.0, -float(truth_mm.min()))
    union = np.full(truth_mm.shape, _FARTHEST_MM, np.float32)
    for _ in range(count):
        centre, stretch = near[rng.integers(len(near))], rng.uniform(0.6, 1.6, 3)
        offsets = (CELL_MM * stretch[a] * (places[a] - centre[a]) for a in range(3))
        union = np.minimum(union, np.sqrt(sum(o * o for o in offsets)) - rng.uniform(6, np.clip(0.9 * size, 9, 26)))
    return union
