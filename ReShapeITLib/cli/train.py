"""``reshapeit train``: a template from prepared shapes; goes on by itself after an interruption."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..core.errors import BadInputError
from ..job.options import OPTIONS
from .common import add_options, add_progress_option, positive_number, resumable

_NOTES = """\
Several processes, on one machine or on several, share a run that torchrun starts, each on its share of a step's shapes:
torchrun --nproc-per-node 2 --max-restarts 6 -m ReShapeITLib.cli.main train ...
"""


def add_arguments(parser) -> None:
    """Fill the subcommand's parser."""
    parser.epilog = _NOTES
    parser.set_defaults(run=run)
    parser.add_argument("--data", required=True, metavar="FOLDER", help="samples made by 'reshapeit prepare'")
    parser.add_argument("--output", required=True, metavar="FOLDER", help="for checkpoint, log and template")
    parser.add_argument("--config", metavar="YAML", help="settings of the run (default: the compact preset)")
    parser.add_argument("--organ", metavar="NAME", help="TotalSegmentator's name of the organ")
    parser.add_argument("--steps", type=positive_number, metavar="N", help="optimisation steps")
    parser.add_argument("--licence", default="not stated", metavar="TEXT", help="licence of the template's weights")
    parser.add_argument("--source", default="not stated", metavar="TEXT", help="where the training labels come from")
    parser.add_argument(
        "--template-out", metavar="FILE", help="template file to write (default: OUTPUT/ORGAN.safetensors)"
    )
    add_options(parser, [OPTIONS["device"]])
    add_progress_option(parser)


def run(arguments) -> None:
    """Train and export."""
    folder = Path(arguments.output)
    config = _config(arguments)
    target = Path(arguments.template_out or folder / f"{config.organ}.safetensors")
    if arguments.template_out:
        from ..io.atomic import check_writable

        check_writable(target)
    trainer = _trainer(arguments, config, folder)
    first = trainer.ranks.is_first
    try:
        with resumable(folder):
            trainer.run(arguments.progress.part(0.0, 0.95) if first else None)
    finally:
        trainer.ranks.leave()
    if not first:
        return
    from ..training.export import export_template

    arguments.progress.stage("export", 0.95)
    template = export_template(trainer, arguments.licence, arguments.source)
    template.save(target)
    residuals = template.info.fit_residuals_mm
    arguments.progress.stage("done", 1.0)
    if arguments.progress.mode != "json":
        print(f"{config.organ}: {len(residuals)} cases, mean fit residual {sum(residuals) / len(residuals):.2f} mm")
        print(f"wrote {target}")


def _config(arguments):
    from ..training.config import CONFIG_PRESETS, read_config

    config = read_config(arguments.config) if arguments.config else CONFIG_PRESETS["compact"]
    organ = arguments.organ or config.organ
    if not organ or Path(organ).name != organ:
        raise BadInputError(
            "'{organ}' is no organ name", "give one with --organ, such as --organ liver", "train.organ", organ=organ
        )
    steps = arguments.steps or config.optimiser.steps
    return replace(config, organ=organ, optimiser=replace(config.optimiser, steps=steps))


def _trainer(arguments, config, folder: Path):
    from ..core.device import choose_device
    from ..training.data import TrainingSet
    from ..training.loop import Trainer
    from ..training.prepare import SUFFIX
    from ..training.ranks import Ranks

    data = Path(arguments.data)
    if not any(data.glob(f"*{SUFFIX}")):
        raise BadInputError(
            "The folder {input} holds no prepared shapes",
            "run 'reshapeit prepare' first",
            "train.no_shapes",
            input=data,
        )
    name = choose_device(arguments.device).name
    ranks = Ranks.from_environment(name)
    name = ranks.device(name)
    return Trainer(TrainingSet.from_folder(data, name), config, folder, name, ranks)
