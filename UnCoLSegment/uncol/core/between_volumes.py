"""What Dice to expect of the next patient, from patients that were measured, or how many more that needs.

A conformal bound: if the next patient is drawn like the ones before, the k-th smallest of n Dice holds with a chance of
at least 1 - k / (n + 1), whatever their distribution. Nothing is assumed of images or models.

Source:
    Vovk, Gammerman & Shafer, "Algorithmic learning in a random world", Springer 2005.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MISSED_PART = 0.1
"""Part of further patients in which the bound may fail."""
_ROUNDING = 1e-9


@dataclass(frozen=True)
class NextPatient:
    """What to expect of one structure in the next patient.

    Attributes:
        structure: Its name.
        patients: How many patients it was measured in.
        least_dice: Dice that nine of ten further patients reach; None where there are too few patients to say.
        missing: How many more patients that needs; 0 where it is known.
    """

    structure: str
    patients: int
    least_dice: float | None
    missing: int = 0

    @property
    def sentence(self) -> str:
        """The bound, or what it needs, for the user."""
        measured = f"{self.patients} patient{'s' * (self.patients != 1)}"
        if self.least_dice is None:
            more = f"{self.missing} more patient{'s' * (self.missing != 1)}"
            return f'"{self.structure}": nothing can be said of the next patient from {measured}; that needs {more}.'
        return (
            f'"{self.structure}": Dice of at least {self.least_dice:.2f} to expect in nine of ten further patients, '
            f"from {measured}, as far as they are like these."
        )


def expect_of_next(
    patients: Sequence[Mapping[str, float]], missed_part: float = MISSED_PART
) -> tuple[NextPatient, ...]:
    """Return what to expect of every structure, in the order in which they appear.

    Args:
        patients: For each patient the Dice by structure; whoever lacks a structure does not count for it.
        missed_part: Part of further patients in which the bound may fail, above 0; it takes 1 / this - 1 patients.
    """
    names = dict.fromkeys(name for each in patients for name in each)
    ascending = {name: sorted(each[name] for each in patients if name in each) for name in names}
    return tuple(_expected(name, each, missed_part) for name, each in ascending.items())


def _expected(structure: str, ascending: Sequence[float], missed_part: float) -> NextPatient:
    count = len(ascending)
    place = math.floor(missed_part * (count + 1) + _ROUNDING)
    if place:
        return NextPatient(structure, count, ascending[place - 1])
    return NextPatient(structure, count, None, math.ceil(1 / missed_part - _ROUNDING) - 1 - count)
