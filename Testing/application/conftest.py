"""Lets the application's tests run without the application; in a real Slicer nobody reads this file."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(autouse=True)
def application(host: Any) -> None:
    """Stand in for the application as far as there is no window; MRML must not report an error."""
