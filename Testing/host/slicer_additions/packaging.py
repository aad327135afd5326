"""Stand-in for `slicer.packaging`: notes what it was asked to install, and fails when asked before a click.

As in the application, Qt's events are handled while an installation runs, so that the user can click meanwhile. Where a
test names a folder, what was installed is found there by its metadata.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import slicer

_PINNED = re.compile(r"(?P<name>[A-Za-z0-9._-]+)[=><~!]*(?P<version>[0-9.]*)")


@dataclass
class Installations:
    """What was asked for, and whether asking is in order now."""

    isUserWaiting: bool = False
    """Set by a test just before the click that may install; at module load, set-up and start it must stay False."""
    requested: list[list[str]] = field(default_factory=list)
    """What pip or the PyTorch extension was asked for, each time."""
    constraints: list[str] = field(default_factory=list)
    """What the files of constraints held."""
    meanwhile: list[Callable[[], None]] = field(default_factory=list)
    """What the user does while something is installed."""
    error: Exception | None = None
    """How an installation fails."""
    folder: Path | None = None
    """Where packages are installed; None for nowhere, as in the application's testing mode."""
    isRunning: bool = False

    def carryOut(self, requester: str | None, arguments: list[str], constraints: Any = None) -> None:
        """Install, while the application goes on handling events."""
        if not self.isUserWaiting:
            message = f"{requester or 'Somebody'} wants to install packages although the user clicked nothing."
            raise AssertionError(message)
        assert not self.isRunning, "two installations at once would spoil Python's environment"
        self.requested.append(list(arguments))
        if constraints is not None:
            self.constraints.append(Path(constraints).read_text(encoding="utf-8"))
        self.isRunning = True
        try:
            self._handleEvents()
        finally:
            self.isRunning = False
        if self.error is not None:
            raise self.error
        for each in arguments if self.folder and arguments[0] != "uninstall" else ():
            self._writeMetadata(each)

    def _handleEvents(self) -> None:
        for act in [*self.meanwhile, getattr(slicer.app, "processEvents", None)]:
            if act is not None:
                act()

    def _writeMetadata(self, requirement: str) -> None:
        found = _PINNED.fullmatch(requirement)
        if found:
            name, version = found["name"], found["version"] or "1.0"
            folder = self.folder / f"{name.replace('-', '_')}-{version}.dist-info"
            folder.mkdir(exist_ok=True)
            (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


installations = Installations()


def pip_ensure(
    requirements: str | list[str],
    constraints: str | Path | None = None,
    skip_packages: list[str] | None = None,
    prompt_install: bool = True,
    prompt_restart: bool = True,
    requester: str | None = None,
    skip_in_testing: bool = True,
    show_progress: bool = True,
) -> list[str] | None:
    """Note the wish."""
    assert skip_packages is None, "what is skipped here is missing later, and its failure is only a warning"
    assert not (prompt_install and installations.isUserWaiting), "the user was asked already"
    installations.carryOut(requester, _listed(requirements), constraints)
    return None


def pip_install(
    requirements: str | list[str],
    constraints: str | Path | None = None,
    no_deps_requirements: str | list[str] | None = None,
    skip_packages: list[str] | None = None,
    blocking: bool = True,
    show_progress: bool = True,
    requester: str | None = None,
) -> list[str] | None:
    """Note the wish."""
    assert blocking
    installations.carryOut(requester, _listed(requirements), constraints)
    return None


def _listed(requirements: str | list[str]) -> list[str]:
    return requirements.split() if isinstance(requirements, str) else requirements
