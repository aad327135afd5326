"""A section that starts runs and says how they ended; `RunRow` shows how far they have come."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from UnCoLSegmentLib.Engine.Run import RunState
from UnCoLSegmentLib.Logic import Logic
from UnCoLSegmentLib.Panel.Section import Section
from UnCoLSegmentLib.ParameterNode import ParameterNode


class RunSection(Section):
    """Follows the runs that it started, and no others.

    Args:
        ui: The panel's widgets by name.
        logic: Whose runs these are.
        name: The section's name, with which the names of its widgets begin.
        prepareEngine: Called before a run; installs what is missing, with consent.
    """

    def __init__(self, ui: Any, logic: Logic, name: str, prepareEngine: Callable[[], None]) -> None:
        super().__init__(ui, logic, name)
        self._prepareEngine = prepareEngine
        self._frame = getattr(ui, f"{name}CollapsibleButton")
        self._isMine = False
        self._follow(logic.outdated, self._message.clear)
        tell = partial(self._end, self._message.showInformation)
        self._follow(logic.finished, lambda result: tell(result.message, result.notes))
        self._follow(logic.cancelled, tell)
        self._follow(logic.failed, partial(self._end, self._message.showWarning))

    def _start(self, run: Callable[[ParameterNode], None]) -> None:
        """Start a run; an error on the way is told like that of a run. A click while another one works is too late."""
        if self._logic.state is not RunState.IDLE:
            return
        self._isMine = True
        self._message.clear()
        with self._message.reporting():
            self._prepareEngine()
            run(self._given)
        self._isMine = self._isMine and self._logic.state is not RunState.IDLE

    def _whyNotCancel(self, idle: str) -> str:
        return "" if self._logic.state is RunState.RUNNING and self._isMine else idle

    def _end(self, tell: Callable[..., None], *what: Any) -> None:
        """Say how a run ended, also to a user who has folded the section meanwhile."""
        wasMine, self._isMine = self._isMine, False
        if wasMine:
            self._frame.collapsed = False
            tell(*what)
