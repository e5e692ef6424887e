"""The engine that stays: ``reshapeit serve``, which keeps templates, networks and results between refinements.

Started at the first refinement and again whenever it died. It ends with ``close``, and by itself when this process
does, since its stdin closes then. Requests and answers: docs/ARCHITECTURE.md.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import json
import queue
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from .engine import CANCELLED, MODULE, PIPE_SECONDS, Engine, EngineSettings, EngineStatus
from .errors import RefinementError
from .library import processEnvironment, pythonProgram
from .processTree import killTree, startProcess
from .wording import Told, inWords

CANCEL_S = 5.0  # a stage that takes longer is ended with its process
CLOSE_S = 1.0
GONE = "The engine ended, and with it what it kept of this refinement; refine again to decide about suggestions."
NOT_STARTED = "The refinement process cannot be started: {}: {}."


class Answer:
    """Of a request; there as soon as ``isFinished``.

    ``result`` is a dictionary where all went well, else None, and ``error`` is one sentence.
    """

    def __init__(self):
        self.isFinished, self.result, self.error = False, None, ""

    def take(self, told: dict | None) -> None:
        """A line of the engine; None where it ended."""
        if told is None:
            self._end(None, GONE)
        elif "result" in told:
            self._end(dict(told["result"]), "")
        elif "error" in told:
            self._end(None, inWords(Told.of(told["error"])))

    def wait(self, seconds: float = 60.0) -> dict:
        """The result.

        :raises RefinementError: there is an error, or no answer in time.
        """
        end = time.monotonic() + seconds
        while not self.isFinished and time.monotonic() < end:
            time.sleep(0.002)
        if self.result is None:
            raise RefinementError(self.error or "The engine does not answer.")
        return self.result

    def _end(self, result, error: str) -> None:
        self.result, self.error, self.isFinished = result, error, True


class _Process:
    """One process of the engine.

    :raises RefinementError: it cannot be started.
    """

    def __init__(self, settings: EngineSettings):
        program = settings.pythonExecutable or pythonProgram()
        self.command, self.settings = [program, "-m", MODULE, "serve", "--debug"], settings
        try:
            self.popen = startProcess(self.command, processEnvironment(settings.environment), subprocess.PIPE)
        except (OSError, ValueError) as error:
            raise RefinementError(NOT_STARTED.format(program, getattr(error, "strerror", None) or error)) from error
        self.isStarted, self._takers, self._lock, self._told = False, {}, threading.Lock(), []
        # Where what it writes on stderr goes: to the run that is at work.
        self.onText: Callable[[str], None] = self._told.append
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._readLines, self._readText)]
        for reader in self._readers:
            reader.start()

    @property
    def isAlive(self) -> bool:
        """It can be asked."""
        return self.popen.poll() is None and self._readers[0].is_alive()

    def hasEnded(self) -> bool:
        """It is gone, and all it wrote is read."""
        if self.popen.poll() is None:
            return False
        for reader in self._readers:
            reader.join(PIPE_SECONDS)
        return True

    def send(self, fields: dict, taker: Callable[[dict | None], None]) -> None:
        """Write a request; ``taker`` gets its lines, and None where the process ends before the last of them."""
        with self._lock:
            self._takers[fields["id"]] = taker
        try:
            self.popen.stdin.write(json.dumps(fields) + "\n")
            self.popen.stdin.flush()
        except (OSError, ValueError):
            self._forget()

    def isOpen(self, name: int) -> bool:
        """A request has not got its last line yet."""
        with self._lock:
            return name in self._takers

    def kill(self) -> bool:
        """End it with all it started; True where it is gone within the time."""
        with contextlib.suppress(Exception):  # whatever goes wrong, nobody waits for it any more
            return killTree(self.popen)
        return False

    def close(self) -> None:
        """Let it end by itself, or end it."""
        with contextlib.suppress(OSError, ValueError):
            self.popen.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.popen.wait(CLOSE_S)
        self.kill()

    def _readLines(self) -> None:
        with self.popen.stdout as stream:
            for line in stream:
                try:
                    told = json.loads(line)
                    name = told.get("id")
                except (ValueError, AttributeError):
                    self.onText(line.rstrip("\n"))
                    continue
                self.isStarted = self.isStarted or "started" in told
                with self._lock:
                    ends = "result" in told or "error" in told
                    taker = self._takers.pop(name, None) if ends else self._takers.get(name)
                if taker is not None:
                    taker(told)
        self._forget()

    def _readText(self) -> None:
        with self.popen.stderr as stream:
            for line in stream:
                self.onText(line.rstrip("\n"))

    def _forget(self) -> None:
        """Nobody will be answered any more."""
        with self._lock:
            takers, self._takers = list(self._takers.values()), {}
        for taker in takers:
            taker(None)


class ResidentEngine:
    """Starts the process when it is needed, and again when it died.

    :param settings: EngineSettings of the process; those of a run count where they differ.
    """

    def __init__(self, settings: EngineSettings | None = None):
        self._settings, self._process, self._numbers = settings or EngineSettings(), None, itertools.count(1)
        atexit.register(self.close)

    @property
    def processId(self) -> int | None:
        """Of the process, None where there is none."""
        return self._process.popen.pid if self._process is not None and self._process.isAlive else None

    def engine(self, settings: EngineSettings | None = None) -> ResidentRun:
        """For one refinement; has all that ``Engine`` has, and ``ask`` for what is decided afterwards."""
        return ResidentRun(self, settings or self._settings)

    def memory(self) -> Answer | None:
        """``rss_mb`` and ``runs``, what the process holds; None where there is no process."""
        return self._ask({"do": "memory"})

    def free(self) -> Answer | None:
        """Let all results, templates and networks go; decisions about them are over. None without a process."""
        return self._ask({"do": "free"})

    def close(self) -> None:
        """End the process; it is started again when it is needed."""
        process, self._process = self._process, None
        if process is not None:
            process.close()
        atexit.unregister(self.close)

    def process(self, settings: EngineSettings) -> _Process:
        """One that is alive.

        :raises RefinementError: it cannot be started.
        """
        current = self._process
        same = current is not None and _asProcess(current.settings) == _asProcess(settings)
        if same and current.isAlive:
            return current
        self.close()
        self._process = _Process(settings)
        atexit.register(self.close)
        return self._process

    def nextId(self) -> int:
        """A name for a request that no other has."""
        return next(self._numbers)

    def _ask(self, fields: dict) -> Answer | None:
        if self.processId is None:
            return None
        answer = Answer()
        self._process.send({"id": self.nextId(), **fields}, answer.take)
        return answer


class ResidentRun(Engine):
    """One refinement of the engine that stays.

    :param resident: ResidentEngine.
    :param settings: EngineSettings.
    """

    def __init__(self, resident: ResidentEngine, settings: EngineSettings):
        super().__init__(settings)
        self._resident, self._server, self._id = resident, None, None

    @property
    def processId(self) -> int | None:
        """Of the process that works on it."""
        return self._server.popen.pid if self._server else None

    def poll(self) -> EngineStatus:
        """Where the run is; never waits, never raises."""
        if self.status.state != "running":
            return self.status
        died = self._server.hasEnded()
        self._drain()
        if self._result is not None or self.error is not None:
            self._conclude(0)
        elif died:
            self._finish(self._server.popen.returncode)
        else:
            self.status = replace(self.status, secondsLeft=self._secondsLeft())
        return self.status

    def cancel(self) -> bool:
        """Stop working on it; a process that does not within some seconds is ended."""
        if self.status.state != "running":
            return True
        server, name = self._server, self._id
        server.send({"id": self._resident.nextId(), "do": "cancel", "of": name}, lambda told: None)
        timer = threading.Timer(CANCEL_S, lambda: server.isOpen(name) and server.kill())
        timer.daemon = True
        timer.start()
        self.log.append("cancelled")
        self.error = Told("cancelled", CANCELLED)
        self.status = EngineStatus("cancelled", self.status.stage, self.status.fraction, None, CANCELLED, "cancelled")
        return True

    def ask(self, do: str, **fields) -> Answer:
        """Ask about the results; see ``decide`` and ``suggestions`` in docs/ARCHITECTURE.md.

        :raises RefinementError: the process that had them is gone.
        """
        if self._server is None or not self._server.isAlive:
            raise RefinementError(GONE)
        answer = Answer()
        self._server.send({**fields, "id": self._resident.nextId(), "do": do, "run": self._id}, answer.take)
        return answer

    def _launch(self, arguments: Sequence[str]) -> None:
        words = list(arguments[1:] if arguments[:1] == ["refine"] else arguments)
        self._lines, self._begun, self._isStarted = queue.SimpleQueue(), time.monotonic(), False
        self._result, self.error = None, None
        self._server, self._id = self._resident.process(self._settings), self._resident.nextId()
        lines = self._lines
        self._server.onText = lambda text: lines.put(("error", text))
        self.log.append("$ " + " ".join([*self._server.command, ">", "refine", *words]))
        self._server.send({"id": self._id, "do": "refine", "arguments": words}, self._put)
        self.status = EngineStatus("running")

    def _put(self, told: dict | None) -> None:
        if told is not None:
            self._lines.put(("out", json.dumps(told)))

    def _kill(self) -> bool:
        """The process stays for others."""
        return True

    def _crash(self, code: int) -> Told:
        self._isStarted = self._isStarted or self._server.isStarted
        return super()._crash(code)


def _asProcess(settings: EngineSettings) -> tuple:
    """What of the settings makes another process."""
    return settings.pythonExecutable, tuple(sorted((settings.environment or {}).items()))
