"""Requests from a pipe, one JSON object a line, answered in lines of the same kind (docs/ARCHITECTURE.md)."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import queue
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TextIO

from ... import __version__
from ...core.errors import BadInputError, CancelledError, ReShapeITError
from ...core.progress import Progress
from ..explanation import explained

Fields = Mapping[str, Any]
# What a request asks for is done in turn, in one thread, with a progress of its own.
Work = Callable[[object, Fields, Progress], dict]
# Answered at once, while other work goes on.
Question = Callable[[Fields], dict]
STOP, CANCEL = "stop", "cancel"


class RequestProgress(Progress):
    """Progress of one request: its lines carry the request's id.

    Args:
        pipe: writes them.
        name: the id.
    """

    def __init__(self, pipe: Pipe, name: object):
        super().__init__("json", pipe.answers)
        self._pipe, self._name = pipe, name

    def _tell(self, line: dict) -> None:
        if not self._ended:
            self._pipe.tell({"id": self._name, **line})


@dataclass(eq=False)
class Request:
    """A request that waits or is at work."""

    name: object
    do: str
    fields: Fields
    progress: RequestProgress


@dataclass(eq=False)
class Pipe:
    """Reads requests in a thread and works on one after the other; an error never ends it.

    Args:
        questions, lines: of the two streams.
        work: what is done in turn, by the request's word.
        at_once: what is answered by the reading thread.
        ended: called where stdin closes: whoever asked is gone, in the middle of the work, too.
    """

    questions: TextIO
    answers: TextIO
    work: Mapping[str, Work]
    at_once: Mapping[str, Question]
    ended: Callable[[], None] = lambda: os._exit(0)
    _waiting: queue.SimpleQueue = field(default_factory=queue.SimpleQueue)
    _open: dict[object, Request] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> None:
        """Answer until a request says stop, or stdin closes."""
        self.tell({"started": {"version": __version__, "python": platform.python_version()}})
        threading.Thread(target=self._read, daemon=True).start()
        while True:
            request = self._waiting.get()
            if request.do == STOP:
                request.progress.result({})
                return
            self._answer(request)

    def tell(self, line: dict) -> None:
        """Write a line in one piece; a reader that is gone is noticed at stdin."""
        text = json.dumps(line, allow_nan=False) + "\n"
        with self._lock, contextlib.suppress(OSError, ValueError):
            self.answers.write(text)
            self.answers.flush()

    def _answer(self, request: Request) -> None:
        progress = request.progress
        try:
            progress.check_cancelled()
            progress.result(self.work[request.do](request.name, request.fields, progress))
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is the request's end, not the process's
            self._failed(progress, error)
        finally:
            self._open.pop(request.name, None)

    def _read(self) -> None:
        for line in self.questions:
            if line.strip():
                self._take(line)
        self.ended()

    def _take(self, line: str) -> None:
        name: object = None
        try:
            fields = _request_of(line)
            name = fields["id"]
            progress = RequestProgress(self, name)
            if fields["do"] == CANCEL:
                progress.result({"cancelled": self._cancelled(fields.get("of"))})
            elif fields["do"] in self.at_once:
                progress.result(self.at_once[fields["do"]](fields))
            else:
                self._line_up(Request(name, fields["do"], fields, progress))
        except BaseException as error:  # noqa: BLE001 - a damaged line ends nothing
            self._failed(RequestProgress(self, name), error)

    def _line_up(self, request: Request) -> None:
        if request.do not in self.work and request.do != STOP:
            known = ", ".join([*self.work, *self.at_once, CANCEL, STOP])
            words, hint = "There is no request '{do}'", "use one of {known}"
            raise BadInputError(words, hint, "request.unknown", do=request.do, known=known)
        if request.name in self._open:
            words, hint = "A request with the id {id} is at work", "give each request an id of its own"
            raise BadInputError(words, hint, "request.twice", id=request.name)
        self._open[request.name] = request
        self._waiting.put(request)

    def _cancelled(self, name: object) -> bool:
        request = self._open.get(name)
        if request is not None:
            request.progress.cancel()
        return request is not None

    def _failed(self, progress: RequestProgress, error: BaseException) -> None:
        told = explained(error)
        if not isinstance(told, BadInputError | CancelledError) and not isinstance(error, ReShapeITError):
            traceback.print_exception(error, file=sys.stderr)
        progress.failure(told)


def _request_of(line: str) -> Fields:
    """The object of a line.

    Raises:
        BadInputError: it is no JSON object, or lacks an id or what is to be done.
    """
    try:
        fields = json.loads(line)
        if not isinstance(fields, dict):
            raise ValueError("no object")
        if not isinstance(fields.get("id"), int | str) or not isinstance(fields.get("do"), str):
            raise ValueError("id or do is missing")
    except (ValueError, RecursionError) as error:
        words, hint = "A line is no request ({reason})", "write one JSON object a line, with id and do"
        raise BadInputError(words, hint, "request.malformed", reason=str(error).splitlines()[0]) from error
    return fields
