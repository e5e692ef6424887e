"""A batch in the background: the command ``reshapeit batch`` in a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading

from ..engine import MODULE, Engine, EngineSettings

CANCEL_S = 8.0  # a batch that is asked to stop writes its tables first


def batchArguments(source: str, folder: str, template: str, options) -> list[str]:
    """Arguments of the command, as a person would give them.

    :param source: folder of cases or CSV table.
    :param folder: of the results.
    :param template: name or file; "auto" for the organs' names.
    :param options: RefinementOptions.
    """
    return ["batch", source, "--out", folder, "--template", template, *options.arguments()]


class BatchRun(Engine):
    """One run of a batch. The same run again goes on where this one ended, however that was.

    :param settings: EngineSettings.
    """

    def __init__(self, settings: EngineSettings | None = None):
        super().__init__(settings)
        self._restarted = True  # with other options all cases would be open again

    @property
    def result(self) -> dict:
        """What the command told at its end: ``table``, ``done``, ``refused``, ``failed``, ``skipped``."""
        return dict(self._result or {})

    def stop(self) -> None:
        """Ask it to end; what does not within some seconds is ended. ``poll`` tells when it is over."""
        if self.status.state != "running":
            return
        if sys.platform == "win32":  # there is no asking there
            self.cancel()
            return
        with contextlib.suppress(OSError):
            os.kill(self._commandId(), signal.SIGTERM)
        timer = threading.Timer(CANCEL_S, self._kill)
        timer.daemon = True
        timer.start()

    def _commandId(self) -> int:
        """Process id of the command itself: PythonSlicer is a launcher with the command as its child."""
        with contextlib.suppress(Exception):  # psutil is absent, or a process went meanwhile
            import psutil

            family = [psutil.Process(self.processId), *psutil.Process(self.processId).children(recursive=True)]
            return [one.pid for one in family if MODULE in one.cmdline()][-1]
        return self.processId
