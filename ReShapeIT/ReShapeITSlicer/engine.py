"""The background engine: runs ``reshapeit refine`` in its own process, follows its progress, ends it at once."""

from __future__ import annotations

import json
import queue
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from .errors import RefinementError
from .library import processEnvironment, pythonProgram
from .processTree import killTree, startProcess

MODULE = "ReShapeITLib.cli.main"
PREFIX = "reshapeit: "
CANCELLED = "Cancelled; the scene is as it was."
RESTARTED = "The refinement process ended unexpectedly ({}); it was started again on the processor, in smaller parts."
SECOND_TRY = ("--device", "cpu", "--low-memory")
PIPE_SECONDS = 1.0
OUT_OF_MEMORY = ("too little free memory", "out of memory")


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
    """

    state: str = "idle"
    stage: str = ""
    fraction: float = 0.0
    secondsLeft: float | None = None
    message: str = ""

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
        self._arguments, self._restarted, self._started, self._gone = [], False, 0.0, None
        self._stderr, self._ownNotices = [], []
        self.status = EngineStatus()

    @property
    def notices(self) -> tuple[str, ...]:
        """Sentences that the user should read: licences, changes of device, fall-backs."""
        told = [line for line in self._commandLines() if not (self.status.state == "failed" and line == self._last())]
        return tuple(dict.fromkeys([*self._ownNotices, *(_sentence(line) for line in told)]))

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
        """End the process and all it started; False where something is left after a second."""
        if self.status.state != "running":
            return True
        gone = killTree(self._process)
        self.status = EngineStatus("cancelled", self.status.stage, self.status.fraction, None, CANCELLED)
        return gone

    def _hasEnded(self) -> bool:
        """True where the process is gone and all it wrote is read, as far as a child that outlives it lets it end."""
        if self._process.poll() is None:
            return False
        self._gone = self._gone or time.monotonic()
        return not any(reader.is_alive() for reader in self._readers) or time.monotonic() - self._gone > PIPE_SECONDS

    def _launch(self, arguments: Sequence[str]) -> None:
        program = self._settings.pythonExecutable or pythonProgram()
        command = [program, "-m", MODULE, *arguments, "--progress", "json"]
        try:
            self._process = startProcess(command, processEnvironment(self._settings.environment))
        except OSError as error:
            raise RefinementError(f"The refinement process cannot be started: {program}: {error.strerror}.") from error
        self._lines, self._started, self._gone = queue.SimpleQueue(), time.monotonic(), None
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
            if name == "error":
                self._stderr.append(line)
            else:
                self._take(line)

    def _take(self, line: str) -> None:
        """A line of JSON progress; anything else on stdout is none of ours."""
        try:
            told = json.loads(line)
            self.status = replace(
                self.status, stage=str(told["stage"]), fraction=float(told["fraction"]), message=str(told["message"])
            )
        except (ValueError, KeyError, TypeError):
            return

    def _secondsLeft(self) -> float | None:
        spent, fraction = time.monotonic() - self._started, self.status.fraction
        return spent * (1.0 - fraction) / fraction if fraction >= 0.1 and spent >= 1.0 else None

    def _finish(self, code: int) -> None:
        if code == 0:
            self.status = EngineStatus("done", "done", 1.0, 0.0, "")
            return
        # The command itself ended what it started; a process that was killed did not.
        killTree(self._process)
        last = self._last()
        memory = any(words in last.lower() for words in OUT_OF_MEMORY)
        again = memory or (_isCrash(code) and self._device() != "cpu")
        if again and not self._restarted:
            self._restarted = True
            self._ownNotices.append(RESTARTED.format("out of memory" if memory else _crash(code)))
            self._stderr.clear()
            try:
                self._launch([*self._arguments, *SECOND_TRY])
                return
            except RefinementError as error:
                last = PREFIX + str(error)
        elif _isCrash(code):
            last = f"The refinement process ended unexpectedly ({_crash(code)}); close other programs or use a draft."
        state = "cancelled" if code == 130 else "failed"
        message = CANCELLED if code == 130 else _sentence(last or self._broken(code))
        self.status = EngineStatus(state, self.status.stage, self.status.fraction, None, message)

    def _device(self) -> str:
        words = self._arguments
        return words[len(words) - 1 - words[::-1].index("--device") + 1] if "--device" in words else "auto"

    def _commandLines(self) -> list[str]:
        return [line for line in self._stderr if line.startswith(PREFIX)]

    def _last(self) -> str:
        return next(reversed(self._commandLines()), "")

    def _broken(self, code: int) -> str:
        """For an end without the command's own sentence, e.g. a Python without its packages."""
        last = next((line for line in reversed(self._stderr) if line.strip()), "it said nothing")
        return f"The refinement process failed with exit code {code}: {last}"


def _read(stream, name: str, lines: queue.SimpleQueue) -> None:
    with stream:
        for line in stream:
            lines.put((name, line.rstrip("\n")))


def _isCrash(code: int) -> bool:
    """Ended by a signal, or on Windows by an exception's number."""
    return code < 0 or code in (134, 137, 139) or (sys.platform == "win32" and code >= 0xC0000000)


def _crash(code: int) -> str:
    if code in (-9, 137):
        return "it was killed, perhaps because memory ran out"
    return f"signal {-code}" if code < 0 else f"code {code}"


def _sentence(line: str) -> str:
    text = line.removeprefix(PREFIX).strip()
    return text[:1].upper() + text[1:]
