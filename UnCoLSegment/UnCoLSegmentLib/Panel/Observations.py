"""Who of the scene is listened to, by role: a node that leaves its role is let go, and its memory with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


class Observations:
    """Observers of VTK objects; at most one object has a role, and nothing of it is kept once another one has it."""

    def __init__(self) -> None:
        self._observed: dict[str, tuple[Any, list[int]]] = {}

    def observe(self, role: str, node: Any, observers: Iterable[tuple[int, Callable[..., None]]]) -> bool:
        """Give a role to an object, None for nobody, and call observers at its events; say whether it is another one.

        Args:
            role: A name for what the object is to the caller.
            node: The object.
            observers: Pairs of event and observer.
        """
        before, tags = self._observed.get(role, (None, []))
        if node is before:
            return False
        for tag in tags:
            before.RemoveObserver(tag)
        self._observed.pop(role, None)
        if node is not None:
            self._observed[role] = node, [node.AddObserver(event, observer) for event, observer in observers]
        return True

    def end(self) -> None:
        """Listen to nobody any more."""
        for role in list(self._observed):
            self.observe(role, None, ())
