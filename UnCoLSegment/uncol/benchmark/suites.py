"""What is compared on what, and with which settings, as data: the benchmarks and the order of the methods.

Every benchmark has a folder `images` and a folder `labels` with files of the same names. Training and test cases
come from its `splits.json`; the test cases are scored and serve nothing else. A benchmark of slices is one volume
of which every n-th slice is annotated and all the others are scored.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from uncol.core.config import BudgetConfig, Config, DataConfig, OptimizerConfig, StudentConfig, TeacherConfig
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


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One set of images and what is asked of it.

    Attributes:
        name: Name in results and tables.
        folder: Its folder below the data folder.
        modality: CT has a scale of its own (HU); MR does not, and every volume is scaled by itself.
        structures: What is segmented, with the values in the label files; the student learns 1, 2, 3, ...
        labeled_counts: How many labeled cases (patients) there may be; with slices: every how manieth is annotated.
        must_count: The count at which all methods are compared.
        steps: Training steps of a run where the user names none.
        config: One student, one budget and one set of augmentations for all methods; with slices those of the product.
        spacing_known: Whether distances in mm mean anything.
        supervision: Whether whole cases or single slices are labeled.
        volume: With slices: the one volume.
        drawn_by_people: Whether people drew the references; else a model made them.
    """

    name: str
    folder: str
    modality: Literal["CT", "MR"]
    structures: tuple[Structure, ...]
    labeled_counts: tuple[int, ...]
    must_count: int
    steps: int
    config: Config = field(default_factory=Config)
    spacing_known: bool = True
    supervision: Literal["cases", "slices"] = "cases"
    volume: str = ""
    drawn_by_people: bool = True

    @property
    def learned_structures(self) -> tuple[Structure, ...]:
        """The structures with the consecutive label values 1, 2, 3, ... that methods are given."""
        return _numbered(each.name for each in self.structures)

    @property
    def methods(self) -> tuple[str, ...]:
        """What can be compared here, in the order of the tables."""
        unfit = (SHAPE_INTERPOLATION, UNCOL_PROPOSAL) if self.supervision == "cases" else (SUPERVISED_ALL,)
        return tuple(method for method in METHODS if method not in unfit)

    def label_text(self, count: int) -> str:
        """Return a label count in words: a number of subjects, or every how manieth slice."""
        return f"{count} labeled" if self.supervision == "cases" else f"1 slice in {count}"

    def short_label_text(self, count: int) -> str:
        """Return a label count as axes and columns show it."""
        return f"{count}" if self.supervision == "cases" else f"1 in {count}"

    def default_methods(self, labeled: int) -> tuple[str, ...]:
        """Return what is compared at a label count where the user names no methods."""
        if self.supervision == "slices":
            return _SLICE_METHODS
        return self.methods if labeled == self.must_count else _KEY_METHODS


def _numbered(names: Iterable[str]) -> tuple[Structure, ...]:
    return tuple(Structure(value, name) for value, name in enumerate(names, start=1))


_SCALED_WINDOW = (0.0, 1.0)
"""Volumes of MR are scaled by themselves before (`cases.scale_by_itself`)."""
_DROPOUT = 0.1
"""UA-MT reads the moving average's uncertainty from passes with dropout, so every method's student has some."""
_BOTH_STAGES_ALIKE = BudgetConfig(stage1_part=0.5)
"""As in the paper."""

_HIPPOCAMPUS = Config(
    budget=_BOTH_STAGES_ALIKE,
    data=DataConfig(window=_SCALED_WINDOW, voxel_mm=1.0, patch_vox=(32, 48, 32), mirror=True),
    student=StudentConfig(dims=3, dropout=_DROPOUT),
    optimizer=OptimizerConfig(batch_size=2),
    teachers=TeacherConfig(most_slices_asked=300),
)
"""Whole volumes. Left and right ones are mixed and nobody knows which is which: mirroring changes nothing."""

_ACDC = Config(
    budget=_BOTH_STAGES_ALIKE,
    data=DataConfig(window=_SCALED_WINDOW, max_side_vox=128, neighbor_count=3, rotation_deg=90.0),
    student=StudentConfig(dims=2, dropout=_DROPOUT),
    teachers=TeacherConfig(most_slices_asked=240),
)
"""The orientation of these images is lost and differs: some lie on their side (seen in training images without labels).
Slices of at most 128 pixels: on one thread of a CPU a step of two slices takes 0.07 to 0.14 s
(performance/training_step.py)."""

_LA2018 = Config(
    budget=_BOTH_STAGES_ALIKE,
    data=DataConfig(window=_SCALED_WINDOW, voxel_mm=1.25, patch_vox=(48, 80, 96)),
    student=StudentConfig(dims=3, dropout=_DROPOUT),
    optimizer=OptimizerConfig(batch_size=2),
    teachers=TeacherConfig(most_slices_asked=400),
)

_BODY = {1: "spleen", 2: "right kidney", 3: "left kidney", 5: "liver", 6: "stomach", 52: "aorta"}
_MR: dict[str, Any] = {"modality": "MR", "steps": 1200}
_SLICES: dict[str, Any] = {
    "modality": "CT", "supervision": "slices", "labeled_counts": (4, 8, 16), "must_count": 8, "steps": 800
}  # fmt: skip

_ALL = (
    Benchmark(
        name="hippocampus", folder="hippocampus", structures=_numbered(("anterior", "posterior")),
        labeled_counts=(4, 8, 16, 32), must_count=8, config=_HIPPOCAMPUS, **_MR,
    ),
    Benchmark(
        name="acdc", folder="acdc", structures=_numbered(("right ventricle", "myocardium", "left ventricle")),
        labeled_counts=(1, 3, 6), must_count=3, config=_ACDC, **_MR,
        spacing_known=False,  # the files say 1 x 1 x 1 mm, a placeholder
    ),
    Benchmark(
        name="la2018", folder="la2018", structures=_numbered(("left atrium",)),
        labeled_counts=(2, 4), must_count=4, config=_LA2018, **_MR,
    ),
    Benchmark(
        name="sparse-slices-body", folder="totalseg_ct", volume="ts_body3mm",
        structures=tuple(Structure(*each) for each in _BODY.items()), **_SLICES,
        drawn_by_people=False,  # by TotalSegmentator
    ),
    Benchmark(
        name="sparse-slices-liver", folder="chaos_ct", volume="chaos_ct_liver", structures=_numbered(("liver",)),
        **_SLICES,
    ),
)  # fmt: skip
BENCHMARKS = {each.name: each for each in _ALL}

SUITES = {
    **{name: (name,) for name in ("hippocampus", "acdc", "la2018")},
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
        if name not in benchmark.methods:
            what = f'means nothing on "{benchmark.name}"' if name in METHODS else "is unknown"
            message = f'Method "{name}" {what}. Choose from {", ".join(benchmark.methods)}.'
            raise ConfigError(message)


def config_document(benchmark: Benchmark, method: str, seed: int, steps: int) -> dict[str, Any]:
    """Return the effective configuration of a run as a JSON object."""
    if method not in TRAINED_METHODS:
        return {"seed": seed}
    budget = replace(benchmark.config.budget, minutes=None, steps=steps)
    return replace(benchmark.config, method=method, seed=seed, budget=budget).as_document()
