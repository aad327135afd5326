"""What the tests on a real MRML scene share. `Testing/host` has to be importable: tests and its own modules need it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HOST_FOLDER = Path(__file__).resolve().parents[1] / "host"
if str(HOST_FOLDER) not in sys.path:
    sys.path.append(str(HOST_FOLDER))

from host import Host  # noqa: E402  # only now it can be found


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
