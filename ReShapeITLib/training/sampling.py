"""Training samples of one shape (paper, section 4.1): surface points with normals, and free points with distances."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass

import numpy as np

from ..core.errors import BadInputError
from ..core.geometry import Similarity
from ..core.mesh import TriangleSurface
from ..distance.of_mesh import MeshDistance
from ..io.atomic import atomic_path, require_file
from ..templates.shape_moments import shape_moments

_FORMAT = "reshapeit-samples-1"


@dataclass(frozen=True)
class SamplingOptions:
    """How many points are drawn, and where.

    Args:
        n_surface: points on the surface (paper: 800K).
        n_free: points in space with their signed distance (paper: 200K).
        near_surface_fraction: share of the free points that are surface points moved by Gaussian noise; 0 is the
            paper's way, all of them uniform in the ball.
        near_surface_sd_unit: standard deviations of that noise, in equal parts.
        ball_radius_unit: radius of the ball that the free points fill.
    """

    n_surface: int = 800_000
    n_free: int = 200_000
    near_surface_fraction: float = 0.0
    near_surface_sd_unit: tuple[float, ...] = (0.02, 0.1)
    ball_radius_unit: float = 1.0

    def __post_init__(self):
        if not 0.0 <= self.near_surface_fraction <= 1.0:
            raise BadInputError(
                "near_surface_fraction must lie between 0 and 1, not {fraction}",
                "choose a share of the points",
                "sampling.fraction",
                fraction=self.near_surface_fraction,
            )


@dataclass(frozen=True, eq=False)
class ShapeSamples:
    """Samples of one shape in the unit frame.

    Args:
        surface_points_unit: (N, 3) float32 on the surface.
        surface_normals: (N, 3) float32 outward unit normals, in unit-frame axes.
        free_points_unit: (M, 3) float32.
        free_sdf_unit: (M,) float32 signed distance, negative inside, in unit lengths.
        ras_to_unit: the map from RAS mm to the unit frame.
        case: name of the case.
        volume_ml: enclosed volume in mL.
        moments: (14,) of the solid in RAS mm, see ``shape_moments``; empty where they were not measured.
    """

    surface_points_unit: np.ndarray
    surface_normals: np.ndarray
    free_points_unit: np.ndarray
    free_sdf_unit: np.ndarray
    ras_to_unit: Similarity
    case: str
    volume_ml: float
    moments: tuple[float, ...] = ()

    def save(self, path: str | os.PathLike) -> None:
        """Write to a safetensors file; normals are stored as float16 (error below 0.03 degrees)."""
        from safetensors.numpy import save_file

        tensors = {
            "surface_points_unit": np.ascontiguousarray(self.surface_points_unit, dtype=np.float32),
            "surface_normals": np.ascontiguousarray(self.surface_normals, dtype=np.float16),
            "free_points_unit": np.ascontiguousarray(self.free_points_unit, dtype=np.float32),
            "free_sdf_unit": np.ascontiguousarray(self.free_sdf_unit, dtype=np.float32),
        }
        to_unit = self.ras_to_unit
        values = {
            "case": self.case,
            "volume_ml": self.volume_ml,
            "moments": list(self.moments),
            "ras_to_unit": {
                "scale": to_unit.scale,
                "rotation": to_unit.rotation.tolist(),
                "translation": to_unit.translation.tolist(),
            },
        }
        metadata = {"format": _FORMAT, **{name: json.dumps(value) for name, value in values.items()}}
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, metadata=metadata)

    @classmethod
    def load(cls, path: str | os.PathLike) -> ShapeSamples:
        """Read what ``save`` wrote."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(require_file(path, "samples file"), framework="numpy") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != _FORMAT:
                    raise BadInputError(
                        "{path} holds no shape samples of this version",
                        "sample the shape again",
                        "sampling.version",
                        path=path,
                    )
                tensors = {name: file.get_tensor(name) for name in file.keys()}
        except (OSError, SafetensorError) as error:
            raise BadInputError(
                "{path} cannot be read as shape samples ({reason})",
                "sample the shape again",
                "sampling.damaged",
                path=path,
                reason=error,
            ) from error
        normals = tensors.pop("surface_normals").astype(np.float32)
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        return cls(
            **tensors,
            surface_normals=normals,
            ras_to_unit=Similarity(**json.loads(metadata["ras_to_unit"])),
            case=json.loads(metadata["case"]),
            volume_ml=json.loads(metadata["volume_ml"]),
            moments=tuple(json.loads(metadata.get("moments", "[]"))),
        )


def unit_sphere_normalisation(surface: TriangleSurface) -> Similarity:
    """RAS mm to the unit frame: the area centroid goes to the origin, the farthest vertex to radius 1 (section 4.1).

    The area centroid, unlike the mean of the vertices, does not depend on how finely parts of the organ are meshed.
    """
    centres = surface.vertices_ras[surface.faces].mean(axis=1)
    centre = surface.face_areas_mm2 @ centres / surface.area_mm2
    radius_mm = np.linalg.norm(surface.vertices_ras - centre, axis=1).max()
    return Similarity(1.0 / radius_mm, np.eye(3), -centre / radius_mm)


def sample_shape(
    surface: TriangleSurface,
    ras_to_unit: Similarity,
    options: SamplingOptions | None = None,
    rng: np.random.Generator | None = None,
    case: str = "",
) -> ShapeSamples:
    """Draw the training samples of a closed surface given in RAS mm."""
    options = options or SamplingOptions()
    rng = rng or np.random.default_rng()
    unit_surface = surface.transformed(ras_to_unit)
    points, normals, _ = unit_surface.sample_points(options.n_surface, rng)
    # Distances are asked at the points as they are stored, not as they were drawn.
    free = _free_points(unit_surface, options, rng).astype(np.float32)
    return ShapeSamples(
        surface_points_unit=points.astype(np.float32),
        surface_normals=normals.astype(np.float32),
        free_points_unit=free,
        free_sdf_unit=MeshDistance(unit_surface).sdf_mm(free).astype(np.float32),
        ras_to_unit=ras_to_unit,
        case=case,
        volume_ml=surface.volume_mm3 / 1000.0,
        moments=tuple(shape_moments(surface).tolist()),
    )


def _free_points(unit_surface, options, rng):
    """(n_free, 3) points in random order; noise that leaves the ball is replaced by uniform points."""
    n_near = round(options.near_surface_fraction * options.n_free)
    near = np.empty((0, 3))
    if n_near:
        near, _, _ = unit_surface.sample_points(n_near, rng)
        near = near + rng.normal(size=near.shape) * np.resize(options.near_surface_sd_unit, n_near)[:, None]
        near = near[np.linalg.norm(near, axis=1) <= options.ball_radius_unit]
    uniform = _uniform_in_ball(options.n_free - len(near), options.ball_radius_unit, rng)
    return rng.permutation(np.concatenate([near, uniform]))


def _uniform_in_ball(n, radius, rng):
    directions = rng.normal(size=(n, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return directions * (radius * np.cbrt(rng.random(n)))[:, None]
