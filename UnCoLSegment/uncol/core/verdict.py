"""Whether a new model is better than the earlier one: an advice, by which nothing is deleted or replaced."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Literal

from uncol.core.errors import ConfigError

Outcome = Literal["better", "not better", "not compared"]


@dataclass(frozen=True)
class Verdict:
    """What a fine-tuning says of its model beside the earlier one.

    Both are scored on the same slices, from which neither had learned: they were annotated since the earlier model was
    trained, and were held out of the new one's stage 1. Stage 2 then learns from them, too.

    Attributes:
        outcome: Whether the new one's mean Dice is higher, is not, or cannot be compared.
        old: Dice of the earlier model by structure, in [0, 1], of those that both know and that the slices show.
        new: Dice of the new one after stage 1, of the same structures.
        slices: How many slices that rests on.
        reason: Why they were not compared, as a part of a sentence; "" if they were.
    """

    outcome: Outcome
    old: dict[str, float] = field(default_factory=dict)
    new: dict[str, float] = field(default_factory=dict)
    slices: int = 0
    reason: str = ""

    def __post_init__(self) -> None:
        scores = [*self.old.values(), *self.new.values()]
        is_compared = self.outcome != "not compared"
        right = self.old.keys() == self.new.keys() and all(0 <= each <= 1 for each in scores)
        if not right or (is_compared, is_compared) != (bool(scores), self.slices > 0):
            message = "A verdict rests on slices and on the Dice of the same structures for both models, or on neither."
            raise ConfigError(message)

    @property
    def sentence(self) -> str:
        """The verdict for the user."""
        if self.outcome == "not compared":
            return f"Not compared with the earlier model: {self.reason}."
        old, new = fmean(self.old.values()), fmean(self.new.values())
        count = f"{self.slices} slice{'s' * (self.slices > 1)} annotated since"
        if self.outcome == "better":
            return f"Better than the earlier model: Dice {new:.3f}, before {old:.3f}, on {count}."
        return f"Not better than the earlier model: Dice {new:.3f}, before {old:.3f}, on {count}. Keep the earlier one."


def judged(old: Mapping[str, float], new: Mapping[str, float], slices: int) -> Verdict:
    """Return the verdict on two models by their Dice on the same slices; equal means are not better."""
    common = [name for name in new if name in old]
    if not common:
        return not_compared("those slices show no structure that both know")
    before, after = ({name: round(each[name], 4) for name in common} for each in (old, new))
    is_better = fmean(after.values()) > fmean(before.values())
    return Verdict("better" if is_better else "not better", before, after, slices)


def not_compared(reason: str) -> Verdict:
    """Return that two models were not compared, and why."""
    return Verdict("not compared", reason=reason)
