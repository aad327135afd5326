"""How good a segmentation of a few annotated slices is expected to be, and whether slices annotated since agree.

Plain data and arithmetic: the panel shows it, too. All of it is about one volume.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uncol.core.records import from_document
from uncol.core.reliability import ReliabilityBin

_LOSS_FACTOR = 1.7
"""1 - Dice of a volume is expected to lie between the 1.7th part of what is foreseen and 1.7 times that."""
_SLICE_LOSS_FACTOR = 2.3
"""What single slices add to that; it fades with the number of slices."""
_VOLUME_FACTOR = 1.4
"""A volume is expected to be wrong by at most 1.4 times 1 - Dice."""
ENOUGH = 0.005
"""A gain in Dice below which further slices are not asked for."""


@dataclass(frozen=True)
class Range:
    """A number and the interval that is expected to hold it in 90 of 100 cases."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class StructureCalibration:
    """The temperature by which a structure's log-odds were divided, and what it rests on.

    Attributes:
        structure: Its name.
        slices: Annotated slices that were left out for it and show it.
        beside: Temperature beside an annotated slice; None: not calibrated, too few slices.
        per_slice: By how much it grows with every slice to the nearest annotated one; None likewise.
        distance: How many slices away the nearest annotated slice was for the left-out ones; None likewise.
        before: What a reliability diagram of left-out slices shows without the temperature.
        after: The same with it.
    """

    structure: str
    slices: int
    beside: float | None = None
    per_slice: float | None = None
    distance: float | None = None
    before: tuple[ReliabilityBin, ...] = ()
    after: tuple[ReliabilityBin, ...] = ()

    @property
    def sentence(self) -> str:
        """What the calibration rests on, for the user."""
        count = f"{self.slices} of the annotated slices between others show{'s' * (self.slices == 1)} it"
        if self.beside is not None:
            return f'"{self.structure}" is calibrated: {count}.'
        lost = ", and left out it was found in fewer than two" if self.slices > 1 else ""
        return f'"{self.structure}" is not calibrated and has no promise: {count}{lost}. Annotate more of it.'

    def temperature(self, distance: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the temperature so many slices away from the nearest annotated one; 1 where it is not calibrated."""
        if self.beside is None or self.per_slice is None:
            return np.ones(distance.shape)
        return np.asarray(self.beside + self.per_slice * distance, dtype=np.float64)


@dataclass(frozen=True)
class LeftOutCheck:
    """How the Dice of annotated slices that were left out was foreseen, at their larger distance.

    Attributes:
        slices: How many show the structure.
        foreseen: Dice that was foreseen for them together.
        found: Dice that they had.
    """

    slices: int
    foreseen: float
    found: float


@dataclass(frozen=True)
class ExpectedSlice:
    """One structure in a slice that nobody annotated.

    Attributes:
        index: The slice's number along the file's voxel index.
        shared: Voxels that are expected to be found rightly.
        size: Voxels that were found, and voxels that are expected to be there, together.
    """

    index: int
    shared: float
    size: float


@dataclass(frozen=True)
class StructurePromise:
    """What is expected of one structure in the slices that nobody annotated.

    Attributes:
        structure: Its name.
        dice: Its Dice there.
        volume_ml: Its volume in the whole image.
        with_two_more: Dice that is expected, in the same slices, once the two best of them are annotated.
        left_out: The same foresight tried on annotated slices.
        slices: What is expected of every slice.
    """

    structure: str
    dice: Range
    volume_ml: Range
    with_two_more: float
    left_out: LeftOutCheck
    slices: tuple[ExpectedSlice, ...] = ()

    @property
    def is_enough(self) -> bool:
        """Whether further slices are expected to bring next to nothing."""
        return self.with_two_more - self.dice.value < ENOUGH

    @property
    def further(self) -> str:
        """What more annotated slices would bring, in a few words."""
        if self.is_enough:
            return "more slices would hardly help"
        return f"with two more slices about {self.with_two_more:.2f}"

    @property
    def beside_its_numbers(self) -> str:
        """What there is to say where Dice and volume are told already."""
        return f'"{self.structure}": {"" if self.is_enough else "Dice "}{self.further}.'

    @property
    def sentence(self) -> str:
        """What is promised, for the user."""
        return (
            f'"{self.structure}": Dice about {_in_words(self.dice, 2)} where nobody annotated; {self.further}. '
            f"Volume {_in_words(self.volume_ml, 1)} ml. This is foreseen from this volume alone."
        )


@dataclass(frozen=True)
class PromiseCheck:
    """A promise beside slices that were annotated since.

    Attributes:
        structure: Its name.
        promised: Dice that was expected of these slices together.
        found: Dice that they have.
        slices: How many they are.
    """

    structure: str
    promised: Range
    found: float
    slices: int

    @property
    def is_kept(self) -> bool:
        """Whether the interval holds what was found; better than promised is kept, too."""
        return self.found >= self.promised.low

    @property
    def sentence(self) -> str:
        """The check for the user."""
        outcome = "kept" if self.is_kept else "broken"
        count = f"{self.slices} slice{'s' * (self.slices != 1)} annotated since"
        promised = _in_words(self.promised, 2)
        return f'"{self.structure}": promise {outcome}. Dice {self.found:.2f} in {count}; promised was {promised}.'


def promises_in(document: Mapping[str, Any]) -> tuple[StructurePromise, ...]:
    """Return the promises of a report, a JSON object; none where it holds none.

    Raises:
        ConfigError: If they cannot be read.
    """
    found = document.get("promises")
    if not isinstance(found, list):
        return ()
    return tuple(from_document(StructurePromise, each, "The promise of a report") for each in found)


def expected_dice(slices: Sequence[ExpectedSlice]) -> Range | None:
    """Return the Dice that is expected of some slices together; None where nothing is expected there."""
    size = sum(each.size for each in slices)
    if size <= 0:
        return None
    loss = 1 - 2 * sum(each.shared for each in slices) / size
    spread = math.log(_LOSS_FACTOR) ** 2 + math.log(_SLICE_LOSS_FACTOR) ** 2 / len(slices)
    factor = math.exp(math.sqrt(spread))
    return Range(1 - loss, max(0.0, 1 - loss * factor), 1 - loss / factor)


def expected_volume(found_ml: float, annotated_ml: float, dice: float) -> Range:
    """Return a volume with its range: what was annotated is certain, the rest is off by its errors."""
    off = _VOLUME_FACTOR * (1 - dice) * (found_ml - annotated_ml)
    return Range(found_ml, max(annotated_ml, found_ml - off), found_ml + off)


def check_promise(
    promises: Sequence[StructurePromise], found: Mapping[str, float], indices: Collection[int]
) -> tuple[PromiseCheck, ...]:
    """Compare what was promised of some slices with the Dice that they have.

    Args:
        promises: What was expected.
        found: Dice of the slices together, by structure.
        indices: Which slices they are, along the voxel index of the promises; others than expected ones do not count.
    """
    checks = []
    for each in promises:
        meant = [one for one in each.slices if one.index in indices]
        promised = expected_dice(meant)
        if promised is not None and each.structure in found:
            checks.append(PromiseCheck(each.structure, promised, found[each.structure], len(meant)))
    return tuple(checks)


def _in_words(number: Range, digits: int) -> str:
    return f"{number.value:.{digits}f}, {number.low:.{digits}f} to {number.high:.{digits}f}"
