"""The joint optimisation of codes, hyper-network and template: Eq. 7."""

from __future__ import annotations

import json
import os
import statistics
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from ..core.errors import BadInputError, ReShapeITError
from ..core.mesh import TriangleSurface
from ..core.progress import Progress
from ..distance.narrow_band import extract_zero_level
from ..field import losses
from ..field.deform_template import DeformTemplateField
from ..field.siren import siren_jet, siren_values
from ..templates.store import find_template
from ..templates.template import OrganTemplate
from .checkpoint import load_checkpoint, load_weights, save_checkpoint
from .config import TrainingConfig
from .data import PointBatch, TrainingSet
from .ranks import Ranks
from .schedule import GradientClipper, code_penalty_factor, learning_rate_factor

CHECKPOINT_NAME = "checkpoint.safetensors"
LOG_NAME = "train.jsonl"


class Trainer:
    """One training run; :meth:`run` goes on where the last checkpoint in ``folder`` ended.

    Args:
        data: prepared shapes.
        config: sizes, weights, schedule.
        folder: for checkpoint, log and TensorBoard events; made if absent.
        device: "cpu" or "cuda".
        ranks: this process among those that share the run.
    """

    def __init__(
        self,
        data: TrainingSet,
        config: TrainingConfig,
        folder: str | Path,
        device: str = "cpu",
        ranks: Ranks = Ranks(),
    ):
        self.data, self.config, self.folder, self.device = data, config, Path(folder), torch.device(device)
        self.ranks = ranks
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.device.type == "cpu":
            torch.set_num_threads(config.threads)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.model = DeformTemplateField(config.model, config.seed).to(self.device)
        self.kept = _with_temp_of(config.temp_from, self.model) if config.temp_from else None
        start = self._first_codes()
        self.codes = {name: torch.nn.Parameter(code.to(self.device)) for name, code in start.items()}
        o = config.optimiser
        named = dict(self.model.named_parameters())
        groups = [
            (o.learning_rate, [p for n, p in named.items() if n.startswith(("temp.", "deform.")) and p.requires_grad]),
            (o.hyper_learning_rate, [p for n, p in named.items() if n.startswith("hyper.")]),
            (o.code_learning_rate, [*self.codes.values(), self.model.template_alpha, self.model.template_beta]),
        ]
        self.optimiser = torch.optim.Adam(
            [{"params": parameters, "lr": rate, "peak": rate} for rate, parameters in groups if parameters]
        )
        self.clipper = GradientClipper(o.clip_norm)
        self.template_surface = torch.zeros(0, 3, device=self.device)
        self.step = 0

    def _first_codes(self) -> dict[str, torch.Tensor]:
        shape = (len(self.data), self.config.model.code_size)
        if self.config.code_start == "pca":
            codes = self.data.principal_codes(self.config.model.code_size, self.config.code_spread)
            return {"alpha": codes.clone(), "beta": codes.clone()}
        return {name: torch.randn(shape, generator=self.generator) * 0.01 for name in ("alpha", "beta")}

    def run(self, progress: Progress | None = None) -> DeformTemplateField:
        """Train to the last step, writing log and checkpoints; returns the trained model.

        Raises:
            ReShapeITError: the loss is no longer finite.
            CancelledError: the user stopped it; the last checkpoint stays.
        """
        progress = progress or Progress("none")
        self._resume()
        self.ranks.wait()  # nobody writes before all have read
        first = self.ranks.is_first
        writer = _summary_writer(self.folder) if first else None
        with open(self.folder / LOG_NAME if first else os.devnull, "a", encoding="utf-8") as log:
            while self.step < self.config.optimiser.steps:
                progress.check_cancelled()
                terms = self.train_step()
                if not all(np.isfinite(v) for v in terms.values()):
                    raise ReShapeITError(
                        "Training diverged at step {step} ({terms})",
                        "lower the learning rate and start anew",
                        "train.diverged",
                        step=self.step,
                        terms=terms,
                    )
                log.write(json.dumps({"step": self.step, **terms}) + "\n")
                if writer is not None:
                    for name, value in terms.items():
                        writer.add_scalar(f"loss/{name}", value, self.step)
                message = " ".join(f"{k}={v:.3g}" for k, v in terms.items())
                progress.stage("train", self.step / self.config.optimiser.steps, message)
                if self.step % self.config.checkpoint_interval == 0 or self.step == self.config.optimiser.steps:
                    log.flush()
                    if first:
                        self._save()
        if writer is not None:
            writer.close()
        return self.model

    def train_step(self) -> dict[str, float]:
        """One step of Adam on Eq. 7; returns every loss term, weighted, by name."""
        o, weights = self.config.optimiser, self.config.weights
        if self.step % o.template_interval == 0 and weights.template_shape:
            self.template_surface = self._sample_template_surface()
        factor = learning_rate_factor(self.step, o)
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * factor
        batch = self.data.draw(o.shapes_per_step, o.surface_points, o.free_points, self.generator)
        terms = self.loss_terms(*self.ranks.share(batch))
        penalty = code_penalty_factor(self.step, o)
        terms = {k: v * penalty if k.startswith("reg_") else v for k, v in terms.items()}
        total = torch.stack(list(terms.values())).sum()
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        parameters = [p for g in self.optimiser.param_groups for p in g["params"]]
        self.ranks.average_gradients(parameters)
        norm = self.clipper.clip(parameters)
        self.optimiser.step()
        self.step += 1
        values = {"total": total, **terms}
        values = self.ranks.average({k: float(v.detach()) for k, v in values.items()}, self.device)
        return {**values, "gradient_norm": norm}

    def loss_terms(self, batch: PointBatch, share: float = 1.0) -> dict[str, torch.Tensor]:
        """Every term of Eq. 7 with its weight, by name; those of Eq. 5, 6 and 7 only where their weight is not zero.

        ``share`` is the weight of what depends on the batch, see :meth:`Ranks.share`.
        """
        w, model, n = self.config.weights, self.model, batch.n_surface
        alpha, beta = self.codes["alpha"][batch.shapes], self.codes["beta"][batch.shapes]
        deform = model.deform_layers(alpha, beta)
        few = self._laplacian_points(batch.points)
        values = model.evaluate(deform, batch.points, with_laplacian=few is None and bool(w.vec))
        terms = {
            "sdf": w.sdf * losses.sdf_loss(values.sdf, batch.sdf),
            "normal": w.normal * losses.normal_loss(values.gradient[:, :n], batch.normals),
            "eikonal": w.eikonal * losses.eikonal_loss(values.gradient),
            "off_surface": w.off_surface * losses.off_surface_loss(values.sdf[:, n:]),
        }
        if w.template_normal:
            tpn = losses.template_normal_loss(values.template_gradient[:, :n], batch.normals)
            terms["template_normal"] = w.template_normal * w.normal * tpn
        if w.vec:
            alone = None if few is None else siren_jet(deform, few, model.options.omegas)[2][..., :3]
            laplacian = values.dvec_laplacian if few is None else alone
            terms["vec"] = w.vec * losses.smoothness_loss(laplacian)
        if w.dis:
            terms["dis"] = w.dis * losses.displacement_loss(values.ddis)
        terms = {name: share * term for name, term in terms.items()}
        if w.template_shape and w.dis:
            points = self._template_points()[None]
            at_template = siren_values(model.template_deform_layers(), points, model.options.omegas)
            terms["template_shape"] = w.template_shape * w.dis * losses.template_shape_loss(at_template)
        terms["reg_alpha"] = w.alpha * (share * losses.code_loss(alpha) + losses.code_loss(model.template_alpha))
        terms["reg_beta"] = w.beta * (share * losses.code_loss(beta) + losses.code_loss(model.template_beta))
        return terms

    def _laplacian_points(self, points: torch.Tensor) -> torch.Tensor | None:
        """The points of L_vec where it is estimated on some of them only."""
        count = self.config.optimiser.laplacian_points
        if not self.config.weights.vec or not 0 < count < points.shape[1]:
            return None
        chosen = torch.randperm(points.shape[1], generator=self.generator)[:count].to(points.device)
        return points[:, chosen]

    def _template_points(self) -> torch.Tensor:
        """Points on the current template surface and in the unit ball around it, unit frame."""
        o = self.config.optimiser
        free = torch.rand(o.free_points, 3, generator=self.generator) * 2 - 1
        free = free.to(self.device)
        if not len(self.template_surface):
            return free
        chosen = torch.randint(len(self.template_surface), (o.surface_points,), generator=self.generator)
        return torch.cat([self.template_surface[chosen.to(self.device)], free])

    @torch.no_grad()
    def _sample_template_surface(self) -> torch.Tensor:
        def sdf(points):
            unit = torch.as_tensor(points, dtype=torch.float32, device=self.device)
            return self.model.template_distance(unit).cpu().numpy()

        bounds = (np.full(3, -1.15), np.full(3, 1.15))
        try:
            vertices, faces = extract_zero_level(sdf, bounds, self.config.optimiser.template_resolution)
        except BadInputError:  # no surface yet: the free points alone hold the template for now
            return self.template_surface
        rng = np.random.default_rng(self.config.seed + self.step)
        surface = TriangleSurface.from_triangles(vertices, faces)
        points, _, _ = surface.sample_points(4 * self.config.optimiser.surface_points, rng)
        return torch.as_tensor(points, dtype=torch.float32, device=self.device)

    def _save(self) -> None:
        extra = {"template_surface": self.template_surface, "gradient_norms": self.clipper.state()}
        save_checkpoint(
            self.folder / CHECKPOINT_NAME,
            self.model,
            self.codes,
            self.optimiser,
            self.generator,
            extra,
            self.step,
            self._identity(),
        )

    def _resume(self) -> None:
        path = self.folder / CHECKPOINT_NAME
        if not path.exists():
            (self.folder / LOG_NAME).unlink(missing_ok=True)
            if self.config.start_from:
                load_weights(Path(self.config.start_from), self.model, self.codes)
            return
        self.step, extra = load_checkpoint(
            path, self.model, self.codes, self.optimiser, self.generator, self._identity()
        )
        self.template_surface = extra["template_surface"].to(self.device)
        self.clipper.restore(extra["gradient_norms"])
        _drop_log_after(self.folder / LOG_NAME, self.step)

    def _identity(self) -> dict:
        """What must be the same for a checkpoint to go on; how often it is written and the threads may differ."""
        config = asdict(self.config)
        for free in ("checkpoint_interval", "threads"):
            config.pop(free)
        if config["model"]["use_template"]:  # checkpoints from before there was this switch
            del config["model"]["use_template"]
        if not config["temp_from"]:
            del config["temp_from"]
        return {"config": config, "cases": self.data.cases}


def _with_temp_of(name: str, model: DeformTemplateField) -> OrganTemplate:
    """Put a template's Temp into ``model`` and hold it there; returns that template."""
    template = OrganTemplate.load(find_template(name))
    theirs, ours = template.model.options, model.options
    if not (theirs.use_template and ours.use_template):
        raise BadInputError(
            "'temp_from: {name}' needs a Temp on both sides, and an auto-decoder has none",
            "leave out 'temp_from'",
            "train.temp_decoder",
            name=name,
        )
    if any(getattr(theirs, key) != getattr(ours, key) for key in ("hidden", "depth", "first_omega", "hidden_omega")):
        raise BadInputError(
            "Temp of the template {name} has another size than this run's",
            "train without 'temp_from'",
            "train.temp_size",
            name=name,
        )
    model.temp.load_state_dict(template.model.temp.state_dict())
    model.temp.requires_grad_(False)
    return template


def _drop_log_after(path: Path, step: int) -> None:
    if path.exists():
        lines = path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= step]
        path.write_text("".join(line + "\n" for line in kept), encoding="utf-8")


def _summary_writer(folder: Path):
    """A TensorBoard writer where tensorboard is installed (extra 'train'), else None."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"))


def median_of_last(path: Path, name: str, count: int = 50) -> float:
    """Median of one loss term over the last ``count`` logged steps."""
    lines = path.read_text(encoding="utf-8").splitlines()[-count:]
    return statistics.median(json.loads(line)[name] for line in lines)
