"""The device probe: what it answers, what it says about packages that do not work, and that nothing of it stays."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("slicer", reason="the probe belongs to the Slicer module")
pytest.importorskip("PySide6", reason="the panel's tests need PySide6-Essentials")
psutil = pytest.importorskip("psutil", reason="processes are counted with psutil")

from Testing.Slicer import slicer_python

slicer_python.install()

from ReShapeITPanel import sampleData
from ReShapeITPanel.deviceProbe import DeviceProbe

needs_sh = pytest.mark.skipif(sys.platform == "win32", reason="the launcher of this test is a shell script")
# As PythonSlicer, a launcher that starts the real Python and waits for it; here one that never ends.
LAUNCHER = '#!/bin/sh\n"{python}" -c "import time; time.sleep(600)"\nexit $?\n'
ORPHANING = "#!/bin/sh\nsleep 600 &\necho $! > {pid}\nexit 1\n"


def program(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


def package(folder: Path, name: str, code: str) -> None:
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(code)


def answer(probe: DeviceProbe, seconds: float = 120.0) -> tuple[str, str]:
    end = time.monotonic() + seconds
    while (found := probe.poll()) is None:
        assert time.monotonic() < end, "the probe does not answer"
        time.sleep(0.02)
    return found


def is_gone(process) -> bool:
    _gone, alive = psutil.wait_procs([process], timeout=30)
    return not [left for left in alive if left.status() != psutil.STATUS_ZOMBIE]


def test_the_answer_is_a_device_and_why(monkeypatch):
    probe = DeviceProbe(sys.executable)
    device, reason = answer(probe)
    assert device in ("cpu", "cuda", "mps") and reason
    assert (probe.broken, probe.problem) == ([], "")
    assert probe.poll() == (device, reason), "asked again it says the same"


@needs_sh
def test_close_ends_the_python_behind_the_launcher(tmp_path):
    before = set(psutil.Process().children(recursive=True))
    probe = DeviceProbe(program(tmp_path / "PythonSlicer", LAUNCHER.format(python=sys.executable)))
    python, end = None, time.monotonic() + 30
    while python is None and time.monotonic() < end:
        started = [child for child in psutil.Process().children(recursive=True) if child not in before]
        python = next((child for child in started if child.name().startswith("python")), None)
        time.sleep(0.02)
    probe.close()
    assert is_gone(python)
    assert probe.poll() == ("", "")


@needs_sh
def test_a_launcher_that_dies_takes_the_python_behind_it_along(tmp_path):
    pid = tmp_path / "pid"
    assert answer(DeviceProbe(program(tmp_path / "PythonSlicer", ORPHANING.format(pid=pid)))) == ("", "")
    number = int(pid.read_text())
    assert not psutil.pid_exists(number) or is_gone(psutil.Process(number))


@needs_sh
def test_a_probe_that_fails_tells_nothing_and_keeps_what_was_said_for_the_log(tmp_path):
    probe = DeviceProbe(program(tmp_path / "PythonSlicer", "#!/bin/sh\necho the driver is too old >&2\nexit 3\n"))
    assert answer(probe) == ("", "")
    assert probe.problem == "" and probe.log == "the driver is too old"


def test_a_python_that_is_not_there_tells_nothing():
    probe = DeviceProbe("no-python")
    assert probe.poll() == ("", "") and "no-python" in probe.log
    probe.close()


def test_a_package_that_is_there_but_does_not_work_is_told(tmp_path, monkeypatch):
    package(tmp_path, "psutil", 'raise ImportError("DLL load failed\\nmore")')
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    probe = DeviceProbe(sys.executable)
    assert answer(probe) == ("", "")
    assert probe.broken == ["psutil"]
    assert probe.problem == "psutil is installed but does not work (DLL load failed): press Reinstall."


def test_a_torch_that_does_not_get_on_with_numpy_is_told(tmp_path, monkeypatch):
    fails = "class Tensor:\n    def numpy(self):\n        raise RuntimeError('Numpy is not available')\n"
    package(tmp_path, "torch", fails + "def zeros(size):\n    return Tensor()\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    probe = DeviceProbe(sys.executable)
    assert answer(probe) == ("", "")
    assert probe.broken == ["torch"] and "Numpy is not available" in probe.problem


@pytest.mark.parametrize("start", [lambda folder: DeviceProbe("python"), lambda folder: _make(folder)])
def test_no_console_window_opens_on_windows(start, tmp_path, monkeypatch):
    asked = []

    def popen(command, **arguments):
        asked.append(arguments)
        raise OSError(2, "not on this system")

    monkeypatch.setattr(subprocess, "Popen", popen)
    monkeypatch.setattr(sys, "platform", "win32")
    start(tmp_path)
    (arguments,) = asked
    assert arguments["creationflags"] & 0x08000000


def _make(folder: Path) -> None:
    with pytest.raises(sampleData.SampleDataError, match="cannot be started"):
        sampleData.makeSamplePatient(folder)
