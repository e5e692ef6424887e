"""What a training run of the restoration network is told, from a YAML file."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from ..core.errors import BadInputError
from ..damage.on_grid import DamageOptions
from ..io.settings import yaml_mapping
from ..training.config import override


@dataclass(frozen=True)
class OrganCases:
    """Where one organ's training cases are.

    Args:
        template: name or file of the template, which must not have seen the evaluation cases either.
        labels: folder of label files, one case each, named CASE and any image suffix.
        cases: names of the cases.
        predictions: folder with real segmentations of some of the cases, CASE/NAME and any image suffix; "" for none.
        label: label value of the organ; 0 takes every voxel that is not zero.
        label_modulo: label values are taken modulo this first; 0 leaves them.
        least_spacing_mm: finer label grids are thinned to about this spacing.
        share: how often this organ is drawn in relation to the others.
        damaged: damaged copies of each case that are made beforehand, on its own voxels, as evaluations make them
            (``damage_levels``), and aligned as a refinement aligns them.
        mixed: clean organs between two of the template's training cases each, drawn from its shape space: more shapes
            than there are patients. A template that has learnt other cases shows these, too.
        mirrored: folder of label files of the other side's organ, with the same cases; their mirror images are taken
            as more cases of this one, damaged copies and all. "" for none.
        mirrored_label: label value of the other side's organ; 0 takes every voxel that is not zero.
        flip: the label files are of the other side's organ, and the cases are their mirror images.
    """

    template: str = ""
    labels: str = ""
    cases: tuple[str, ...] = ()
    predictions: str = ""
    label: int = 0
    label_modulo: int = 0
    least_spacing_mm: float = 0.0
    share: float = 1.0
    damaged: int = 0
    mixed: int = 0
    mirrored: str = ""
    mirrored_label: int = 0
    flip: bool = False

    def other_side(self) -> OrganCases | None:
        """Where the organs are whose mirror images are cases, too; None where there are none."""
        if not self.mirrored:
            return None
        return replace(self, labels=self.mirrored, label=self.mirrored_label, predictions="", flip=not self.flip)


@dataclass(frozen=True)
class DrawOptions:
    """How cases are varied.

    Args:
        batch: cases in a step, all of one organ.
        clean: share of cases that stay undamaged, so that the network learns to leave a good organ alone.
        real: share of organs that were given before, where a case has such: real segmentations, and copies that were
            damaged on their voxels (``OrganCases.damaged``).
        rotation_degrees, scale, shift_cells: standard deviations of the random pose, about as far as alignments of
            damaged organs miss.
        false_end: share of whole organs of which is said that nothing is known beyond one end.
        bend_cells: standard deviation of a random smooth deformation: more shapes than there are patients.
        least_gap_mm, most_gap_mm: way from slice to slice of organs that are known on a few, in the place of the cells
            of ``damage``: a cell is 2 mm of a kidney and 6 mm of a liver, but people draw both alike. 0: as told there.
        damage: what is done to those that are neither clean nor real.
    """

    batch: int = 4
    clean: float = 0.1
    real: float = 0.5
    rotation_degrees: float = 7.0
    scale: float = 0.06
    shift_cells: float = 1.3
    bend_cells: float = 1.2
    false_end: float = 0.08
    least_gap_mm: float = 0.0
    most_gap_mm: float = 0.0
    damage: DamageOptions = field(default_factory=DamageOptions)


@dataclass(frozen=True)
class RestorationTraining:
    """One training run.

    Args:
        steps: optimisation steps.
        learning_rate: peak rate of AdamW; linear warm-up, then a cosine to a hundredth.
        warmup_steps: of the learning rate.
        any_organ: share of steps in which the organ's own embedding is replaced by that of "any organ".
        start_from: network file of another run with whose weights this one starts; it may know other organs.
        contradicted: weight in the loss of cells in which the given organ lies more than a cell from the true or the
            predicted one, beside the others near the surface: there the network decides.
        keep_of_start: share of the starting weights in the network that is written, the rest is of the last step: the
            mean of a network and of what a short run on fewer organs made of it is often better than either (Wortsman
            et al., Robust fine-tuning of zero-shot models, CVPR 2022).
        draw: poses and damage.
        seed: of initialisation and draws.
        workers: processes that make batches.
        bfloat16: multiply in bfloat16, twice as fast where the processor has it.
        checkpoint_interval: steps between checkpoints.
        few_slices: the network is for organs that are known on a few slices alone, see ``RestorationInfo.few_slices``.
        detail: the network is for what coarse voxels hide alone, see ``RestorationInfo.detail``.
    """

    steps: int = 4500
    learning_rate: float = 1.5e-3
    warmup_steps: int = 200
    any_organ: float = 0.1
    start_from: str = ""
    contradicted: float = 1.0
    keep_of_start: float = 0.0
    draw: DrawOptions = field(default_factory=DrawOptions)
    seed: int = 0
    workers: int = 1
    bfloat16: bool = True
    checkpoint_interval: int = 250
    few_slices: bool = False
    detail: bool = False

    def as_dict(self) -> dict:
        """Nested plain values."""
        return asdict(self)


def read_restoration_config(path: str | Path) -> tuple[dict[str, OrganCases], RestorationTraining]:
    """Cases of each organ and settings of the run; relative paths are taken from the file's folder.

    Raises:
        BadInputError: the file cannot be read, or a key or value is wrong.
    """
    where, base = f"The configuration {path}", Path(path).parent
    values = yaml_mapping(path, where, empty={})
    if not isinstance(values.get("organs"), dict):
        raise BadInputError(
            "{where} does not name the cases", "name them under 'organs'", "restoration.no_organs", where=where
        )
    organs = {}
    for organ, entry in values.pop("organs").items():
        if not isinstance(entry, dict) or not isinstance(entry.get("cases"), list):
            raise BadInputError(
                "{where}, {organ}: there is no list of cases",
                "list the names of its cases under 'cases'",
                "restoration.no_cases",
                where=where,
                organ=organ,
            )
        cases = tuple(map(str, entry.pop("cases")))
        told = override(OrganCases(template=organ), entry, f"{where}, {organ}")
        keys = ("labels", "predictions", "mirrored")
        folders = {key: str(base / getattr(told, key)) for key in keys if getattr(told, key)}
        organs[organ] = OrganCases(**{**asdict(told), **folders, "cases": cases})
    options = override(RestorationTraining(), values, where)
    _check_together(organs, options, where)
    return organs, options


def _check_together(organs: dict[str, OrganCases], options: RestorationTraining, where: str) -> None:
    """Settings that are right alone and wrong together."""
    for organ, told in organs.items():
        if told.damaged and (options.few_slices or options.detail):
            what = "'few_slices'" if options.few_slices else "'detail'"
            raise BadInputError(
                "{where}, {organ}: a network for {what} knows no damage",
                "leave 'damaged' away",
                "restoration.no_damage",
                where=where,
                organ=organ,
                what=what,
            )
    if options.keep_of_start and not options.start_from:
        raise BadInputError(
            "{where}: 'keep_of_start' needs 'start_from'",
            "name the network whose weights are kept in part",
            "restoration.no_start",
            where=where,
        )
    if options.few_slices and options.detail:
        raise BadInputError(
            "{where}: a network is for 'few_slices' or for 'detail', not for both",
            "leave one of them away",
            "restoration.two_modes",
            where=where,
        )
    if options.keep_of_start > 1.0:
        raise BadInputError(
            "{where}: 'keep_of_start' is a share, not {value}",
            "use a number from 0 to 1",
            "restoration.share",
            where=where,
            value=options.keep_of_start,
        )
    draw, damage = options.draw, options.draw.damage
    if draw.least_gap_mm > draw.most_gap_mm or damage.least_gap_cells > damage.most_gap_cells:
        raise BadInputError(
            "{where}: the least gap between slices is wider than the widest",
            "change one of them",
            "restoration.gaps",
            where=where,
        )
