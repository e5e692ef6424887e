"""The Python packages that refining needs: which are missing, what installing them means, installing them.

Nothing is installed before the user agreed. PyTorch comes through the PyTorch extension only, because a plain pip
install brings builds that do not fit the GPU; the rest through ``slicer.packaging`` (Slicer 5.12), which keeps the
window alive, or ``slicer.util.pip_install`` (before).
"""

import importlib
import importlib.metadata
import importlib.util
import platform
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

from slicer.i18n import tr as _

TORCH_VERSION = ">=2.2"
# PyTorch before 2.3 was built for NumPy 1; Slicer 5.10 and later bring NumPy 2.
TORCH_FOR_NUMPY_2, NUMPY_1 = ">=2.3", "numpy>=1.26.4,<2"
REQUIREMENTS_FILE = Path(__file__).resolve().parents[1] / "Resources" / "requirements.txt"
BATCH_REQUIREMENTS_FILE = REQUIREMENTS_FILE.with_name("requirements-batch.txt")
LABELS = {"torch": "PyTorch", "numpy": "NumPy"}


class InstallError(Exception):
    """Why the packages could not be installed and what to do, in one sentence or two for the user."""


@dataclass(frozen=True)
class Missing:
    """What is not installed, too old, or does not fit together.

    :param packages: requirement lines such as "safetensors>=0.4".
    :param torch: PyTorch is missing.
    :param torchTooOld: PyTorch is there, but of a version that is not enough.
    :param torchNumpyClash: PyTorch, or the only one there is for this system, does not work with this NumPy.
    """

    packages: list[str] = field(default_factory=list)
    torch: bool = False
    torchTooOld: bool = False
    torchNumpyClash: bool = False

    def __bool__(self) -> bool:
        return bool(self.packages or self.torch or self.torchTooOld or self.torchNumpyClash)

    @property
    def torchRequirement(self) -> str:
        """The versions of PyTorch to install, such as ">=2.2"; empty where PyTorch stays."""
        if self.torchNumpyClash and not onlyOldTorch():
            return TORCH_FOR_NUMPY_2
        return TORCH_VERSION if self.torch or self.torchTooOld else ""

    @property
    def packageLines(self) -> list[str]:
        """The requirement lines to install beside PyTorch."""
        return [*self.packages, *([NUMPY_1] if self.torchNumpyClash and onlyOldTorch() else [])]

    def described(self) -> str:
        """Names for people, comma-separated."""
        torch = [f"PyTorch {self.torchRequirement}"] if self.torchRequirement else []
        return ", ".join([*torch, *self.packageLines])

    def sentence(self) -> str:
        """What is wrong, for the panel."""
        if not self.torchNumpyClash or self.torch or self.torchTooOld or self.packages:
            return _("Python packages are missing or too old: {names}.").format(names=self.described())
        return _(
            "PyTorch {torch} was built for NumPy 1 and does not work with NumPy {numpy}: press {action}, which "
            "replaces {replaced}."
        ).format(
            torch=_installedVersion("torch"),
            numpy=_installedVersion("numpy"),
            action=self.action(),
            replaced=LABELS["torch" if self.torchRequirement else "numpy"],
        )

    def action(self) -> str:
        """The word on the button: Upgrade where all is there but too old, else Install."""
        absent = self.torch or not all(_installedVersion(_nameOf(line)) for line in self.packages)
        return _("Install") if absent or not (self.torchRequirement or self.packages) else _("Upgrade")


def onlyOldTorch() -> bool:
    """Slicer for macOS is an Intel program, also on Apple Silicon; 2.2.2 is the last PyTorch for it."""
    return sys.platform == "darwin" and platform.machine() == "x86_64"


def missingPackages(requirementsFile: Path = REQUIREMENTS_FILE, installedVersion=None) -> Missing:
    """What is missing; nothing is imported to find out.

    :param installedVersion: function from a package's name to its version or None; the environment's own by default.
    """
    versionOf = installedVersion or _installedVersion
    packages = [line for line in requirementLines(requirementsFile) if not _satisfied(line, versionOf)]
    torch, numpy = versionOf("torch"), versionOf("numpy")
    tooOld = torch is not None and not _satisfied(f"torch{TORCH_VERSION}", versionOf)
    forNumpy1 = not _satisfied(f"torch{TORCH_FOR_NUMPY_2}", versionOf) if torch else onlyOldTorch()
    return Missing(packages, torch is None, tooOld, forNumpy1 and numpy is not None and _numbers(numpy) >= (2,))


def missingForBatch() -> Missing:
    """What a batch needs on top of what refining needs, and is not installed."""
    return Missing(
        [line for line in requirementLines(BATCH_REQUIREMENTS_FILE) if not _satisfied(line, _installedVersion)]
    )


def requirementLines(path: Path = REQUIREMENTS_FILE) -> list[str]:
    """The requirements of a file, without comments."""
    lines = (line.partition("#")[0].strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def packageNames() -> list[str]:
    """The packages that are installed for ReShapeIT: PyTorch and those of the requirements."""
    return ["torch", *(_nameOf(line) for line in requirementLines())]


def label(name: str) -> str:
    """A package's name for people."""
    return LABELS.get(name, name)


def installedVersions() -> list[tuple[str, str]]:
    """Name and version of each package and of NumPy, empty where it is not installed; PyTorch's with its build."""
    versions = {name: _installedVersion(name) or "" for name in [*packageNames(), "numpy"]}
    if versions["torch"]:
        versions["torch"] += _torchBuild()
    return list(versions.items())


def versionsText() -> str:
    """The installed versions in one line."""
    absent = _("not installed")
    return ", ".join(f"{label(name)} {version or absent}" for name, version in installedVersions())


def question(missing: Missing) -> str:
    """What installing would do, to be asked before it is done."""
    lines = []
    if missing.torchRequirement:
        lines.append(
            _("{torch}, by the PyTorch extension: 200 MB to 3 GB, depending on the graphics card").format(
                torch=_inPlaceOf("PyTorch", _installedVersion("torch"))
            )
        )
    lines += [_("{package}: less than 1 MB").format(package=package) for package in missing.packages]
    if NUMPY_1 in missing.packageLines:
        lines.append(
            _("{numpy}, because PyTorch for this Mac was built for NumPy 1: 20 MB. Restart Slicer afterwards").format(
                numpy=_inPlaceOf("NumPy 1.26", _("Slicer's {version}").format(version=_installedVersion("numpy")))
            )
        )
    return _("ReShapeIT needs these Python packages:\n\n{listed}\n\n{terms} Install them now?").format(
        listed="\n".join(f"- {line}" for line in lines), terms=_terms()
    )


def reinstallQuestion(names: list[str]) -> str:
    """What reinstalling packages would do, to be asked before it is done."""
    lines = [f"- {label(name)} {version}" for name, version in installedVersions() if name in names]
    return _("These Python packages are removed and installed again:\n\n{listed}\n\n{terms} Do it now?").format(
        listed="\n".join(lines), terms=_terms()
    )


def install(missing: Missing, slicerModule) -> str:
    """Install what is missing, replace what is too old or does not fit; the user has agreed before.

    :param slicerModule: the ``slicer`` module.
    :returns: what the user has to do now, empty where nothing.
    :raises InstallError: the PyTorch extension is missing, or an installation failed.
    """
    replaced = [name for name in map(_nameOf, missing.packageLines) if _installedVersion(name)]
    if missing.torchRequirement:
        replaced += [] if missing.torch else ["torch"]
        _installTorch(missing.torchRequirement, replace=not missing.torch)
    if missing.packageLines:
        _pip(missing.packageLines, missing.packageLines, slicerModule)
    return _checked(replaced)


def reinstall(names: list[str], slicerModule) -> str:
    """Remove packages that do not work and install them again; the user has agreed before.

    :param names: some of ``packageNames()``.
    :param slicerModule: the ``slicer`` module.
    :returns: what the user has to do now, empty where nothing.
    :raises InstallError: a package is not one of these or in use, or an installation failed.
    """
    others = [name for name in names if name not in packageNames()]
    if others:
        raise InstallError(
            _("{names} came with Slicer; install Slicer again to repair it.").format(names=", ".join(others))
        )
    lines = [line for line in requirementLines() if _nameOf(line) in names]
    if lines:
        _refuseInUse([_nameOf(line) for line in lines])
        _pip(["--force-reinstall", "--no-deps", *lines], lines, slicerModule)
    if "torch" in names:
        _installTorch(TORCH_VERSION, replace=True)
    return _checked(names)


def hasPackaging() -> bool:
    """True in Slicer 5.12 and later."""
    return importlib.util.find_spec("slicer.packaging") is not None


def _checked(replaced: list[str]) -> str:
    """What the user has to do after an installation that replaced these packages."""
    importlib.invalidate_caches()
    left = missingPackages()
    if left:
        raise InstallError(
            _("{packages} could not be installed; Slicer's error log says why.").format(packages=left.described())
        )
    inUse = ", ".join(label(name) for name in replaced if name in sys.modules)
    return _("Restart Slicer to use the new {names}.").format(names=inUse) if inUse else ""


def _refuseInUse(names: list[str]) -> None:
    """Windows does not let go of files that are in use."""
    inUse = ", ".join(label(name) for name in names if name in sys.modules)
    if inUse and sys.platform == "win32":
        raise InstallError(
            _("{names} is in use and cannot be replaced: restart Slicer and reinstall before anything else.").format(
                names=inUse
            )
        )


def _installTorch(requirement: str, replace: bool) -> None:
    try:
        import PyTorchUtils
    except ModuleNotFoundError as error:
        raise InstallError(
            _("Install the PyTorch extension in the Extensions Manager, restart Slicer, then press Install again.")
        ) from error
    if replace:
        _refuseInUse(["torch"])
    logic = PyTorchUtils.PyTorchUtilsLogic()
    try:
        if replace:
            logic.uninstallTorch()
        torch = logic.installTorch(askConfirmation=False, torchVersionRequirement=requirement)
    except Exception as error:  # pip fails in many ways, all of them end here with the same advice
        raise InstallError(
            _(
                "PyTorch could not be installed ({reason}); check the internet connection and the free disk space."
            ).format(reason=_firstLine(error))
        ) from error
    if torch is None:
        raise InstallError(_("PyTorch was not installed; press Install to try again."))


def _pip(arguments: list[str], packages: list[str], slicerModule) -> None:
    """Install packages; pip's own arguments ask for more than that they are there."""
    try:
        if not hasPackaging():
            slicerModule.util.pip_install(arguments)
        else:
            import slicer.packaging

            if arguments == packages:
                slicer.packaging.pip_ensure(packages, requester="ReShapeIT", prompt_install=False)
            else:
                slicer.packaging.pip_install(arguments, requester="ReShapeIT")
    except Exception as error:
        raise InstallError(
            _(
                "{packages} could not be installed ({reason}); check the internet connection and the free disk space."
            ).format(packages=", ".join(packages), reason=_firstLine(error))
        ) from error


def _terms() -> str:
    return _(
        "They are downloaded from the Python Package Index and installed into Slicer's own Python. Nothing else is "
        "downloaded, and no image leaves this computer."
    )


def _inPlaceOf(name: str, old: str | None) -> str:
    return _("{name} in place of {old}").format(name=name, old=old) if old else name


def _torchBuild() -> str:
    """What the installed PyTorch was built for, such as " (CUDA 12.6)"; builds for macOS do not say it."""
    try:
        file = importlib.metadata.distribution("torch").locate_file("torch/version.py")
        text = Path(file).read_text(encoding="utf-8")
    except (importlib.metadata.PackageNotFoundError, OSError):
        return ""
    build = re.search(r"^__version__\s*=\s*['\"][^'\"+]*\+?([^'\"]*)['\"]", text, re.MULTILINE)
    word = build[1] if build else ""
    cuda = re.fullmatch(r"cu(\d+)(\d)", word)
    shown = f"CUDA {cuda[1]}.{cuda[2]}" if cuda else word.replace("cpu", "CPU")
    return f" ({shown})" if shown else ""


def _firstLine(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _installedVersion(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _nameOf(requirement: str) -> str:
    return requirement.partition(">=")[0].strip()


def _satisfied(requirement: str, versionOf) -> bool:
    """Whether "name>=1.2" is installed; other forms are not used here."""
    name, _sign, least = requirement.partition(">=")
    version = versionOf(name.strip())
    return version is not None and _numbers(version) >= _numbers(least)


def _numbers(version: str) -> tuple[int, ...]:
    """Leading numbers of a version: (2, 13, 0) of "2.13.0+cpu"."""
    return tuple(int(part) for part in re.match(r"\s*([0-9.]*)", version).group(1).split(".") if part)
