"""Training cases on the canonical grid, and batches drawn from them with random pose, bend and damage."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import ndimage

from ..damage.on_grid import DamageOptions, damaged, unseen_beyond_the_end
from .config import DrawOptions

PADDING_CELLS = 6
STORED_LIMIT_CELLS = 12.0
MOST_OF_THE_WAY = 0.7


@dataclass(frozen=True, eq=False)
class RestorationCase:
    """One organ on the padded canonical grid, float16 [z, y, x] distances in cells.

    Args:
        organ: name of the template it was aligned with.
        truth: the clean organ.
        given: a segmentation of it with its errors; None where damage is to be made.
        known: 0 beyond the ends where the given one looks cut off, 1 elsewhere; None where it is known everywhere.
    """

    organ: str
    truth: np.ndarray
    given: np.ndarray | None = None
    known: np.ndarray | None = None


class BatchSource(torch.utils.data.Dataset):
    """The batch of every step, drawn from the step's own random state: a resumed run sees the same ones."""

    def __init__(
        self,
        cases: list[RestorationCase],
        options: DrawOptions,
        seed: int,
        first_step: int,
        steps: int,
        shares: dict[str, float] | None = None,
        cells_mm: dict[str, float] | None = None,
    ):
        self.by_organ: dict[str, list[RestorationCase]] = {}
        for case in cases:
            self.by_organ.setdefault(case.organ, []).append(case)
        self.options, self.seed, self.first_step, self.steps = options, seed, first_step, steps
        self.shares, self.cells_mm = shares or {}, cells_mm or {}

    def __len__(self) -> int:
        return self.steps - self.first_step

    def __getitem__(self, index: int):
        rng = np.random.default_rng([self.seed, self.first_step + index])
        return draw_batch(self.by_organ, self.options, rng, self.shares, self.cells_mm)


def draw_batch(
    by_organ: dict[str, list[RestorationCase]],
    options: DrawOptions,
    rng: np.random.Generator,
    shares: dict[str, float] | None = None,
    cells_mm: dict[str, float] | None = None,
):
    """One organ's name and (B, Z, Y, X) float32 tensors given, known and truth.

    Args:
        by_organ: cases of each organ.
        options: how they are varied.
        rng: decides.
        shares: how often each organ is drawn in relation to the others; 1 where it is not told.
        cells_mm: edge of a cell in each organ's common size; needed where the options tell gaps or voxels in mm.
    """
    share = np.array([(shares or {}).get(organ, 1.0) for organ in by_organ])
    organ = str(rng.choice(list(by_organ), p=share / share.sum()))
    in_mm = options.most_gap_mm > 0.0 or options.damage.smoothed > 0.0
    cell_mm = (cells_mm or {})[organ] if in_mm else None
    if options.most_gap_mm:
        options = replace(options, damage=_with_gaps(options, cell_mm))
    drawn = []
    for _ in range(options.batch):
        cases = by_organ[organ]
        real = [c for c in cases if c.given is not None]
        use_real = bool(real) and rng.random() < options.real
        pool = real if use_real else [c for c in cases if c.given is None]
        drawn.append(_draw_case(pool[rng.integers(len(pool))], use_real, options, rng, cell_mm))
    return organ, *(torch.from_numpy(np.stack(arrays)) for arrays in zip(*drawn, strict=True))


def _with_gaps(options: DrawOptions, cell_mm: float) -> DamageOptions:
    """The damage with gaps between slices as told in mm, in whole cells."""
    least, most = (max(2, round(gap / cell_mm)) for gap in (options.least_gap_mm, options.most_gap_mm))
    return replace(options.damage, least_gap_cells=least, most_gap_cells=max(least, most))


def _draw_case(case: RestorationCase, use_real: bool, options: DrawOptions, rng, cell_mm: float | None):
    arrays = [case.truth] if case.given is None else [case.truth, case.given]
    if case.known is not None:
        arrays.append(case.known - 0.5)  # so that its sign says it, whatever the scale
    stack = torch.from_numpy(np.stack(arrays)).float()[None]
    moved = _moved(stack, options, rng)[0].numpy()
    truth = moved[0]
    known = np.ones_like(truth)
    if use_real:
        given = moved[1]
        if case.known is not None:
            known = (moved[2] > 0.0).astype(np.float32)
        elif rng.random() < 0.15:
            given, known = damaged(given, rng, options.damage, cell_mm)
    elif rng.random() < options.clean:
        given = truth
    else:
        given, known = damaged(truth, rng, options.damage, cell_mm)
    if (known == 1.0).all() and rng.random() < options.false_end:
        known = unseen_beyond_the_end(given, rng)
    given, known, truth = _as_aligned(given, known, truth, rng)
    return given.astype(np.float32), known.astype(np.float32), truth


def _as_aligned(given: np.ndarray, known: np.ndarray, truth: np.ndarray, rng):
    """All three moved by whole cells, part of the way that brings the given organ's centroid to that of the true one:
    an alignment takes what is left of an organ for the whole."""
    if not (given < 0).any():
        return given, known, truth
    away = np.subtract(*(np.argwhere(sdf < 0).mean(axis=0) for sdf in (truth, given)))
    cells = np.round(rng.uniform(0.0, MOST_OF_THE_WAY) * away)
    if not cells.any():
        return given, known, truth
    return tuple(ndimage.shift(array, cells, order=0, mode="nearest") for array in (given, known, truth))


def _moved(stack: torch.Tensor, options: DrawOptions, rng) -> torch.Tensor:
    """(1, C, Z, Y, X) distances under a random similarity and bend, without the padding."""
    padded = np.array(stack.shape[2:])
    size = padded - 2 * PADDING_CELLS
    angle = np.radians(rng.normal(0.0, options.rotation_degrees, 3))
    scale = float(np.exp(rng.normal(0.0, options.scale)))
    matrix = _rotation(angle) * scale
    centre = (size - 1) / 2
    places = np.stack(np.meshgrid(*[np.arange(n, dtype=np.float32) for n in size], indexing="ij"), axis=-1) - centre
    places = (places @ matrix.T + rng.normal(0.0, options.shift_cells, 3)).astype(np.float32)
    knots = torch.from_numpy(rng.normal(0.0, options.bend_cells, (1, 3, 5, 4, 4)).astype(np.float32))
    bend = torch.nn.functional.interpolate(knots, size=tuple(map(int, size)), mode="trilinear", align_corners=True)
    places = torch.from_numpy(places) + bend[0].permute(1, 2, 3, 0)
    places = places / torch.from_numpy(((padded - 1) / 2).astype(np.float32))
    grid = places.flip(-1)[None]  # grid_sample wants x, y, z
    return torch.nn.functional.grid_sample(stack, grid, align_corners=True, padding_mode="border") / scale


def _rotation(angles: np.ndarray) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    return Rotation.from_rotvec(angles).as_matrix()
