"""The Python packages in the panel: what is missing or does not work, installing, versions, the automatic device."""

import qt
from slicer.i18n import tr as _

PROBE_MS = 300


class PackagesControl:
    """The frame that is seen where packages are missing or broken, and the versions below the log.

    :param ui: widgets by name, see ReShapeIT.ui.
    :param environment: PanelEnvironment.
    :param changed: called without arguments when ``problem`` may have changed.
    :param say: shows a sentence to the user.
    :param log: LogBox.
    """

    def __init__(self, ui, environment, changed, say, log):
        self._ui, self._environment, self._changed, self._say, self._log = ui, environment, changed, say, log
        self._missing, self._broken, self._brokenProblem = environment.missing(), [], ""
        self._probe, self._timer = None, qt.QTimer()
        self._timer.setInterval(PROBE_MS)
        self._timer.connect("timeout()", self.pollProbe)
        ui.installButton.connect("clicked()", self.install)
        ui.reinstallButton.connect("clicked()", self.reinstall)
        ui.deviceReasonLabel.visible = False
        self._show()
        self._startProbe()

    @property
    def problem(self) -> str:
        """Why nothing can be computed and what to do; empty where it can."""
        return self._missing.sentence() if self._missing else self._brokenProblem

    def install(self) -> None:
        """Say what would be installed, ask, install."""
        from .dependencies import question

        missing = self._missing
        if missing and self._environment.confirm(question(missing)):
            self._change(lambda: self._environment.install(missing), _("The Python packages are installed."))

    def reinstall(self) -> None:
        """Say what would be replaced, ask, install again: what does not work, or everything."""
        from .dependencies import packageNames, reinstallQuestion

        names = self._broken or packageNames()
        if self._environment.confirm(reinstallQuestion(names)):
            self._change(lambda: self._environment.reinstall(names), _("The Python packages are installed again."))

    def pollProbe(self) -> None:
        """Show what the automatic device is, or which packages do not work, once it is known."""
        found = self._probe.poll() if self._probe else ("", "")
        if found is None:
            return
        self._timer.stop()
        if self._probe:
            self._broken, self._brokenProblem = self._probe.broken, self._probe.problem
            if self._brokenProblem:
                self._log.add(self._probe.log)
            self._probe = None
        device, reason = found
        self._ui.deviceReasonLabel.visible = bool(device)
        self._ui.deviceReasonLabel.text = (
            _("Automatic takes {device}: {reason}.").format(device=device, reason=reason) if device else ""
        )
        self._show()
        self._changed()

    def close(self) -> None:
        """Ask no longer."""
        self._timer.stop()
        if self._probe:
            self._probe.close()
            self._probe = None

    def _change(self, action, done: str) -> None:
        """Install or reinstall; in either case look again at what there is."""
        self.close()
        try:
            self._say(action() or done)
        except Exception as error:  # noqa: BLE001 - InstallError, or what pip's own dialogs raise
            self._say(str(error))
        self._missing, self._broken, self._brokenProblem = self._environment.missing(), [], ""
        self._show()
        self._startProbe()
        self._changed()

    def _startProbe(self) -> None:
        """Ask in the background; without the packages there is nothing to ask."""
        if self._probe is None and self._environment.deviceProbe and not self._missing:
            self._probe = self._environment.deviceProbe()
            self._timer.start()

    def _show(self) -> None:
        self._ui.dependencyFrame.visible = bool(self.problem)
        self._ui.dependencyLabel.text = self.problem
        self._ui.installButton.visible = bool(self._missing)
        if self._missing:
            self._ui.installButton.text = self._missing.action()
        self._ui.versionsLabel.text = self._environment.versions()
