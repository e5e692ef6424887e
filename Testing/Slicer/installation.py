"""A folder laid out as an installed Slicer with this extension, started by launchers with CTKAppLauncher's rules.

    Slicer                                      launcher, on macOS absent
    bin/PythonSlicer                            launcher of bin/python-real
    bin/SlicerLauncherSettings.ini ...          what launchers set up
    slicer.org/Slicer-33366.ini                 what the Extensions Manager adds for ``Slicer``
    slicer.org/Extensions-33366/ReShapeIT/...   the extension

This file is the launcher, too: ``python installation.py FOLDER NAME ARGUMENT ...``. ``RESHAPEIT_APP_LAUNCHER`` names a
real CTKAppLauncher to take instead.
"""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

REVISION, VERSION, ORGANISATION = "33366", "5.12", "slicer.org"
VARIABLE = "RESHAPEIT_APP_LAUNCHER"
_SCRIPTED, _MODULES = f"lib/Slicer-{VERSION}/qt-scripted-modules", f"lib/Slicer-{VERSION}/cli-modules"
_APPLICATION = f"name=Slicer\nrevision={REVISION}\norganizationDomain={ORGANISATION}\norganizationName={ORGANISATION}\n"
# As the packages of Slicer have them, without what concerns Qt and ITK.
_SLICER_SETTINGS = f"""
[General]
launcherNoSplashScreen=true
userAdditionalSettingsFileBaseName=
[Application]
path=<APPLAUNCHER_DIR>/bin/SlicerApp-real
{_APPLICATION}
[Environment]
additionalPathVariables=PYTHONPATH
[Paths]
1\\path=<APPLAUNCHER_SETTINGS_DIR>/../bin
2\\path=<APPLAUNCHER_SETTINGS_DIR>/../{_MODULES}
size=2
[PYTHONPATH]
1\\path=<APPLAUNCHER_SETTINGS_DIR>/../{_SCRIPTED}
size=1
[EnvironmentVariables]
SLICER_HOME=<APPLAUNCHER_SETTINGS_DIR>/..
"""
_PYTHON_SETTINGS = f"""
[General]
launcherNoSplashScreen=true
userAdditionalSettingsFileBaseName=
additionalSettingsFilePath=<APPLAUNCHER_SETTINGS_DIR>/SlicerLauncherSettings.ini
additionalSettingsExcludeGroups=General,Application,ExtraApplicationToLaunch
[Application]
path=<APPLAUNCHER_DIR>/./python-real
{_APPLICATION}
[Environment]
additionalPathVariables=PYTHONPATH
[Paths]
1\\path=<APPLAUNCHER_DIR>
size=1
[EnvironmentVariables]
PYTHONNOUSERSITE=1
"""
_EXTENSION_SETTINGS = """
[Paths]
1\\path={extension}/{modules}
size=1
[PYTHONPATH]
1\\path={extension}/{scripted}
size=1
"""


class Installation:
    """A Slicer with the extension.

    Args:
        folder: where it goes; made.
        checkout: root of this project.
        site: whether its Python has the packages that the library needs.
    """

    def __init__(self, folder: Path, checkout: Path, site: bool = True):
        self.folder = folder
        binaries = folder / "bin"
        binaries.mkdir(parents=True)
        settings = folder / ORGANISATION
        self.extension = settings / f"Extensions-{REVISION}" / "ReShapeIT"
        self.modules, self.scripted = self.extension / _MODULES, self.extension / _SCRIPTED
        shutil.copytree(
            checkout / "ReShapeITLib", self.scripted / "ReShapeITLib", ignore=shutil.ignore_patterns("__pycache__")
        )
        numbers = self.scripted / "Resources" / "Restoration" / "calibration.json"
        numbers.parent.mkdir(parents=True)
        shutil.copyfile(checkout / "Resources" / "Restoration" / numbers.name, numbers)
        self.modules.mkdir(parents=True)
        for suffix in (".py", ".xml"):
            shutil.copyfile(
                checkout / "ReShapeIT" / "ReShapeITRefine" / f"ReShapeITRefine{suffix}",
                self.modules / f"ReShapeITRefine{suffix}",
            )
        (binaries / "SlicerLauncherSettings.ini").write_text(_SLICER_SETTINGS, encoding="utf-8")
        (binaries / "PythonSlicerLauncherSettings.ini").write_text(_PYTHON_SETTINGS, encoding="utf-8")
        text = _EXTENSION_SETTINGS.format(extension=self.extension, modules=_MODULES, scripted=_SCRIPTED)
        (settings / f"Slicer-{REVISION}.ini").write_text(text, encoding="utf-8")
        _executable(binaries / "python-real", f'exec "{sys.executable}" {"" if site else "-S"} "$@"')
        for launcher in (folder / "Slicer", binaries / "PythonSlicer"):
            _make_launcher(launcher)

    @property
    def script(self) -> Path:
        """The command-line module: ``slicer.modules.reshapeitrefine.path``."""
        return self.modules / "ReShapeITRefine.py"

    def run(self, program: str, *words, **options) -> subprocess.CompletedProcess:
        """Run a program of the installation from a shell that knows nothing of it."""
        known = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
        environment = {**known, "QT_QPA_PLATFORM": "offscreen", **options.pop("env", {})}
        command = [str(self.folder / program), *map(str, words)]
        options = {"cwd": self.folder, "capture_output": True, "text": True, "timeout": 300, **options}
        return subprocess.run(command, env=environment, **options, check=False)


def _make_launcher(path: Path) -> None:
    real = os.environ.get(VARIABLE)
    if real:
        shutil.copy(real, path)
    else:
        _executable(path, f'exec "{sys.executable}" -S "{Path(__file__).resolve()}" "{path.parent}" {path.name} "$@"')


def _executable(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
    path.chmod(0o755)


class Settings:
    """What the settings files of a launcher say, joined as CTKAppLauncher joins them.

    Args:
        folder: of the launcher.
        name: of the launcher.
    """

    def __init__(self, folder: Path, name: str):
        self._folder, self._variables = folder, {}
        self.paths: dict[str, list[str]] = {"PATH": [], "LD_LIBRARY_PATH": []}
        candidates = (folder / sub / f"{name}LauncherSettings.ini" for sub in (".", "bin", "lib"))
        file = next(path for path in candidates if path.is_file())
        regular = self._read(file)
        self.application = self._filled(regular["Application"]["path"], file)
        user = f"{regular['Application']['name']}-{regular['Application']['revision']}.ini"
        config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
        for candidate in (folder / ORGANISATION / user, config / ORGANISATION / user):
            if candidate.is_file():
                self._read(candidate)
                break
        if "additionalSettingsFilePath" in regular["General"]:
            self._read(Path(self._filled(regular["General"]["additionalSettingsFilePath"], file)))

    def environment(self, given: dict[str, str]) -> dict[str, str]:
        """``given`` with what the settings set, and with their folders put before those of ``given``."""
        made = {**given, **self._variables}
        for name, folders in self.paths.items():
            known = [made[name]] if made.get(name) else []
            made[name] = os.pathsep.join([*folders, *known])
        return made

    def found(self, program: str, windows: bool = os.name == "nt") -> str:
        """Where ``--launch`` looks for a program: relative names in the folders of PATH."""
        if os.path.isabs(program):
            return program
        if windows and "." not in program:
            program += ".exe"
        for folder in (*self.paths["PATH"], *os.environ.get("PATH", "").split(os.pathsep)):
            path = os.path.join(folder, program)
            if os.path.isfile(path) and os.access(path, os.X_OK):
                return path
        return program

    def _read(self, file: Path) -> configparser.ConfigParser:
        settings = configparser.ConfigParser(interpolation=None, strict=False)
        settings.optionxform = str
        settings.read(file, encoding="utf-8")
        names = settings.get("Environment", "additionalPathVariables", fallback="").split(",")
        for name in filter(None, names):
            self.paths.setdefault(name, [])
        groups = {"PATH": "Paths", "LD_LIBRARY_PATH": "LibraryPaths"}
        for name, before in self.paths.items():
            group = groups.get(name, name)
            keys = settings.options(group) if settings.has_section(group) else []
            folders = [settings.get(group, key) for key in keys if re.fullmatch(r"\d+\\path", key)]
            self.paths[name] = [self._filled(folder, file) for folder in folders] + before
        if settings.has_section("EnvironmentVariables"):
            pairs = settings.items("EnvironmentVariables")
            self._variables |= {key: self._filled(value, file) for key, value in pairs}
        return settings

    def _filled(self, text: str, file: Path) -> str:
        folders = {"<APPLAUNCHER_DIR>": self._folder, "<APPLAUNCHER_SETTINGS_DIR>": file.parent.resolve()}
        for name, folder in folders.items():
            text = text.replace(name, str(folder))
        return text


def main(argv: list[str]) -> int:
    """The launcher; returns its exit code."""
    folder, name, *words = argv
    settings = Settings(Path(folder), name)
    program = settings.application
    if words[:1] == ["--launch"]:
        program, words = settings.found(words[1]), words[2:]
    if not os.path.isfile(program):
        return _failed(f"Application does NOT exist [{program}]")
    if not os.access(program, os.X_OK):
        return _failed(f"Application is NOT executable [{program}]")
    code = subprocess.call([program, *words], env=settings.environment(dict(os.environ)))
    if code < 0:
        return _failed(f"[{program}] exit abnormally - Report the problem.")
    return code


def _failed(message: str) -> int:
    print(f"error: {message}", file=sys.stderr, flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
