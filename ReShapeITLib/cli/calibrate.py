"""``reshapeit calibrate``: the probabilities of suggestions, from organs whose truth is known."""

from __future__ import annotations

import csv
from pathlib import Path

from ..core.errors import BadInputError

_NOTES = """\
TABLE is a CSV file with the columns given, truth (label files of one organ each; paths from the table's folder),
template and patient. Use patients that the template's restoration network was not trained on: probabilities from others
are too sure. Printed is how far they can be relied on for patients left out. Put the file as calibration.json into a
folder of restoration networks that RESHAPEIT_RESTORATION names, and it counts.
"""
_COLUMNS = ("given", "truth", "template", "patient")


def add_arguments(parser) -> None:
    """Fill the subcommand's parser."""
    parser.epilog = _NOTES
    parser.set_defaults(run=run)
    parser.add_argument("table", metavar="TABLE", help="pairs of given and true organs (CSV)")
    parser.add_argument("--output", required=True, metavar="JSON", help="calibration file to write")


def run(arguments) -> None:
    """Judge every suggestion, fit, say what it is worth and write."""
    from ..io.atomic import check_writable
    from ..restoration_training.calibrating import calibrated

    check_writable(arguments.output)
    judged = _judged(Path(arguments.table))
    patients = {row.patient for row in judged}
    if len(patients) < 2:
        raise BadInputError(
            "{input} leads to suggestions about {patients} patients only",
            "add pairs of other patients, so that each can be left out",
            "calibrate.few_patients",
            input=arguments.table,
            patients=len(patients),
        )
    model, found = calibrated(judged)
    model.write(arguments.output)
    print(
        f"{len(judged)} suggestions about {len(patients)} patients; on patients left out: "
        f"log loss {found.log_loss:.3f} (by kind alone {found.log_loss_by_kind:.3f}), Brier score {found.brier:.3f}, "
        f"expected calibration error {found.calibration_error:.1%}\nwrote {arguments.output}"
    )


def _judged(table: Path) -> list:
    from ..io.volumes import read_labels
    from ..restoration.model import RestorationModel
    from ..restoration_training.judging import judged_suggestions
    from ..templates.store import find_template
    from ..templates.template import OrganTemplate

    judged = []
    for line in _lines(table):
        file = find_template(line["template"])
        template, model = OrganTemplate.load(file), RestorationModel.for_template(file)
        if model is None:
            raise BadInputError(
                "There is no restoration network for the template {template}",
                "train one with 'reshapeit train-restoration', or leave its lines out",
                "calibrate.no_network",
                template=line["template"],
            )
        given, truth = (read_labels(table.parent / line[name]) for name in ("given", "truth"))
        masks = [(volume.mask(volume.single_label()), volume.geometry) for volume in (given, truth)]
        judged += judged_suggestions(line["patient"], *masks, template, model)
    return judged


def _lines(table: Path) -> list[dict[str, str]]:
    try:
        with open(table, newline="", encoding="utf-8-sig") as stream:
            lines = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInputError(
            "{input} cannot be read as a CSV table ({reason})",
            "check the path, or export it again",
            "calibrate.table",
            input=table,
            reason=error,
        ) from error
    if not lines or any(not line.get(name) for line in lines for name in _COLUMNS):
        raise BadInputError(
            "{input} lacks a value in one of the columns {columns}",
            "fill them on every line",
            "calibrate.columns",
            input=table,
            columns=", ".join(_COLUMNS),
        )
    return lines
