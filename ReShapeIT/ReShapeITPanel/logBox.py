"""The log of the last refinement, to read and to copy; all of it also goes to the application's own log."""

import logging

from slicer.i18n import tr as _

LOGGER = logging.getLogger("ReShapeIT")


class LogBox:
    """The lower end of the panel.

    :param ui: widgets by name: logTextEdit, copyLogButton.
    :param clipboard: function to the QClipboard.
    """

    def __init__(self, ui, clipboard):
        self._ui, self._clipboard = ui, clipboard
        ui.copyLogButton.connect("clicked()", self.copy)
        self.show("")

    def show(self, text: str) -> None:
        """Show this in place of what was there."""
        self._ui.logTextEdit.setPlainText(text)
        self._ui.copyLogButton.enabled = bool(text)
        if text:
            LOGGER.info(text)

    def add(self, text: str) -> None:
        """Show this below what is there."""
        before = self._ui.logTextEdit.toPlainText()
        self._ui.logTextEdit.setPlainText(f"{before}\n{text}".strip())
        self._ui.copyLogButton.enabled = True
        LOGGER.error(text)

    def copy(self) -> None:
        """Put the text on the clipboard."""
        self._clipboard().setText(self._ui.logTextEdit.toPlainText())
        self._ui.copyLogButton.toolTip = _("The log is on the clipboard.")
