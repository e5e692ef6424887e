"""The background engine: runs ``reshapeit refine`` in its own process, follows its progress, ends it at once.

The process tells where it is in JSON lines (ReShapeITLib.core.progress). Its last line is a result or an error;
where there is neither, the process crashed or was killed. Its exit code cannot tell: PythonSlicer is a launcher, which
ends with 1 when its child was killed.
"""

from __future__ import annotations

import json
import queue
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from .errors import RefinementError
from .library import processEnvironment, pythonProgram
from .processTree import killTree, startProcess
from .wording import SEE_LOG, Told, inWords

MODULE = "ReShapeITLib.cli.main"
CANCELLED = "Cancelled; the scene is as it was."
RESTARTED = "The refinement process ended unexpectedly ({}); it was started again on the processor, in smaller parts."
SECOND_TRY = ("--device", "cpu", "--low-memory")
PIPE_SECONDS = 1.0
OUT_OF_MEMORY = "out_of_memory"
CRASHED = "it crashed or was killed"
ENDED = "The refinement process ended unexpectedly ({})"
NOT_STARTED = "The refinement process did not get as far as ReShapeIT's library (exit code {}); install it again"


@dataclass(frozen=True)
class EngineSettings:
    """How the engine's process runs.

    :param pythonExecutable: Python that has torch; None takes Slicer's, or the one that runs this.
    :param environment: environment variables on top of those of this process.
    :param extraArguments: more arguments for ``reshapeit refine``.
    :param temporaryFolder: where its files go; None takes the system's.
    """

    pythonExecutable: str | None = None
    environment: Mapping[str, str] | None = None
    extraArguments: Sequence[str] = ()
    temporaryFolder: str | None = None


@dataclass(frozen=True)
class EngineStatus:
    """Where a run is.

    :param state: "idle", "running", "done", "failed" or "cancelled".
    :param stage: name of the stage, see ReShapeITLib's progress.
    :param fraction: how much of the run is done, 0 to 1.
    :param secondsLeft: estimate, None where it cannot be told yet.
    :param message: while running the organ at work, at the end one sentence.
    :param code: of the error where it failed, see ``wording``.
    """

    state: str = "idle"
    stage: str = ""
    fraction: float = 0.0
    secondsLeft: float | None = None
    message: str = ""
    code: str = ""

    @property
    def isFinished(self) -> bool:
        """True at the end, whatever the end."""
        return self.state in ("done", "failed", "cancelled")


class Engine:
    """One run of the command.

    :param settings: EngineSettings.
    """

    def __init__(self, settings: EngineSettings | None = None):
        self._settings = settings or EngineSettings()
        self._process, self._lines, self._readers = None, None, ()
        self._arguments, self._restarted, self._begun, self._gone = [], False, 0.0, None
        self._isStarted, self._result, self._notices = False, None, []
        self.error: Told | None = None
        self.log: list[str] = []
        self.status = EngineStatus()

    @property
    def notices(self) -> tuple[str, ...]:
        """Sentences that the user should read: licences, changes of device, fall-backs."""
        return tuple(dict.fromkeys(inWords(told) for told in self._notices))

    @property
    def toldNotices(self) -> tuple[Told, ...]:
        """The same by code and fields."""
        return tuple(self._notices)

    @property
    def processId(self) -> int | None:
        """Of the running process."""
        return self._process.pid if self._process else None

    def start(self, arguments: Sequence[str]) -> None:
        """Start the command with these arguments.

        :raises RefinementError: the process cannot be started.
        """
        self._arguments = [*arguments, *self._settings.extraArguments]
        self._launch(self._arguments)

    def poll(self) -> EngineStatus:
        """Where the run is; never waits, never raises."""
        if self.status.state != "running":
            return self.status
        ended = self._hasEnded()
        self._drain()
        if ended:
            self._finish(self._process.returncode)
        elif self._process.poll() is None:
            self.status = replace(self.status, secondsLeft=self._secondsLeft())
        return self.status

    def wait(self, callback: Callable[[EngineStatus], None] | None = None) -> EngineStatus:
        """Wait for the end; ``callback(status)`` is called about ten times a second."""
        while not self.poll().isFinished:
            if callback:
                callback(self.status)
            time.sleep(0.1)
        return self.status

    def cancel(self) -> bool:
        """End the process and all it started; False where something may be left after a second."""
        if self.status.state != "running":
            return True
        gone = self._kill()
        self._drain()
        self.log.append("cancelled")
        self.error = Told("cancelled", CANCELLED)
        self.status = EngineStatus("cancelled", self.status.stage, self.status.fraction, None, CANCELLED, "cancelled")
        return gone

    def _kill(self) -> bool:
        """Whatever goes wrong with that, the run is over for the user."""
        try:
            return killTree(self._process)
        except Exception:  # noqa: BLE001 - the log shows what it was
            self.log += traceback.format_exc().splitlines()
            return False

    def _hasEnded(self) -> bool:
        """True where the process is gone and all it wrote is read, as far as a child that outlives it lets it end."""
        if self._process.poll() is None:
            return False
        self._gone = self._gone or time.monotonic()
        return not any(reader.is_alive() for reader in self._readers) or time.monotonic() - self._gone > PIPE_SECONDS

    def _launch(self, arguments: Sequence[str]) -> None:
        program = self._settings.pythonExecutable or pythonProgram()
        command = [program, "-m", MODULE, *arguments, "--progress", "json", "--debug"]
        self.log.append("$ " + " ".join(command))
        try:
            self._process = startProcess(command, processEnvironment(self._settings.environment))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise RefinementError(f"The refinement process cannot be started: {program}: {reason}.") from error
        self._lines, self._begun, self._gone = queue.SimpleQueue(), time.monotonic(), None
        self._isStarted, self._result, self.error = False, None, None
        streams = {"out": self._process.stdout, "error": self._process.stderr}
        self._readers = tuple(
            threading.Thread(target=_read, args=(stream, name, self._lines), daemon=True)
            for name, stream in streams.items()
        )
        for reader in self._readers:
            reader.start()
        self.status = EngineStatus("running")

    def _drain(self) -> None:
        while True:
            try:
                name, line = self._lines.get_nowait()
            except queue.Empty:
                return
            if name == "error" or not self._take(line):
                self.log.append(line)

    def _take(self, line: str) -> bool:
        """Take a line of JSON in; False where it is none of ours."""
        try:
            told = json.loads(line)
            if "stage" in told:
                stage, message = str(told["stage"]), str(told["message"])
                self.status = replace(self.status, stage=stage, fraction=float(told["fraction"]), message=message)
            elif "started" in told:
                self._isStarted = True
                self.log.append("ReShapeITLib {version}, Python {python}".format(**told["started"]))
            elif "notice" in told:
                self._notices.append(Told.of(told["notice"]))
                self.log.append(f"notice: {self._notices[-1].message}")
            elif "error" in told:
                self.error = Told.of(told["error"])
                self.log.append(f"error {self.error.code}")  # its sentence is on stderr
            else:
                self._result = dict(told["result"])
        except (ValueError, KeyError, TypeError):
            return False
        return True

    def _secondsLeft(self) -> float | None:
        spent, fraction = time.monotonic() - self._begun, self.status.fraction
        return spent * (1.0 - fraction) / fraction if fraction >= 0.1 and spent >= 1.0 else None

    def _finish(self, code: int) -> None:
        self.log.append(f"exit code {code}")
        self._conclude(code)

    def _conclude(self, code: int) -> None:
        """The end of a run, or the begin of its second try."""
        if self._result is not None:
            self.status = EngineStatus("done", "done", 1.0, 0.0, "")
            return
        # The command itself ended what it started; a process that was killed did not.
        self._kill()
        crashed = self.error is None
        if crashed:
            self.error = self._crash(code)
        memory = self.error.code == OUT_OF_MEMORY
        if not self._restarted and (memory or (crashed and self._device() != "cpu")):
            self._restart("out of memory" if memory else self.error.fields["reason"])
            return
        state = "cancelled" if self.error.code == "cancelled" else "failed"
        message = CANCELLED if state == "cancelled" else inWords(self.error)
        self.status = EngineStatus(state, self.status.stage, self.status.fraction, None, message, self.error.code)

    def _restart(self, reason: str) -> None:
        """Once more on the processor, with less memory."""
        self._restarted = True
        self._notices = [Told("engine.restarted", RESTARTED.format(reason))]
        self.log.append(self._notices[0].message)
        try:
            self._launch([*self._arguments, *SECOND_TRY])
        except RefinementError as error:
            self.error = Told("engine.not_started", str(error))
            self.status = EngineStatus("failed", "", 0.0, None, str(error), self.error.code)

    def _device(self) -> str:
        words = self._arguments
        return words[len(words) - 1 - words[::-1].index("--device") + 1] if "--device" in words else "auto"

    def _crash(self, code: int) -> Told:
        """For an end without a word from the command."""
        reason = _reason(code)
        if not self._isStarted and code > 0 and reason == CRASHED:
            # It never got as far as the command's first line: a Python that is broken or lacks the library.
            return Told("engine.not_started", NOT_STARTED.format(code), SEE_LOG, fields={"reason": f"exit code {code}"})
        hint = f"close other programs or use a draft; {SEE_LOG}"
        return Told("engine.crashed", ENDED.format(reason), hint, fields={"reason": reason})


def _read(stream, name: str, lines: queue.SimpleQueue) -> None:
    with stream:
        for line in stream:
            lines.put((name, line.rstrip("\n")))


def _reason(code: int) -> str:
    """How a process that told nothing ended; the launcher gives 1 for whatever happened to its child."""
    if code in (-9, 137):
        return "it was killed, perhaps because memory ran out"
    if code < 0:
        return f"signal {-code}"
    return f"code {code}" if code in (134, 139) or code >= 0xC0000000 else CRASHED
