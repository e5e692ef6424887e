"""``reshapeit train-restoration``: the network that says what of a segmentation is to be believed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..job.options import OPTIONS
from .common import add_options, add_progress_option, positive_number, resumable


def add_arguments(parser) -> None:
    """Fill the subcommand's parser."""
    parser.set_defaults(run=run)
    parser.add_argument("--config", required=True, metavar="YAML", help="cases of each organ and settings of the run")
    parser.add_argument("--output", required=True, metavar="FOLDER", help="for cases, checkpoint and log")
    parser.add_argument("--steps", type=positive_number, metavar="N", help="optimisation steps")
    parser.add_argument("--licence", default="not stated", metavar="TEXT", help="licence of the weights")
    parser.add_argument("--source", default="not stated", metavar="TEXT", help="where the training labels come from")
    parser.add_argument("--network-out", metavar="FILE", help="file to write (default: OUTPUT/restoration.safetensors)")
    add_options(parser, [OPTIONS["device"]])
    add_progress_option(parser)


def run(arguments) -> None:
    """Prepare the cases, train, export."""
    from ..core.device import choose_device
    from ..io.atomic import check_writable
    from ..restoration.model import RestorationInfo, RestorationModel
    from ..restoration.store import enter_network
    from ..restoration_training.cases import training_cases
    from ..restoration_training.config import read_restoration_config
    from ..restoration_training.loop import RestorationTrainer

    folder = Path(arguments.output)
    folder.mkdir(parents=True, exist_ok=True)
    target = Path(arguments.network_out or folder / "restoration.safetensors")
    check_writable(target)
    organs, options = read_restoration_config(arguments.config)
    options = replace(options, steps=arguments.steps or options.steps)
    cases, templates, hashes = training_cases(organs, folder, arguments.progress.part(0.0, 0.2))
    device = choose_device(arguments.device).name
    shares = {organ: told.share for organ, told in organs.items()}
    trainer = RestorationTrainer(cases, templates, options, folder, device, shares=shares)
    with resumable(folder):
        trainer.run(arguments.progress.part(0.2, 0.98))
    names = {organ: list(told.cases) for organ, told in organs.items()}
    info = RestorationInfo(
        arguments.licence,
        arguments.source,
        names,
        hashes,
        options.as_dict(),
        options.few_slices,
        options.detail,
    )
    RestorationModel(info, trainer.result()).save(target)
    enter_network(target)
    arguments.progress.stage("done", 1.0)
    if arguments.progress.mode != "json":
        print(f"wrote {target}")
