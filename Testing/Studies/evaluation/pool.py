"""Jobs in this process or in several, one compute thread each; rows come as soon as each is there."""

from __future__ import annotations

import multiprocessing
import queue
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

from ReShapeITLib.core.errors import ReShapeITError

from .measure import Job, MethodMaker, measure
from .methods import Method
from .study import Study

_LOOK_SECONDS = 0.5  # between two looks for a cancel request or a failed job


def run_here(
    study: Study, jobs: list[Job], methods_of: MethodMaker, workers: int, check: Callable[[], None]
) -> Iterator[dict]:
    """The rows of all jobs, made in this process; arguments as for :func:`run_in_pool`."""
    with _one_thread():
        methods = methods_of(study) if jobs else {}
        for job in jobs:
            for row in measure(study, job, methods):
                yield row
                check()


def run_in_pool(
    study: Study, jobs: list[Job], methods_of: MethodMaker, workers: int, check: Callable[[], None]
) -> Iterator[dict]:
    """The rows of all jobs, made in ``workers`` processes, in the order in which they are ready.

    Args:
        study: what the jobs belong to.
        jobs: inputs with their methods.
        methods_of: called here and once in each worker, so it must be a function of a module.
        workers: processes.
        check: called often; what it raises ends the work once the methods that run have ended.

    Raises:
        ReShapeITError: a worker died, or a job failed as a whole.
    """
    if jobs:
        # A wrong option is told at once, and what methods build and keep is there before all workers ask for it.
        methods_of(study)
    context = multiprocessing.get_context("spawn")
    rows, stop = context.Queue(), context.Event()
    left = sum(len(job.methods) for job in jobs)
    with ProcessPoolExecutor(workers, context, _start_worker, (study, methods_of, rows, stop)) as pool:
        try:
            futures = [pool.submit(_work, job) for job in jobs]
            while left:
                row = _next(rows)
                if row is None:
                    _raise_failure(futures)
                else:
                    left -= 1
                    yield row
                check()
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)


def _next(rows) -> dict | None:
    try:
        return rows.get(timeout=_LOOK_SECONDS)
    except queue.Empty:
        return None


def _raise_failure(futures: list[Future]) -> None:
    for future in futures:
        if future.done() and future.exception() is not None:
            try:
                future.result()
            except BrokenProcessPool as error:
                raise ReShapeITError(
                    "A worker ended unexpectedly, perhaps for lack of memory; use fewer workers, the same command goes "
                    "on with the rest."
                ) from error


class _Worker:
    """What a worker process keeps between jobs."""

    def __init__(self, study: Study, methods_of: MethodMaker, rows, stop):
        self.study, self.rows, self.stop = study, rows, stop
        self._methods_of = methods_of
        self._methods: dict[str, Method] | None = None

    def methods(self) -> dict[str, Method]:
        """Made with the first job, so that a failure is that job's and not the pool's."""
        if self._methods is None:
            self._methods = self._methods_of(self.study)
        return self._methods


_worker: _Worker | None = None


def _start_worker(study: Study, methods_of: MethodMaker, rows, stop) -> None:
    global _worker  # noqa: PLW0603 - what the initializer of a process leaves for its tasks
    import torch

    # The main process gets the interrupt, too, and ends the work in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    _worker = _Worker(study, methods_of, rows, stop)


def _work(job: Job) -> None:
    for row in measure(_worker.study, job, _worker.methods()):
        _worker.rows.put(row)
        if _worker.stop.is_set():
            return


@contextmanager
def _one_thread():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
