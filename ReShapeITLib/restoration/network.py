"""The restoration network: a 3D U-Net from a damaged organ, beside its template, to the clean organ."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import nn

from .grid import TEMPLATE_LIMIT_CELLS

GIVEN_LIMIT_CELLS = 3.0


@dataclass(frozen=True)
class NetworkOptions:
    """Size of the network.

    Args:
        organs: names of the organs it was trained with; each has an embedding of its own, number 0 is "any organ".
        channels: at a half, a quarter and an eighth of the grid's resolution.
        blocks: residual blocks at each of these on the way down.
    """

    organs: tuple[str, ...] = ()
    channels: tuple[int, int, int] = (32, 64, 128)
    blocks: tuple[int, int, int] = (2, 2, 3)

    def as_dict(self) -> dict:
        """Plain values for a file's description."""
        return asdict(self)


class ResidualBlock(nn.Module):
    """``x + conv(gelu(conv(gelu(x))))``; starts as the identity, so no normalisation is needed."""

    def __init__(self, channels: int):
        super().__init__()
        self.first = nn.Conv3d(channels, channels, 3, padding=1)
        self.second = nn.Conv3d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, Z, Y, X) to the same."""
        return x + self.second(nn.functional.gelu(self.first(nn.functional.gelu(x))))


class RestorationNetwork(nn.Module):
    """From ``(given, known, template, position)`` to the clean organ's signed distance.

    The given distance is limited to +-3 cells, because further out the distance of a damaged organ says nothing about
    the clean one; the template's distance, limited to +-8 cells, and the position in its frame say where this is.
    """

    def __init__(self, options: NetworkOptions):
        super().__init__()
        self.options = options
        c1, c2, c3 = options.channels
        b1, b2, b3 = options.blocks
        inputs = 6
        self.stem = nn.Conv3d(inputs, c1, 2, stride=2)
        self.down1 = nn.Sequential(*(ResidualBlock(c1) for _ in range(b1)))
        self.to2 = nn.Conv3d(c1, c2, 2, stride=2)
        self.down2 = nn.Sequential(*(ResidualBlock(c2) for _ in range(b2)))
        self.to3 = nn.Conv3d(c2, c3, 2, stride=2)
        self.middle = nn.Sequential(*(ResidualBlock(c3) for _ in range(b3)))
        self.back2 = nn.ConvTranspose3d(c3, c2, 2, stride=2)
        self.up2 = nn.Sequential(ResidualBlock(c2))
        self.back1 = nn.ConvTranspose3d(c2, c1, 2, stride=2)
        self.up1 = nn.Sequential(ResidualBlock(c1))
        self.back0 = nn.ConvTranspose3d(c1, 16, 2, stride=2)
        self.mix = nn.Conv3d(16 + inputs, 16, 3, padding=1)
        self.head = nn.Conv3d(16, 1, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.organ2 = nn.Embedding(len(options.organs) + 1, c2)
        self.organ3 = nn.Embedding(len(options.organs) + 1, c3)
        for table in (self.organ2, self.organ3):
            nn.init.normal_(table.weight, std=0.1)

    def organ_index(self, organ: str) -> int:
        """Row of an organ's embedding; 0 for an organ that training did not have."""
        return 1 + self.options.organs.index(organ) if organ in self.options.organs else 0

    def forward(
        self, given: torch.Tensor, known: torch.Tensor, template: torch.Tensor, organ: torch.Tensor
    ) -> torch.Tensor:
        """(B, Z, Y, X) distance of the clean organ in cells.

        Args:
            given: (B, Z, Y, X) signed distance of the given organ in cells.
            known: (B, Z, Y, X) 1 where the given organ was drawn, 0 where it was interpolated from there.
            template: (B, Z, Y, X) signed distance of the template in cells.
            organ: (B,) rows of the embedding.
        """
        seen = given.clamp(-GIVEN_LIMIT_CELLS, GIVEN_LIMIT_CELLS) / GIVEN_LIMIT_CELLS
        prior = template.clamp(-TEMPLATE_LIMIT_CELLS, TEMPLATE_LIMIT_CELLS) / TEMPLATE_LIMIT_CELLS
        x = torch.stack([seen, known, prior], dim=1)
        x = torch.cat([x, _positions(x)], dim=1).contiguous(memory_format=torch.channels_last_3d)
        half = self.down1(self.stem(x))
        quarter = self.down2(self.to2(half) + self.organ2(organ)[:, :, None, None, None])
        eighth = self.middle(self.to3(quarter) + self.organ3(organ)[:, :, None, None, None])
        quarter = self.up2(quarter + self.back2(eighth))
        half = self.up1(half + self.back1(quarter))
        fine = nn.functional.gelu(self.mix(torch.cat([self.back0(half), x.to(half.dtype)], dim=1)))
        return GIVEN_LIMIT_CELLS * (seen + self.head(fine)[:, 0].float())


def _positions(x: torch.Tensor) -> torch.Tensor:
    """(B, 3, Z, Y, X) coordinates from -1 to 1 along each axis of the grid."""
    axes = [torch.linspace(-1.0, 1.0, n, device=x.device) for n in x.shape[2:]]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))[None].expand(len(x), -1, -1, -1, -1)
