"""What is compared on what, and with which settings, as data: the benchmarks and the order of the methods.

Every benchmark has a folder `images` and a folder `labels` with files of the same names. Training and test cases
come from its `splits.json`; the test cases are scored and serve nothing else. A benchmark of slices is one volume, or
several of which each is a task of its own: a few slices are annotated and all the others are scored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from uncol.benchmark.method_names import WITHOUT_TRAINING
from uncol.core.config import Config, DataConfig, OptimizerConfig, StudentConfig, TeacherConfig
from uncol.core.errors import ConfigError
from uncol.core.jobs import Structure
from uncol.core.methods import METHODS as TRAINED_METHODS

Annotation = Literal["every n-th", "n spread evenly"]
Subjects = Literal["train", "test", "all"]

SUPERVISED, UNCOL, SUPERVISED_ALL = "supervised", "uncol", "supervised-all"
UNCOL_PAPER, SUPERVISED_PROPOSAL, UNCOL_PROPOSAL = "uncol-paper", "supervised-proposal", "uncol-proposal"

METHODS = (*(name for name in WITHOUT_TRAINING if name not in TRAINED_METHODS), *TRAINED_METHODS)
"""Every method."""

_LONG_METHODS = (
    SUPERVISED, "mean-teacher", "bcp", "uncol-without-generalized", "uncol-without-specialized", UNCOL, SUPERVISED_ALL
)  # fmt: skip
"""What is worth steps until full supervision has converged."""
_LONG_WITHOUT_ABLATIONS = tuple(name for name in _LONG_METHODS if "without" not in name)
_KEY_METHODS = (SUPERVISED, UNCOL, SUPERVISED_ALL)
"""What every label count is owed: the lower bound, our method, the upper bound."""
_SLICE_METHODS = (*WITHOUT_TRAINING, SUPERVISED, UNCOL_PAPER, UNCOL, SUPERVISED_PROPOSAL, UNCOL_PROPOSAL)
_OF_SLICES_ONLY = (UNCOL_PAPER, SUPERVISED_PROPOSAL, UNCOL_PROPOSAL)
"""Where whole cases are labeled, nothing is carried: the paper's UnCoL is ours, and nothing is proposed."""


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One set of images and what is asked of it.

    Attributes:
        name: Name in results and tables.
        folder: Its folder below the data folder.
        modality: CT has a scale of its own (HU); MR does not, and every volume is scaled by itself.
        structures: What is segmented, with the values in the label files; the student learns 1, 2, 3, ...
        labeled_counts: How many labeled cases (patients) there may be; with slices: every how manieth is annotated, or
            how many are.
        must_count: The count at which all methods are compared.
        steps: Training steps of a run where the user names none.
        seeds: Seeds likewise.
        compared: Methods likewise, by label count; where a count is not named, all of them at `must_count` and the
            bounds with ours at the others.
        config: One student, one budget and one set of augmentations for all methods; with slices those of the product.
        spacing_known: Whether distances in mm mean anything.
        supervision: Whether whole cases or single slices are labeled.
        volume: With slices: the one volume; empty where there are several.
        subjects: With slices of several volumes: the lists of `splits.json` that they come from, one image a subject.
        annotation: With slices: whether every n-th is annotated, from the first on, or n from the first to the last.
        ends_annotated: With slices: whether the first and the last slice of every structure are annotated besides.
        drawn_by_people: Whether people drew the references; else a model made them.
        oracle_crop: Whether the images were cropped with the help of their references, so that the crop alone tells
            where to look; rows of tables say so.
        moving_side_vox: Side of the square in which both phases of a heart are learned and segmented, round what moves
            between them (`moving_part`); scored is the whole image. 0: the whole images.
        credible_dice: What full supervision reaches when it has converged; None where it is not compared.
        fold: Which fold of the subjects is tested, from 1 on (`splits.in_fold`); 0 takes the lists of `splits.json`.
        folds_of: Name of the table in which the folds stand together.
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
    subjects: Subjects = "test"
    annotation: Annotation = "every n-th"
    ends_annotated: bool = False
    drawn_by_people: bool = True
    oracle_crop: bool = False
    moving_side_vox: int = 0
    credible_dice: float | None = None
    seeds: int = 3
    compared: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    fold: int = 0
    folds_of: str = ""

    @property
    def table(self) -> str:
        """Name of the table in which its results stand."""
        return self.folds_of or self.name

    @property
    def learned_structures(self) -> tuple[Structure, ...]:
        """The structures with the consecutive label values 1, 2, 3, ... that methods are given."""
        return _numbered(each.name for each in self.structures)

    @property
    def methods(self) -> tuple[str, ...]:
        """What can be compared here, in the order of the tables."""
        if self.supervision == "cases":
            return tuple(method for method in TRAINED_METHODS if method not in _OF_SLICES_ONLY)
        unfit = (*WITHOUT_TRAINING, SUPERVISED_ALL)
        return (*WITHOUT_TRAINING, *(method for method in TRAINED_METHODS if method not in unfit))

    def label_text(self, count: int) -> str:
        """Return a label count in words: a number of subjects or of slices, or every how manieth slice."""
        if self.supervision == "cases":
            return f"{count} labeled"
        return f"1 slice in {count}" if self.annotation == "every n-th" else f"{count} slices"

    def short_label_text(self, count: int) -> str:
        """Return a label count as axes and columns show it."""
        is_interval = self.supervision == "slices" and self.annotation == "every n-th"
        return f"1 in {count}" if is_interval else f"{count}"

    def default_methods(self, labeled: int) -> tuple[str, ...]:
        """Return what is compared at a label count where the user names no methods."""
        if self.supervision == "slices":
            return _SLICE_METHODS
        if labeled in self.compared:
            return self.compared[labeled]
        return self.methods if labeled == self.must_count else _KEY_METHODS


def _numbered(names: Iterable[str]) -> tuple[Structure, ...]:
    return tuple(Structure(value, name) for value, name in enumerate(names, start=1))


def _valued(names: Mapping[int, str]) -> tuple[Structure, ...]:
    return tuple(Structure(*each) for each in names.items())


_SCALED_WINDOW = (0.0, 1.0)
"""Volumes of MR are scaled by themselves before (`cases.scale_by_itself`)."""
_DROPOUT = 0.1
"""UA-MT reads the moving average's uncertainty from passes with dropout, so every method's student has some."""
_HIPPOCAMPUS = Config(
    data=DataConfig(window=_SCALED_WINDOW, voxel_mm=1.0, patch_vox=(32, 48, 32), mirror=True),
    student=StudentConfig(dims=3, dropout=_DROPOUT),
    optimizer=OptimizerConfig(batch_size=2),
    teachers=TeacherConfig(most_slices_asked=300),
)
"""Whole volumes. Left and right ones are mixed and nobody knows which is which: mirroring changes nothing."""

_ACDC = Config(
    data=DataConfig(window=_SCALED_WINDOW, max_side_vox=128, neighbor_count=3, rotation_deg=90.0),
    student=StudentConfig(dims=2, dropout=_DROPOUT),
    teachers=TeacherConfig(most_slices_asked=240),
)
"""The orientation of these images is lost and differs: some lie on their side (seen in training images without labels).
Slices of at most 128 pixels: on one thread of a CPU a step of two slices takes 0.07 to 0.14 s
(performance/training_step.py)."""

_ACDC_HEART = replace(_ACDC, data=replace(_ACDC.data, max_side_vox=96))
"""Of the square of 128 pixels in which the heart beats: finer than whole slices of 128, with 0.56 of their pixels. That
square holds all of the three labeled hearts."""

_LA2018 = Config(
    data=DataConfig(window=_SCALED_WINDOW, voxel_mm=1.25, patch_vox=(48, 80, 96)),
    student=StudentConfig(dims=3, dropout=_DROPOUT),
    optimizer=OptimizerConfig(batch_size=2),
    teachers=TeacherConfig(most_slices_asked=400),
)

_LA2018_COARSER = replace(_LA2018, data=replace(_LA2018.data, voxel_mm=1.5, patch_vox=(48, 64, 64)))
"""As much of the patient in a patch, 72 x 96 x 96 mm for 60 x 100 x 120, in 0.53 of the voxels."""

_BODY = {1: "spleen", 2: "right kidney", 3: "left kidney", 5: "liver", 6: "stomach", 52: "aorta"}
_DEVELOPMENT = {
    21: "bladder", 63: "vena cava", 77: "left hip", 88: "left iliopsoas", 25: "sacrum", 79: "spinal cord"
}  # fmt: skip
"""Settings are chosen on these, and on no structure of another benchmark."""
_BODY_B = {
    80: "left gluteus maximus", 7: "pancreas", 20: "colon", 86: "left autochthon", 83: "right gluteus medius",
    19: "duodenum",
}  # fmt: skip
_HEART = _numbered(("right ventricle", "myocardium", "left ventricle"))
_HIPPOCAMPUS_PARTS = _numbered(("anterior", "posterior"))
_MR: dict[str, Any] = {"modality": "MR", "steps": 1200}
_SLICES: dict[str, Any] = {
    "modality": "CT", "supervision": "slices", "labeled_counts": (4, 8, 16), "must_count": 8, "steps": 800
}  # fmt: skip
_TOTALSEG: dict[str, Any] = {
    **_SLICES, "folder": "totalseg_ct", "volume": "ts_body3mm", "drawn_by_people": False  # by TotalSegmentator
}  # fmt: skip
_FAR_APART: dict[str, Any] = {"labeled_counts": (8, 16)}
_OF_MR: dict[str, Any] = {"modality": "MR"}

_LA = Benchmark(
    name="la2018", folder="la2018", structures=_numbered(("left atrium",)), labeled_counts=(2, 4), must_count=4,
    config=_LA2018, credible_dice=0.86, oracle_crop=True, **_MR,
)  # fmt: skip
_LA_FOLDS = tuple(
    replace(
        _LA, name=f"la2018-fold{number}", fold=number, folds_of="la2018-folds", compared={4: _LONG_METHODS},
        steps=6000, seeds=1, config=_LA2018_COARSER,
    )
    for number in range(1, 5)
)  # fmt: skip
"""Few scans: each is tested once, and folds take the place of seeds."""

_ACDC_WHOLE = Benchmark(
    name="acdc", folder="acdc", structures=_HEART,
    labeled_counts=(1, 3), must_count=3, compared={3: _LONG_METHODS, 1: _LONG_WITHOUT_ABLATIONS},
    config=_ACDC, credible_dice=0.84, **_MR | {"steps": 12000},
    spacing_known=False,  # the files say 1 x 1 x 1 mm, a placeholder
)  # fmt: skip

_ALL = (
    Benchmark(
        name="hippocampus", folder="hippocampus", structures=_HIPPOCAMPUS_PARTS,
        labeled_counts=(1, 2, 4), must_count=1, compared={1: _LONG_WITHOUT_ABLATIONS}, config=_HIPPOCAMPUS,
        credible_dice=0.86, **_MR | {"steps": 6000},
    ),
    _ACDC_WHOLE,
    replace(_ACDC_WHOLE, name="acdc-heart", config=_ACDC_HEART, moving_side_vox=128),
    _LA,
    *_LA_FOLDS,
    Benchmark(
        name="sparse-slices-body", structures=_valued(_BODY), **_TOTALSEG,
    ),
    Benchmark(
        name="sparse-slices-liver", folder="chaos_ct", volume="chaos_ct_liver", structures=_numbered(("liver",)),
        **_SLICES,
    ),
    Benchmark(
        name="sparse-slices-development", structures=_valued(_DEVELOPMENT), **_TOTALSEG | _FAR_APART
    ),
    Benchmark(
        name="sparse-slices-body-b", structures=_valued(_BODY_B), **_TOTALSEG | _FAR_APART
    ),
    Benchmark(
        name="sparse-slices-la", folder="la2018", structures=_numbered(("left atrium",)), subjects="all",
        oracle_crop=True, **_SLICES | _FAR_APART | _OF_MR,
    ),
    Benchmark(
        name="sparse-slices-acdc", folder="acdc", structures=_HEART, subjects="train", annotation="n spread evenly",
        spacing_known=False, **_SLICES | _OF_MR | {"labeled_counts": (3,), "must_count": 3},
    ),
    Benchmark(
        name="sparse-slices-hippocampus", folder="hippocampus", structures=_HIPPOCAMPUS_PARTS, subjects="test",
        **_SLICES | _OF_MR | {"labeled_counts": (8,)},
    ),
)  # fmt: skip
_OF_SLICES = tuple(each for each in _ALL if each.supervision == "slices")
_WITH_ENDS = tuple(replace(each, name=f"{each.name}-ends", ends_annotated=True) for each in _OF_SLICES)
BENCHMARKS = {each.name: each for each in (*_ALL, *_WITH_ENDS)}

SUITES = {
    **{each.name: (each.name,) for each in _ALL if each.supervision == "cases" and not each.fold},
    "la2018-folds": tuple(each.name for each in _LA_FOLDS),
    "converged": ("acdc-heart", *(each.name for each in _LA_FOLDS), "hippocampus"),
    "sparse-slices": ("sparse-slices-body", "sparse-slices-liver"),
    "sparse-slices-all": tuple(each.name for each in _OF_SLICES),
    "sparse-slices-all-ends": tuple(each.name for each in _WITH_ENDS),
    **{each.name: (each.name,) for each in (*_OF_SLICES, *_WITH_ENDS, *_LA_FOLDS)},
}
"""What the command line knows by name, and the benchmarks that belong to it."""

ANNOTATORS = {name.replace("sparse-slices", "annotator"): name for name in SUITES if name.startswith("sparse-slices")}
"""Likewise for the simulated annotator: the benchmarks of slices that each name is about."""


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
