"""A batch from start to end: what is open goes to dask workers, what comes back is counted and told."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import MISSING_PACKAGE, BadInputError, Notice, ReShapeITError
from ..core.progress import Progress
from ..io.atomic import make_folder
from ..job.inputs.by_name import AUTO
from ..job.labels import parse_templates
from ..job.licences import check_licences
from .cases import BatchCase
from .records import DONE, FAILED, folder_lock, is_done, model_checksums, read_record, template_files, write_record
from .table import write_tables
from .worker import CaseProcessLost, Limits, run_case

LOCAL = "local"
_POLL_S = 0.2
# While it works, the tables take at most this share of the time, so that whatever ends it finds them nearly complete.
_TABLES_SHARE = 0.02


@dataclass(frozen=True)
class BatchSettings:
    """How a batch is run.

    Args:
        scheduler: "local" for workers on this machine, else the address of a dask scheduler (``tcp://host:port``).
        workers: on this machine; 0 for half the cores, at most eight.
        timeout_s: of one case, seconds; 0 for none.
        memory_gb: of one case; 0 for no limit.
        retries: of a case whose process or worker died.
    """

    scheduler: str = LOCAL
    workers: int = 0
    timeout_s: float = 3600.0
    memory_gb: float = 0.0
    retries: int = 2

    @property
    def n_workers(self) -> int:
        """Workers on this machine."""
        return self.workers or max(1, min(8, (os.cpu_count() or 1) // 2))


@dataclass(frozen=True)
class BatchResult:
    """What came of a batch: numbers of cases, organs of done cases that stay as they are, and the tables' paths without
    their extension."""

    done: int
    refused: int
    failed: int
    skipped: int
    table: Path
    organs_left: int = 0


def run_batch(
    cases: list[BatchCase],
    settings: BatchSettings,
    progress: Progress | None = None,
    notice: Callable[[str], None] = lambda text: None,
) -> BatchResult:
    """Refine all cases that are not done yet, and write ``results.csv`` and ``results.parquet``.

    Args:
        cases: of one results folder.
        settings: where and within which limits.
        progress: told how many are done; its cancel request ends the batch, what is done stays done.
        notice: called with sentences that the user should read.

    Raises:
        BadInputError: a template is missing or its licence not accepted, another batch works in the folder, it cannot
            be written, or there is no such scheduler.
        CancelledError: the user cancelled.
        ReShapeITError: the scheduler was lost.
    """
    progress, folder = progress or Progress("none"), cases[0].folder
    for options in {case.options for case in cases}:
        model_checksums(options)  # what is wrong with a template is wrong with the batch
        if not options.non_commercial and AUTO not in parse_templates(options.template, options.label or None).values():
            check_licences(template_files(options), options.restoration, options.sparse)
    make_folder(folder)
    with folder_lock(folder):
        open_cases = [case for case in cases if not is_done(case)]
        skipped = len(cases) - len(open_cases)
        if skipped:
            words = "{skipped} of {cases} cases are done already."
            notice(Notice(words, "batch.done_already", skipped=skipped, cases=len(cases)))
        try:
            if open_cases:
                _work(cases, open_cases, settings, progress, notice)
        finally:
            write_tables(folder, cases)
    records = [read_record(case) or {"status": FAILED} for case in cases]
    counts = Counter(record["status"] for record in records)
    left = sum(len(record.get("not_refined", ())) for record in records if record["status"] == DONE)
    refused = len(cases) - counts[DONE] - counts[FAILED]
    return BatchResult(counts[DONE], refused, counts[FAILED], skipped, folder / "results", left)


def _work(
    all_cases: list[BatchCase], cases: list[BatchCase], settings: BatchSettings, progress: Progress, notice
) -> None:
    from distributed import CancelledError, as_completed

    limits = Limits(settings.timeout_s, int(settings.memory_gb * 1e9), _threads(settings))
    total, counts = len(all_cases), {DONE: len(all_cases) - len(cases)}
    tables = _Tables(all_cases)
    tables.write()
    words, hint = "The dask scheduler {scheduler} is gone", "start the same command again, what is done is kept"
    lost = ReShapeITError(words, hint, "batch.scheduler_gone", scheduler=settings.scheduler)
    with _client(settings, notice) as client:
        futures = {
            client.submit(
                run_case,
                case.as_dict(),
                limits,
                key=f"refine-{case.name}-{os.getpid()}",
                pure=False,
                retries=settings.retries,
            ): case
            for case in cases
        }
        arrived = as_completed(list(futures))
        _tell(progress, counts, total)
        while not arrived.is_empty():
            progress.check_cancelled()
            if client.status != "running" or client.scheduler.comm is None:
                raise lost
            ready = arrived.next_batch(block=False)
            if not ready:
                time.sleep(_POLL_S)
            for future in ready:
                case = futures.pop(future)
                try:
                    status = _record_of(future, case)["status"]
                except CancelledError as error:
                    raise lost from error
                counts[status] = counts.get(status, 0) + 1
                tables.write_if_due()
                _tell(progress, counts, total)


class _Tables:
    """Writes the tables again and again, and not too often."""

    def __init__(self, cases: list[BatchCase]):
        self._cases, self._due = cases, 0.0

    def write(self) -> None:
        """Now."""
        begun = time.monotonic()
        write_tables(self._cases[0].folder, self._cases)
        ended = time.monotonic()
        self._due = ended + (ended - begun) / _TABLES_SHARE

    def write_if_due(self) -> None:
        """Where that does not cost too much."""
        if time.monotonic() >= self._due:
            self.write()


def _record_of(future, case: BatchCase) -> dict:
    """What a finished task says; a case that could not be finished gets a record here, so that the table tells."""
    from distributed import KilledWorker

    if future.status == "cancelled":
        return future.result()  # raises CancelledError
    error = future.exception()
    if error is None:
        record = future.result()
        if record.get("fingerprint"):
            return record
        message = record["message"]
    elif isinstance(error, (KilledWorker, CaseProcessLost)):
        message = "The process died at every try, most likely for want of memory; use fewer workers or crop the input."
    else:
        message = " ".join(str(error).split()) or type(error).__name__
    record = {"status": FAILED, "message": message, "fingerprint": "", "seconds": 0.0}
    write_record(case, record)
    return record


def _tell(progress: Progress, counts: dict[str, int], total: int) -> None:
    over = sum(counts.values())
    others = "".join(f", {number} {status}" for status, number in counts.items() if status != DONE)
    progress.stage("refine", over / total, f"{over} of {total}{others}")


def _threads(settings: BatchSettings) -> int:
    """Threads of a case process: the cores but one shared out, because torch with a thread for every core becomes many
    times slower beside one other busy program; on a cluster one, for nobody here knows its machines."""
    if settings.scheduler != LOCAL:
        return 1
    return max(1, ((os.cpu_count() or 1) - 1) // settings.n_workers)


@contextmanager
def _client(settings: BatchSettings, notice) -> Iterator:
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        hint = "pip install 'ReShapeITLib[batch]'"
        raise BadInputError("A batch needs dask", hint, MISSING_PACKAGE, package="dask") from error
    import dask

    # A worker that is lost more often than a case may be tried again is the fault of the case.
    quiet = {"distributed.scheduler.allowed-failures": settings.retries, "logging.distributed": "critical"}
    with dask.config.set(quiet):
        if settings.scheduler == LOCAL:
            cluster = LocalCluster(
                n_workers=settings.n_workers,
                threads_per_worker=1,
                processes=True,
                memory_limit=0,
                dashboard_address="127.0.0.1:0",
                silence_logs=50,
            )
            with cluster, Client(cluster) as client:
                yield client
            return
        try:
            client = Client(settings.scheduler, timeout=10)
        except (OSError, ValueError, TimeoutError) as error:
            raise BadInputError(
                "No dask scheduler answers at {scheduler}",
                "check the address, or use --scheduler local",
                "batch.no_scheduler",
                scheduler=settings.scheduler,
            ) from error
        with client:
            if not client.scheduler_info()["workers"]:
                words = "the scheduler {scheduler} has no workers yet; waiting for some."
                notice(Notice(words, "batch.no_workers", scheduler=settings.scheduler))
            yield client
