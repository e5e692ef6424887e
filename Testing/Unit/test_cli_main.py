"""The command as a whole: help, usage errors, and how errors become one line and an exit code."""

from __future__ import annotations

import errno
import subprocess
import sys

import pytest

from ReShapeITLib.cli import main as command
from ReShapeITLib.cli import templates
from ReShapeITLib.core.errors import CancelledError, ImplausibleError


def failing(monkeypatch, error: BaseException, *options: str) -> int:
    """Exit code of ``reshapeit templates`` where the subcommand raises ``error``."""

    def run(arguments):
        raise error

    monkeypatch.setattr(templates, "run_list", run)
    return command.main(["templates", *options])


def only_line(capsys) -> str:
    text = capsys.readouterr().err
    assert text.count("\n") == 1 and text.endswith("\n")
    return text


def test_help_names_every_subcommand(capsys):
    assert command.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in ("refine", "prepare", "train", "templates", "metrics", "demo"))


def test_help_and_usage_errors_import_nothing_heavy():
    code = (
        "import sys; from ReShapeITLib.cli.main import main; "
        "assert main(['refine', '--help']) == 0 and main(['refine']) == 2; "
        "assert not {'torch', 'vtk', 'skimage', 'SimpleITK', 'trimesh'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_version_and_help_import_no_subcommand():
    code = (
        "import sys; from ReShapeITLib.cli.main import main; assert main(['--version']) == main(['--help']) == 0; "
        "assert not [name for name in sys.modules if name.startswith(('ReShapeITLib.job', 'ReShapeITLib.cli.refine'))]"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_no_subcommand_is_a_usage_error(capsys):
    assert command.main([]) == 2
    assert "COMMAND" in only_line(capsys)


def test_an_unknown_option_is_named_in_one_line(capsys):
    assert command.main(["refine", "a.nrrd", "--template", "x", "--output", "b.nrrd", "--sharpen"]) == 2
    assert "--sharpen" in only_line(capsys)


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (ImplausibleError("it does not look like liver"), 3, "does not look like"),
        (CancelledError("cancelled; nothing was written"), 130, "cancelled"),
        (KeyboardInterrupt(), 130, "cancelled"),
        (MemoryError(), 1, "too little free memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"), 1, "too little free memory"),
        (OSError(errno.ENOSPC, "No space left on device"), 2, "disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "case.nrrd"), 2, "case.nrrd"),
        (ZeroDivisionError("in\ntwo lines"), 1, "--debug"),
    ],
)
def test_an_error_becomes_one_line_and_its_exit_code(monkeypatch, capsys, error, code, words):
    assert failing(monkeypatch, error) == code
    assert words in only_line(capsys)


def test_a_gpu_without_memory_is_told_with_what_to_do(monkeypatch, capsys):
    torch = pytest.importorskip("torch")
    assert failing(monkeypatch, torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate ...")) == 1
    assert "--device cpu" in only_line(capsys)


def test_debug_shows_the_traceback(monkeypatch, capsys):
    assert failing(monkeypatch, ZeroDivisionError("x"), "--debug") == 1
    assert "Traceback" in capsys.readouterr().err
