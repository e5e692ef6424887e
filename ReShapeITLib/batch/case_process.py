"""The process that refines one case after the other for a worker, with the models that it has loaded.

    python -m ReShapeITLib.batch.case_process

Reads one case as JSON from each line of stdin and answers with one line on stdout. A process of its own can be ended
at any moment, and ends by itself when the worker that started it does: its stdin closes then.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from ..core.errors import (
    CANNOT_WRITE,
    DEVICE_UNUSABLE,
    DISK_FULL,
    MISSING_PACKAGE,
    NON_COMMERCIAL,
    BadInputError,
    ImplausibleError,
)
from ..io.atomic import make_folder
from ..job.explanation import explained
from ..job.labels import parse_templates
from ..job.report import NOT_REFINED, RefineReport, not_refined
from .cases import BatchCase
from .records import DONE, FAILED, REFUSED

# The same case may do another time, or on another machine.
_NO_FAULT_OF_THE_INPUT = (CANNOT_WRITE, DEVICE_UNUSABLE, DISK_FULL, MISSING_PACKAGE, NON_COMMERCIAL)


def main() -> None:
    """Refine until stdin ends."""
    answers = sys.stdout
    sys.stdout = sys.stderr  # nothing but answers may get between them
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    while True:
        case = BatchCase.from_dict(json.loads(lines.get()))
        print(json.dumps(refined(case)), file=answers, flush=True)


def _read(lines: queue.Queue) -> None:
    for line in sys.stdin:
        lines.put(line)
    os._exit(0)  # in the middle of a case, too: nobody wants it any more


def refined(case: BatchCase) -> dict:
    """Refine a case and write its results; what the record says about it.

    Returns:
        ``status`` (done, refused, failed), ``message``, ``seconds``, of one that is not done ``code`` of the error, of
        one that is ``organs``, a list of what :class:`ReShapeITLib.job.report.OrganReport` holds. ``not_refined`` has
        the same of :class:`ReShapeITLib.job.report.OrganNotRefined` wherever it is known which organs were asked for.
    """
    started = time.perf_counter()
    left: list[dict] = []

    def notice(text: str) -> None:
        if getattr(text, "code", "") == NOT_REFINED:
            fields = dict(text.fields)
            left.append({"code": fields.pop("error"), **fields})

    try:
        report = _run(case, notice)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - becomes the case's record
        told = explained(error)
        wrong = isinstance(told, (BadInputError, ImplausibleError)) and told.code not in _NO_FAULT_OF_THE_INPUT
        message = " ".join(str(told).split())
        if not left and "label" in told.fields:
            left = [asdict(not_refined(told.fields["label"], str(told.fields.get("organ", "")), told))]
        about = {"code": told.code, "message": message, "seconds": _since(started), "not_refined": left}
        return {"status": REFUSED if wrong else FAILED, **about}
    organs, left = ([asdict(one) for one in several] for several in (report.organs, report.not_refined))
    return {"status": DONE, "message": "", "seconds": _since(started), "organs": organs, "not_refined": left}


def _run(case: BatchCase, notice: Callable[[str], None]) -> RefineReport:
    from ..job.job import run_refine_job
    from ..job.options import option_values
    from ..job.request import RefineJob

    options = case.options
    for path in (case.report, case.surface, case.output):
        if path:
            make_folder(path.parent)
    job = RefineJob(
        input=case.input,
        templates=parse_templates(options.template, options.label or None),
        output=case.output,
        surface=case.surface,
        report=case.report,
        image=Path(options.image) if options.image else None,
        include=Path(options.include) if options.include else None,
        exclude=Path(options.exclude) if options.exclude else None,
        overwrite=True,
        **option_values(options),
    )
    return run_refine_job(job, notice=notice).report


def _since(started: float) -> float:
    return round(time.perf_counter() - started, 3)


if __name__ == "__main__":
    main()
