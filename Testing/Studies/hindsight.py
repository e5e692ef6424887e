"""Decisions made with the truth in view: which separate pieces, regions and cells a perfect trust would take."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from ReShapeITLib.distance.combinators import BlendedField
from ReShapeITLib.distance.narrow_band import label_mask
from ReShapeITLib.distance.surface import (
    DistanceGrid,
    clean_mask,
    signed_distance_grid,
    surface_from_grid,
    surface_from_mask,
)
from ReShapeITLib.interaction.alignment import align_to_template
from ReShapeITLib.refinement.aligned import alignment_with_scale_prior
from ReShapeITLib.refinement.components import without_components_out_of_reach
from ReShapeITLib.refinement.decision.calibration import calibration
from ReShapeITLib.refinement.decision.suggestions import find_suggestions
from ReShapeITLib.refinement.options import RefineOptions
from ReShapeITLib.refinement.truncation import find_truncation, own_flat_shares
from ReShapeITLib.restoration.grid import CanonicalGrid
from ReShapeITLib.restoration.model import restore
from Testing.Studies.evaluation.measure import AS_IT_IS

CONNECTED = np.ones((3, 3, 3))


def two_sided_mm2(points: np.ndarray, truth: np.ndarray) -> float:
    """Mean squared distance of (N, 3) points to (M, 3) points of the truth, and back, added; infinite for none."""
    if not len(points):
        return np.inf
    return float((cKDTree(truth).query(points)[0] ** 2).mean() + (cKDTree(points).query(truth)[0] ** 2).mean())


def best_subset(names: list, error: Callable[[list], float]) -> list:
    """Those of the names that a greedy search keeps: one is dropped or taken as long as the error falls."""
    kept, least, changed = list(names), error(list(names)), True
    while changed:
        changed = False
        for name in names:
            trial = [n for n in kept if n != name] if name in kept else [*kept, name]
            value = error(trial)
            if value < least - 1e-9:
                kept, least, changed = trial, value, True
    return kept


def best_pieces(given: np.ndarray, geometry, truth_points: np.ndarray) -> np.ndarray:
    """(K, J, I) bool: the separate pieces of a mask that are better kept; pieces too small to be sampled stay."""
    pieces, n_pieces = ndimage.label(given, structure=CONNECTED)
    if n_pieces < 2:
        return given
    points = surface_from_mask(given, geometry, AS_IT_IS).sample_points(8000, np.random.default_rng(0))[0]
    border = np.argwhere(given & ~ndimage.binary_erosion(given))
    nearest = cKDTree(geometry.ijk_to_ras_points(border[:, ::-1])).query(points)[1]
    owner = pieces[tuple(border[nearest].T)]
    names = sorted(np.unique(owner).tolist(), key=lambda name: int((owner == name).sum()))
    kept = best_subset(names, lambda some: two_sided_mm2(points[np.isin(owner, some)], truth_points))
    return given & ~np.isin(pieces, [name for name in names if name not in kept])


def best_regions(restoration, truth_points: np.ndarray) -> np.ndarray:
    """[z, y, x] weight of the restored organ: the suggestions that are better taken, by hindsight."""
    given, restored = restoration.given.values_mm, restoration.restored.values_mm
    found = find_suggestions(restoration, calibration())

    def weight(some: list[int]) -> np.ndarray:
        return found.weight(some).values_mm

    def error(some: list[int]) -> float:
        w = weight(some)
        values = ((1.0 - w) * given + w * restored).astype(np.float32)
        if not (values < 0).any():
            return np.inf
        surface = surface_from_grid(DistanceGrid(values, restoration.given.geometry))
        return two_sided_mm2(surface.sample_points(4000, np.random.default_rng(0))[0], truth_points)

    return weight(best_subset([entry.number for entry in found.entries], error))


class Oracle:
    """One input, and every bound on it.

    Args:
        truth, given: (K, J, I) bool.
        geometry: of both.
        template, model: of the organ; the restoration network's weights.
    """

    def __init__(self, truth, given, geometry, template, model):
        self.given, self.geometry, self.template, self.model = given, geometry, template, model
        self.options = RefineOptions()
        self.alignment = alignment_with_scale_prior(self.options.alignment, template)
        self.truth_grid = signed_distance_grid(truth, geometry)
        self.truth_points = surface_from_grid(self.truth_grid).sample_points(4000, np.random.default_rng(0))[0]
        self.cleaned, _ = clean_mask(given, geometry, self.options.surface)
        self.grid = signed_distance_grid(self.cleaned, geometry, self.options.surface)
        self.surface = surface_from_grid(self.grid)
        self.ends = find_truncation(given, geometry, self.surface, own_flat_shares(template))

    def frame(self, surface):
        """Similarity to the template's frame for a surface, as a refinement finds it."""
        points = surface.sample_points(self.options.candidates.n_surface, np.random.default_rng(0))[0]
        return align_to_template(points, self.template.points_unit, self.alignment).ras_to_unit

    def near_grid(self):
        """Distance of the given organ without the pieces that the network does not see, and its frame."""
        frame = self.frame(self.surface)
        near = without_components_out_of_reach(self.cleaned, self.geometry, self.template, frame)
        return (signed_distance_grid(near, self.geometry) if near.sum() < self.cleaned.sum() else self.grid), frame

    def masks(self) -> dict[str, np.ndarray]:
        """(K, J, I) bool of "pieces", "regions" and "cells"."""
        grid, frame = self.near_grid()
        first = restore(self.model, self.template, grid, frame, seen=self.ends)
        truth_mm = CanonicalGrid.around(self.template.points_unit).sample_cells(self.truth_grid, frame, 3.0)
        truth_mm *= first.cell_mm
        given, restored = first.given.values_mm, first.restored.values_mm
        cells = (np.abs(restored - truth_mm) < np.abs(given - truth_mm)).astype(np.float32)
        weight = best_regions(first, self.truth_points)
        values = ((1.0 - weight) * given + weight * restored).astype(np.float32)
        frame = self.frame(surface_from_grid(DistanceGrid(values, first.given.geometry)).without_specks())
        second = restore(self.model, self.template, grid, frame, seen=self.ends)
        regions = best_regions(second, self.truth_points)
        return {
            "pieces": best_pieces(self.given, self.geometry, self.truth_points),
            "regions": self.blended(grid, second, regions),
            "cells": self.blended(grid, first, cells),
        }

    def blended(self, grid, restoration, weight: np.ndarray) -> np.ndarray:
        """(K, J, I) bool of the given organ with the restored one where ``weight`` says so."""
        where = DistanceGrid(weight, restoration.restored.geometry)
        field = BlendedField(grid, restoration.restored, where)
        k, j, i = (np.array([0, n - 1]) for n in self.geometry.shape_kji)
        corners = self.geometry.ijk_to_ras_points(np.array(np.meshgrid(i, j, k)).reshape(3, -1).T)
        return label_mask(field.sdf_mm, self.geometry, (corners.min(0), corners.max(0)))
