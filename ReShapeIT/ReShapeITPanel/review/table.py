"""The table of what changed in each segment."""

import qt
from slicer.i18n import tr as _

COLUMNS = (
    "name",
    "volumeBeforeMl",
    "volumeAfterMl",
    "largestMoveMm",
    "meanMoveMm",
    "dscToInput",
    "isPlausible",
    "image",
    "state",
)
_FORMATS = {
    "volumeBeforeMl": "{:.1f}",
    "volumeAfterMl": "{:.1f}",
    "largestMoveMm": "{:.1f}",
    "meanMoveMm": "{:.2f}",
    "dscToInput": "{:.3f}",
}


class ReviewTable:
    """Fills a QTableWidget with the rows of a finished refinement.

    :param table: the widget.
    :param selectionChanged: called without arguments when another row is selected.
    :param opened: called without arguments when a row is double-clicked.
    """

    def __init__(self, table, selectionChanged, opened):
        self._table, self._rows = table, []
        header = table.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(0, qt.QHeaderView.Stretch)
        table.connect("itemSelectionChanged()", selectionChanged)
        table.connect("cellDoubleClicked(int,int)", lambda row, column: opened())

    def fill(self, rows) -> None:
        """Show SummaryRow objects; the selected row stays, or the first is selected."""
        row = self._table.currentRow()
        self._rows = list(rows)
        self._table.setRowCount(len(self._rows))
        for index, summary in enumerate(self._rows):
            for column, name in enumerate(COLUMNS):
                self._table.setItem(index, column, _item(summary, name))
        if self._rows:
            self._table.selectRow(row if 0 <= row < len(self._rows) else 0)

    def selected(self):
        """SummaryRow of the selected row, or None."""
        row = self._table.currentRow()
        return self._rows[row] if 0 <= row < len(self._rows) else None

    def select(self, segmentId: str) -> None:
        """Select the row of a segment."""
        for index, summary in enumerate(self._rows):
            if summary.segmentId == segmentId:
                self._table.selectRow(index)


def cellText(summary, name: str) -> str:
    """What a cell of the table says; a value that is not known is a dash."""
    value = getattr(summary, name)
    if name == "isPlausible":
        return _("yes") if value else _("look closely")
    if name == "image":
        return imageText(value)
    if name == "state":
        return {"pending": _("to decide"), "accepted": _("accepted"), "rejected": _("rejected")}[value]
    if value is None:
        return "\N{EN DASH}"
    return _FORMATS.get(name, "{}").format(value)


def imageText(status: str) -> str:
    """What the image said, in a word."""
    words = {
        "": "\N{EN DASH}",
        "used": _("used"),
        "unchanged": _("agrees"),
        "uncertain": _("unsure"),
        "no_model": _("no network"),
        "modality": _("no CT"),
        "sparse": "\N{EN DASH}",
    }
    return words.get(status, status)


def imageSentence(status: str) -> str:
    """What the image said, for a tooltip."""
    sentences = {
        "": _("no image was asked"),
        "used": _("the surface went to the organ's edge in the image"),
        "unchanged": _("the surface lies on the organ's edge in the image"),
        "uncertain": _("the image does not tell the organ from its surroundings; shape alone decided"),
        "no_model": _("there is no network that reads the image for this organ; shape alone decided"),
        "modality": _("the image is no CT in Hounsfield units; shape alone decided"),
        "sparse": _("the organ was drawn on a few slices; shape alone decided"),
    }
    return sentences.get(status, status)


def _item(summary, name: str):
    item = qt.QTableWidgetItem(cellText(summary, name))
    item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
    if name in _FORMATS:
        item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
    told = {"isPlausible": lambda: str(summary.plausibility), "image": lambda: imageSentence(summary.image)}
    item.setToolTip(told[name]() if name in told else cellText(summary, name))
    return item
