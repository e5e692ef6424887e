"""Training the restoration network on clean organs with made damage and on real pairs of prediction and truth."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import torch

from ..core.errors import BadInputError
from ..core.progress import Progress
from ..restoration.grid import CELL_UNIT, CanonicalGrid, template_cells
from ..restoration.model import RestorationModel
from ..restoration.network import GIVEN_LIMIT_CELLS, NetworkOptions, RestorationNetwork
from ..templates.template import OrganTemplate
from ..training.checkpoint import load_checkpoint, save_checkpoint
from .config import RestorationTraining
from .data import BatchSource, RestorationCase

LOG_INTERVAL = 20


def restoration_loss(
    predicted: torch.Tensor, truth: torch.Tensor, given: torch.Tensor | None = None, contradicted: float = 1.0
) -> dict[str, torch.Tensor]:
    """Terms of the loss on (B, Z, Y, X) distances in cells: distance near the surface, and inside or outside.

    Cells that either side sees within three cells of the surface have ten times the weight of the others, and
    ``contradicted`` times that where the true or the predicted organ is more than a cell from the ``given`` one.
    """
    limit = GIVEN_LIMIT_CELLS
    target = truth.clamp(-limit, limit)
    near = (target.abs() < 0.99 * limit) | (predicted.detach().abs() < 0.99 * limit)
    weight = torch.where(near, 1.0, 0.1)
    if given is not None:
        given = given.clamp(-limit, limit)
        decided = ((target - given).abs() > 1.0) | ((predicted.detach().clamp(-limit, limit) - given).abs() > 1.0)
        weight = torch.where(decided, contradicted * weight, weight)
    weight = weight / weight.mean()
    distance = (weight * torch.nn.functional.smooth_l1_loss(predicted, target, reduction="none", beta=0.5)).mean()
    inside = torch.sigmoid(-4.0 * target)
    sign = torch.nn.functional.binary_cross_entropy_with_logits(-2.0 * predicted, inside, weight=weight)
    return {"distance": distance, "sign": sign}


class RestorationTrainer:
    """One run; goes on from its checkpoint where there is one.

    Args:
        cases: of all organs.
        templates: of each organ.
        options: settings.
        folder: for ``checkpoint.safetensors`` and ``train.jsonl``; made if absent.
        device: "cpu" or "cuda".
        network_options: size of the network.
        shares: how often each organ is drawn in relation to the others; equally often where None.
    """

    def __init__(
        self,
        cases: list[RestorationCase],
        templates: dict[str, OrganTemplate],
        options: RestorationTraining,
        folder: Path,
        device: str = "cpu",
        network_options: NetworkOptions | None = None,
        shares: dict[str, float] | None = None,
    ):
        torch.manual_seed(options.seed)
        self.cases, self.options, self.folder, self.device = cases, options, Path(folder), device
        self.shares = shares
        self.folder.mkdir(parents=True, exist_ok=True)
        network = RestorationNetwork(network_options or NetworkOptions(organs=tuple(sorted(templates))))
        self.network = network.to(device, memory_format=torch.channels_last_3d).train()
        self.priors = {
            organ: torch.tensor(template_cells(template, CanonicalGrid.around(template.points_unit))).to(device)
            for organ, template in templates.items()
        }
        self.cells_mm = {o: CELL_UNIT * float(np.mean(template.info.scales_mm)) for o, template in templates.items()}
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=options.learning_rate, weight_decay=1e-2)
        self.generator = torch.Generator().manual_seed(options.seed)
        self.step = 0
        checkpoint = self.folder / "checkpoint.safetensors"
        if checkpoint.is_file():
            self.step, _ = load_checkpoint(
                checkpoint, self.network, {}, self.optimiser, self.generator, options.as_dict()
            )
        elif options.start_from:
            _take_over(RestorationModel.load(options.start_from).network, self.network)

    def run(self, progress: Progress) -> None:
        """Train to the last step; a checkpoint is left every ``checkpoint_interval`` steps and at the end."""
        o = self.options
        source = BatchSource(self.cases, o.draw, o.seed, self.step, o.steps, self.shares, self.cells_mm)
        batches = torch.utils.data.DataLoader(source, batch_size=None, num_workers=o.workers)
        sums: dict[str, float] = {}
        for organ, given, known, truth in batches:
            terms = self._descend(organ, *(array.to(self.device) for array in (given, known, truth)))
            self.step += 1
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + value / LOG_INTERVAL
            if self.step % LOG_INTERVAL == 0:
                self._log(sums)
                sums = {}
            if self.step % o.checkpoint_interval == 0 or self.step == o.steps:
                path = self.folder / "checkpoint.safetensors"
                save_checkpoint(path, self.network, {}, self.optimiser, self.generator, {}, self.step, o.as_dict())
            told = ", ".join(f"{name} {value:.3f}" for name, value in terms.items())
            progress.stage("train", self.step / o.steps, told)

    def result(self) -> RestorationNetwork:
        """The trained network, with the share of the starting weights that the options keep."""
        o, network = self.options, copy.deepcopy(self.network).cpu().eval()
        if o.start_from and o.keep_of_start > 0.0:
            start = copy.deepcopy(network)
            _take_over(RestorationModel.load(o.start_from).network, start)
            with torch.no_grad():
                for end, begin in zip(network.parameters(), start.parameters(), strict=True):
                    end.lerp_(begin, o.keep_of_start)
        return network

    def _descend(self, organ: str, given, known, truth) -> dict[str, float]:
        o = self.options
        any_organ = float(torch.rand((), generator=self.generator)) < o.any_organ
        row = 0 if any_organ else self.network.organ_index(organ)
        for group in self.optimiser.param_groups:
            group["lr"] = o.learning_rate * _rate(self.step, o)
        with torch.autocast(self.device, torch.bfloat16, enabled=o.bfloat16):
            rows = torch.full((len(given),), row, device=self.device)
            predicted = self.network(given, known, self.priors[organ].expand_as(given), rows)
        terms = restoration_loss(predicted.float(), truth, given, o.contradicted)
        self.optimiser.zero_grad(set_to_none=True)
        sum(terms.values()).backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        # What doing nothing would cost, to compare with.
        unchanged = given.clamp(-GIVEN_LIMIT_CELLS, GIVEN_LIMIT_CELLS)
        terms["input"] = restoration_loss(unchanged, truth, given, o.contradicted)["distance"]
        return {name: float(value.detach()) for name, value in terms.items()}

    def _log(self, terms: dict[str, float]) -> None:
        row = {"step": self.step} | {name: round(value, 5) for name, value in terms.items()}
        with open(self.folder / "train.jsonl", "a", encoding="utf-8") as log:
            log.write(json.dumps(row) + "\n")


def _take_over(trained: RestorationNetwork, network: RestorationNetwork) -> None:
    """Weights of another network of the same size; organs that it does not know start as "any organ"."""
    values = trained.state_dict()
    rows = torch.tensor([0, *(trained.organ_index(organ) for organ in network.options.organs)])
    for table in ("organ2.weight", "organ3.weight"):
        values[table] = values[table][rows]
    try:
        network.load_state_dict(values)
    except RuntimeError as error:
        raise BadInputError(
            "'start_from' is a network of another size", "train from the start", "restoration.other_size"
        ) from error


def _rate(step: int, options: RestorationTraining) -> float:
    warm = min(1.0, (step + 1) / max(1, options.warmup_steps))
    return warm * (0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * min(1.0, step / options.steps))))
