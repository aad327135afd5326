"""What the engine needs beside a bare Slicer: looked up without importing it, installed on a click and with consent.

PyTorch comes from the PyTorch extension, which knows the graphics driver; Slicer's own packages are never replaced.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import subprocess
import tempfile
from pathlib import Path
from types import ModuleType

import slicer.util
from slicer.i18n import tr as _

from uncol.core.errors import CancelledError, UncolError

REQUESTER = "UnCoL"
TORCH = "torch>=2.8"
"""MONAI asks for it."""
KEPT_PACKAGES = ("SimpleITK", "numpy", "torch", "torchvision")
"""Slicer's own packages and those of the PyTorch extension; no installation of ours touches them."""

_SPECIFIED = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(?P<versions>[^#;]*)")


class InstallationError(UncolError):
    """A package that the engine needs could not be installed."""


def missingPackages(requirementsFile: Path) -> list[str]:
    """Return the requirements that are not met, as `name>=version`; nothing is imported for that."""
    return [each for each in [TORCH, *requirementsIn(requirementsFile)] if not _isMet(each)]


def requirementsIn(path: Path) -> list[str]:
    """Return the requirements of a file, without its comments and empty lines."""
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def ensureInstalled(requirementsFile: Path) -> None:
    """Install what the engine lacks after asking the user; call it when the user clicked, never before.

    Raises:
        CancelledError: If the user declined.
        InstallationError: If a package could not be installed; its text says what to do.
    """
    missing = missingPackages(requirementsFile)
    if TORCH in missing:
        _installTorch()
    others = [each for each in missing if each != TORCH]
    if others:
        _installOthers(requirementsFile, others)
    missing = missingPackages(requirementsFile)
    if missing:
        message = _("The engine still lacks {packages}. Restart Slicer; if that does not help, look at the log.")
        raise InstallationError(message.format(packages=", ".join(missing)))


def _installTorch() -> None:
    try:
        import PyTorchUtils
    except ModuleNotFoundError as error:
        message = _(
            'The engine needs PyTorch. Install the extension "PyTorch" in the Extensions Manager (menu View), '
            "restart Slicer and try again."
        )
        raise InstallationError(message) from error
    try:
        torch = PyTorchUtils.PyTorchUtilsLogic().installTorch(
            askConfirmation=True, torchVersionRequirement=TORCH.removeprefix("torch")
        )
    except (subprocess.CalledProcessError, OSError) as error:
        raise InstallationError(_failureText("PyTorch")) from error
    if torch is None and not _isMet(TORCH):
        raise CancelledError(_declinedText())


def _installOthers(requirementsFile: Path, missing: list[str]) -> None:
    try:
        packaging = _slicerPackaging()
        if packaging is None:
            _askAndInstall(missing)
        else:
            requirements = packaging.load_requirements(str(requirementsFile))
            packaging.pip_ensure(requirements, skip_packages=list(KEPT_PACKAGES), requester=REQUESTER)
    except RuntimeError as error:  # so pip_ensure says that the user declined
        raise CancelledError(_declinedText()) from error
    except (subprocess.CalledProcessError, OSError) as error:
        raise InstallationError(_failureText(", ".join(missing))) from error


def _slicerPackaging() -> ModuleType | None:
    """Return the module `slicer.packaging`; Slicer 5.10 has none."""
    try:
        return importlib.import_module("slicer.packaging")
    except ModuleNotFoundError:
        return None


def _askAndInstall(missing: list[str]) -> None:
    """Do what `pip_ensure` does, in a Slicer that has none."""
    if not slicer.util.confirmOkCancelDisplay(_question(missing), _("Install Python packages for UnCoL")):
        raise CancelledError(_declinedText())
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "constraints.txt"
        versions = [f"{name}=={version}\n" for name in KEPT_PACKAGES if (version := _versionOf(name))]
        kept.write_text("".join(versions) or "\n", encoding="utf-8")
        slicer.util.pip_install([*missing, "--constraint", str(kept)])


def _question(missing: list[str]) -> str:
    if len(missing) == 1:
        text = _(
            "UnCoL needs 1 more Python package: {packages}.\n\nIt is downloaded and added to Slicer's Python "
            "environment. No image leaves this computer. Continue?"
        )
    else:
        text = _(
            "UnCoL needs {count} more Python packages: {packages}.\n\nThey are downloaded and added to Slicer's Python "
            "environment. No image leaves this computer. Continue?"
        )
    return text.format(count=len(missing), packages=", ".join(missing))


def _versionOf(name: str) -> str:
    """Return the version of an installed package; "" if it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _isMet(requirement: str) -> bool:
    specified = _SPECIFIED.match(requirement)
    assert specified is not None  # the file is ours
    installed = _versionOf(specified["name"])
    if not installed:
        return False
    try:
        from packaging.specifiers import SpecifierSet
    except ModuleNotFoundError:
        return True
    return SpecifierSet(specified["versions"].strip()).contains(installed, prereleases=True)


def _declinedText() -> str:
    return _("The packages of the engine were not installed, so nothing was started. Click again to be asked again.")


def _failureText(packages: str) -> str:
    return _(
        "These packages could not be installed: {packages}. Check the network connection and the proxy; the log (menu "
        "View) says what went wrong. On a computer without network, see docs/slicer.md of UnCoL."
    ).format(packages=packages)
