"""A look at what is found while a model is still being trained.

Where annotated slices are carried by registration, a preview is what all sources say together up to then, and the first
one comes before anything is learned; elsewhere it is what the moving average finds. The run's reports of progress tell
when to look. The run is the same, bit for bit, with and without previews.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from uncol.core.errors import CancelledError, UncolError
from uncol.core.progress import Monitor, Progress
from uncol.core.volume import Volume
from uncol.inference.student import segment_with_model
from uncol.models.card import Model
from uncol.training.generalized_sources import GeneralizedSources
from uncol.training.proposal import found_so_far
from uncol.training.specialized_teacher import make_specialized_teacher
from uncol.training.state import TrainingState

_log = logging.getLogger(__name__)

_LARGEST_PART = 0.5
"""Part of the time between two previews that one may take; if it needs more, training goes on without."""


@dataclass(frozen=True)
class PreviewOrder:
    """What is wanted.

    Attributes:
        every_s: Least time between two previews, in s.
        show: Told the labels of a case's image, their uncertainty where all sources made them, and which case it is,
            from 1.
        cases: The first so many cases are looked at, one after the other.
    """

    every_s: float
    show: Callable[[Volume, Volume | None, int], None]
    cases: int = 1


class Preview:
    """Takes a run's reports of progress, hands them on, and shows a preview when it is time.

    Entered, it shows what is known before anything is learned; left, it shows no more: what comes then is the result.

    Args:
        order: What is wanted.
        state: The training.
        monitor: Told about the progress, and asked at every slice.
    """

    def __init__(self, order: PreviewOrder, state: TrainingState, monitor: Monitor) -> None:
        self._order, self._state, self._monitor = order, state, monitor
        self._shown_step, self._looks = 0, 0
        self._last_look = time.monotonic()
        self._has_given_up = False

    def __enter__(self) -> Self:
        for case in range(self._order.cases):
            if self._sources_of(case) is not None:
                self._look(case, self._monitor.should_stop)  # displacements that it finds are needed later anyway
        self._last_look = time.monotonic()
        return self

    def __exit__(self, *_error: object) -> None:
        self._has_given_up = True

    def __call__(self, progress: Progress) -> None:
        """Hand on the progress, then look if it is time and there is something new."""
        self._monitor.report(progress)
        if self._has_given_up or time.monotonic() - self._last_look < self._order.every_s:
            return
        if self._state.step == self._shown_step:
            return
        self._shown_step = self._state.step
        deadline = time.monotonic() + _LARGEST_PART * self._order.every_s
        self._look(self._looks % self._order.cases, lambda: self._monitor.should_stop() or time.monotonic() > deadline)
        self._looks += 1
        self._last_look = time.monotonic()

    def _sources_of(self, case: int) -> GeneralizedSources | None:
        sources = self._state.sources
        return sources if sources is not None and sources.carries(case) else None

    def _look(self, case: int, should_stop: Callable[[], bool]) -> None:
        try:
            self._show(case, Monitor(should_stop=should_stop))
        except CancelledError:
            self._has_given_up = True
            if not self._monitor.should_stop():
                _log.warning("Previews would take too much of the training's time here; it goes on without them.")
        except UncolError as error:
            self._has_given_up = True
            _log.warning("There will be no preview: %s", error)

    def _show(self, case: int, monitor: Monitor) -> None:
        state = self._state
        sources = self._sources_of(case)
        if sources is not None:
            found = found_so_far(state, sources, monitor, case)
            self._order.show(found.labels, found.uncertainty, case + 1)
            return
        model = Model(state.card, make_specialized_teacher(state.result))
        found = segment_with_model(state.setup.cases[case].image, model, state.device, monitor)
        self._order.show(found.labels, None, case + 1)
