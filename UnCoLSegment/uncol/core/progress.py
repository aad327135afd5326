"""How far a piece of work has come, who is told, and who may end it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from uncol.core.clock import awake_s
from uncol.core.errors import CancelledError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Progress:
    """How far a piece of work has come.

    Attributes:
        phase: What is being done, in the user's words.
        fraction: Part of the phase that is done, in [0, 1].
        seconds_left: Estimated time until the whole job ends, in s; None when it cannot be told.
        step: Training steps done so far; None outside training.
        losses: Current losses by name; empty outside training.
    """

    phase: str
    fraction: float
    seconds_left: float | None = None
    step: int | None = None
    losses: dict[str, float] = field(default_factory=dict)

    def as_message(self) -> dict[str, Any]:
        """Return the progress as a JSON object without the fields that say nothing."""
        filled = {name: value for name, value in asdict(self).items() if value not in (None, {})}
        return {"event": "progress", **filled}


@dataclass(frozen=True)
class Monitor:
    """Hears of progress and ends the work on request; the default hears nothing and lets everything run to its end.

    Attributes:
        report: Called with the progress now and then.
        should_stop: Asked at every step; True ends the work at the next safe point.
        before_cancel: Does what has to be done before the work ends, such as saving, and returns the sentence for
            the user.
    """

    report: Callable[[Progress], None] = lambda _progress: None
    should_stop: Callable[[], bool] = lambda: False
    before_cancel: Callable[[], str] = lambda: "The work was cancelled; nothing was written."

    def check(self) -> None:
        """Leave when asked to.

        Raises:
            CancelledError: If `should_stop` says so.
        """
        if self.should_stop():
            raise CancelledError(self.before_cancel())

    def step(self, phase: str, fraction: float) -> None:
        """Leave when asked to, otherwise tell the progress."""
        self.check()
        self.report(Progress(phase, fraction))

    def each(self, items: Sequence[Item], phase: str) -> Iterator[Item]:
        """Yield items; before each one, tell the progress and leave when asked to."""
        for done, item in enumerate(items):
            self.step(phase, done / len(items))
            yield item

    def checked(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield items; before each one, leave when asked to."""
        for item in items:
            self.check()
            yield item

    def cancelling_with(self, sentence: str) -> Monitor:
        """Return this monitor with a sentence of its own for work that was cancelled."""
        return replace(self, before_cancel=lambda: sentence)

    def part(self, first: float, last: float, seconds_after: float = 0.0) -> Monitor:
        """Return a monitor for a part of the work; what it tells never goes back.

        Args:
            first: How much is done when the part begins, in [0, 1].
            last: How much when it ends.
            seconds_after: What is expected to follow, added to the time left, in s.
        """
        furthest = first

        def report(progress: Progress) -> None:
            nonlocal furthest
            furthest = max(furthest, first + (last - first) * progress.fraction)
            left = None if progress.seconds_left is None else progress.seconds_left + seconds_after
            self.report(replace(progress, fraction=furthest, seconds_left=left))

        return replace(self, report=report)

    def timed(self, seconds_left: Callable[[], float | None]) -> Monitor:
        """Return a monitor that tells the time left, too, wherever the work itself does not."""

        def report(progress: Progress) -> None:
            left = progress.seconds_left
            self.report(replace(progress, seconds_left=seconds_left() if left is None else left))

        return replace(self, report=report)

    def followed_by(self, seconds: float) -> Monitor:
        """Return a monitor for work after which so many seconds of other work follow."""

        def report(progress: Progress) -> None:
            left = progress.seconds_left
            self.report(replace(progress, seconds_left=None if left is None else left + seconds))

        return replace(self, report=report)

    def phase(self, name: str, count: int, limit_s: float | None = None) -> Phase:
        """Return a phase of so many steps, for which there is so much time."""
        return Phase(self, name, count, limit_s)


UNWATCHED = Monitor()
"""Nobody hears of the work, and nobody ends it."""


class Phase:
    """Steps of one kind whose number is known beforehand, and how long they may take.

    Args:
        monitor: Hears of the progress.
        name: What is done, in the user's words.
        count: How many steps are expected.
        limit_s: Time for all of them; None takes as long as it takes.
    """

    def __init__(self, monitor: Monitor, name: str, count: int, limit_s: float | None = None) -> None:
        self._monitor, self._name, self._count, self._limit_s = monitor, name, count, limit_s
        self._started = self._last = awake_s()
        self._steps_s: list[float] = []

    def step(self) -> None:
        """Say that the next step begins, and leave when asked to."""
        now = awake_s()
        self._steps_s.append(now - self._last)
        self._last = now
        self._monitor.step(self._name, min(1.0, len(self._steps_s) / max(1, self._count)))

    @property
    def time_is_up(self) -> bool:
        """Whether the limit has passed."""
        return self._limit_s is not None and self.elapsed_s > self._limit_s

    @property
    def elapsed_s(self) -> float:
        """Seconds since the phase began, those slept left out."""
        return awake_s() - self._started

    def step_s(self, part: float) -> float:
        """Return the time in s below which a part of the steps, in [0, 1], took; 0 before the first."""
        return float(np.quantile(self._steps_s, part)) if self._steps_s else 0.0
