"""Every default of the engine, with its unit and where it comes from; JSON in, JSON out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from uncol.core.errors import ConfigError
from uncol.core.files import read_limited
from uncol.core.methods import expand_ablations, find_method
from uncol.core.records import from_document, to_document
from uncol.core.strict_json import read_json

STUDENT_KINDS = ("unet", "paper", "paper-small")
FORMER_FIELDS = ("teachers.relative_reliability",)
"""What models of earlier versions still say; it decided about training alone and is passed over."""
FEW_STEPS = 20
"""A model that has learned for fewer steps than this knows next to nothing."""
_LARGEST_FILE_BYTES = 1 << 20
_GREY = 1e30
"""Grey values stay below this, and a window is wider than its inverse: float32 holds both."""
_FINITE = 1e30
"""What a number without a limit of its own stays below; float32 holds its products with what comes of networks."""


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """How a volume becomes what the student sees."""

    max_side_vox: int = 192
    """Longest side of a slice in the student's frame; larger slices are reduced to it."""
    neighbor_count: int = 7
    """Neighboring slices in one input, the slice itself in the middle; odd."""
    window: tuple[float, float] | None = None
    """Lowest and highest grey value of all images (HU in CT); None chooses it, for every image without HU anew."""
    mirror: bool = False
    """Mirror slices left-right in training; wrong wherever left and right are told apart."""
    rotation_deg: float = 12.0
    """Largest rotation in training, in degrees, in 3D about every axis."""
    voxel_mm: float | None = None
    """Side of a voxel of the 3D student, in mm (thicker slices stay); None takes the image's finest spacing."""
    patch_vox: tuple[int, int, int] = (48, 96, 96)
    """Slices, rows and columns that the 3D student sees at once: multiples of 16, one of them larger."""

    def __post_init__(self) -> None:
        _require(self.max_side_vox >= 32, "data.max_side_vox must be at least 32", self.max_side_vox)
        _at_most(4096, "data.max_side_vox", self.max_side_vox)
        is_odd = self.neighbor_count >= 1 and self.neighbor_count % 2 == 1
        _require(is_odd, "data.neighbor_count must be odd", self.neighbor_count)
        _at_most(63, "data.neighbor_count", self.neighbor_count)
        if self.window is not None:
            check_window(self.window, "data.window")
        _require(0 <= self.rotation_deg <= 180, "data.rotation_deg must be in [0, 180]", self.rotation_deg)
        _require(self.voxel_mm is None or self.voxel_mm > 0, "data.voxel_mm must be above 0", self.voxel_mm)
        _at_most(1000, "data.voxel_mm", self.voxel_mm or 0)
        fits = len(self.patch_vox) == 3 and all(each > 0 and each % 16 == 0 for each in self.patch_vox)
        rule = "data.patch_vox needs three multiples of 16, at least one of them above 16"
        _require(fits and max(self.patch_vox) >= 32, rule, self.patch_vox)
        _at_most(1024, "data.patch_vox", max(self.patch_vox))


@dataclass(frozen=True, kw_only=True)
class StudentConfig:
    """Size of the student."""

    dims: int = 2
    """2: slices with their neighbors; 3: volumes, for cases that are annotated as a whole."""
    kind: str = "unet"
    """unet: a plain U-Net of `channels`; paper: the paper's student; paper-small: the same for small images."""
    channels: tuple[int, ...] = (16, 32, 64, 96, 128)
    """Feature channels of the U-Net: in 2D from full, in 3D from half resolution down."""
    dropout: float = 0.0
    """Part of the features that is dropped in training."""

    def __post_init__(self) -> None:
        _require(self.dims in (2, 3), "student.dims must be 2 or 3", self.dims)
        _require(self.kind in STUDENT_KINDS, f"student.kind must be one of {', '.join(STUDENT_KINDS)}", self.kind)
        are_five = len(self.channels) == 5 and min(self.channels) > 0
        _require(are_five, "student.channels needs five positive numbers", self.channels)
        _at_most(4096, "student.channels", max(self.channels))
        _require(0 <= self.dropout < 1, "student.dropout must be in [0, 1)", self.dropout)


@dataclass(frozen=True, kw_only=True)
class TeacherConfig:
    """What the two teachers may say, and when they are believed."""

    generalized: bool = True
    """Use the frozen foundation model; without it the specialized teacher works alone."""
    registration: bool = True
    """Carry annotated slices to all others by registration, where the method does; without it only teachers label."""
    ema_decay: float = 0.99
    """Weight of the old value in the specialized teacher's moving average."""
    threshold_start: float = 0.75
    """Entropy up to which a teacher is trusted when stage 2 starts (method, section 5)."""
    threshold_end: float = 1.0
    """The same when stage 2 ends."""
    prompt_rounds: int = 1
    """How often in stage 2 the generalized teacher is prompted anew; the paper's code does it every step."""
    box_margin_vox: float = 3.0
    """How far a prompt box reaches beyond the mask it comes from, in a teacher's frame of 256 pixels."""
    most_slices_asked: int | None = None
    """Unannotated slices for which the generalized teacher is prompted, drawn at random; None prompts for all."""

    def __post_init__(self) -> None:
        _require(0 <= self.ema_decay < 1, "teachers.ema_decay must be in [0, 1)", self.ema_decay)
        start, end = self.threshold_start, self.threshold_end
        rule = "teachers.threshold_start must be in (0, threshold_end], threshold_end in (0, 1]"
        _require(0 < start <= end <= 1, rule, (start, end))
        _require(self.prompt_rounds >= 1, "teachers.prompt_rounds must be at least 1", self.prompt_rounds)
        _at_most(10**6, "teachers.prompt_rounds", self.prompt_rounds)
        margin = self.box_margin_vox
        _require(0 <= margin <= 256, "teachers.box_margin_vox must be in [0, 256]", margin)
        most = self.most_slices_asked
        _require(most is None or most >= 1, "teachers.most_slices_asked must be at least 1", most)


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """How the parts of the loss are weighted."""

    pseudo_label_weight: float = 0.5
    """Weight of a pseudo-labeled voxel against an annotated one (method, section 5)."""
    class_weight_cap: float = 50.0
    """Largest weight of a rare class in the cross-entropy; at 12 (method, section 10) small structures were lost with
    some seeds (docs/decisions/0007)."""
    copy_paste_probability: tuple[float, float] = (0.0, 0.25)
    """Part of the steps of stage 1 and of stage 2 in which slices are mixed; the paper's code mixes in every step."""
    copy_paste_side: float = 2 / 3
    """Side of the pasted box as a part of the slice's side (method, section 4)."""
    consistency_weight: float = 0.1
    """Largest weight of consistency with the moving average, in Mean Teacher and UA-MT (the latter's paper)."""

    def __post_init__(self) -> None:
        for name in ("pseudo_label_weight", "consistency_weight"):
            _require(getattr(self, name) >= 0, f"losses.{name} must not be negative", getattr(self, name))
            _at_most(_FINITE, f"losses.{name}", getattr(self, name))
        _require(self.class_weight_cap >= 1, "losses.class_weight_cap must be at least 1", self.class_weight_cap)
        _at_most(_FINITE, "losses.class_weight_cap", self.class_weight_cap)
        both = self.copy_paste_probability
        rule = "losses.copy_paste_probability needs two numbers in [0, 1], for stage 1 and stage 2"
        _require(len(both) == 2 and all(0 <= each <= 1 for each in both), rule, both)
        _require(0 < self.copy_paste_side < 1, "losses.copy_paste_side must be in (0, 1)", self.copy_paste_side)


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """How the student is optimized."""

    learning_rate: float = 4e-3
    """AdamW's rate at the start; it falls as (1 - t/T)^poly_power over the whole run."""
    weight_decay: float = 1e-4
    poly_power: float = 0.9
    gradient_clip: float = 12.0
    """Largest norm of the gradient."""
    batch_size: int = 2
    """Annotated slices in a step; in stage 2 as many unannotated ones are added. Minutes on a CPU are worth more as
    many small steps than as few large ones (docs/decisions/0007)."""

    def __post_init__(self) -> None:
        for name in ("learning_rate", "gradient_clip"):
            _require(getattr(self, name) > 0, f"optimizer.{name} must be above 0", getattr(self, name))
        for name in ("weight_decay", "poly_power"):
            _require(getattr(self, name) >= 0, f"optimizer.{name} must not be negative", getattr(self, name))
        for name in ("learning_rate", "gradient_clip", "poly_power"):
            _at_most(_FINITE, f"optimizer.{name}", getattr(self, name))
        _at_most(1e6, "optimizer.weight_decay", self.weight_decay)
        _require(self.batch_size >= 1, "optimizer.batch_size must be at least 1", self.batch_size)
        _at_most(4096, "optimizer.batch_size", self.batch_size)


@dataclass(frozen=True, kw_only=True)
class BudgetConfig:
    """When training ends: after a time or after a number of steps."""

    minutes: float | None = 5.0
    """Wall-clock time for everything, in minutes; None when `steps` is given."""
    steps: int | None = None
    """Number of optimizer steps; repeatable, unlike a time."""
    stage1_part: float = 0.5
    """Part of the budget for stage 1, which learns from annotated slices only, as in the paper; it takes longer where a
    structure is not found by then (docs/decisions/0031)."""
    checkpoint_s: float = 30.0
    """Time between two resumable checkpoints, in s."""

    def __post_init__(self) -> None:
        is_one = (self.minutes is None) != (self.steps is None)
        _require(is_one, "Give either --minutes or --steps", (self.minutes, self.steps))
        _require(self.minutes is None or self.minutes > 0, "--minutes must be above 0", self.minutes)
        _require(self.steps is None or self.steps > 0, "--steps must be above 0", self.steps)
        _at_most(10**6, "--minutes", self.minutes or 0)
        _at_most(10**9, "--steps", self.steps or 0)
        _require(0 <= self.checkpoint_s <= 10**6, "budget.checkpoint_s must be in [0, 10^6]", self.checkpoint_s)
        _require(0 <= self.stage1_part <= 1, "budget.stage1_part must be in [0, 1]", self.stage1_part)


@dataclass(frozen=True, kw_only=True)
class Config:
    """The effective configuration of a fine-tuning run; it is stored with the model."""

    seed: int = 0
    method: str = "uncol"
    """How unannotated images are learned from: a name in `core.methods.METHODS`."""
    ablations: tuple[str, ...] = ()
    """Names in `core.methods.ABLATIONS` or `core.methods.PRESETS`; without any it is the corrected method."""
    data: DataConfig = field(default_factory=DataConfig)
    student: StudentConfig = field(default_factory=StudentConfig)
    teachers: TeacherConfig = field(default_factory=TeacherConfig)
    losses: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)

    def __post_init__(self) -> None:
        _require(0 <= self.seed < 2**63, "seed must be at least 0 and less than 2^63", self.seed)
        find_method(self.method)
        object.__setattr__(self, "ablations", expand_ablations(self.ablations))

    def as_document(self) -> dict[str, Any]:
        """Return the configuration as a JSON object."""
        document: dict[str, Any] = to_document(self)
        return document

    @classmethod
    def from_document(cls, document: Any) -> Self:
        """Build a configuration from a JSON object.

        Raises:
            ConfigError: If a key is unknown or a value is out of its range.
        """
        budget = document.get("budget") if isinstance(document, dict) else None
        if isinstance(budget, dict) and budget.get("steps") is not None:
            document = document | {"budget": {"minutes": None} | budget}
        return from_document(cls, document, "Configuration", FORMER_FIELDS)


def read_config(path: Path) -> Config:
    """Read a configuration from a JSON file; fields left out keep their defaults.

    Raises:
        ConfigError: If the file cannot be read or holds an unknown key or a wrong value.
    """
    try:
        document = read_json(read_limited(path, _LARGEST_FILE_BYTES).decode("utf-8"))
    except (OSError, ValueError) as error:
        message = f'Configuration "{path}" could not be read ({error}). Give a JSON file.'
        raise ConfigError(message) from error
    return Config.from_document(document)


def check_window(window: Sequence[float], name: str) -> None:
    """Refuse what is no window of grey values.

    Raises:
        ConfigError: If it is not two finite numbers, LOW < HIGH.
    """
    low, high = window if len(window) == 2 else (0, 0)
    rises = -_GREY <= low < high <= _GREY and high - low >= 1 / _GREY
    _require(rises, f"{name} must be LOW HIGH with LOW < HIGH", tuple(window))


def _at_most(limit: float, name: str, got: float) -> None:
    _require(got <= limit, f"{name} must be at most {limit:g}", got)


def _require(holds: bool, rule: str, got: Any) -> None:
    if not holds:
        message = f"{rule}, got {got}."
        raise ConfigError(message)
