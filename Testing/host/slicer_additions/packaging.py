"""Stand-in for `slicer.packaging`: notes what it was asked to install, and fails when asked before a click."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Installations:
    """What was asked for, and whether asking is in order now."""

    isUserWaiting: bool = False
    """Set by a test just before the click that may install; at module load, set-up and start it must stay False."""
    declines: bool = False
    """What the user answers."""
    requested: list[list[str]] = field(default_factory=list)


installations = Installations()


def load_requirements(path: str | Path) -> list[str]:
    """Return the requirements in a file, one a line, without comments."""
    lines = (line.partition("#")[0].strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def pip_ensure(
    requirements: list[str],
    *,
    constraints: str | None = None,
    skip_packages: list[str] | None = None,
    requester: str | None = None,
) -> None:
    """Note the wish; nothing is installed, as in the application's testing mode."""
    if not installations.isUserWaiting:
        message = f"{requester or 'Somebody'} wants to install packages although the user clicked nothing."
        raise AssertionError(message)
    installations.requested.append(list(requirements))
    if installations.declines:
        message = "The user declined the installation."
        raise RuntimeError(message)
