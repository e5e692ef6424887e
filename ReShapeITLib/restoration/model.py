"""A trained restoration network with its origin, in one safetensors file, and its use on a given organ."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from ..core.device import module_on
from ..core.geometry import Similarity
from ..core.licences import is_non_commercial
from ..core.parallel import together
from ..distance.combinators import Restricted
from ..distance.protocol import SignedDistance
from ..distance.surface import DistanceGrid
from ..io.weights_file import WeightsKind, in_eight_bits, whole_weights
from ..templates.template import OrganTemplate, read_shape_sha256
from . import several
from .grid import CanonicalGrid, template_cells
from .network import GIVEN_LIMIT_CELLS, NetworkOptions, RestorationNetwork
from .store import ChosenNetworks, chosen_networks
from .table import file_and_member

NETWORK, FIELD = WITNESSES = ("network", "field")
_KIND = WeightsKind("restoration", "restoration file", "give a file, 'auto' or 'none'", "reshapeit-restoration-1")


class Seen(Protocol):
    """What is known of a given organ: ``SparseAnnotation``, ``Truncation`` or ``CoarseVoxels``."""

    def known_at(self, points_ras: np.ndarray, half_cell_mm: float) -> np.ndarray:
        """(N,) bool or 0 to 1: how much is known of (N, 3) RAS points, middles of cells."""


@dataclass(frozen=True)
class RestorationInfo:
    """Where the weights come from.

    Args:
        licence: SPDX name of the licence that the training labels put on the weights.
        source: the data sets the cases come from.
        cases: training cases of each organ.
        templates: SHA-256 of the template's shape of each organ (``template.read_shape_sha256``), on which, and on its
            frame, the network relies.
        training: settings and command of the training run.
        few_slices: it was trained with organs that are known on a few slices only, and is asked about such alone.
        detail: it was trained with undamaged organs on coarse voxels, and is asked about what these hide alone.
    """

    licence: str
    source: str
    cases: dict[str, list[str]]
    templates: dict[str, str]
    training: dict = field(default_factory=dict)
    few_slices: bool = False
    detail: bool = False

    @property
    def non_commercial(self) -> bool:
        """True where the licence forbids commercial use."""
        return is_non_commercial(self.licence)


@dataclass(frozen=True, eq=False)
class RestorationModel:
    """A trained restoration network, ready to use.

    Args:
        info: origin and licence.
        network: with frozen weights.
        poses_at_once: how many poses it is asked about together; one takes the least memory.
        detail: the network that knows what coarse voxels hide of the same organs; None: there is none.
    """

    info: RestorationInfo
    network: RestorationNetwork
    poses_at_once: int = 2
    detail: RestorationModel | None = None

    def save(self, path: str | Path) -> str:
        """Write the file, large weights in eight bits and others in half precision, by way of a temporary one; returns
        its SHA-256."""
        tensors: dict[str, torch.Tensor] = {}
        for name, tensor in self.network.state_dict().items():
            tensors |= in_eight_bits(name, tensor, 10_000, torch.half)
        return _KIND.write(path, tensors, {"network": self.network.options.as_dict(), **asdict(self.info)})

    @classmethod
    def load(cls, path: str | Path) -> RestorationModel:
        """Read and verify a file, or one of several networks in a file: ``abdomen.safetensors/liver``.

        Raises:
            BadInputError: the file is absent, damaged, altered or of another format, or has no such network.
        """
        file, member = file_and_member(Path(path))
        kind = several.KIND if member else _KIND
        header, _, tensors = kind.read(file)
        try:
            header = dict(header["members"][member]) if member else header
            weights = several.member_weights(tensors, member) if member else whole_weights(tensors)
            options = {k: tuple(v) for k, v in header.pop("network").items()}
            network = RestorationNetwork(NetworkOptions(**options))
            network.load_state_dict(weights)
            header.pop("belief", None)  # of older files
            info = RestorationInfo(**header)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise kind.lacks_parts(file, error) from error
        return cls(info, network.requires_grad_(False).eval())

    @classmethod
    def load_chosen(cls, files: ChosenNetworks) -> RestorationModel | None:
        """The same with the network for detail that goes with it; None where none was chosen."""
        if files.restoration is None:
            return None
        detail = cls.load(files.detail) if files.detail else None
        return replace(cls.load(files.restoration), detail=detail)

    @classmethod
    def for_template(cls, template_file: str | Path, sparse: bool = False) -> RestorationModel | None:
        """The model that belongs to a template, see ``chosen_networks``; None where there is none."""
        return cls.load_chosen(chosen_networks("auto", read_shape_sha256(template_file), sparse))

    def to(self, device: str | torch.device) -> RestorationModel:
        """The same model with its weights on ``device``."""
        return replace(self, network=module_on(self.network, device), detail=self.detail and self.detail.to(device))

    def in_smaller_parts(self) -> RestorationModel:
        """The same model, which is slower and needs the least memory."""
        return replace(self, poses_at_once=1, detail=self.detail and self.detail.in_smaller_parts())


@dataclass(frozen=True, eq=False)
class Restoration:
    """What a witness, the network or a fitted field, makes of a given organ.

    Args:
        restored: signed distance of the restored organ, limited to a few cells, on an oblique image grid in RAS mm.
        given: the given organ's on the same grid, with the same limit.
        cell_mm: edge of a cell.
        spread: [z, y, x] standard deviation of the network's answers in the several poses, cells; None of a field.
        unseen: [z, y, x] bool cells of that grid of which the given organ says nothing; None where there are none.
        witness: ``NETWORK`` or ``FIELD``.
    """

    restored: DistanceGrid
    given: DistanceGrid
    cell_mm: float
    spread: np.ndarray | None
    unseen: np.ndarray | None = None
    witness: str = NETWORK

    def limited(self, organ: SignedDistance) -> SignedDistance:
        """A distance held to within a cell of the restored one: smooth where the grid is coarse, and without pieces
        that the witness does not know of."""
        return Restricted(organ, self.restored, self.cell_mm)


def restore(
    model: RestorationModel,
    template: OrganTemplate,
    distance: DistanceGrid,
    ras_to_unit: Similarity,
    poses: int = 4,
    seen: Seen | None = None,
) -> Restoration:
    """The clean organ that the network expects behind a given one, averaged over slightly different poses.

    An alignment of a damaged organ misses by a few degrees and cells; where the answer depends on that, the average of
    the limited distances comes out small, and so counts for little.

    Args:
        model, template: on the same device; of the same organ.
        distance: signed distance of the given organ, mm.
        ras_to_unit: its alignment.
        poses: how many; the first is the alignment itself.
        seen: the slices that the organ was drawn on, where ``distance`` was interpolated between them, the ends
            where it was cut off, or the coarse voxels that it was given on.
    """
    grid = CanonicalGrid.around(template.points_unit)
    frames = [ras_to_unit, *(jitter.after(ras_to_unit) for jitter in _jitters(poses - 1, grid.cell_unit))]
    given = together(lambda frame: grid.sample_cells(distance, frame, GIVEN_LIMIT_CELLS), frames)
    known = [known_cells(seen, grid, frame) for frame in frames]
    answers = _ask(model, template.info.organ, template_cells(template, grid), np.stack(given), np.stack(known))
    cell_mm = grid.cell_unit / ras_to_unit.scale
    cells_ras = ras_to_unit.inverse().apply(grid.points_unit())

    def in_first_frame(frame, answer):
        answer = DistanceGrid(answer * np.float32(grid.cell_unit / frame.scale), grid.geometry_ras(frame))
        back = answer.sdf_mm(cells_ras).reshape(grid.shape_zyx) / cell_mm
        return np.clip(back, -GIVEN_LIMIT_CELLS, GIVEN_LIMIT_CELLS)

    all_answers = np.stack([answers[0], *together(in_first_frame, frames[1:], answers[1:])])
    geometry, cells = grid.geometry_ras(ras_to_unit), (all_answers.mean(axis=0, dtype=np.float64), given[0])
    restored, given_mm = (DistanceGrid((part * cell_mm).astype(np.float32), geometry) for part in cells)
    return Restoration(restored, given_mm, cell_mm, all_answers.std(axis=0, dtype=np.float32), known[0] == 0.0)


def known_cells(seen: Seen | None, grid: CanonicalGrid, ras_to_unit: Similarity) -> np.ndarray:
    """[z, y, x] how much the given organ says about each cell: 1 everywhere, unless ``seen`` tells otherwise."""
    if seen is None:
        return np.ones(grid.shape_zyx, dtype=np.float32)
    centres_ras = ras_to_unit.inverse().apply(grid.points_unit())
    known = seen.known_at(centres_ras, 0.5 * grid.cell_unit / ras_to_unit.scale)
    return known.reshape(grid.shape_zyx).astype(np.float32)


def _ask(model: RestorationModel, organ: str, prior: np.ndarray, given: np.ndarray, known: np.ndarray) -> np.ndarray:
    """[pose, z, y, x] restored distances in cells, limited, of given ones; ``prior`` [z, y, x] is the template's.

    Several poses at once: for a batch of one torch takes its slow convolutions.
    """
    device = next(model.network.parameters()).device

    def answer(first):
        part = slice(first, first + model.poses_at_once)
        arrays = [given[part], known[part], np.broadcast_to(prior, given[part].shape)]
        tensors = [torch.tensor(array, dtype=torch.float32, device=device) for array in arrays]
        row = torch.tensor([model.network.organ_index(organ)] * len(arrays[0]), device=device)
        with torch.inference_mode():
            return model.network(*tensors, row).float().cpu().numpy()

    firsts = range(0, len(given), model.poses_at_once)
    # Beside torch's own threads, or where memory is short, one after the other.
    run = together if device.type == "cpu" and torch.get_num_threads() == 1 and model.poses_at_once > 1 else map
    restored = np.concatenate(list(run(answer, firsts)))
    return np.clip(restored, -GIVEN_LIMIT_CELLS, GIVEN_LIMIT_CELLS)


def _jitters(n: int, cell_unit: float) -> list[Similarity]:
    """Small similarities of the unit frame, always the same ones."""
    from scipy.spatial.transform import Rotation

    rng = np.random.default_rng(0)
    jitters = []
    for _ in range(n):
        rotation = Rotation.from_rotvec(np.radians(rng.normal(0.0, 4.0, 3))).as_matrix()
        jitters.append(Similarity(np.exp(rng.normal(0.0, 0.03)), rotation, rng.normal(0.0, cell_unit, 3)))
    return jitters
