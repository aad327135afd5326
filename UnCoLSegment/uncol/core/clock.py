"""Seconds in which work could be done: while the computer sleeps or the process is stopped, this clock stands still.

`time.monotonic` goes on through sleep on Windows, and everywhere while a process is stopped.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import cache

_BEAT_S = 1.0
_LONGEST_GAP_S = 30.0
"""Beats come every second; where they stay away for longer than this, the process did not run."""


class AwakeClock:
    """A clock that is looked at often and takes it for sleep when nobody has looked for half a minute.

    Args:
        read: Gives seconds that never run backwards.
    """

    def __init__(self, read: Callable[[], float] = time.monotonic) -> None:
        self._read, self._lock = read, threading.Lock()
        self._last, self._slept_s = read(), 0.0

    def __call__(self) -> float:
        """Return the seconds from some moment on, those slept left out."""
        with self._lock:
            now = self._read()
            if now - self._last > _LONGEST_GAP_S:
                self._slept_s += now - self._last
            self._last = now
            return now - self._slept_s

    def keep_looking(self) -> None:
        """Look at the clock every second as long as the process lives, so that no step is taken for sleep."""

        def look() -> None:
            while True:
                self()
                time.sleep(_BEAT_S)

        threading.Thread(target=look, name="awake clock", daemon=True).start()


@cache
def _clock_of_process() -> AwakeClock:
    clock = AwakeClock()
    clock.keep_looking()
    return clock


def awake_s() -> float:
    """Return the seconds for which this process could work, from some moment on."""
    return _clock_of_process()()
