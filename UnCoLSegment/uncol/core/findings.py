"""What a result says of its structures, where to look and what to annotate next: plain data.

`report.json`, report, viewer, terminal and the worker's messages all tell it from here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from uncol.core.next_slices import NextSlices
from uncol.core.records import from_document
from uncol.core.uncertainty_maps import UNSURE

Side = Literal["inside", "outside", "both"]
RestsOn = Literal["promise", "map"]


@dataclass(frozen=True)
class Finding:
    """One structure in numbers.

    Attributes:
        name: Its name.
        value: Its label value.
        voxels: How many voxels were found; None where no image was segmented.
        volume_ml: The same in ml.
        mean_uncertainty: In [0, 1], over the voxels found; None where there are none.
        volume_range_ml: What the volume lies between, in ml; None where nothing was found, or that is not known.
        predicted_dice: Expected Dice and the ends of its interval, in [0, 1], where nobody annotated; None for none.
        range_rests_on: "promise": the range holds the volume in 90 of 100 cases, tried on annotated slices. "map": what
            is sure, and with all that may belong to it besides, by the uncertainty alone; not tried on anything.
        with_two_more: Dice that is expected once the two best slices are annotated; None without a promise.
        is_enough: Whether further slices are expected to bring next to nothing.
        why_no_promise: Why no Dice is expected, a sentence; "" where one is.
    """

    name: str
    value: int
    voxels: int | None = None
    volume_ml: float | None = None
    mean_uncertainty: float | None = None
    volume_range_ml: tuple[float, float] | None = None
    predicted_dice: tuple[float, float, float] | None = None
    range_rests_on: RestsOn = "promise"
    with_two_more: float | None = None
    is_enough: bool = False
    why_no_promise: str = ""

    @property
    def volume_text(self) -> str:
        """Volume with its range, in ml."""
        return f"{self.size_text} ({self.range_text})" if self.range_text else self.size_text

    @property
    def size_text(self) -> str:
        """Volume in ml; "" where no image was segmented."""
        return "" if self.volume_ml is None else f"{ml_text(self.volume_ml)} ml"

    @property
    def range_text(self) -> str:
        """What the volume lies between, in ml; "" where that is not known."""
        if self.volume_ml is None or self.volume_range_ml is None:
            return ""
        low, high = map(ml_text, self.volume_range_ml)
        return f"{low} to {high}" if self.range_rests_on == "promise" else f"sure {low}, possible {high}"

    @property
    def predicted_text(self) -> str:
        """Expected Dice with its interval; "" where it was not measured."""
        if self.predicted_dice is None:
            return ""
        return "{:.2f} ({:.2f} to {:.2f})".format(*self.predicted_dice)


@dataclass(frozen=True)
class Place:
    """A place to look at: unsure over more than the thin rim that every contour has.

    Attributes:
        number: From 1, the one with the most doubt first; the map of places holds it in all its voxels.
        ijk: Its middle, voxel indices of the image.
        ras_mm: The same in mm.
        volume_ml: How large it is.
        uncertainty: Mean over it, in [0, 1].
        side: Whether it lies inside the contour, where it may be too much, outside, where some may be missing, or both.
        structure: The structure that it belongs to.
        value: Its label value.
    """

    number: int
    ijk: tuple[int, int, int]
    ras_mm: tuple[float, float, float]
    volume_ml: float
    uncertainty: float
    side: Side
    structure: str
    value: int

    @property
    def sentence(self) -> str:
        """What may be wrong there, for the user."""
        name = self.structure
        words = {"inside": f"may not be {name}", "outside": f"may belong to {name}", "both": f"border of {name} unsure"}
        return words[self.side]


@dataclass(frozen=True)
class Findings:
    """All of it.

    Attributes:
        structures: The structures, in numbers.
        places: Where to look, the place with the most doubt first.
        next_slices: Which slices to annotate next; None where that is not known.
        unsure_from: Uncertainty, in [0, 1], from which a voxel counts as unsure in this map.
    """

    structures: tuple[Finding, ...] = ()
    places: tuple[Place, ...] = ()
    next_slices: NextSlices | None = None
    unsure_from: float = UNSURE


def findings_in(report: Mapping[str, Any]) -> Findings:
    """Read what a `report.json` says of it; what other fields it has is passed over.

    Raises:
        ConfigError: If it cannot be read.
    """
    listed = report.get("structures")
    document = {name: report[name] for name in ("places", "next_slices", "unsure_from") if name in report}
    return from_document(Findings, {**document, "structures": _known(listed)}, "report.json")


def _known(listed: Any) -> Any:
    """Return the structures with the fields that are known here."""
    if not isinstance(listed, Sequence) or isinstance(listed, str):
        return listed
    names = {each.name for each in fields(Finding)}
    return [
        {name: value for name, value in each.items() if name in names} if isinstance(each, Mapping) else each
        for each in listed
    ]


def ml_text(volume_ml: float) -> str:
    """Return a volume with the digits that mean something."""
    return f"{volume_ml:,.0f}" if volume_ml >= 100 else f"{volume_ml:.1f}" if volume_ml >= 1 else f"{volume_ml:.2f}"
