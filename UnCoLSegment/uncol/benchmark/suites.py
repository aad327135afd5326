"""What is compared on what: the benchmarks and the order of the methods, as data.

Every benchmark has a folder `images` and a folder `labels` with files of the same names. Training and test cases
come from its `splits.json`; the test cases are scored and serve nothing else. A benchmark of slices is one volume
of which every n-th slice is annotated and all the others are scored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from uncol.core.errors import ConfigError
from uncol.core.jobs import Structure
from uncol.core.methods import METHODS as TRAINED_METHODS

SUPERVISED, UNCOL, SUPERVISED_ALL = "supervised", "uncol", "supervised-all"
SHAPE_INTERPOLATION, FROZEN_TEACHER = "shape-interpolation", "frozen-teacher"
UNCOL_PROPOSAL = "uncol-proposal"

METHODS = (SHAPE_INTERPOLATION, *TRAINED_METHODS)
"""Every method, in the order of the tables."""

_KEY_METHODS = (SUPERVISED, UNCOL, SUPERVISED_ALL)
"""What every label count is owed: the lower bound, our method, the upper bound."""
_SLICE_METHODS = (SHAPE_INTERPOLATION, SUPERVISED, FROZEN_TEACHER, UNCOL, UNCOL_PROPOSAL)


@dataclass(frozen=True)
class Benchmark:
    """One set of images and what is asked of it.

    Attributes:
        name: Name in results and tables.
        folder: Its folder below the data folder.
        dims: Whether the student sees slices (2) or volumes (3).
        modality: CT has a scale of its own (HU); MR does not, and every volume is scaled by itself.
        structures: What is segmented, with the values in the label files; the student learns 1, 2, 3, ...
        labeled_counts: How many labeled cases (patients) there may be; with slices: every how manieth is annotated.
        must_count: The count at which all methods are compared.
        steps: Training steps of a run where the user names none.
        spacing_known: Whether distances in mm mean anything.
        supervision: Whether whole cases or single slices are labeled.
        volume: With slices: the one volume.
        drawn_by_people: Whether people drew the references; else a model made them.
    """

    name: str
    folder: str
    dims: Literal[2, 3]
    modality: Literal["CT", "MR"]
    structures: tuple[Structure, ...]
    labeled_counts: tuple[int, ...]
    must_count: int
    steps: int
    spacing_known: bool = True
    supervision: Literal["cases", "slices"] = "cases"
    volume: str = ""
    drawn_by_people: bool = True

    @property
    def learned_structures(self) -> tuple[Structure, ...]:
        """The structures with the consecutive label values 1, 2, 3, ... that methods are given."""
        return tuple(Structure(value, each.name) for value, each in enumerate(self.structures, start=1))

    @property
    def methods(self) -> tuple[str, ...]:
        """What can be compared here, in the order of the tables."""
        unfit = (SHAPE_INTERPOLATION, UNCOL_PROPOSAL) if self.supervision == "cases" else (SUPERVISED_ALL,)
        return tuple(method for method in METHODS if method not in unfit)

    def label_text(self, count: int) -> str:
        """Return a label count in words: a number of subjects, or every how manieth slice."""
        return f"{count} labeled" if self.supervision == "cases" else f"1 slice in {count}"

    def default_methods(self, labeled: int) -> tuple[str, ...]:
        """Return what is compared at a label count where the user names no methods."""
        if self.supervision == "slices":
            return _SLICE_METHODS
        return self.methods if labeled == self.must_count else _KEY_METHODS


BENCHMARKS = {
    each.name: each
    for each in (
        Benchmark(
            name="hippocampus",
            folder="hippocampus",
            dims=3,
            modality="MR",
            structures=(Structure(1, "anterior"), Structure(2, "posterior")),
            labeled_counts=(4, 8, 16, 32),
            must_count=8,
            steps=1200,
        ),
        Benchmark(
            name="acdc",
            folder="acdc",
            dims=2,
            modality="MR",
            structures=(Structure(1, "right ventricle"), Structure(2, "myocardium"), Structure(3, "left ventricle")),
            labeled_counts=(1, 3, 6),
            must_count=3,
            steps=1200,
            spacing_known=False,  # the files say 1 x 1 x 1 mm, a placeholder
        ),
        Benchmark(
            name="la2018",
            folder="la2018",
            dims=3,
            modality="MR",
            structures=(Structure(1, "left atrium"),),
            labeled_counts=(2, 4),
            must_count=4,
            steps=1200,
        ),
        Benchmark(
            name="sparse-slices-body",
            folder="totalseg_ct",
            dims=2,
            modality="CT",
            structures=(
                Structure(1, "spleen"),
                Structure(2, "right kidney"),
                Structure(3, "left kidney"),
                Structure(5, "liver"),
                Structure(6, "stomach"),
                Structure(52, "aorta"),
            ),
            labeled_counts=(4, 8, 16),
            must_count=8,
            steps=800,
            supervision="slices",
            volume="ts_body3mm",
            drawn_by_people=False,  # by TotalSegmentator
        ),
        Benchmark(
            name="sparse-slices-liver",
            folder="chaos_ct",
            dims=2,
            modality="CT",
            structures=(Structure(1, "liver"),),
            labeled_counts=(4, 8, 16),
            must_count=8,
            steps=800,
            supervision="slices",
            volume="chaos_ct_liver",
        ),
    )
}

SUITES = {
    "hippocampus": ("hippocampus",),
    "acdc": ("acdc",),
    "la2018": ("la2018",),
    "sparse-slices": ("sparse-slices-body", "sparse-slices-liver"),
}
"""What the command line knows by name, and the benchmarks that belong to it."""


def find_benchmarks(name: str) -> list[Benchmark]:
    """Return the benchmarks that belong to a name of the command line.

    Raises:
        ConfigError: If there is no such name.
    """
    if name not in SUITES:
        message = f'Benchmark "{name}" is unknown. Choose one of {", ".join(SUITES)}.'
        raise ConfigError(message)
    return [BENCHMARKS[each] for each in SUITES[name]]


def check_methods(names: tuple[str, ...], benchmark: Benchmark) -> None:
    """Make sure that all methods exist and can be compared on a benchmark.

    Raises:
        ConfigError: If one of them cannot.
    """
    for name in names:
        if name not in METHODS:
            message = f'Method "{name}" is unknown. Choose from {", ".join(benchmark.methods)}.'
            raise ConfigError(message)
        if name not in benchmark.methods:
            message = (
                f'Method "{name}" means nothing on "{benchmark.name}". Choose from {", ".join(benchmark.methods)}.'
            )
            raise ConfigError(message)
