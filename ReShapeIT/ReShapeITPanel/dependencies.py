"""The Python packages that refining needs: which are missing, what installing them means, installing them.

Nothing is installed before the user agreed. PyTorch comes through the PyTorch extension only, because a plain pip
install brings builds that do not fit the GPU; the rest through ``slicer.packaging`` (Slicer 5.12) or
``slicer.util.pip_install`` (before).
"""

import importlib.metadata
import importlib.util
import re
from dataclasses import dataclass, field
from pathlib import Path

from slicer.i18n import tr as _

TORCH_VERSION = ">=2.2"
REQUIREMENTS_FILE = Path(__file__).resolve().parents[1] / "Resources" / "requirements.txt"


class InstallError(Exception):
    """Why the packages could not be installed and what to do, in one sentence or two for the user."""


@dataclass(frozen=True)
class Missing:
    """What is not installed or too old.

    :param packages: requirement lines such as "safetensors>=0.4".
    :param torch: PyTorch is missing.
    :param torchTooOld: PyTorch is there, but of a version that is not enough.
    """

    packages: list[str] = field(default_factory=list)
    torch: bool = False
    torchTooOld: bool = False

    def __bool__(self) -> bool:
        return bool(self.packages or self.torch or self.torchTooOld)

    def described(self) -> str:
        """Names for people, comma-separated."""
        torch = [f"PyTorch {TORCH_VERSION}"] if self.torch or self.torchTooOld else []
        return ", ".join([*torch, *self.packages])


def missingPackages(requirementsFile: Path = REQUIREMENTS_FILE, installedVersion=None) -> Missing:
    """What is missing; nothing is imported to find out.

    :param installedVersion: function from a package's name to its version or None; the environment's own by default.
    """
    versionOf = installedVersion or _installedVersion
    packages = [line for line in requirementLines(requirementsFile) if not _satisfied(line, versionOf)]
    torch = versionOf("torch")
    return Missing(packages, torch is None, torch is not None and not _satisfied(f"torch{TORCH_VERSION}", versionOf))


def requirementLines(path: Path) -> list[str]:
    """The requirements of a file, without comments."""
    lines = (line.partition("#")[0].strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def question(missing: Missing) -> str:
    """What installing would do, to be asked before it is done."""
    lines = []
    if missing.torch:
        lines.append(_("PyTorch, by the PyTorch extension: 200 MB to 3 GB, depending on the graphics card"))
    lines += [_("{package}: less than 1 MB").format(package=package) for package in missing.packages]
    listed = "\n".join(f"- {line}" for line in lines)
    return _(
        "ReShapeIT needs Python packages that are not installed yet:\n\n{listed}\n\n"
        "They are downloaded from the Python Package Index and installed into Slicer's own Python. Nothing else is "
        "downloaded, and no image leaves this computer. Install them now?"
    ).format(listed=listed)


def install(missing: Missing, slicerModule) -> None:
    """Install what is missing; the user has agreed before.

    :param slicerModule: the ``slicer`` module.
    :raises InstallError: the PyTorch extension is missing, or an installation failed.
    """
    if missing.torchTooOld:
        raise InstallError(
            _("The installed PyTorch is too old: uninstall it in the PyTorch Utils module, restart Slicer, try again.")
        )
    if missing.torch:
        _installTorch()
    if missing.packages:
        _installPackages(missing.packages, slicerModule)
    left = missingPackages()
    if left:
        raise InstallError(
            _("{packages} could not be installed; Slicer's error log says why.").format(packages=left.described())
        )


def _installTorch() -> None:
    try:
        import PyTorchUtils
    except ModuleNotFoundError as error:
        raise InstallError(
            _("Install the PyTorch extension in the Extensions Manager, restart Slicer, then press Install again.")
        ) from error
    try:
        torch = PyTorchUtils.PyTorchUtilsLogic().installTorch(
            askConfirmation=False, torchVersionRequirement=TORCH_VERSION
        )
    except Exception as error:  # pip fails in many ways, all of them end here with the same advice
        raise InstallError(
            _("PyTorch could not be installed ({reason}); check the internet connection and the free disk space.")
            .format(reason=_firstLine(error))
        ) from error  # fmt: skip
    if torch is None:
        raise InstallError(_("PyTorch was not installed; press Install to try again."))


def _installPackages(packages: list[str], slicerModule) -> None:
    try:
        if importlib.util.find_spec("slicer.packaging"):
            import slicer.packaging

            slicer.packaging.pip_ensure(packages, requester="ReShapeIT", prompt_install=False)
        else:
            slicerModule.util.pip_install(packages)
    except Exception as error:
        raise InstallError(
            _("{packages} could not be installed ({reason}); check the internet connection and the free disk space.")
            .format(packages=", ".join(packages), reason=_firstLine(error))
        ) from error  # fmt: skip


def _firstLine(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _installedVersion(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _satisfied(requirement: str, versionOf) -> bool:
    """Whether "name>=1.2" is installed; other forms are not used here."""
    name, _sign, least = requirement.partition(">=")
    version = versionOf(name.strip())
    return version is not None and _numbers(version) >= _numbers(least)


def _numbers(version: str) -> tuple[int, ...]:
    """Leading numbers of a version: (2, 13, 0) of "2.13.0+cpu"."""
    return tuple(int(part) for part in re.match(r"\s*([0-9.]*)", version).group(1).split(".") if part)
