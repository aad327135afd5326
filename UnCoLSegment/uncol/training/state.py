"""What a training starts from, and its state: plain data, and the numbers that follow from it.

`setup` builds the state, `train` drives it, `resume` keeps it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from uncol.core.config import Config
from uncol.core.jobs import Structure
from uncol.core.methods import Method
from uncol.core.model_card import ModelCard
from uncol.core.verdict import Verdict
from uncol.core.volume import UNKNOWN_LABEL, Plane, Volume
from uncol.data.cases import FramedCase, LabeledCase, Pool
from uncol.foundation.embeddings import EmbeddingCache
from uncol.foundation.promptable import PromptableModel
from uncol.inference.predict import predict
from uncol.models.card import Model
from uncol.models.parts import Part
from uncol.training.batches import Sampler
from uncol.training.budget import TrainingBudget
from uncol.training.generalized_sources import GeneralizedSources
from uncol.training.generalized_teacher import GeneralizedTeacher
from uncol.training.losses import class_dice
from uncol.training.prompting_rounds import PromptingRounds
from uncol.training.pseudo_labels import trust_threshold
from uncol.training.remembering import BaseMemory
from uncol.training.specialized_teacher import SpecializedSlices
from uncol.training.teacher_features import TeacherFeatures
from uncol.training.warm_start import knows_some, share_of_rate

_NEWEST_PART = 0.2
"""Part of the newest step in how well a class is found."""


@dataclass(frozen=True)
class FineTuneSetup:
    """Everything that a training starts from.

    Attributes:
        cases: Images with their annotated slices.
        unlabeled: Further images of the same kind, without annotation.
        structures: What to learn.
        plane: Plane of the slices.
        config: All settings.
        device: Where the student is trained.
        teacher: The frozen foundation model, or None.
        cache: Where its embeddings are kept.
        base: A model whose weights the student starts from, or None.
        earlier: The model that the new one is compared with, or None.
        teacher_license: License of the foundation model's weights, or None.
    """

    cases: Sequence[LabeledCase]
    unlabeled: Sequence[Volume]
    structures: tuple[Structure, ...]
    plane: Plane
    config: Config
    device: torch.device
    teacher: PromptableModel | None
    cache: EmbeddingCache
    base: Model | None = None
    earlier: Model | None = None
    teacher_license: str | None = None

    def all_cases(self) -> list[LabeledCase]:
        """Return the annotated cases, then the others with every voxel unknown."""
        unknown = [
            LabeledCase(image, image.with_voxels(np.full(image.shape_kji, UNKNOWN_LABEL, dtype=np.uint8)))
            for image in self.unlabeled
        ]
        return [*self.cases, *unknown]

    def fingerprint(self) -> str:
        """Return a hash of the images, labels and structures: a training is resumed with the same ones only."""
        digest = hashlib.sha256(repr((self.structures, self.plane)).encode())
        for case in self.all_cases():
            for volume in (case.image, case.labels):
                digest.update(np.ascontiguousarray(volume.voxels).tobytes())
                digest.update(np.round(volume.ijk_to_ras, 4).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Recipe:
    """A method and its ablations, translated once into what the loop reads.

    Attributes:
        method: How unannotated slices are learned from.
        ema_moves_in_stage2: Whether the specialized teacher follows the student in stage 2, too; then it is the result.
        stage2_rate: Learning rate with which stage 2 starts, falling to 0 within it; None goes on with that of stage 1.
        softmax_of_probabilities: Whether softmax is applied to the generalized teacher's probabilities.
        equal_reliability: Whether both teachers are believed as far as they are certain, however good they were.
        double_softmax_dice: Whether the Dice head of the paper's student applies softmax twice.
        attached_semantic_target: Whether the loss of the semantic path also moves the teacher's aligned features.
    """

    method: Method
    ema_moves_in_stage2: bool = True
    stage2_rate: float | None = None
    softmax_of_probabilities: bool = False
    equal_reliability: bool = False
    double_softmax_dice: bool = False
    attached_semantic_target: bool = False


@dataclass
class LearningCurve:
    """Losses averaged over short stretches: the points, and the sums of the stretch that is not closed yet."""

    points: list[dict[str, float]] = field(default_factory=list)
    sums: dict[str, float] = field(default_factory=dict)
    count: int = 0

    def add(self, losses: dict[str, float]) -> None:
        """Add the losses of one step."""
        for name, value in losses.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        self.count += 1

    def close_point(self, step: int, seconds: float, stage: int) -> None:
        """Turn what was added since the last point into a new one; nothing happens if that is nothing."""
        if self.count:
            means = {name: round(value / self.count, 5) for name, value in self.sums.items()}
            self.points.append({"step": step, "seconds": round(seconds, 1), "stage": stage, **means})
        self.sums, self.count = {}, 0


@dataclass
class TrainingState:
    """A training in progress.

    Attributes:
        setup: What it started from.
        card: The card of the model to be.
        recipe: The method and its ablations.
        framed: The cases in the student's frame.
        sampler: Draws what a step learns from.
        budget: How much of the budget is used.
        student: What is trained, on `device`.
        specialized_teacher: Its moving average.
        helpers: What learns beside the paper's student; empty for others.
        optimizer: AdamW over student and helpers.
        rarity: Weight of each class (C,) in the cross-entropy at the start.
        found: How well each class (C,) is found in what is learned from, a moving average of its Dice, from 0 on.
        generalized_teacher: The foundation model's part, or None.
        prompting: When it is prompted, or None.
        sources: Annotated slices carried by registration, fused with it, or None.
        features: What it sees, for distillation, or None.
        device: Where is computed now; changes when memory is full.
        batch_size: Slices in a step; changes likewise.
        specialized_reliability: Dice (C,) by which the specialized teacher's certainty is discounted.
        held_out_dice: Its Dice on slices held out of stage 1, by structure.
        memory: What the base knows and is not to be forgotten, or None.
        verdict: Whether it is better than the earlier model; None before the end of stage 1, and without one.
        step: Steps done.
        stage: 1 or 2.
        has_begun: Whether preparation has ended, so that there are steps or can be.
        is_scored: Whether both teachers have been scored on what was held out, which is drawn since.
        losses: Those of the last step.
        curve: Those of all steps.
        notes: Sentences that the user should read.
        saved_at_s: When the last checkpoint was written, by the monotonic clock.
    """

    setup: FineTuneSetup
    card: ModelCard
    recipe: Recipe
    framed: list[FramedCase]
    sampler: Sampler
    budget: TrainingBudget
    student: nn.Module
    specialized_teacher: nn.Module
    helpers: nn.ModuleDict
    optimizer: torch.optim.Optimizer
    rarity: Tensor
    found: Tensor
    device: torch.device
    batch_size: int
    specialized_reliability: Tensor
    generalized_teacher: GeneralizedTeacher | None = None
    prompting: PromptingRounds | None = None
    sources: GeneralizedSources | None = None
    features: TeacherFeatures | None = None
    held_out_dice: dict[str, float] = field(default_factory=dict)
    memory: BaseMemory | None = None
    verdict: Verdict | None = None
    step: int = 0
    stage: int = 1
    has_begun: bool = False
    is_scored: bool = False
    losses: dict[str, float] = field(default_factory=dict)
    curve: LearningCurve = field(default_factory=LearningCurve)
    notes: list[str] = field(default_factory=list)
    saved_at_s: float = field(default_factory=time.monotonic)

    @property
    def config(self) -> Config:
        """All settings."""
        return self.setup.config

    @property
    def pool(self) -> Pool:
        """What is drawn from."""
        return self.sampler.pool

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The weights of the student and of what learns beside it."""
        return [*self.student.parameters(), *self.helpers.parameters()]

    @property
    def result(self) -> nn.Module:
        """What becomes the model: the specialized teacher, unless it stood still while the student learned on."""
        return self.specialized_teacher if self.recipe.ema_moves_in_stage2 else self.student

    @property
    def stage1_is_over(self) -> bool:
        """Whether stage 1 has used its part and there are unannotated slices to go on with."""
        return bool(self.pool.unlabeled) and self.budget.stage1_is_over(self.step)

    @property
    def fraction(self) -> float:
        """t/T of the whole training, in [0, 1]."""
        return self.budget.fraction(self.step)

    @property
    def stage1_fraction(self) -> float:
        """t/T of stage 1, in [0, 1]."""
        part = self.budget.stage1_part
        return min(1.0, self.fraction / part) if part else 1.0

    @property
    def stage2_fraction(self) -> float:
        """t/T of stage 2, in [0, 1]."""
        return self.budget.stage2_fraction(self.step)

    def share_of_rate(self, part: Part) -> float:
        """Return the share of the learning rate that a part of the student gets now: less than 1 after a warm start."""
        base = self.setup.base
        if base is None:
            return 1.0
        return share_of_rate(part, self.stage1_fraction, keeps=knows_some(base, self.setup.structures))

    @property
    def class_weights(self) -> Tensor:
        """Weight of each class (C,) in the cross-entropy: a rare one counts more until it is found.

        Weights bring small structures into being, but make every structure too large, and pseudo-labels would hand that
        on: in a stage 2 that follows a stage 1 all count alike (docs/decisions/0014).
        """
        if self.stage == 2 and self.budget.stage1_part:
            return torch.ones_like(self.rarity)
        weights: Tensor = self.rarity ** (1 - self.found)
        return weights

    def note_found(self, logits: Tensor, labels: Tensor) -> None:
        """Take into account how well the classes that labels (B, ...) show were found by logits (B, C, ...)."""
        dice = class_dice(logits, labels)
        self.found = torch.where(dice.isnan(), self.found, self.found.lerp(dice, _NEWEST_PART))

    @property
    def trust_threshold(self) -> float:
        """Entropy up to which a teacher is trusted now, in [0, 1]."""
        teachers = self.config.teachers
        return trust_threshold(self.stage2_fraction, teachers.threshold_start, teachers.threshold_end)

    def specialized_probabilities(self, addresses: Sequence[Any]) -> Tensor:
        """Return the specialized teacher's class probabilities (B, C, ...) by address."""
        return predict(self.specialized_teacher, self.pool.inputs(addresses), self.device)

    @property
    def specialized_slices(self) -> SpecializedSlices:
        """The specialized teacher's prediction for single slices, to prompt the generalized one with."""
        return SpecializedSlices(self.specialized_teacher, self.pool, self.framed, self.device)

    @property
    def not_found(self) -> list[str]:
        """Names of the structures that the moving average does not find on their own annotated slices.

        None where nothing is carried from these: stage 2 waits for nothing then.
        """
        if self.sources is None:
            return []
        found = self.sources.found_by(self.specialized_slices)
        return [each.name for each, is_found in zip(self.card.structures, found, strict=True) if not is_found]

    @property
    def teacher_name(self) -> str | None:
        """The foundation model's name, if it takes part."""
        return self.setup.teacher.name if self.generalized_teacher is not None and self.setup.teacher else None

    def move_to(self, device: torch.device) -> None:
        """Go on on another device."""
        self.device = self.sampler.device = device
        for module in (self.student, self.specialized_teacher, self.helpers):
            module.to(device)
        self.rarity, self.found = self.rarity.to(device), self.found.to(device)
        # Loading puts the optimizer's state where its parameters are now.
        self.optimizer.load_state_dict(self.optimizer.state_dict())
