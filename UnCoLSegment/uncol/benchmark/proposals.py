"""What is proposed for the annotated volume, beside what it is made of, and what stage 2 adds to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from uncol.benchmark.comparison import Interval, Row, paired_difference
from uncol.benchmark.method_names import FROZEN_TEACHER, REGISTRATION
from uncol.benchmark.suites import SUPERVISED_PROPOSAL, UNCOL, UNCOL_PROPOSAL

SOURCES = (REGISTRATION, FROZEN_TEACHER, UNCOL)
"""What a proposal is made of, each alone: motion, the frozen foundation model and the student's own model."""
TOLERANCE = 0.003
"""A proposal whose Dice is less than this below its best source counts as no worse."""


@dataclass(frozen=True)
class Proposal:
    """The proposal of our method at one label count.

    Attributes:
        labeled: The label count.
        ours: Its row.
        supervised: The row of the proposal with a supervised student; None where it was not run.
        difference: Dice of ours minus that one's, paired by subject and seed; None without common ones.
        best: The row of its best source; None where none was run.
        missing: Sources that were not run.
    """

    labeled: int
    ours: Row
    supervised: Row | None
    difference: Interval | None
    best: Row | None
    missing: tuple[str, ...]

    @property
    def is_never_worse(self) -> bool | None:
        """Whether its mean Dice is at least that of its best source minus 0.003; None before all of them were run.

        One source that is better by more decides, whatever the others are.
        """
        if self.best is not None and self.ours.dice.mean < self.best.dice.mean - TOLERANCE:
            return False
        return None if self.missing else True


def proposal_of(rows: Sequence[Row]) -> Proposal | None:
    """Return what the rows at one label count tell of our proposal; None where it was not run."""
    by_method = {row.method: row for row in rows}
    ours, supervised = by_method.get(UNCOL_PROPOSAL), by_method.get(SUPERVISED_PROPOSAL)
    if ours is None:
        return None
    found = [by_method[source] for source in SOURCES if source in by_method]
    return Proposal(
        labeled=ours.labeled,
        ours=ours,
        supervised=supervised,
        difference=None if supervised is None else paired_difference(ours.subjects, supervised.subjects),
        best=max(found, key=lambda row: row.dice.mean, default=None),
        missing=tuple(source for source in SOURCES if source not in by_method),
    )
