"""A denoising autoencoder on distance grids, after Post-DAE (Larrazabal et al., MICCAI 2019 and IEEE TMI 2020).

It has learnt from damage to return the clean organ through a narrow code, knows no template and no image, and what it
returns replaces what it was given. The template gives the frame in which organs lie alike, nothing else.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ReShapeITLib.core.geometry import ImageGeometry
from ReShapeITLib.core.mesh import TriangleSurface
from ReShapeITLib.distance.surface import DistanceGrid, clean_mask, signed_distance_grid, surface_from_grid
from ReShapeITLib.interaction.alignment import align_to_template
from ReShapeITLib.interaction.candidates import draw_surface_points
from ReShapeITLib.io.weights_file import WeightsKind
from ReShapeITLib.refinement.aligned import alignment_with_scale_prior
from ReShapeITLib.refinement.options import RefineOptions
from ReShapeITLib.restoration.grid import CanonicalGrid
from ReShapeITLib.restoration.network import GIVEN_LIMIT_CELLS
from ReShapeITLib.templates.template import OrganTemplate

from .rivals_field import field_shape

_KIND = WeightsKind(
    "denoiser", "denoiser file", "train one with Testing.Studies.train_denoiser", "reshapeit-denoiser-1"
)


@dataclass(frozen=True)
class DenoiserOptions:
    """Size of the autoencoder.

    Args:
        shape_zyx: cells of the grid, multiples of eight.
        channels: at a half, a quarter and an eighth of the grid's resolution.
        code_size: numbers that an organ has to pass through.
    """

    shape_zyx: tuple[int, int, int]
    channels: tuple[int, int, int] = (16, 32, 32)
    code_size: int = 256


class DenoisingAutoencoder(nn.Module):
    """Strided convolutions to a code and back; no connection goes around the code.

    Args:
        options: sizes.
    """

    def __init__(self, options: DenoiserOptions):
        super().__init__()
        self.options = options
        c1, c2, c3 = options.channels
        small = tuple(n // 8 for n in options.shape_zyx)
        cells = c3 * int(np.prod(small))
        self.encoder = nn.Sequential(
            nn.Conv3d(1, c1, 4, 2, 1),
            nn.GELU(),
            nn.Conv3d(c1, c2, 4, 2, 1),
            nn.GELU(),
            nn.Conv3d(c2, c3, 4, 2, 1),
            nn.GELU(),
            nn.Flatten(),
            nn.Linear(cells, options.code_size),
        )
        self.decoder = nn.Sequential(
            nn.Linear(options.code_size, cells),
            nn.GELU(),
            nn.Unflatten(1, (c3, *small)),
            nn.ConvTranspose3d(c3, c2, 4, 2, 1),
            nn.GELU(),
            nn.ConvTranspose3d(c2, c1, 4, 2, 1),
            nn.GELU(),
            nn.ConvTranspose3d(c1, 1, 4, 2, 1),
        )

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        """(B, Z, Y, X) distance of the clean organ in cells from that of the given one, which is seen limited."""
        seen = given.clamp(-GIVEN_LIMIT_CELLS, GIVEN_LIMIT_CELLS) / GIVEN_LIMIT_CELLS
        return GIVEN_LIMIT_CELLS * self.decoder(self.encoder(seen[:, None]))[:, 0]


@dataclass(frozen=True)
class DenoiserInfo:
    """Where the weights come from.

    Args:
        organ: name of the organ.
        template: SHA-256 of the shape of the template whose frame is used (``template.read_shape_sha256``).
        cases: training cases.
        training: settings of the run.
    """

    organ: str
    template: str
    cases: list[str]
    training: dict = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Denoiser:
    """A trained autoencoder with its origin."""

    info: DenoiserInfo
    network: DenoisingAutoencoder

    def save(self, path: str | Path) -> None:
        """Write one safetensors file, weights in half precision, by way of a temporary one."""
        tensors = {k: v.detach().cpu().half().contiguous() for k, v in self.network.state_dict().items()}
        _KIND.write(path, tensors, {"network": asdict(self.network.options), **asdict(self.info)})

    @classmethod
    def load(cls, path: str | Path) -> Denoiser:
        """Read and verify a file.

        Raises:
            BadInputError: the file is absent, damaged, altered or of another format.
        """
        header, _, tensors = _KIND.read(path)
        try:
            options = {k: tuple(v) if isinstance(v, list) else v for k, v in header.pop("network").items()}
            network = DenoisingAutoencoder(DenoiserOptions(**options))
            network.load_state_dict({k: v.float() for k, v in tensors.items()})
            return cls(DenoiserInfo(**header), network.requires_grad_(False).eval())
        except (KeyError, TypeError, RuntimeError) as error:
            raise _KIND.lacks_parts(path, error) from error


def denoised(
    mask: np.ndarray, geometry: ImageGeometry, model: Denoiser, template: OrganTemplate
) -> tuple[np.ndarray, TriangleSurface]:
    """Voxels (K, J, I) and surface (RAS mm) of what the autoencoder returns for a mask.

    The way to the template's frame is that of a refinement.

    Raises:
        BadInputError: the mask is empty or too small, or nothing comes back.
    """
    options = RefineOptions()
    rng = np.random.default_rng(options.seed)
    cleaned, _ = clean_mask(mask, geometry, options.surface)
    distance = signed_distance_grid(cleaned, geometry, options.surface)
    points, _ = draw_surface_points(surface_from_grid(distance), options.candidates.n_surface, rng)
    frame = align_to_template(
        points, template.points_unit, alignment_with_scale_prior(options.alignment, template)
    ).ras_to_unit
    grid = CanonicalGrid.around(template.points_unit)
    seen = torch.from_numpy(grid.sample_cells(distance, frame, GIVEN_LIMIT_CELLS))[None]
    with torch.inference_mode():
        cells = model.network(seen)[0].numpy()
    values_mm = np.clip(cells, -GIVEN_LIMIT_CELLS, GIVEN_LIMIT_CELLS) * (grid.cell_unit / frame.scale)
    clean = DistanceGrid(values_mm.astype(np.float32), grid.geometry_ras(frame))
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in clean.geometry.size_ijk])).reshape(3, -1).T
    return field_shape(clean.sdf_mm, clean.geometry.ijk_to_ras_points(corners), geometry, options.surface_cell_mm)
