"""Lets the application's tests run without the application; in a real Slicer nobody reads this file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HOST_FOLDER = Path(__file__).resolve().parents[1] / "host"


@pytest.fixture(autouse=True)
def application() -> Iterator[None]:
    """Stand in for the application as far as there is no window; MRML must not report an error."""
    if str(HOST_FOLDER) not in sys.path:
        sys.path.append(str(HOST_FOLDER))
    from host import Host

    with Host() as host:
        yield
        assert not host.errors
