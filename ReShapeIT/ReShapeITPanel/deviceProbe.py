"""Which device "automatic" takes and why, and whether the Python packages work, found out by a process of its own.

Importing torch takes seconds, and once it is imported on Windows it cannot be installed again.
"""

import contextlib
import json
import subprocess
import tempfile

from ReShapeITSlicer.library import processEnvironment, pythonProgram
from ReShapeITSlicer.processTree import killTree, quietProcess
from slicer.i18n import tr as _

from .dependencies import label, packageNames

_PROGRAM = """
import importlib, json, sys
broken, device = [], ["", ""]
for name in sys.argv[1:]:
    try:
        package = importlib.import_module(name)
        if name == "torch":
            package.zeros(1).numpy()
    except Exception as error:
        broken.append([name, (str(error).strip() or type(error).__name__).splitlines()[0]])
if not broken:
    from ReShapeITLib.core.device import choose_device
    chosen = choose_device("auto")
    device = [chosen.name, chosen.reason]
print(json.dumps([*device, broken]))
"""
_NOTHING = "", ""


class DeviceProbe:
    """Asks once, in the background. After the answer ``broken``, ``problem`` and ``log`` say more.

    ``broken``: names of packages that are installed but cannot be used; ``problem``: sentences about them for the
    user; ``log``: what the process wrote to its standard error.

    :param python: the Python to ask; PythonSlicer, or this very Python, by default.
    """

    def __init__(self, python: str | None = None):
        self.broken, self.problem, self.log = [], "", ""
        self._answer, self._process = None, None
        # Files, not pipes: a pipe ends only with the last process that holds it, and a full one stops the process.
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the answer
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the answer
        command = [python or pythonProgram(), "-c", _PROGRAM, *packageNames()]
        try:
            self._process = subprocess.Popen(
                command,
                env=processEnvironment(),
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._errors,
                **quietProcess(ownGroup=True),
            )
        except OSError as error:
            self._finish(_NOTHING, f"{command[0]}: {error}")

    def poll(self) -> tuple[str, str] | None:
        """Device and reason once they are known, ("", "") where the question failed, None while it is asked."""
        if self._answer is None and self._process.poll() is not None:
            answer = self._read() if self._process.returncode == 0 else _NOTHING
            # A launcher that failed may have left the Python that it launched.
            if self._process.returncode:
                killTree(self._process)
            self._finish(answer, _text(self._errors))
        return self._answer

    def close(self) -> None:
        """Ask no longer."""
        if self._answer is None:
            killTree(self._process)
            self._finish(_NOTHING, _text(self._errors))

    def _read(self) -> tuple[str, str]:
        lines = _text(self._output).splitlines()
        with contextlib.suppress(ValueError, TypeError):
            device, reason, broken = json.loads(lines[-1] if lines else "")
            self.broken = [name for name, _why in broken]
            self.problem = " ".join(
                _("{name} is installed but does not work ({why}): press Reinstall.").format(name=label(name), why=why)
                for name, why in broken
            )
            return device, reason
        return _NOTHING

    def _finish(self, answer: tuple[str, str], log: str) -> None:
        self._answer, self.log = answer, log
        self._output.close()
        self._errors.close()


def _text(file) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace").strip()
