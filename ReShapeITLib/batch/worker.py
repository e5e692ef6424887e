"""What a dask worker does with a case: hands it to its case process, watches it, and ends it where it must be."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from dataclasses import dataclass

from ..core.errors import ReShapeITError
from .cases import BatchCase
from .records import FAILED, fingerprint, is_done, read_record, write_record

WATCH_INTERVAL_S = 0.2


class CaseProcessLost(Exception):
    """The case process ended in the middle of a case, for a reason that need not come again."""


@dataclass(frozen=True)
class Limits:
    """What one case may use.

    Args:
        seconds: of wall time; 0 for no limit.
        memory_bytes: of the case process; 0 for no limit.
        threads: of the case process.
    """

    seconds: float = 0.0
    memory_bytes: int = 0
    threads: int = 1


def run_case(values: dict, limits: Limits) -> dict:
    """Refine a case on this worker, write its record and return it.

    Args:
        values: of :meth:`BatchCase.as_dict`.
        limits: for the case.

    Raises:
        CaseProcessLost: the case process died; another try may do.
        ReShapeITError: the record cannot be written.
    """
    case = BatchCase.from_dict(values)
    try:
        if is_done(case):  # by a worker of an earlier start that outlived its client
            return read_record(case)
        told = fingerprint(case)
    except (ReShapeITError, OSError) as error:
        return {"status": FAILED, "message": " ".join(str(error).split()), "fingerprint": "", "seconds": 0.0}
    record = {**_process(limits.threads).refine(case, limits), "fingerprint": told}
    write_record(case, record)
    return record


class CaseProcess:
    """A running :mod:`case_process`, started when it is first needed and again after it was ended.

    Args:
        threads: that it computes with.
    """

    def __init__(self, threads: int):
        self._threads, self._process, self._answers = threads, None, queue.Queue()

    def refine(self, case: BatchCase, limits: Limits) -> dict:
        """Refine a case within its limits; see :func:`case_process.refined`.

        Raises:
            CaseProcessLost: the process died.
        """
        if self._process is None or self._process.poll() is not None:
            self._start()
        started = time.monotonic()
        try:
            self._process.stdin.write(json.dumps(case.as_dict()) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            self.end()
            raise CaseProcessLost(f"The process of the case '{case.name}' did not start.") from error
        while True:
            try:
                answer = self._answers.get(timeout=WATCH_INTERVAL_S)
            except queue.Empty:
                seconds = time.monotonic() - started
                problem = self._problem(seconds, limits)
                if problem:
                    self.end()
                    return {"status": FAILED, "message": problem, "seconds": round(seconds, 3)}
                continue
            if answer is None:
                code = self._process.wait()
                self.end()
                raise CaseProcessLost(f"The process of the case '{case.name}' died ({code}).")
            return json.loads(answer)

    def end(self) -> None:
        """Kill the process, if there is one."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                pipe.close()
        self._process, self._answers = None, queue.Queue()

    def _start(self) -> None:
        self.end()
        environment = {**os.environ, "OMP_NUM_THREADS": str(self._threads), "MKL_NUM_THREADS": str(self._threads)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ReShapeITLib.batch.case_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=environment,
        )
        threading.Thread(target=_listen, args=(self._process.stdout, self._answers), daemon=True).start()

    def _problem(self, seconds: float, limits: Limits) -> str:
        """Why the case has to be ended; empty where it has not."""
        if limits.seconds and seconds > limits.seconds:
            return f"Not done after {limits.seconds:g} s; raise --timeout, or look at the input."
        if limits.memory_bytes and self._memory() > limits.memory_bytes:
            return f"More than {limits.memory_bytes / 1e9:.3g} GB of memory; raise --memory-limit, or crop the input."
        return ""

    def _memory(self) -> int:
        import psutil

        try:
            return psutil.Process(self._process.pid).memory_info().rss
        except psutil.NoSuchProcess:
            return 0


def _listen(pipe, answers: queue.Queue) -> None:
    """Lines of a pipe into a queue, None at its end."""
    try:
        for line in pipe:
            answers.put(line)
    except ValueError:  # closed meanwhile
        pass
    answers.put(None)


_PROCESSES: dict[int, CaseProcess] = {}


def _process(threads: int) -> CaseProcess:
    """The case process of this thread of this worker."""
    return _PROCESSES.setdefault(threading.get_ident(), CaseProcess(threads))
