"""Which device "automatic" takes and why, found out by a process of its own: importing torch takes seconds."""

import json
import subprocess

from ReShapeITSlicer.library import processEnvironment, pythonProgram

_PROGRAM = (
    "import json; from ReShapeITLib.device import choose_device; device = choose_device('auto'); "
    "print(json.dumps([device.name, device.reason]))"
)


class DeviceProbe:
    """Asks once, in the background.

    :param python: the Python to ask; PythonSlicer, or this very Python, by default.
    """

    def __init__(self, python: str | None = None):
        self._process = subprocess.Popen(
            [python or pythonProgram(), "-c", _PROGRAM], env=processEnvironment(), stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def poll(self) -> tuple[str, str] | None:
        """Device and reason once they are known, ("", "") where the question failed, None while it is asked."""
        if self._process.poll() is None:
            return None
        try:
            name, reason = json.loads(self._process.stdout.read())
        except ValueError:
            return "", ""
        finally:
            self._process.stdout.close()
        return name, reason

    def close(self) -> None:
        """Ask no longer."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()
