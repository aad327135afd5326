"""A button that cannot be clicked says in its tool tip what is missing."""

from __future__ import annotations

import qt


def enable(button: qt.QAbstractButton, obstacle: str, purpose: str) -> None:
    """Enable a button unless something is missing.

    Args:
        button: The button.
        obstacle: What is missing, as a sentence; "" if nothing is.
        purpose: What a click does.
    """
    button.enabled = not obstacle
    button.toolTip = obstacle or purpose
    button.accessibleDescription = obstacle or purpose
