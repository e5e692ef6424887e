"""The batch section: cases in, a queue with progress, then a review one organ after the other."""

import time
from dataclasses import dataclass

import qt
from ReShapeITSlicer.batch.run import batchArguments
from ReShapeITSlicer.batch.shown import ShownOrgan
from ReShapeITSlicer.batch.table import BatchTable
from ReShapeITSlicer.errors import RefinementError
from slicer.i18n import tr as _

from ..review.views import jumpTo
from ..runControl import PROGRESS_STEPS, timeLeftText
from .queue import BatchQueue

POLL_MS, REST_MS = 300, 120
AUTO = "auto"


@dataclass(frozen=True)
class BatchEnvironment:
    """What the batch section needs of the world around it.

    :param createRun: function to a BatchRun.
    :param missing: function to what a batch needs and is not installed, see ``dependencies.Missing``.
    :param askFolder: function (title) to a folder, or to nothing; None for Qt's dialog.
    :param askTable: function (title) to a CSV file, or to nothing; None for Qt's dialog.
    """

    createRun: object
    missing: object
    askFolder: object = None
    askTable: object = None


class BatchControl:
    """Connects the widgets of the batch section.

    :param ui: widgets by name, see ReShapeIT.ui.
    :param scene: vtkMRMLScene.
    :param environment: BatchEnvironment.
    :param panel: PanelEnvironment, for questions, installing and templates.
    :param options: function to the RefinementOptions that the panel says.
    :param problem: function to a sentence why nothing can be computed; "" where it can.
    :param log: LogBox.
    """

    def __init__(self, ui, scene, environment, panel, options, problem, log):
        self._ui, self._scene, self._environment, self._panel = ui, scene, environment, panel
        self._options, self._problem, self._log = options, problem, log
        self.run, self.table, self.shown, self.secondsOfLast = None, BatchTable(), ShownOrgan(scene), None
        self.queue = BatchQueue(ui.batchTable, self._onSelected)
        self._timer, self._rest = qt.QTimer(), qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.connect("timeout()", self.poll)
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.connect("timeout()", self.showSelected)
        self._fillTemplates()
        self._connect()
        self.refresh()

    @property
    def isRunning(self) -> bool:
        """A batch is at work."""
        return self.run is not None

    def refresh(self) -> None:
        """Enable what can be done now."""
        ui, running, row = self._ui, self.isRunning, self.queue.selected()
        for widget in (ui.batchSourceEdit, ui.batchOutputEdit, ui.batchTemplateComboBox):
            widget.setEnabled(not running)
        for widget in (ui.batchFolderButton, ui.batchTableButton, ui.batchOutputButton):
            widget.setEnabled(not running)
        named = bool(ui.batchSourceEdit.text.strip() and ui.batchOutputEdit.text.strip())
        ui.batchStartButton.setEnabled(named and not running)
        ui.batchCancelButton.setEnabled(running)
        canDecide = row is not None and row.canBeShown
        for widget in (ui.batchAcceptButton, ui.batchRejectButton):
            widget.setEnabled(canDecide)
        for widget in (ui.batchPreviousButton, ui.batchNextButton):
            widget.setEnabled(any(one.canBeShown for one in self.queue.rows))

    def start(self) -> None:
        """Run the batch, or go on with it."""
        if self.isRunning or not self._isInstalled():
            return
        ui = self._ui
        folder = ui.batchOutputEdit.text.strip()
        template = ui.batchTemplateComboBox.itemData(ui.batchTemplateComboBox.currentIndex)
        arguments = batchArguments(ui.batchSourceEdit.text.strip(), folder, template, self._options())
        run = self._environment.createRun()
        try:
            run.start(arguments)
        except RefinementError as error:
            self._say(str(error))
            return
        self.run = run
        self.openResults()
        self._say(_("Starting..."))
        self._timer.start()
        self.refresh()

    def cancel(self) -> None:
        """Stop the batch; what is done stays done."""
        if self.run is not None:
            self._say(_("Stopping..."))
            self.run.stop()

    def poll(self) -> None:
        """Ask how far the batch is, and read what is done."""
        if self.run is None:
            self._timer.stop()
            return
        status = self.run.poll()
        self._refill()
        if not status.isFinished:
            share = status.message or _("reading the cases")
            self._ui.batchProgressBar.value = round(PROGRESS_STEPS * status.fraction)
            self._say(", ".join(text for text in (share, timeLeftText(status.secondsLeft)) if text))
            return
        run, self.run = self.run, None
        self._timer.stop()
        self._log.show("\n".join(run.log))
        self._ui.batchProgressBar.value = round(PROGRESS_STEPS * (status.fraction if status.state != "done" else 1))
        self._say(_ending(run, status))
        self.refresh()

    def openResults(self) -> None:
        """Read the table in the folder of the results, also one that the command line wrote."""
        try:
            self.table.open(self._ui.batchOutputEdit.text.strip())
        except RefinementError as error:
            self._say(str(error))
        self._rest.stop()
        self.queue.fill(self.table.rows)
        self.refresh()

    def decide(self, decision: str) -> None:
        """Accept or reject the selected organ ("" takes it back) and go on to the next that is open."""
        row = self.queue.selected()
        if row is None or not row.canBeShown:
            return
        try:
            self.table.decide(row, decision)
        except RefinementError as error:
            self._say(str(error))
            return
        self.queue.fill(self.table.rows)
        open_ = sum(one.canBeShown and not one.decision for one in self.table.rows)
        self._say(_("{count} to decide").format(count=open_) if open_ else _("All organs are decided."))
        if decision:
            self.queue.move(1, openOnly=True)
        self.refresh()

    def showSelected(self) -> None:
        """Put the selected organ into the scene, in the place of the one before."""
        row, begun = self.queue.selected(), time.monotonic()
        if row is None or not row.canBeShown:
            return
        try:
            place = self.shown.show(row)
        except RefinementError as error:
            self._say(str(error))
            return
        jumpTo(self._scene, place)
        self.secondsOfLast = time.monotonic() - begun

    def leaveScene(self) -> None:
        """The scene closes: nothing is shown any more; the batch goes on, decisions are in the table."""
        self._rest.stop()
        self.shown.close()

    def close(self) -> None:
        """The application ends, and with it the batch; the next one goes on where it was."""
        self.leaveScene()
        self._timer.stop()
        if self.run is not None:
            self.run.cancel()
            self.run = None

    def _connect(self) -> None:
        ui = self._ui
        ui.batchFolderButton.connect("clicked()", lambda: self._ask("askFolder", ui.batchSourceEdit))
        ui.batchTableButton.connect("clicked()", lambda: self._ask("askTable", ui.batchSourceEdit))
        ui.batchOutputButton.connect("clicked()", lambda: self._ask("askFolder", ui.batchOutputEdit))
        ui.batchSourceEdit.connect("textChanged(QString)", lambda text: self.refresh())
        ui.batchOutputEdit.connect("textChanged(QString)", lambda text: self.openResults())
        ui.batchStartButton.connect("clicked()", self.start)
        ui.batchCancelButton.connect("clicked()", self.cancel)
        actions = {
            "P": (ui.batchPreviousButton, lambda: self.queue.move(-1)),
            "N": (ui.batchNextButton, lambda: self.queue.move(1)),
            "A": (ui.batchAcceptButton, lambda: self.decide("accepted")),
            "R": (ui.batchRejectButton, lambda: self.decide("rejected")),
        }
        self._keys = [self._key("Backspace", lambda: self.decide(""))]
        for key, (button, action) in actions.items():
            button.connect("clicked()", action)
            self._keys.append(self._key(key, action))

    def _key(self, keys: str, action):
        """A key that works while the table has the focus."""
        shortcut = qt.QShortcut(qt.QKeySequence(keys), self._ui.batchTable)
        shortcut.setContext(qt.Qt.WidgetWithChildrenShortcut)
        shortcut.connect("activated()", action)
        return shortcut

    def _fillTemplates(self) -> None:
        box = self._ui.batchTemplateComboBox
        box.addItem(_("By the organs' names"), AUTO)
        for entry in self._panel.templates():
            box.addItem(entry.name.replace("_", " "), entry.name)

    def _isInstalled(self) -> bool:
        """All packages are there, or the user let them be installed."""
        problem, missing = self._problem(), self._environment.missing()
        if problem or not missing:
            self._say(problem)
            return not problem
        names = ", ".join(missing.packageLines)
        if not self._panel.confirm(_("A batch needs the Python packages {names}. Install them?").format(names=names)):
            return False
        try:
            self._say(self._panel.install(missing) or "")
        except Exception as error:  # noqa: BLE001 - its text is for the user
            self._say(str(error))
            return False
        return not self._environment.missing()

    def _onSelected(self) -> None:
        self.refresh()
        self._rest.start()

    def _refill(self) -> None:
        try:
            if self.table.refresh():
                self.queue.fill(self.table.rows)
                self.refresh()
        except RefinementError as error:
            self._say(str(error))

    def _ask(self, what: str, edit) -> None:
        isFolder = what == "askFolder"
        title = _("Choose a folder") if isFolder else _("Choose a table of cases")
        chosen = (getattr(self._environment, what) or (_askFolder if isFolder else _askTable))(title)
        if chosen:
            edit.text = str(chosen)

    def _say(self, text: str) -> None:
        self._ui.batchStatusLabel.text = text


def _ending(run, status) -> str:
    """How a batch ended, in words."""
    if status.state == "cancelled":
        return _("Stopped. Start it again to go on; what is done stays.")
    if status.state == "failed":
        return status.message
    result = run.result
    words = _("{done} done, {refused} refused, {failed} failed.").format(
        done=result.get("done", 0), refused=result.get("refused", 0), failed=result.get("failed", 0)
    )
    return "\n".join([words, *run.notices])


def _askFolder(title: str) -> str:
    return qt.QFileDialog.getExistingDirectory(None, title)


def _askTable(title: str) -> str:
    chosen = qt.QFileDialog.getOpenFileName(None, title, "", _("Comma-separated values (*.csv)"))
    return chosen if isinstance(chosen, str) else chosen[0]  # PySide gives the chosen filter, too
