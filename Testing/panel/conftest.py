"""What the panel tests share: the real panel on a real scene, a hand on mouse and keyboard, and a camera.

Stand-ins replace names of Slicer for the whole process, so that each file of this folder runs in one of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HOST_FOLDER = Path(__file__).resolve().parents[1] / "host"
if str(HOST_FOLDER) not in sys.path:
    sys.path.append(str(HOST_FOLDER))


@pytest.fixture
def host() -> Iterator[Any]:
    """An empty scene with the logics of Slicer; a test in which MRML reports an error fails."""
    from host import Host  # not above: the static tests need neither scene nor Qt

    with Host() as opened:
        yield opened
        assert not opened.errors


@pytest.fixture
def modelFolder(tmp_path: Path) -> Path:
    """Where the panel under test keeps its models."""
    return tmp_path / "models"


@pytest.fixture
def openPanel(host: Any, modelFolder: Path) -> Iterator[Callable[..., Any]]:
    """Return a function that opens the panel, with an engine of the test's choice; it is closed at the end."""
    from panel_driver import Panel

    opened: list[Panel] = []

    def open_(engine: Any = None) -> Panel:
        opened.append(Panel(host, modelFolder, engine))
        return opened[-1]

    yield open_
    for panel in opened:
        panel.close()
