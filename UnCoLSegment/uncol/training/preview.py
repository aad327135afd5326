"""A look at what a model can do while it is still being trained.

Training knows nothing of it: the weights come from the checkpoint that the run writes anyway, and the run's
reports of progress tell when to look. The run is the same, bit for bit, with and without previews.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from uncol.core.errors import CancelledError, UncolError
from uncol.core.model_folder import CHECKPOINT_FILE
from uncol.core.progress import Monitor, Progress
from uncol.inference.result import Show
from uncol.inference.student import segment_with_model
from uncol.models.build import build_student
from uncol.models.card import Model
from uncol.models.checkpoints import load_checkpoint
from uncol.training.setup import card_for
from uncol.training.state import FineTuneSetup

_log = logging.getLogger(__name__)

_TEACHER = "specialized."
"""Under this prefix a checkpoint holds the moving average, which becomes the model."""
_LARGEST_PART = 0.5
"""Part of the time between two previews that one may take; if it needs more, training goes on without."""


@dataclass(frozen=True)
class PreviewOrder:
    """What is wanted.

    Attributes:
        every_s: Least time between two previews, in s.
        show: Told the labels of the first case's image; with their uncertainty where all sources made them.
    """

    every_s: float
    show: Show


class Preview:
    """Takes a run's reports of progress, hands them on, and shows a preview when it is time.

    Args:
        order: What is wanted.
        setup: What the run starts from.
        out: Where the run writes its checkpoints.
        monitor: Told about the progress, and asked at every slice.
    """

    def __init__(self, order: PreviewOrder, setup: FineTuneSetup, out: Path, monitor: Monitor) -> None:
        self._order, self._setup, self._out, self._monitor = order, setup, out, monitor
        self._shown_checkpoint: float | None = None
        self._last_look = time.monotonic()
        self._has_given_up = False

    def __call__(self, progress: Progress) -> None:
        """Hand on the progress, then look if it is time and there is something new."""
        self._monitor.report(progress)
        if self._has_given_up or not progress.step or time.monotonic() - self._last_look < self._order.every_s:
            return
        checkpoint = self._out / CHECKPOINT_FILE
        written = checkpoint.stat().st_mtime if checkpoint.is_file() else None
        if written is None or written == self._shown_checkpoint:
            return
        self._shown_checkpoint = written
        self._look()
        self._last_look = time.monotonic()

    def end(self) -> None:
        """Show no more: what will be shown next is the result."""
        self._has_given_up = True

    def _look(self) -> None:
        deadline = time.monotonic() + _LARGEST_PART * self._order.every_s

        def is_too_late() -> bool:
            return self._monitor.should_stop() or time.monotonic() > deadline

        try:
            monitor = Monitor(should_stop=is_too_late)
            result = segment_with_model(self._setup.cases[0].image, self._model(), self._setup.device, monitor)
            self._order.show(result.labels, None)
        except CancelledError:
            self._has_given_up = True
            if not self._monitor.should_stop():
                _log.warning("Previews would take too much of the training's time here; it goes on without them.")
        except UncolError as error:
            self._has_given_up = True
            _log.warning("There will be no preview: %s", error)

    def _model(self) -> Model:
        card = card_for(self._setup)
        with torch.random.fork_rng(devices=[]):  # building draws random weights; the run's numbers stay as they are
            student = build_student(card)
        tensors, _ = load_checkpoint(self._out)
        weights = {key.removeprefix(_TEACHER): value for key, value in tensors.items() if key.startswith(_TEACHER)}
        student.load_state_dict(weights)
        return Model(card, student.eval().requires_grad_(False))
