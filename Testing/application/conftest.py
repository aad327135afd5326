"""Lets the application's tests run without the application; in a real Slicer nobody reads this file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def application(host: Any) -> Iterator[None]:
    """Stand in for the application as far as there is no main window; MRML must not report an error."""
    import panel_driver  # noqa: F401  # makes the widgets known
    from slicer.ScriptedLoadableModule import addModule

    module = addModule("UnCoLSegment")
    yield
    module.unload()
