"""``reshapeit calibrate``: the probabilities of suggestions, from organs whose truth is known."""

from __future__ import annotations

import csv
from pathlib import Path

from ..core.errors import BadInputError

_NOTES = """\
TABLE is a CSV file with the columns given, truth (label files of one organ each; paths from the table's folder),
template and patient, and where there is one, image (the CT that was segmented). Each organ is looked at without a
restoration network, with one where the template has one, and then also beside its image.
Use patients that neither was trained on: probabilities from others are too sure. Printed is how far they can be relied
on for patients left out. What the table does not tell stays as it is in use. Put the file as calibration.json into a
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
    from ..refinement.decision.calibration import IMAGE, calibration
    from ..restoration_training.calibrating import calibrated

    check_writable(arguments.output)
    judged, beside_image = _judged(Path(arguments.table))
    for name, rows in (judged | ({IMAGE: beside_image} if beside_image else {})).items():
        patients = {row.patient for row in rows}
        if len(patients) < 2:
            raise BadInputError(
                "{input} leads to suggestions of the {witness} about too few patients ({patients})",
                "add pairs of other patients, so that each can be left out",
                "calibrate.few_patients",
                input=arguments.table,
                witness=name,
                patients=len(patients),
            )
    model, found = calibrated(judged, calibration(), beside_image)
    model.write(arguments.output)
    for name, worth in found.items():
        about = (model.beside_image if name == IMAGE else model.witnesses[name]).about
        less = ", ".join(f"by {what} {loss:.3f}" for what, loss in worth.log_loss_by.items())
        print(
            f"{name}: {about['suggestions']} suggestions about {about['patients']} patients; on patients left out: "
            f"log loss {worth.log_loss:.3f} ({less}), Brier score "
            f"{worth.brier:.3f}, expected calibration error {worth.calibration_error:.1%}"
        )
    print(f"wrote {arguments.output}")


def _judged(table: Path) -> tuple[dict[str, list], list]:
    """Suggestions by witness, the fitted field's and a network's about templates that have one; and a network's with
    the evidence of an image."""
    from ..core.device import limit_cpu_threads
    from ..image.reading import read_image
    from ..io.volumes import read_labels
    from ..refinement.decision.calibration import IMAGE
    from ..restoration.model import FIELD, NETWORK, RestorationModel
    from ..restoration_training.judging import judged_suggestions
    from ..templates.store import find_template
    from ..templates.template import OrganTemplate

    limit_cpu_threads()
    judged: dict[str, list] = {}
    beside: list = []
    for line in _lines(table):
        file = find_template(line["template"])
        template, model = OrganTemplate.load(file), RestorationModel.for_template(file)
        given, truth = (read_labels(table.parent / line[name]) for name in ("given", "truth"))
        masks = [(volume.mask(volume.single_label()), volume.geometry) for volume in (given, truth)]
        for name, asked in {FIELD: None, **({NETWORK: model} if model else {})}.items():
            judged.setdefault(name, []).extend(judged_suggestions(line["patient"], *masks, template, asked))
        if model and line.get("image"):
            image = read_image(table.parent / line["image"])
            found = judged_suggestions(line["patient"], *masks, template, model, image=image)
            beside += [one for one in found if IMAGE in one.evidence]
    return judged, beside


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
