"""An object of the application with one signal, connected to by its signature as in PythonQt; needs no Qt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Announcer:
    """Tells what one signal tells; any other signature is an error.

    Args:
        signature: The signal, such as `effectRegistered(QString)`.
    """

    def __init__(self, signature: str) -> None:
        self.signature = signature
        self.slots: list[Callable[..., Any]] = []

    def connect(self, signature: str, slot: Callable[..., Any]) -> bool:
        self._check(signature)
        self.slots.append(slot)
        return True

    def disconnect(self, signature: str, slot: Callable[..., Any]) -> bool:
        self._check(signature)
        self.slots.remove(slot)  # ValueError if it is not connected
        return True

    def _check(self, signature: str) -> None:
        if signature != self.signature:
            message = f"There is no signal {signature} here, but {self.signature}."
            raise AttributeError(message)
