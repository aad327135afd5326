"""What the tests of the logic share: Slicer's own MRML without the application, and the modules that come with it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HOST_FOLDER = Path(__file__).resolve().parents[1] / "host"
if str(HOST_FOLDER) not in sys.path:
    sys.path.append(str(HOST_FOLDER))

import stand_ins  # noqa: E402, F401  # makes slicer.i18n and the like importable
from host import Host  # noqa: E402


@pytest.fixture
def host() -> Iterator[Host]:
    """An empty scene with the logics of Slicer; a test in which MRML reports an error fails."""
    with Host() as opened:
        yield opened
        assert not opened.errors


@pytest.fixture
def scene(host: Host) -> Any:
    """The scene of `host`."""
    return host.scene
