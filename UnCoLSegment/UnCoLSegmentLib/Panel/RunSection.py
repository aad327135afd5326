"""A section that starts runs; `StatusStrip` shows how far they have come and how they ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from UnCoLSegmentLib.Engine.Run import RunState
from UnCoLSegmentLib.Logic import Logic
from UnCoLSegmentLib.Panel.Section import Message, Section
from UnCoLSegmentLib.ParameterNode import ParameterNode


class RunSection(Section):
    """Starts runs.

    Args:
        ui: The panel's widgets by name.
        logic: Whose runs these are.
        message: Where it is told why one could not start.
        prepareEngine: Called before a run; installs what is missing, with consent.
    """

    def __init__(self, ui: Any, logic: Logic, message: Message, prepareEngine: Callable[[], None]) -> None:
        super().__init__(ui, logic, message)
        self._prepareEngine = prepareEngine

    def _start(self, run: Callable[[ParameterNode], None]) -> None:
        """Start a run; an error on the way is told like that of a run. A click while another one works is too late."""
        if self._logic.state is not RunState.IDLE:
            return
        self._message.clear()
        with self._message.reporting():
            self._prepareEngine()
            run(self._given)
