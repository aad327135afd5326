"""The methods that the one trainer knows: which loss each stage uses, what it may see, and single steps away from it.

They share student, augmentations, optimizer and budget, so that a comparison is one of methods.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from uncol.core.errors import ConfigError


class Stage2Loss(Enum):
    """What unannotated images are learned from."""

    PSEUDO_LABELS = "pseudo-labels"
    CONSISTENCY = "consistency with the moving average"


class PseudoLabels(Enum):
    """Who writes pseudo-labels."""

    FUSED = "both teachers' gated votes"
    LARGEST_COMPONENT = "the moving average's largest pieces, without a gate"


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to learn from annotated and unannotated images.

    Attributes:
        title: Name in tables.
        stage1_part: Part of the budget for annotated images alone; None takes the configured one.
        stage2_loss: What stage 2 learns from unannotated images.
        pseudo_labels: Who writes their pseudo-labels.
        generalized: Whether the frozen foundation model may be prompted in training.
        registration: Whether annotated slices are also carried to all others by registration, and all sources count by
            their agreement (docs/decisions/0024). Without slices between annotated ones it changes nothing.
        specialized: Whether the moving average labels; without it, it only shows where to prompt.
        gating: Whether uncertain predictions and teachers of low Dice are left out.
        filters_by_uncertainty: Whether consistency counts only where noisy passes of the moving average agree (UA-MT).
        always_mixes: Whether every step of both stages mixes images by copy-paste.
        prompts_at_inference: Whether the foundation model, prompted with the student's masks, gives the result.
        proposal_of: Name of the method whose training this is, where the result is the proposal for the annotated image
            (`training.proposal`) instead of the model's own; empty for others.
        needs_all_labels: Whether a benchmark gives it the labels of the unlabeled cases, too.
    """

    title: str
    stage1_part: float | None = None
    stage2_loss: Stage2Loss = Stage2Loss.PSEUDO_LABELS
    pseudo_labels: PseudoLabels = PseudoLabels.FUSED
    generalized: bool = False
    registration: bool = False
    specialized: bool = True
    gating: bool = True
    filters_by_uncertainty: bool = False
    always_mixes: bool = False
    prompts_at_inference: bool = False
    proposal_of: str = ""
    needs_all_labels: bool = False

    @property
    def scores_teachers(self) -> bool:
        """Whether annotated images are held out of stage 1 to see how reliable the teachers are."""
        return self.stage1_part is None and self.pseudo_labels is PseudoLabels.FUSED

    @property
    def uses_foundation_model(self) -> bool:
        """Whether the foundation model takes part, in training or after it."""
        return self.generalized or self.prompts_at_inference

    @property
    def is_for_benchmarks(self) -> bool:
        """Whether it makes sense beside a benchmark's data only: as a model it would be another method's."""
        return self.prompts_at_inference or bool(self.proposal_of) or self.needs_all_labels


METHODS: dict[str, Method] = {
    "supervised": Method(title="supervised only", stage1_part=1.0),
    "mean-teacher": Method(title="Mean Teacher", stage1_part=0.0, stage2_loss=Stage2Loss.CONSISTENCY),
    "ua-mt": Method(title="UA-MT", stage1_part=0.0, stage2_loss=Stage2Loss.CONSISTENCY, filters_by_uncertainty=True),
    "bcp": Method(title="BCP", pseudo_labels=PseudoLabels.LARGEST_COMPONENT, always_mixes=True),
    "frozen-teacher": Method(title="frozen foundation model", stage1_part=1.0, prompts_at_inference=True),
    "uncol-without-generalized": Method(title="UnCoL without the generalized teacher"),
    "uncol-without-specialized": Method(
        title="UnCoL without the specialized teacher", generalized=True, specialized=False
    ),
    "uncol-without-gating": Method(title="UnCoL without gating", generalized=True, gating=False),
    "uncol-paper": Method(title="UnCoL as in the paper", generalized=True),
    "uncol": Method(title="UnCoL", generalized=True, registration=True),
    "supervised-proposal": Method(
        title="proposal with a supervised student",
        stage1_part=1.0,
        generalized=True,
        registration=True,
        proposal_of="supervised",
    ),
    "uncol-proposal": Method(
        title="UnCoL, proposal for the annotated image", generalized=True, registration=True, proposal_of="uncol"
    ),
    "supervised-all": Method(title="supervised, all labels", stage1_part=1.0, needs_all_labels=True),
}
"""By name, in the order of tables."""

MODEL_METHODS = tuple(name for name, method in METHODS.items() if not method.is_for_benchmarks)
"""Those that make a model, in the same order; the others are for benchmarks only."""


def find_method(name: str) -> Method:
    """Return the method with this name.

    Raises:
        ConfigError: If there is none.
    """
    if name not in METHODS:
        message = f'There is no method "{name}". Choose one of {", ".join(MODEL_METHODS)}.'
        raise ConfigError(message)
    return METHODS[name]


# Ablations: single steps away from the corrected method, by name: what the released code does, and what is ours alone.
# The default is the corrected method (no ablation, the preset "corrected"). The preset "released" is all deviations of
# the released code together, as far as they exist in this trainer (method, section 7).
FROZEN_EMA = "frozen-ema"
SOFTMAX_OF_PROBABILITIES = "softmax-of-probabilities"
ADAMW_LR_001 = "adamw-lr-0.01"
TEACHER_TRAIN_MODE = "teacher-train-mode"
WHOLE_IMAGE_BOX = "whole-image-box"
DOUBLE_SOFTMAX_DICE = "double-softmax-dice"
ATTACHED_SEMANTIC_TARGET = "attached-semantic-target"
EQUAL_TEACHERS = "equal-teachers"

ABLATIONS = {
    FROZEN_EMA: "the specialized teacher no longer moves in stage 2, and the student is the result (row 1)",
    SOFTMAX_OF_PROBABILITIES: "softmax is applied to the generalized teacher's probabilities (row 2)",
    ADAMW_LR_001: "the learning rate of stage 2 starts at 0.01 and falls to 0 in stage 2 (row 3)",
    DOUBLE_SOFTMAX_DICE: "the Dice head of the paper's student sees softmax twice in stage 1 (row 4)",
    TEACHER_TRAIN_MODE: "the specialized teacher labels in training mode, with dropout (row 10)",
    WHOLE_IMAGE_BOX: "a structure that no mask shows is asked about with a box round the whole slice (row 14)",
    ATTACHED_SEMANTIC_TARGET: "the loss of the semantic path also moves the teacher's aligned features (row 15)",
    EQUAL_TEACHERS: "both teachers are believed as far as they are certain, however good they were (decision 0006)",
}
"""What each ablation does; rows are those of the method, section 7."""

RELEASED = (
    FROZEN_EMA,
    SOFTMAX_OF_PROBABILITIES,
    ADAMW_LR_001,
    DOUBLE_SOFTMAX_DICE,
    TEACHER_TRAIN_MODE,
    WHOLE_IMAGE_BOX,
    ATTACHED_SEMANTIC_TARGET,
    EQUAL_TEACHERS,
)
"""The released code's behavior."""

PRESETS = {"corrected": (), "released": RELEASED}
"""Several ablations under one name."""


def expand_ablations(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the ablations that are meant, in the order given, each once: a preset stands for all of its own.

    Raises:
        ConfigError: If there is no ablation or preset of a name.
    """
    for name in names:
        if name not in ABLATIONS and name not in PRESETS:
            message = f'There is no ablation "{name}". Choose from {", ".join([*PRESETS, *ABLATIONS])}.'
            raise ConfigError(message)
    return tuple(dict.fromkeys(each for name in names for each in PRESETS.get(name, (name,))))
