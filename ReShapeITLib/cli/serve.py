"""``reshapeit serve``: one process that stays, for programs that ask for one refinement after the other."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from ..core.errors import BadInputError
from . import refine
from .common import Parser

if TYPE_CHECKING:
    from ..core.progress import Progress
    from ..job.resident.runs import Decision, KeptRuns

_NOTES = """\
Requests and answers are JSON objects, one a line; docs/ARCHITECTURE.md describes them. The process ends with a request
that says stop, and when stdin closes.
"""


def add_arguments(parser) -> None:
    """Fill the subcommand's parser."""
    parser.epilog = _NOTES
    parser.set_defaults(run=run)


def run(arguments) -> None:
    """Answer until told to stop."""
    from ..job.resident.pipe import Pipe
    from ..job.resident.runs import KeptRuns

    answers, sys.stdout = sys.stdout, sys.stderr  # nothing but answers may get between them
    served = _Served(KeptRuns())
    work = {"refine": served.refine, "decide": served.decide, "suggestions": served.suggestions}
    pipe = Pipe(sys.stdin, answers, work, {"memory": served.memory, "free": served.free})
    # What the first refinement needs is loaded while nobody waits for it.
    Thread(target=_load_ahead, daemon=True).start()
    pipe.run()


class _Served:
    """What requests ask for."""

    def __init__(self, runs: KeptRuns):
        self._runs = runs
        self._parser = Parser(prog="reshapeit refine")
        refine.add_arguments(self._parser)

    def refine(self, name: object, fields: Mapping[str, Any], progress: Progress) -> dict:
        """Refine as the command does and keep what came of it."""
        from ..job.job import run_refine_job

        progress.started()
        words = fields.get("arguments")
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            hint = "give the arguments of 'reshapeit refine' as a list of texts"
            raise BadInputError("The arguments are no list of texts", hint, "request.arguments")
        job = refine.job_of(self._parser.parse_args([word for word in words if word != "--debug"]))
        result = run_refine_job(job, progress, progress.notice)
        progress.stage("done", 1.0, "; ".join(result.report.summary()))
        told = refine.told_of(job, result)
        self._runs.keep(name, job, result)
        progress.result(told)  # nobody waits for what decisions need
        self._runs.prepare(name)
        return told

    def decide(self, name: object, fields: Mapping[str, Any], progress: Progress) -> dict:
        """Another choice of suggestions, and points, for one organ of a run."""
        surface = _path(fields, "surface") if fields.get("surface") else None
        decision = _decision(fields)
        return self._runs.decide(fields.get("run"), fields.get("organ", ""), decision, _path(fields, "output"), surface)

    def suggestions(self, name: object, fields: Mapping[str, Any], progress: Progress) -> dict:
        """Which suggestion would change which voxel."""
        return self._runs.suggestions(fields.get("run"), fields.get("organ", ""), _path(fields, "output"))

    def memory(self, fields: Mapping[str, Any]) -> dict:
        """How much memory the process holds, and for what."""
        import psutil

        rss = psutil.Process().memory_info().rss
        return {"rss_mb": round(rss / 2**20, 1), "runs": self._runs.told()}

    def free(self, fields: Mapping[str, Any]) -> dict:
        """Let results go, and with all of them the models."""
        self._runs.free(fields.get("run"))
        return self.memory(fields)


def _decision(fields: Mapping[str, Any]) -> Decision:
    from ..job.resident.runs import Decision, points_of

    taken = fields.get("taken")
    if taken is not None and not (isinstance(taken, list) and all(isinstance(number, int) for number in taken)):
        hint = "give the ids of suggestions as a list"
        raise BadInputError("taken is no list of whole numbers", hint, "request.taken")
    return Decision(
        taken=None if taken is None else frozenset(taken),
        boldness=str(fields.get("boldness") or ""),
        include=points_of(fields.get("include") or ()),
        exclude=points_of(fields.get("exclude") or ()),
    )


def _path(fields: Mapping[str, Any], name: str) -> Path:
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        words, hint = "The request names no file under '{name}'", "give the path of a file to write"
        raise BadInputError(words, hint, "request.file", name=name)
    return Path(value)


def _load_ahead() -> None:
    with suppress(Exception):  # told where it is needed
        for name in ("job.job", "refinement.refine", "refinement.clicks.points", "image.witness", "skimage.measure"):
            import_module(f"..{name}" if "skimage" not in name else name, __package__)
