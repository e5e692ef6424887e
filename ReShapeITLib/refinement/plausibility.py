"""Does the given organ look like the template's organ at all? Asked before any fit, against the training cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..core.errors import ImplausibleError
from ..core.mesh import TriangleSurface
from ..interaction.alignment import Alignment
from ..templates.shape_moments import ShapeDistribution, shape_moments
from ..templates.template import TemplateInfo

VOLUME_LIMIT_SD = 4.0
RESIDUAL_LIMIT_SD = 6.0
# Chosen on unseen organs, damaged and predicted ones among them (docs/RESULTS.md, "Wrong organs").
SHAPE_LIMIT = 1.8
OTHER_ORGAN_LEAD = 0.35


@dataclass(frozen=True)
class Plausibility:
    """How the given organ compares with the training cases.

    Args:
        volume_ml: of the given organ.
        volume_z: standard deviations of its log-volume from the training mean.
        alignment_residual_mm: mean distance to the aligned template, of the whole or of its largest piece.
        alignment_z: standard deviations of that residual from the training mean.
        shape_distance: of its moments from those of the training cases, about 1 for a typical case; NaN where the
            template does not know theirs.
        closest_organ: the organ among all known templates whose training cases have the closest moments; empty where
            no template knows any.
        problems: one sentence for each limit that is passed.
    """

    volume_ml: float
    volume_z: float
    alignment_residual_mm: float
    alignment_z: float
    shape_distance: float
    closest_organ: str
    problems: tuple[str, ...]


def check_plausibility(
    info: TemplateInfo,
    surface: TriangleSurface,
    alignment: Alignment,
    force: bool,
    others: Sequence[TemplateInfo] = (),
    cut_off: bool = False,
) -> Plausibility:
    """Compare volume, moments and alignment residual with the training distributions, and with other organs'.

    Args:
        info: of the template.
        surface: of the given organ, RAS mm, closed.
        alignment: of the given organ to the template.
        force: report problems instead of raising.
        others: templates of other organs, which the given organ might be instead (those of the same organ are ignored).
        cut_off: the border of the image cuts the given organ, which is then the reason that is told.

    Raises:
        ImplausibleError: a limit is passed and ``force`` is not set.
    """
    volume_ml = surface.volume_mm3 / 1000.0
    # Few training cases underestimate the spread of real patients, hence the floors.
    volume_z = _z_score(np.log(volume_ml), np.log(info.volumes_ml), least_sd=0.25)
    shapes = _whole_and_largest(surface)
    residual = min([alignment.mean_residual_mm, *(_mean_distance_mm(s, surface, alignment) for s in shapes[1:])])
    residual_z = _z_score(residual, np.array(info.alignment_residuals_mm), least_sd=0.5)
    distances = _shape_distances(shapes, [info, *(o for o in others if o.organ != info.organ)])
    own = distances.get(info.organ, np.nan)
    closest = min(distances, key=distances.get, default="")
    problems = []
    if abs(volume_z) > VOLUME_LIMIT_SD:
        low, high = min(info.volumes_ml), max(info.volumes_ml)
        problems.append(f"its volume is {volume_ml:.0f} mL, the training cases have {low:.0f} to {high:.0f} mL")
    if residual_z > RESIDUAL_LIMIT_SD:
        problems.append(
            f"it lies {residual:.1f} mm from the aligned template on average, "
            f"the training cases at most {max(info.alignment_residuals_mm):.1f} mm"
        )
    if own > distances.get(closest, np.nan) + OTHER_ORGAN_LEAD:
        problems.append(f"its size, extents and orientation are rather those of {closest}")
    elif own > SHAPE_LIMIT:
        problems.append("its size, extents and orientation are unlike those of the training cases")
    if problems and not force and cut_off:
        raise _cut_off(info, volume_ml, problems)
    if problems and not force:
        raise ImplausibleError(
            "{subject} does not look like {organ}: {problems}",
            "check label and template, or use --force to refine it anyway",
            "implausible",
            subject="the input",
            organ=info.organ,
            problems=" and ".join(problems),
        )
    return Plausibility(volume_ml, volume_z, residual, residual_z, own, closest, tuple(problems))


def _cut_off(info: TemplateInfo, volume_ml: float, problems: Sequence[str]) -> ImplausibleError:
    """What is told of an organ that reaches beyond the image."""
    missing = 10 * round(10 * (1.0 - volume_ml / float(np.median(info.volumes_ml))))
    reasons = [f"about {missing} % of a typical {info.organ} is missing"] if missing > 0 else []
    return ImplausibleError(
        "{subject} is cut off at the border of the image and does not look like {organ}: {problems}",
        "take an image that holds the whole organ, or use --force to refine the part that is there",
        "implausible.cut_off",
        subject="the input",
        organ=info.organ,
        missing_percent=max(0, missing),
        problems=" and ".join([*reasons, *problems]),
    )


def _whole_and_largest(surface: TriangleSurface) -> list[TriangleSurface]:
    """What is compared, the better one counting: a stray piece far away changes all measures of the whole."""
    largest, *others = surface.components()
    return [surface, largest] if others and largest.volume_mm3 > 0.5 * surface.volume_mm3 else [surface]


def _mean_distance_mm(piece: TriangleSurface, surface: TriangleSurface, alignment: Alignment) -> float:
    """Mean distance to the template of the given points that lie on a piece of the surface."""
    from scipy.spatial import cKDTree

    to_piece, to_any = (cKDTree(s.vertices_ras).query(alignment.points_ras)[0] for s in (piece, surface))
    return float(alignment.distances_mm[to_piece <= to_any].mean())


def _shape_distances(shapes: Sequence[TriangleSurface], infos: Sequence[TemplateInfo]) -> dict[str, float]:
    """Distance of the moments from those of each organ's training cases; the smallest where an organ has several."""
    moments = [shape_moments(shape) for shape in shapes]
    distances: dict[str, float] = {}
    for info in infos:
        if info.shape_moments:
            distribution = ShapeDistribution.of(info.shape_moments)
            distance = min(distribution.distance(m) for m in moments)
            distances[info.organ] = min(distance, distances.get(info.organ, np.inf))
    return distances


def _z_score(value: float, population: np.ndarray, least_sd: float) -> float:
    return float((value - population.mean()) / max(population.std(), least_sd))
