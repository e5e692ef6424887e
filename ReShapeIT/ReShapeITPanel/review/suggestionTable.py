"""The table of suggestions: what would change, how much, how likely, who says so, taken or not."""

import qt
from slicer.i18n import tr as _

SEGMENT, CHANGE, VOLUME, LIKELY, EVIDENCE, TAKEN = range(6)


class SuggestionTable:
    """Fills a QTableWidget with Suggestion objects.

    :param table: the widget.
    :param selected: called without arguments when another row is selected.
    :param toggled: called with a Suggestion that the user wants the other way.
    """

    def __init__(self, table, selected, toggled):
        self._table, self._onSelected, self._onToggled = table, selected, toggled
        self._suggestions, self._filling = [], False
        header = table.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(CHANGE, qt.QHeaderView.Stretch)
        table.connect("itemSelectionChanged()", self._selectionChanged)
        table.connect("itemChanged(QTableWidgetItem*)", self._itemChanged)

    def fill(self, suggestions, names) -> None:
        """Show suggestions; the selected one stays selected where it is still there.

        :param names: of the segments by id.
        """
        before = self.selected()
        self._filling = True
        same = [_key(one) for one in suggestions] == [_key(one) for one in self._suggestions]
        self._suggestions = list(suggestions)
        if not same:
            self._table.setRowCount(len(self._suggestions))
            for row, one in enumerate(self._suggestions):
                for column, text in enumerate(_texts(one, names)):
                    self._table.setItem(row, column, _item(text, column))
        for row, one in enumerate(self._suggestions):
            item = self._table.item(row, TAKEN)
            item.setCheckState(qt.Qt.Checked if one.taken else qt.Qt.Unchecked)
            item.setText(_("by hand") if one.byHand else "")
        if not same:
            self._table.clearSelection()
            if before is not None:
                self._select(_key(before))
        self._filling = False

    def selected(self):
        """The selected Suggestion, or None."""
        row = self._table.currentRow()
        hasRow = bool(self._table.selectedItems()) and 0 <= row < len(self._suggestions)
        return self._suggestions[row] if hasRow else None

    def toggleSelected(self) -> None:
        """The selected suggestion the other way."""
        one = self.selected()
        if one is not None:
            self._onToggled(one)

    def _select(self, key) -> None:
        for row, one in enumerate(self._suggestions):
            if _key(one) == key:
                self._table.selectRow(row)

    def _selectionChanged(self) -> None:
        if not self._filling:
            self._onSelected()

    def _itemChanged(self, item) -> None:
        if not self._filling and item.column() == TAKEN and 0 <= item.row() < len(self._suggestions):
            one = self._suggestions[item.row()]
            if (item.checkState() == qt.Qt.Checked) != one.taken:
                self._onToggled(one)


def _key(one) -> tuple:
    return one.segmentId, one.number, one.kind, round(one.volumeMl, 6)


def _texts(one, names) -> tuple[str, ...]:
    name = names.get(one.segmentId, one.segmentId)
    likely = "" if one.isClicked else f"{100 * one.probability:.0f} %"
    said = {"shape": _("shape"), "both": _("both"), "shape, not image": _("shape, not image"), "points": _("points")}
    evidence = said[one.evidenceText()]
    return name, _(one.kindText()), f"{one.volumeMl:.1f}", likely, evidence, ""


def _item(text: str, column: int):
    item = qt.QTableWidgetItem(text)
    flags = qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable
    item.setFlags(flags | qt.Qt.ItemIsUserCheckable if column == TAKEN else flags)
    if column in (VOLUME, LIKELY):
        item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
    item.setToolTip(text)
    return item
