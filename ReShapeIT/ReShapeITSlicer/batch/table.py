"""The results table of a batch, read and written as the command line does it."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from pathlib import Path

from ..errors import RefinementError


@dataclass(frozen=True)
class BatchRow:
    """One organ of one case, or a case whose organs nobody knows yet.

    :param case: name of the case.
    :param label: of the organ; "" where there is none yet.
    :param organ: its name; "".
    :param state: of the organ, else of the case: "open", "refined", "absent", "implausible", "refused", "failed".
    :param message: why it is not refined; "".
    :param before, after: files; "" where there is none.
    :param image: file of the CT; "" for none.
    :param addedMl, removedMl, dsc: numbers as the table has them; "" where unknown.
    :param decision: "accepted", "rejected" or "".
    """

    case: str
    label: str = ""
    organ: str = ""
    state: str = "open"
    message: str = ""
    before: str = ""
    after: str = ""
    image: str = ""
    addedMl: str = ""
    removedMl: str = ""
    dsc: str = ""
    decision: str = ""

    @property
    def canBeShown(self) -> bool:
        """There is a result to look at."""
        return self.state == "refined" and bool(self.after)


class BatchTable:
    """The rows of the table in a folder of results."""

    def __init__(self):
        self.rows: list[BatchRow] = []
        self._folder, self._known = None, None

    def open(self, folder: str) -> None:
        """Take another folder; "" for none.

        :raises RefinementError: its table cannot be read.
        """
        self._folder, self._known, self.rows = Path(folder) if folder else None, None, []
        if self.refresh():  # the first decision need not wait for it
            threading.Thread(target=_loadParquet, daemon=True).start()

    def refresh(self) -> bool:
        """Read the table again where it was written since; True where it was.

        :raises RefinementError: it cannot be read.
        """
        from ReShapeITLib.batch.decisions import TABLE

        try:
            told = (self._folder / TABLE).stat() if self._folder else None
        except OSError:
            return False
        known = (told.st_mtime_ns, told.st_size, told.st_ino) if told else None
        if known is None or known == self._known:
            return False
        self._known = known
        self._attempt(lambda decisions: decisions.read_rows(self._folder))
        return True

    def decide(self, row: BatchRow, decision: str) -> None:
        """Keep a decision about an organ: "accepted", "rejected", or "" to take one back.

        :raises RefinementError: it cannot be written.
        """
        self._attempt(lambda decisions: decisions.decide(self._folder, row.case, row.label, decision))

    def _attempt(self, action) -> None:
        from ReShapeITLib.batch import decisions
        from ReShapeITLib.core.errors import BadInputError

        try:
            self.rows = [_row(values) for values in action(decisions)]
        except BadInputError as error:
            raise RefinementError(f"{error}.") from error


def _loadParquet() -> None:
    with contextlib.suppress(ImportError):
        import pyarrow.parquet  # noqa: F401 - what decisions write the second table with


def _row(values: dict) -> BatchRow:
    def cell(name: str) -> str:
        return values.get(name) or ""

    return BatchRow(
        cell("case"),
        cell("label"),
        cell("organ"),
        cell("organ_status") or ("refined" if cell("status") == "done" and cell("label") else cell("status")),
        cell("reason") or cell("message"),
        cell("input"),
        cell("output"),
        cell("image"),
        cell("added_ml"),
        cell("removed_ml"),
        cell("dsc_to_input"),
        cell("decision"),
    )
