"""Refine, progress and Cancel: drives a refinement task from a timer and says in words where it is."""

import traceback

import qt
from ReShapeITSlicer.errors import RefinementError
from slicer.i18n import tr as _

POLL_MS = 100
PROGRESS_STEPS = 1000


class RunControl:
    """The part of the panel that is busy while a refinement runs.

    :param ui: widgets by name: progressBar, statusLabel, cancelButton.
    :param finished: called with the task when it has ended, whatever the end.
    :param log: LogBox.
    """

    def __init__(self, ui, finished, log):
        self._ui, self._finished, self._log = ui, finished, log
        self.task = None
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.connect("timeout()", self.poll)
        ui.cancelButton.connect("clicked()", self.cancel)
        self._show(0.0, "")

    @property
    def isRunning(self) -> bool:
        """True from start to end of a task."""
        return self.task is not None

    def start(self, createTask) -> bool:
        """Make a task and start it; False, with the reason shown, where it cannot.

        :param createTask: function without arguments to a RefinementTask.
        """
        try:
            task = createTask()
            task.start()
        except RefinementError as error:
            self._show(0.0, str(error))
            return False
        except Exception:  # noqa: BLE001 - the log shows what it was
            self._log.add(traceback.format_exc())
            self._show(0.0, _("The refinement could not be started; the log below says why."))
            return False
        self.task = task
        self._ui.cancelButton.enabled = True
        self._show(0.0, _("Starting..."))
        self._timer.start()
        return True

    def poll(self) -> None:
        """Ask the task how far it is; at the end, tell and hand over."""
        if self.task is None:
            return
        status = self.task.poll()
        if not status.isFinished:
            self._show(status.fraction, progressText(status))
            return
        task = self._stop()
        if status.state == "done":
            self._show(1.0, "\n".join([_("Done. Review what changed below."), *task.notices]))
        else:
            self._show(0.0, status.message)
        self._finished(task)

    def cancel(self) -> None:
        """Stop the task; the scene is as it was."""
        if self.task is None:
            return
        self.task.cancel()
        task = self._stop()
        self._show(0.0, task.status.message or _("Cancelled; the scene is as it was."))
        self._finished(task)

    def say(self, text: str) -> None:
        """Show a sentence where the progress is told."""
        self._ui.statusLabel.text = text

    def _stop(self):
        self._timer.stop()
        self._ui.cancelButton.enabled = False
        task, self.task = self.task, None
        self._log.show(task.log)
        return task

    def _show(self, fraction: float, text: str) -> None:
        self._ui.progressBar.value = round(PROGRESS_STEPS * fraction)
        self._ui.statusLabel.text = text


def progressText(status) -> str:
    """Stage and time left of a running task in words."""
    stages = {
        "read": _("Reading the segments"),
        "surface": _("Building the given surface"),
        "align": _("Aligning the template"),
        "restore": _("Looking for damage"),
        "fit": _("Fitting the template"),
        "blend": _("Keeping what agrees"),
        "image": _("Asking the image"),
        "voxels": _("Relabelling voxels"),
        "mesh": _("Building the refined surface"),
        "write": _("Writing"),
    }
    parts = [stages.get(status.stage, status.stage), status.message.replace("_", " "), timeLeftText(status.secondsLeft)]
    return ", ".join(part for part in parts if part)


def timeLeftText(seconds: float | None) -> str:
    """Time left, as exactly as it is known."""
    if seconds is None:
        return ""
    if seconds < 5:
        return _("a few seconds left")
    if seconds < 90:
        return _("about {count} s left").format(count=5 * round(seconds / 5))
    return _("about {count} min left").format(count=round(seconds / 60))
