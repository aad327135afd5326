"""How long prompting the foundation model still takes, by what it has taken."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from uncol.core.clock import awake_s
from uncol.foundation.prompting import SlicePredictor

_RECENT_LOOKS, _RECENT_TIMES = 32, 48
"""First looks, and times told, whose mean counts: a machine may become busy. A GPU encodes up to 32 slices at once."""


class PromptingTime:
    """Tells two kinds of work apart: the first look at a slice, which is encoded then, and a prompt in it.

    Args:
        predictors: What is prompted.
        clock: Gives seconds.
    """

    def __init__(self, predictors: Sequence[SlicePredictor], clock: Callable[[], float] = awake_s) -> None:
        self._predictors, self._clock = predictors, clock
        self._looks_left = self._prompts_left = 0
        self._recent: deque[tuple[float, int]] = deque(maxlen=_RECENT_TIMES)
        self._last = (clock(), *self._counts())

    def expect(self, slices: int, prompts: int) -> None:
        """Say that from now on so many slices will be looked at for the first time, and so many prompts follow."""
        self.seconds_left()
        self._looks_left, self._prompts_left = slices, prompts

    def seconds_left(self) -> float | None:
        """Return the seconds that what is expected will take; None before the first look at a slice."""
        began, looks, looks_s, prompts = self._last
        self._last = now, looks_now, looks_s_now, prompts_now = (self._clock(), *self._counts())
        self._looks_left = max(0, self._looks_left - (looks_now - looks))
        self._prompts_left = max(0, self._prompts_left - (prompts_now - prompts))
        if prompts_now > prompts:
            self._recent.append((now - began - (looks_s_now - looks_s), prompts_now - prompts))
        prompt_s = self.prompt_s
        return None if prompt_s is None else self._looks_left * self._look_s() + self._prompts_left * prompt_s

    @property
    def prompt_s(self) -> float | None:
        """What a prompt takes, with all that is done around it, in s; None before the first one."""
        prompts = sum(count for _, count in self._recent)
        return sum(seconds for seconds, _ in self._recent) / prompts if prompts else None

    def _counts(self) -> tuple[int, float, int]:
        looks = [each.first_looks_s for each in self._predictors]
        return (
            sum(map(len, looks)),
            sum(sum(each.values()) for each in looks),
            sum(it.prompts for it in self._predictors),
        )

    def _look_s(self) -> float:
        recent = [each for it in self._predictors for each in list(it.first_looks_s.values())[-_RECENT_LOOKS:]]
        return sum(recent) / max(1, len(recent))
