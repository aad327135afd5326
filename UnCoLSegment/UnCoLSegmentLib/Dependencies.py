"""What the engine needs beside a bare Slicer: looked up without importing it, installed on a click and with consent.

PyTorch comes from the PyTorch extension, which knows the graphics driver; Slicer's own packages are never replaced.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import slicer.util
from slicer.i18n import tr as _

from uncol.core.errors import CancelledError, UncolError

REQUESTER = "UnCoL"
TORCH = "torch>=2.4.1,<3"
"""What MONAI 1.5.2 asks for, the oldest MONAI in requirements.txt; of newer ones pip takes the one that fits."""
TESTED = Path(__file__).resolve().parents[1] / "Resources" / "constraints.txt"
"""The newest versions that the engine was tested with, of what it needs and of what that brings along."""
KEPT_PACKAGES = ("SimpleITK", "numpy", "pydicom", "torch", "torchvision")
"""Slicer's own packages and those of the PyTorch extension; no installation of ours touches them."""
_OF_PYTORCH_EXTENSION = ("torch", "torchvision")
_LOCKED = ("--force-reinstall", "--no-deps", "--no-cache-dir")
"""How pip installs a package again, and nothing else with it."""

_SPECIFIED = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(?P<versions>[^#;]*)")
_FRAME = re.compile(r"""File "[^"]*[/\\](?:site|dist)-packages[/\\](\w+)""")
_NOT_FOUND = re.compile(r"""^ModuleNotFoundError: No module named '(\w+)""", re.MULTILINE)
_NOT_IMPORTED = re.compile(r"^(?:ImportError|ModuleNotFoundError): ", re.MULTILINE)


class InstallationError(UncolError):
    """A package that the engine needs could not be installed."""


def missingPackages(requirementsFile: Path) -> list[str]:
    """Return the requirements that are not met, as `name>=version`; nothing is imported for that."""
    return [each for each in _requirementsOf(requirementsFile) if not _isMet(each)]


def installedVersion(name: str) -> str:
    """Return the version of an installed package; "" if it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def damagedPackage(lastWords: str, *, isStarting: bool) -> str:
    """Return the package that cannot be loaded, by the traceback in a worker's last words; "" if none is to blame.

    Args:
        lastWords: Its last lines, or the details of a run that failed.
        isStarting: Whether it was loading packages only; later, only errors of imports are a package's fault.
    """
    if not (isStarting or _NOT_IMPORTED.search(lastWords)):
        return ""
    found = _NOT_FOUND.findall(lastWords) or _FRAME.findall(lastWords)
    if not found or found[-1] == "uncol":
        return ""
    return importlib.metadata.packages_distributions().get(found[-1], found)[-1]


def ensureInstalled(requirementsFile: Path, damaged: str = "") -> None:
    """Install what the engine lacks after asking the user once; call it when the user clicked, never before.

    The application handles further clicks meanwhile: the caller sees to it that none of them leads here again.

    Args:
        requirementsFile: What the engine needs beside PyTorch.
        damaged: A package that is there and cannot be loaded; it is installed again.

    Raises:
        CancelledError: If the user declined.
        InstallationError: If a package could not be installed; its text says what to do.
    """
    missing = missingPackages(requirementsFile)
    if not (missing or damaged):
        return
    if TORCH in missing:
        _checkTorchCanBeInstalled()
    _ask(_questionAbout(missing, damaged))
    if damaged:
        _reinstall(damaged)
        missing = missingPackages(requirementsFile)
    if TORCH in missing:
        _installTorch(anew=False)
    _installOthers([each for each in missing if each != TORCH])
    missing = missingPackages(requirementsFile)
    if missing:
        message = _("The engine still lacks {packages}. Restart Slicer; if that does not help, look at the log.")
        raise InstallationError(message.format(packages=", ".join(missing)))


def reinstallAll(requirementsFile: Path) -> None:
    """Install everything that the engine needs again, after asking the user; call it when the user clicked.

    Raises:
        CancelledError: If the user declined.
        InstallationError: If a package could not be installed; its text says what to do.
    """
    _checkTorchCanBeInstalled()
    names = [_nameIn(each) for each in _requirementsOf(requirementsFile)]
    question = _("Install these Python packages again: {packages}?\n\nThey are downloaded anew, about 1 GB in all.")
    _ask(question.format(packages=", ".join(names)))
    _installTorch(anew=True)
    others = [each for each in _requirementsOf(requirementsFile) if each != TORCH]
    _installOthers([each for each in others if not _isMet(each)])
    with _explainingFailure(", ".join(names)):
        slicer.util.pip_install([*_LOCKED, *(f"{name}=={installedVersion(name)}" for name in map(_nameIn, others))])


def _requirementsOf(path: Path) -> list[str]:
    """Return PyTorch and the requirements of a file, without its comments and empty lines."""
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [TORCH, *(line for line in lines if line)]


def _nameIn(requirement: str) -> str:
    specified = _SPECIFIED.match(requirement)
    assert specified is not None  # the file is ours
    return specified["name"]


def _isMet(requirement: str) -> bool:
    installed = installedVersion(_nameIn(requirement))
    if not installed:
        return False
    try:
        from packaging.specifiers import SpecifierSet
    except ModuleNotFoundError:
        return True
    return SpecifierSet(requirement.removeprefix(_nameIn(requirement))).contains(installed, prereleases=True)


def _ask(question: str) -> None:
    if not slicer.util.confirmOkCancelDisplay(question, _("Install Python packages for UnCoL")):
        message = _(
            "The packages of the engine were not installed, so nothing was started. Click again to be asked again."
        )
        raise CancelledError(message)


def _questionAbout(missing: list[str], damaged: str) -> str:
    sentences = []
    if damaged:
        text = _("The Python package {package} is there, but it cannot be loaded. It is installed again.")
        sentences.append(text.format(package=damaged))
    if missing:
        one = _("UnCoL needs 1 more Python package: {packages}.")
        text = one if len(missing) == 1 else _("UnCoL needs {count} more Python packages: {packages}.")
        sentences.append(text.format(count=len(missing), packages=", ".join(missing)))
    older = installedVersion("torch") if TORCH in missing else ""
    if older:
        text = _("PyTorch {version} is replaced by a newer one, for other extensions, too.")
        sentences.append(text.format(version=older))
    sentences.append(
        _(
            "What is missing is downloaded and added to Slicer's Python environment; that may take minutes. No image "
            "leaves this computer. Continue?"
        )
    )
    return "\n\n".join(sentences)


def _checkTorchCanBeInstalled() -> None:
    """Refuse what could only fail.

    Raises:
        InstallationError: Where there is no such PyTorch, or where another one is in use.
    """
    if sys.platform == "darwin" and platform.machine() == "x86_64":
        message = _(
            "The engine needs PyTorch 2.4.1 or newer. There is none for this Slicer, which was built for Intel "
            "processors: the last one for such Macs is 2.2. Use Slicer on another computer, or one for Apple silicon."
        )
        raise InstallationError(message)
    if "torch" in sys.modules:
        message = _(
            "PyTorch {version} is in use in this Slicer and cannot be replaced. Restart Slicer, and come here before "
            "you use other extensions."
        )
        raise InstallationError(message.format(version=installedVersion("torch")))


def _installTorch(*, anew: bool) -> None:
    try:
        import PyTorchUtils
    except ModuleNotFoundError as error:
        message = _(
            'The engine needs PyTorch. Install the extension "PyTorch" in the Extensions Manager (menu View), '
            "restart Slicer and try again."
        )
        raise InstallationError(message) from error
    logic = PyTorchUtils.PyTorchUtilsLogic()
    with _explainingFailure("PyTorch"):
        if anew:
            logic.uninstallTorch()
        logic.installTorch(askConfirmation=False, torchVersionRequirement=TORCH.removeprefix("torch"))


def _installOthers(requirements: list[str]) -> None:
    if not requirements:
        return
    packaging = _slicerPackaging()
    with _explainingFailure(", ".join(requirements)), _constraints(requirements) as path:
        if packaging is None:
            slicer.util.pip_install([*requirements, "--constraint", path])
        else:
            packaging.pip_ensure(requirements, constraints=path, prompt_install=False, requester=REQUESTER)


def _reinstall(package: str) -> None:
    """Install one package again in the version that is there; one that is not there at all, with what it needs."""
    version = installedVersion(package)
    if package in _OF_PYTORCH_EXTENSION:
        _checkTorchCanBeInstalled()
        _installTorch(anew=True)
    elif version:
        with _explainingFailure(package):
            slicer.util.pip_install([*_LOCKED, f"{package}=={version}"])
    else:
        _installOthers([package])


def _slicerPackaging() -> ModuleType | None:
    """Return the module `slicer.packaging`; Slicer 5.10 has none."""
    try:
        return importlib.import_module("slicer.packaging")
    except ModuleNotFoundError:
        return None


@contextmanager
def _constraints(requirements: list[str]) -> Iterator[str]:
    """Lend a file that holds pip to the versions of the packages that stay as they are, and of others to tested ones.

    What is installed and not required is not held to anything: it is Slicer's, or another extension's.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "constraints.txt"
        versions = [f"{name}=={version}\n" for name in KEPT_PACKAGES if (version := installedVersion(name))]
        lines = TESTED.read_text(encoding="utf-8").splitlines(keepends=True)
        asked = {_nameIn(each).lower() for each in requirements}
        versions += [line for line in lines if _nameIn(line) in asked or not installedVersion(_nameIn(line))]
        path.write_text("".join(versions) or "\n", encoding="utf-8")
        yield str(path)


@contextmanager
def _explainingFailure(packages: str) -> Iterator[None]:
    try:
        yield
    except (subprocess.CalledProcessError, OSError, ImportError, RuntimeError) as error:
        message = _(
            "These packages could not be installed: {packages} ({error}). Check the network connection and the proxy; "
            "the log (menu View) says what went wrong. On a computer without network, see docs/slicer.md of UnCoL."
        )
        raise InstallationError(message.format(packages=packages, error=error)) from error
