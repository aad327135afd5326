"""The methods that the one trainer knows: which loss each stage uses, and what it may see.

They share student, augmentations, optimizer and budget, so that a comparison is one of methods.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from uncol.core.errors import ConfigError

Lesson = Literal["pseudo-labels", "agreement"]
"""What unannotated images are learned from: the teachers' labels, or agreement with the moving average."""

Labeler = Literal["both-teachers", "largest-component"]
"""Who writes pseudo-labels: the teachers' gated votes, or the moving average's largest pieces without a gate."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to learn from annotated and unannotated images.

    Attributes:
        title: Name in tables.
        stage1_part: Part of the budget for annotated images alone; None takes the configured one.
        lesson: What stage 2 learns from unannotated images.
        labeler: Who writes their pseudo-labels.
        generalized: Whether the frozen foundation model may be asked in training.
        specialized: Whether the moving average has a vote; without it, it only shows where to ask.
        gating: Whether doubtful votes and teachers of low Dice are left out.
        only_sure_agreement: Whether agreement counts only where noisy passes of the moving average agree (UA-MT).
        always_mixes: Whether every step of both stages mixes images by copy-paste.
        prompts_at_inference: Whether the foundation model, prompted with the student's masks, gives the result.
        proposes: Whether the result is the proposal for the annotated image (`training.proposal`), not the model's own.
        needs_all_labels: Whether a benchmark gives it the labels of the unlabeled cases, too.
    """

    title: str
    stage1_part: float | None = None
    lesson: Lesson = "pseudo-labels"
    labeler: Labeler = "both-teachers"
    generalized: bool = False
    specialized: bool = True
    gating: bool = True
    only_sure_agreement: bool = False
    always_mixes: bool = False
    prompts_at_inference: bool = False
    proposes: bool = False
    needs_all_labels: bool = False

    @property
    def scores_teachers(self) -> bool:
        """Whether annotated images are held out of stage 1 to see what the teachers are worth."""
        return self.stage1_part is None and self.labeler == "both-teachers"

    @property
    def asks_foundation_model(self) -> bool:
        """Whether the foundation model takes part, in training or after it."""
        return self.generalized or self.prompts_at_inference

    @property
    def is_for_benchmarks(self) -> bool:
        """Whether it makes sense beside a benchmark's data only: as a model it would be another method's."""
        return self.prompts_at_inference or self.proposes or self.needs_all_labels


METHODS: dict[str, Method] = {
    "supervised": Method(title="supervised only", stage1_part=1.0),
    "mean-teacher": Method(title="Mean Teacher", stage1_part=0.0, lesson="agreement"),
    "ua-mt": Method(title="UA-MT", stage1_part=0.0, lesson="agreement", only_sure_agreement=True),
    "bcp": Method(title="BCP", labeler="largest-component", always_mixes=True),
    "frozen-teacher": Method(title="frozen foundation model", stage1_part=1.0, prompts_at_inference=True),
    "uncol-without-generalized": Method(title="UnCoL without the generalized teacher"),
    "uncol-without-specialized": Method(
        title="UnCoL without the specialized teacher", generalized=True, specialized=False
    ),
    "uncol-without-gating": Method(title="UnCoL without gating", generalized=True, gating=False),
    "uncol": Method(title="UnCoL", generalized=True),
    "uncol-proposal": Method(title="UnCoL, proposal for the annotated image", generalized=True, proposes=True),
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
