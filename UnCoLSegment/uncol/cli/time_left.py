"""How much of a run is done and how long it will still take: one bar for each run, which never goes back."""

from __future__ import annotations

import time
from collections.abc import Callable

from uncol.core.progress import Progress

SHORT_S = 10.0
"""Below this nobody counts seconds."""
_LEAST_S, _LEAST_PART = 3.0, 0.02
"""Time, and part of the work, from which a pace can be told."""
_RECENT_PART = 0.5
"""The pace is that of the last half of what is done, and of the present phase alone once 2 % were done in it."""


class TimeLeft:
    """Follows a run: what it says of the time left counts, and runs down; else the pace at which its fraction grows.

    Args:
        clock: Gives seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._points: list[tuple[float, float]] = []
        self._phase, self._phase_began = "", 0.0
        self._ends_at: float | None = None
        self._has_said = False
        self.done = 0.0
        """The part of the run that is done, in [0, 1]."""

    def hear(self, progress: Progress) -> None:
        """Hear how far the run has come."""
        now = self._clock()
        if self._points and progress.fraction < self._points[-1][1]:
            self._points.clear()
        if progress.phase != self._phase:
            self._phase, self._phase_began = progress.phase, progress.fraction
        self._points.append((now, progress.fraction))
        told = progress.seconds_left
        self._has_said |= told is not None
        left = told if self._has_said else self._by_pace(now, progress.fraction)
        if left is not None:
            self._ends_at = now + left
        elapsed, left = now - self._began, self.left()
        part = progress.fraction if left is None else elapsed / max(elapsed + left, 1e-9)
        self.done = max(self.done, min(part, 1.0))

    def left(self) -> float | None:
        """Return the seconds left; None where nobody knows."""
        return None if self._ends_at is None else max(0.0, self._ends_at - self._clock())

    def _by_pace(self, now: float, fraction: float) -> float | None:
        first_s, first = self._points[0]
        grown = min(_RECENT_PART * (fraction - first), fraction - min(self._phase_began, fraction))
        since = [each for each in self._points if each[1] <= fraction - max(_LEAST_PART, grown)]
        if now - first_s < _LEAST_S or not since:
            return None
        then, before = since[-1]
        return (1 - fraction) * (now - then) / (fraction - before)


def left_text(seconds: float) -> str:
    """Return a time left as coarse as it is known."""
    if seconds < SHORT_S:
        return "a few seconds left"
    if seconds < 90:
        return f"about {round(seconds / 5) * 5} s left"
    return f"about {round(seconds / 60)} min left"
