"""The table of segments: which to refine, with which template, under which licence."""

import qt
import vtk
from slicer.i18n import tr as _

from .organProposal import proposedOrgan

SEGMENT, TEMPLATE, LICENCE = range(3)
NO_TEMPLATE = ""


class SegmentTable:
    """Fills a QTableWidget and tells what the user chose.

    :param table: the widget.
    :param changed: called without arguments after the user changed something.
    :param centre: called with the id of a segment whose row was double-clicked.
    """

    def __init__(self, table, changed, centre=None):
        self._table, self._changed, self._centre = table, changed, centre
        self._ids: list[str] = []
        self._boxes: list = []
        self._entries: list = []
        self._filling = False
        header = table.horizontalHeader()
        header.setSectionResizeMode(SEGMENT, qt.QHeaderView.Stretch)
        header.setSectionResizeMode(TEMPLATE, qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(LICENCE, qt.QHeaderView.ResizeToContents)
        table.connect("itemChanged(QTableWidgetItem*)", self._onChanged)
        table.connect("cellDoubleClicked(int,int)", self._onDoubleClick)

    def fill(self, segmentationNode, entries, templates, selected) -> None:
        """Show the segments of a node.

        :param segmentationNode: or None.
        :param entries: TemplateChoice of each available template.
        :param templates: dict of the chosen template by segment id; segments that are not in it get the proposed one.
        :param selected: ids of the segments to refine; None takes the only one that has a proposal, if it is one.
        """
        self._filling, self._entries = True, list(entries)
        segmentation = segmentationNode.GetSegmentation() if segmentationNode else None
        count = segmentation.GetNumberOfSegments() if segmentation else 0
        self._ids = [segmentation.GetNthSegmentID(index) for index in range(count)]
        proposed = {
            segmentId: proposedTemplate(segmentation.GetSegment(segmentId), self._entries) for segmentId in self._ids
        }
        if selected is None:
            found = [segmentId for segmentId, name in proposed.items() if name]
            selected = found if len(found) == 1 else []
        self._boxes = []
        self._table.setRowCount(count)
        for row, segmentId in enumerate(self._ids):
            segment = segmentation.GetSegment(segmentId)
            self._table.setItem(row, SEGMENT, self._segmentItem(segment, segmentId, segmentId in selected))
            box = self._templateBox(templates[segmentId] if segmentId in templates else proposed[segmentId])
            self._boxes.append(box)
            self._table.setCellWidget(row, TEMPLATE, box)
            self._table.setItem(row, LICENCE, qt.QTableWidgetItem())
            self._showLicence(row)
        self._filling = False

    def selected(self) -> list[str]:
        """Ids of the checked segments."""
        checked = qt.Qt.Checked
        rows = range(len(self._ids))
        return [self._ids[row] for row in rows if self._table.item(row, SEGMENT).checkState() == checked]

    def templates(self) -> dict[str, str]:
        """Chosen template by segment id, of all segments; an empty name where none is chosen."""
        return {segmentId: self._nameAt(row) for row, segmentId in enumerate(self._ids)}

    def notInstalled(self) -> list[str]:
        """Names of chosen templates of checked segments that are not installed here."""
        known, templates = {entry.name for entry in self._entries}, self.templates()
        names = {templates[segmentId] for segmentId in self.selected()} - {NO_TEMPLATE}
        return sorted(names - known)

    def chosenEntries(self) -> list:
        """TemplateChoice of each checked segment that has one."""
        templates = self.templates()
        chosen = {templates[segmentId] for segmentId in self.selected()}
        return [entry for entry in self._entries if entry.name in chosen]

    def check(self, segmentIds) -> None:
        """Check these segments and no others."""
        self._filling = True
        for row, segmentId in enumerate(self._ids):
            checked = qt.Qt.Checked if segmentId in segmentIds else qt.Qt.Unchecked
            self._table.item(row, SEGMENT).setCheckState(checked)
        self._filling = False
        self._changed()

    def setEnabled(self, enabled: bool) -> None:
        """Let the user change the table, or not while a refinement runs."""
        self._table.enabled = enabled

    def _segmentItem(self, segment, segmentId: str, checked: bool):
        item = qt.QTableWidgetItem(segment.GetName() or segmentId)
        item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsUserCheckable)
        item.setCheckState(qt.Qt.Checked if checked else qt.Qt.Unchecked)
        item.setToolTip(_("Double-click to centre the views on it."))
        swatch = qt.QPixmap(12, 12)
        # A segment without a colour has negative values.
        swatch.fill(qt.QColor(*(min(max(round(255 * value), 0), 255) for value in segment.GetColor())))
        item.setIcon(qt.QIcon(swatch))
        return item

    def _templateBox(self, name: str):
        box = qt.QComboBox()
        box.addItem(_("choose the organ"), NO_TEMPLATE)
        for entry in self._entries:
            box.addItem(titleOf(entry.name), entry.name)
        if name and box.findData(name) < 0:
            box.addItem(_("{template} (not installed)").format(template=titleOf(name)), name)
        box.currentIndex = max(box.findData(name), 0)
        box.connect("currentIndexChanged(int)", self._onTemplate)
        return box

    def _nameAt(self, row: int) -> str:
        box = self._boxes[row]
        return box.itemData(box.currentIndex) or NO_TEMPLATE

    def _onTemplate(self, index: int) -> None:
        if self._filling:
            return
        self._filling = True
        for row in range(len(self._ids)):
            self._showLicence(row)
        self._filling = False
        self._changed()

    def _onChanged(self, item) -> None:
        if not self._filling:
            self._changed()

    def _onDoubleClick(self, row: int, column: int) -> None:
        if self._centre and 0 <= row < len(self._ids):
            self._centre(self._ids[row])

    def _showLicence(self, row: int) -> None:
        name = self._nameAt(row)
        entry = next((entry for entry in self._entries if entry.name == name), None)
        item = self._table.item(row, LICENCE)
        item.setFlags(qt.Qt.ItemIsEnabled)
        item.setText(licenceText(entry) if entry else "")
        item.setToolTip(entry.licence if entry else "")


def proposedTemplate(segment, entries) -> str:
    """Name of the template for a segment's code or name; empty where none is known.

    :param entries: TemplateChoice of each available template.
    """
    organ = proposedOrgan(segment.GetName() or "", terminologyOf(segment), [entry.name for entry in entries])
    for entry in entries:
        if organ and organ in (entry.name, entry.organ):
            return entry.name
    return NO_TEMPLATE


def titleOf(name: str) -> str:
    """Name of a template for people: "lung upper lobe right"."""
    return name.replace("_", " ")


def licenceText(entry) -> str:
    """Licence of a template, with what it forbids."""
    return _("{licence}, non-commercial").format(licence=entry.licence) if entry.nonCommercial else entry.licence


def terminologyOf(segment) -> str:
    """A segment's terminology as text; older Slicer versions keep it in a tag."""
    if hasattr(segment, "GetTerminology"):
        return segment.GetTerminology() or ""
    text = vtk.reference("")
    segment.GetTag("TerminologyEntry", text)
    return str(text)
