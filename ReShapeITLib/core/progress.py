"""How long steps tell where they are, and how they are cancelled."""

from __future__ import annotations

import json
import platform
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TextIO

from .. import __version__
from .errors import CancelledError, Notice, ReShapeITError

MODES = ("bar", "json", "none")


class Stages(Protocol):
    """What a step needs of the progress it is given: a Progress, a part of one, or what passes its reports on."""

    def stage(self, name: str, fraction: float, message: str = "") -> None:
        """Say that ``fraction`` (0..1) is done."""

    def check_cancelled(self) -> None:
        """Raise CancelledError if the run was asked to stop."""


class Progress:
    """Reports stages of one run and carries its cancel request.

    Args:
        mode: ``bar`` draws a progress bar, ``json`` writes one object a line, ``none`` writes nothing.
        stream: where to write; the default is stderr for the bar and stdout for json.

    Lines of ``json``, in this order:

    * ``{"started": {"version": ..., "python": ...}}``, once, from the command line;
    * ``{"stage": ..., "fraction": ..., "message": ...}``, and ``{"notice": {...}}`` with the values of
      :meth:`Notice.as_dict`, as many as there are;
    * last, and once, ``{"result": {...}}``, or ``{"error": {...}}`` with the values of :meth:`ReShapeITError.as_dict`.
      A run that ends without either has crashed.

    Example:
        >>> progress = Progress("none")
        >>> progress.part(0.5, 1.0).stage("fit", 0.5)  # half of the second half
        >>> progress.fraction
        0.75
    """

    def __init__(self, mode: str = "none", stream: TextIO | None = None):
        if mode not in MODES:
            raise ValueError(f"progress mode must be one of {', '.join(MODES)}, not '{mode}'")
        self.mode = mode
        self.fraction = 0.0
        self._stream = stream or (sys.stdout if mode == "json" else sys.stderr)
        self._cancelled = False
        self._ended = False
        self._bar: Any = None  # of tqdm, which is imported with the first report

    def started(self) -> None:
        """Say which program runs."""
        self._tell({"started": {"version": __version__, "python": platform.python_version()}})

    def notice(self, told: Notice) -> None:
        """Tell programs what the user should read beside the result."""
        self._tell({"notice": told.as_dict()})

    def result(self, values: dict) -> None:
        """Say how the run ended; whatever is said after the end is not told any more."""
        self._end({"result": values})

    def failure(self, error: ReShapeITError) -> None:
        """Say why the run failed."""
        self._end({"error": error.as_dict()})

    def stage(self, name: str, fraction: float, message: str = "") -> None:
        """Say that ``fraction`` (0..1) of the whole run is done; it never goes back.

        Raises:
            CancelledError: the run was cancelled meanwhile.
        """
        self.check_cancelled()
        self.fraction = max(self.fraction, min(float(fraction), 1.0))
        if self.mode == "json":
            self._tell({"stage": name, "fraction": round(self.fraction, 4), "message": message})
        elif self.mode == "bar":
            self._draw(name, message)

    def part(self, start: float, stop: float) -> ProgressPart:
        """View for a step that fills the run from ``start`` to ``stop`` and itself counts from 0 to 1."""
        return ProgressPart(self, start, stop)

    def cancel(self) -> None:
        """Ask the run to stop at its next report."""
        self._cancelled = True

    def check_cancelled(self) -> None:
        """Raise CancelledError if the run was asked to stop."""
        if self._cancelled:
            raise CancelledError("cancelled", "nothing was written", "cancelled")

    def close(self) -> None:
        """Leave the bar as it stands and end its line."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _end(self, line: dict) -> None:
        if not self._ended:
            self._tell(line)
            self._ended = True

    def _tell(self, line: dict) -> None:
        if self.mode == "json" and not self._ended:
            # In one piece: organs that are refined at once tell their stages from threads of their own.
            self._stream.write(json.dumps(line, allow_nan=False) + "\n")
            self._stream.flush()

    def _draw(self, name: str, message: str) -> None:
        from tqdm import tqdm

        if self._bar is None:
            layout = "{desc:<14} {percentage:3.0f}% |{bar}| {elapsed} {postfix}"
            self._bar = tqdm(total=1.0, file=self._stream, bar_format=layout, dynamic_ncols=True)
        self._bar.set_description_str(name, refresh=False)
        self._bar.set_postfix_str(message, refresh=False)
        self._bar.n = self.fraction
        self._bar.refresh()
        if self.fraction >= 1.0:
            self.close()


class ProgressPart:
    """The share ``start``..``stop`` of a run; reports and cancels as the run itself does."""

    def __init__(self, whole: Progress | ProgressPart, start: float, stop: float):
        self._whole, self._start, self._stop = whole, start, stop

    def stage(self, name: str, fraction: float, message: str = "") -> None:
        """Say that ``fraction`` (0..1) of this part is done."""
        inside = min(max(float(fraction), 0.0), 1.0)
        self._whole.stage(name, self._start + inside * (self._stop - self._start), message)

    def part(self, start: float, stop: float) -> ProgressPart:
        """View for a step within this part."""
        return ProgressPart(self, start, stop)

    def check_cancelled(self) -> None:
        """Raise CancelledError if the run was asked to stop."""
        self._whole.check_cancelled()


@contextmanager
def cancel_on_signals(progress: Progress) -> Iterator[None]:
    """Within the block the first SIGINT or SIGTERM cancels ``progress``; a second one stops the program at once.

    For the command line only: signal handlers belong to the whole process. Afterwards the handlers are as before.
    """
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def on_signal(number: int, frame: object) -> None:
        progress.cancel()
        restore()

    for number in previous:
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        restore()
