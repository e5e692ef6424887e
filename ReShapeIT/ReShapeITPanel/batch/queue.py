"""The table of a batch: its queue while it runs, then the organs to review."""

import qt
from slicer.i18n import tr as _

CASE, ORGAN, STATE, ADDED, REMOVED, DICE, DECISION = range(7)
_NUMBERS = {ADDED: "{:.1f}", REMOVED: "{:.1f}", DICE: "{:.3f}"}


class BatchQueue:
    """Fills a QTableWidget with BatchRow objects.

    :param table: the widget.
    :param selected: called without arguments when another row is selected.
    """

    def __init__(self, table, selected):
        self._table, self._onSelected, self.rows, self._filling = table, selected, [], False
        header = table.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(CASE, qt.QHeaderView.Stretch)
        table.connect("itemSelectionChanged()", self._selectionChanged)

    def fill(self, rows) -> None:
        """Show rows; the selected organ stays selected."""
        before, self._filling = self.selected(), True
        self.rows = list(rows)
        self._table.setRowCount(len(self.rows))
        for index, row in enumerate(self.rows):
            for column, text in enumerate(texts(row)):
                self._table.setItem(index, column, _item(text, column, row))
        known = [(row.case, row.label) for row in self.rows]
        key = (before.case, before.label) if before else None
        self._table.clearSelection()
        if key in known:
            self._table.selectRow(known.index(key))
        self._filling = False

    def selected(self):
        """The selected BatchRow, or None."""
        row = self._table.currentRow()
        return self.rows[row] if self._table.selectedItems() and 0 <= row < len(self.rows) else None

    def move(self, step: int, openOnly: bool = False) -> bool:
        """Select the next (1) or previous (-1) row that can be shown; False where there is none.

        :param openOnly: the next that nobody decided, from the start again after the last.
        """
        one = self.selected()
        at = self.rows.index(one) if one else (-1 if step > 0 else len(self.rows))
        order = range(at + 1, len(self.rows)) if step > 0 else range(at - 1, -1, -1)
        order = [*order, *range(at)] if openOnly else order
        for index in order:
            if self.rows[index].canBeShown and not (openOnly and self.rows[index].decision):
                self._table.selectRow(index)
                return True
        return False

    def _selectionChanged(self) -> None:
        if not self._filling:
            self._onSelected()


def texts(row) -> list[str]:
    """What the cells of a row say."""
    states = {
        "open": _("waiting"),
        "refined": _("refined"),
        "absent": _("absent"),
        "implausible": _("implausible"),
        "refused": _("refused"),
        "failed": _("failed"),
    }
    decisions = {"accepted": _("accepted"), "rejected": _("rejected")}
    words = [row.case, row.organ or row.label, states.get(row.state, row.state), row.addedMl, row.removedMl, row.dsc]
    words.append(decisions.get(row.decision, _("to decide") if row.canBeShown else ""))
    return [_number(text, _NUMBERS[column]) if column in _NUMBERS else text for column, text in enumerate(words)]


def _number(text: str, form: str) -> str:
    try:
        return form.format(float(text))
    except ValueError:
        return ""


def _item(text: str, column: int, row):
    item = qt.QTableWidgetItem(text)
    item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
    if column in _NUMBERS:
        item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
    item.setToolTip(row.message or text)
    return item
