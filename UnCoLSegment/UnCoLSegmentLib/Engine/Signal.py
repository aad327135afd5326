"""A signal in plain Python, so that Logic can tell a panel, a test or nobody at all what happened, without Qt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Signal:
    """Calls what was connected, in that order, in the thread that emits."""

    def __init__(self) -> None:
        self._receivers: list[Callable[..., Any]] = []

    def connect(self, receiver: Callable[..., Any]) -> None:
        """Call `receiver` at each emission; connecting it twice changes nothing."""
        if receiver not in self._receivers:
            self._receivers.append(receiver)

    def disconnect(self, receiver: Callable[..., Any]) -> None:
        """Call `receiver` no more; one that is not connected is let be."""
        if receiver in self._receivers:
            self._receivers.remove(receiver)

    def emit(self, *arguments: object) -> None:
        """Call all receivers, also those after one that raised; the first error is raised when all were called."""
        errors = []
        for receiver in tuple(self._receivers):
            try:
                receiver(*arguments)
            except Exception as error:  # noqa: BLE001 - one receiver's fault must not hide the news from the others
                errors.append(error)
        if errors:
            raise errors[0]
