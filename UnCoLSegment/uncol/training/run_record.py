"""What a checkpoint says beside its tensors, checked before anything of it is believed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from uncol.core.errors import ConfigError
from uncol.core.records import from_document
from uncol.core.verdict import Verdict

_MOST_STEPS = 10**9
_LONGEST_S = 1e9
_Number = int | float


@dataclass(frozen=True)
class CurveRecord:
    """The learning curve: the points, and the sums of the stretch that is not closed yet."""

    points: tuple[dict[str, _Number], ...] = ()
    sums: dict[str, _Number] = field(default_factory=dict)
    count: int = 0


@dataclass(frozen=True)
class RunRecord:
    """What a checkpoint says beside its tensors; times are in seconds of the run.

    Attributes:
        fingerprint: Hash of images, labels and structures.
        frame: How the student sees images.
        windows: The grey values that became 0 and 1 in each case; none in version 0.1, where `frame` has one for all.
        config: The configuration, as it was written.
        generalized_teacher: Name of the foundation model, if it takes part.
        has_begun: Whether preparation had ended.
        is_scored: Whether what was held out has been scored; None in version 0.1, where that was done with stage 1.
        step: Steps done.
        stage: 1 or 2.
        round: Rounds of prompting done.
        teacher_s: How long prompting has taken.
        batch_size: Slices in a step.
        elapsed_s: How long the run has taken.
        stage1_began_s: When stage 1 began.
        stage2_began_s: When stage 2 began; None before.
        expected_teacher_s: What prompting between the stages was expected to take.
        stage1_part: Part of the budget for stage 1; None in version 0.1, where it was that of the configuration.
        curve: The learning curve.
        held_out_dice: Dice on held out slices, by structure.
        notes: Sentences that the user should read.
        verdict: Whether the new model is better than the earlier one; None before that is known, or without one.
        models_before: Hashes of the records of the base and of the earlier model, None for none; empty in version 0.1.
        uncol: Version that wrote it.
    """

    fingerprint: str
    frame: dict[str, Any]
    config: dict[str, Any]
    generalized_teacher: str | None
    has_begun: bool
    step: int
    stage: Literal[1, 2]
    round: int
    teacher_s: float
    batch_size: int
    elapsed_s: float
    stage1_began_s: float
    stage2_began_s: float | None
    expected_teacher_s: float
    curve: CurveRecord
    notes: tuple[str, ...]
    held_out_dice: dict[str, float] = field(default_factory=dict)
    windows: tuple[tuple[float, float], ...] = ()
    stage1_part: float | None = None
    is_scored: bool | None = None
    verdict: Verdict | None = None
    models_before: tuple[str | None, ...] = ()
    uncol: str = ""

    def __post_init__(self) -> None:
        counts = {"step": self.step, "round": self.round, "curve.count": self.curve.count}
        times = ("teacher_s", "elapsed_s", "stage1_began_s", "stage2_began_s", "expected_teacher_s")
        for name, count in counts.items():
            _require(0 <= count <= _MOST_STEPS, name, count)
        for name in times:
            _require(0 <= (getattr(self, name) or 0) <= _LONGEST_S, name, getattr(self, name))
        _require(self.batch_size >= 1, "batch_size", self.batch_size)
        _require(0 <= (self.stage1_part or 0) <= 1, "stage1_part", self.stage1_part)
        own = self.sections().get("budget", {}).get("steps")
        if own is not None:
            _require(isinstance(own, int) and self.step <= own, "step", self.step)

    def sections(self) -> dict[str, dict[str, Any]]:
        """Return those parts of the configuration that hold settings by name."""
        return {name: value for name, value in self.config.items() if isinstance(value, dict)}


def read_record(document: Any) -> RunRecord:
    """Return what a checkpoint says.

    Raises:
        ConfigError: If something is missing, unknown, of another type or out of its range.
    """
    return from_document(RunRecord, document, "the record")


def _require(holds: bool, name: str, got: Any) -> None:
    if not holds:
        message = f"the record, field {name}: {got} cannot be"
        raise ConfigError(message)
