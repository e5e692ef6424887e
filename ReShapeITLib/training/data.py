"""The training shapes in memory: random batches of points, and codes to start from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..core.errors import BadInputError
from .sampling import ShapeSamples


@dataclass(frozen=True)
class PointBatch:
    """Points of S shapes for one step, unit frame; the first ``n_surface`` of each shape lie on its surface.

    Args:
        shapes: (S,) indices of the shapes.
        points: (S, N, 3).
        normals: (S, n_surface, 3).
        sdf: (S, N), zero on the surface.
    """

    shapes: torch.Tensor
    points: torch.Tensor
    normals: torch.Tensor
    sdf: torch.Tensor

    @property
    def n_surface(self) -> int:
        """Surface points of each shape."""
        return self.normals.shape[1]


class TrainingSet:
    """Prepared shapes on one device.

    Args:
        samples: one per shape; all need the same numbers of points only within a shape.
        device: where the batches live.
    """

    def __init__(self, samples: list[ShapeSamples], device: str | torch.device = "cpu"):
        if not samples:
            raise BadInputError(
                "There is no prepared shape to train on", "run 'reshapeit prepare' first", "train.nothing"
            )
        self.cases = [s.case for s in samples]
        self.volumes_ml = [s.volume_ml for s in samples]
        moments = [list(s.moments) for s in samples]
        self.shape_moments = moments if all(moments) else []
        self.scales_mm = [1.0 / s.ras_to_unit.scale for s in samples]
        self.device = torch.device(device)
        self._surface = [_tensor(s.surface_points_unit, self.device) for s in samples]
        self._normals = [_tensor(s.surface_normals, self.device) for s in samples]
        self._free = [_tensor(s.free_points_unit, self.device) for s in samples]
        self._free_sdf = [_tensor(s.free_sdf_unit, self.device) for s in samples]

    @classmethod
    def from_folder(cls, folder: str | Path, device="cpu", cases: list[str] | None = None) -> TrainingSet:
        """The shapes that ``reshapeit prepare`` left in a folder, all or those named."""
        paths = sorted(Path(folder).glob("*.samples.safetensors"))
        if cases is not None:
            by_name = {p.name.removesuffix(".samples.safetensors"): p for p in paths}
            missing = [c for c in cases if c not in by_name]
            if missing:
                raise BadInputError(
                    "{path} has no prepared shape for {cases}",
                    "prepare them first",
                    "train.not_prepared",
                    path=folder,
                    cases=", ".join(missing),
                )
            paths = [by_name[c] for c in cases]
        return cls([ShapeSamples.load(p) for p in paths], device)

    def __len__(self) -> int:
        return len(self.cases)

    def surface(self, shape: int) -> torch.Tensor:
        """(N, 3) all surface points of one shape, unit frame."""
        return self._surface[shape]

    def draw(self, n_shapes: int, n_surface: int, n_free: int, generator: torch.Generator) -> PointBatch:
        """Random points of ``n_shapes`` different random shapes."""
        shapes = torch.randperm(len(self), generator=generator)[:n_shapes]
        points, normals, sdf = [], [], []
        for shape in shapes.tolist():
            on = torch.randint(len(self._surface[shape]), (n_surface,), generator=generator).to(self.device)
            off = torch.randint(len(self._free[shape]), (n_free,), generator=generator).to(self.device)
            points.append(torch.cat([self._surface[shape][on], self._free[shape][off]]))
            normals.append(self._normals[shape][on])
            sdf.append(torch.cat([torch.zeros(n_surface, device=self.device), self._free_sdf[shape][off]]))
        return PointBatch(shapes.to(self.device), torch.stack(points), torch.stack(normals), torch.stack(sdf))

    def principal_codes(self, code_size: int, spread: float, cells: int = 14) -> torch.Tensor:
        """Codes (n, code_size) from the principal components of coarse, clamped distance maps.

        Unlike noise, these put similar shapes side by side from the first step on. Scaled to a root mean square of
        ``spread``; very long codes, those of unusual shapes, are shortened, else their Laplacians rule the loss.
        """
        from scipy.spatial import cKDTree

        axis = np.linspace(-1, 1, cells)
        grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
        grid = grid[np.linalg.norm(grid, axis=1) <= 1.05]
        maps = []
        for points, sdf in zip(self._free, self._free_sdf, strict=True):
            distance, nearest = cKDTree(points.cpu().numpy()).query(grid, k=4)
            weight = 1.0 / (distance + 1e-3)
            maps.append((sdf.cpu().numpy()[nearest] * weight).sum(1) / weight.sum(1))
        centred = np.clip(np.array(maps), -0.3, 0.3)
        centred = centred - centred.mean(0)
        u, s, _ = np.linalg.svd(centred, full_matrices=False)
        kept = min(code_size, len(s))
        codes = np.zeros((len(self), code_size))
        codes[:, :kept] = (u * s)[:, :kept]
        length = np.linalg.norm(codes, axis=1, keepdims=True)
        codes *= np.minimum(1.0, 1.2 * np.median(length) / np.maximum(length, 1e-12))
        rms = np.sqrt((codes**2).mean())
        return torch.as_tensor(codes * (spread / rms if rms > 0 else 1.0), dtype=torch.float32)


def _tensor(array: np.ndarray, device: torch.device) -> torch.Tensor:
    return torch.as_tensor(np.asarray(array, dtype=np.float32), device=device)
