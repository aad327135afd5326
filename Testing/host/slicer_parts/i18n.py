"""Stand-in of Slicer's translation: every text stays in English."""

from __future__ import annotations


def tr(text: str) -> str:
    """Return the text as it is."""
    return text


def translate(_context: str, text: str) -> str:
    """Return the text as it is."""
    return text
