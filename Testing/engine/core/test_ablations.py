"""Ablations by name: unknown ones are refused, and each one, set in a configuration, changes what it says."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from threshold_teacher import ThresholdTeacher
from torch import Tensor, nn

from uncol.core.ablations import ABLATIONS, RELEASED
from uncol.core.config import BudgetConfig, Config, DataConfig, OptimizerConfig, StudentConfig
from uncol.core.errors import ConfigError
from uncol.core.jobs import Structure
from uncol.core.progress import UNWATCHED
from uncol.core.volume import UNKNOWN_LABEL, Volume
from uncol.data.cases import LabeledCase, SliceAddress
from uncol.data.transforms import SliceFrame
from uncol.foundation.embeddings import EmbeddingCache
from uncol.foundation.promptable import BoxPrediction, EncodedSlice
from uncol.training.batches import annotated_loss
from uncol.training.distilling import distill
from uncol.training.setup import FineTuneSetup
from uncol.training.state import Run, begin_run
from uncol.training.train import label_with_teachers, take_step


def test_an_unknown_ablation_is_refused_with_the_known_ones():
    with pytest.raises(
        ConfigError, match=r'There is no ablation "no-magic"\. Choose from corrected, released, frozen-'
    ):
        Config(ablations=("frozen-ema", "no-magic"))


def test_a_configuration_is_the_corrected_method_unless_it_names_ablations():
    assert Config().ablations == Config(ablations=("corrected",)).ablations == ()


def test_a_preset_stands_for_all_of_its_ablations():
    released = Config.from_document({"ablations": ["frozen-ema", "released"]})

    assert released.ablations == RELEASED
    assert Config.from_document(released.as_document()) == released


def test_the_released_preset_knows_only_ablations_that_exist():
    assert set(RELEASED) <= set(ABLATIONS)


ROWS, COLUMNS = 16, 32
FAR = SliceAddress(0, 6)
"""An unannotated slice, further from the annotated ones (0 and 2) than they are from each other."""
ELSEWHERE = SliceAddress(1, 0)
"""A slice of a case without annotated slices."""


class HesitantTeacher(ThresholdTeacher):
    """It gives 0.8 to whatever is bright inside a box, remembers the boxes, and shows slices as its features."""

    map_widths = (1, 1)
    token_width = 1

    def __init__(self) -> None:
        super().__init__(COLUMNS)
        self.boxes: list[list[float]] = []

    def decode(self, embedding: Tensor, boxes: Tensor, frame: SliceFrame) -> BoxPrediction:
        self.boxes += boxes.tolist()
        decoded = super().decode(embedding, boxes, frame)
        return BoxPrediction(0.8 * decoded.probabilities, decoded.quality)

    def encode_with_maps(self, image: Tensor) -> EncodedSlice:
        return EncodedSlice(self.encode(image), (image[None].half(), 1 - image[None].half()))

    def decode_tokens(self, embedding: Tensor, boxes: Tensor, frame: SliceFrame) -> Tensor:
        return self.decode(embedding, boxes, frame).probabilities[:, None].half()


class Says(nn.Module):
    """A network that gives the structure the same probability everywhere."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.logits = torch.tensor([1 - probability, probability]).log()

    def forward(self, images: Tensor) -> Tensor:
        return self.logits[:, None, None].expand(len(images), 2, *images.shape[2:])


def begin(folder: Path, *ablations: str) -> Run:
    """A run of 8 steps, half of them stage 1, over bright slices that a bright structure fills; two are annotated."""
    bright = Volume(np.ones((8, ROWS, COLUMNS), dtype=np.float32), np.diag([-1.0, -1.0, 2.0, 1.0]))
    labels = np.full(bright.voxels.shape, UNKNOWN_LABEL, dtype=np.uint8)
    labels[[0, 2]] = 1
    setup = FineTuneSetup(
        cases=[LabeledCase(bright, bright.with_voxels(labels))],
        unlabeled=[bright],
        structures=(Structure(1, "structure"),),
        plane="axial",
        config=Config(
            ablations=ablations,
            data=DataConfig(window=(0.0, 1.0), neighbor_count=1),
            student=StudentConfig(kind="paper-small"),
            optimizer=OptimizerConfig(batch_size=2),
            budget=BudgetConfig(steps=8, minutes=None, stage1_part=0.5),
        ),
        device=torch.device("cpu"),
        teacher=HesitantTeacher(),
        cache=EmbeddingCache(None),
    )
    return begin_run(setup, folder, UNWATCHED)


def start_stage2(run: Run, specialized: float, reliability: float = 1.0) -> None:
    """Begin stage 2 with a specialized teacher that gives the structure one probability, and ask the other one."""
    run.step, run.specialized_teacher = 4, Says(specialized)
    run.start_stage2()
    run.specialized_reliability = torch.tensor([1.0, reliability])
    run.prompt_generalized_teacher()


def label_far_from_annotated_slices(run: Run) -> int:
    labels = label_with_teachers(run, [FAR], run.pool.inputs([FAR])).unique().tolist()
    assert len(labels) == 1  # everything is the same everywhere
    return labels[0]


def the_student_is_the_result(run: Run) -> bool:
    return run.finish().student is run.student


def label_by_the_generalized_teacher_alone(run: Run) -> int:
    """What it says with (0.2, 0.8), 0.722 bit; the gate lets pass 0.752 when stage 2 begins."""
    start_stage2(run, specialized=0.5)
    return label_far_from_annotated_slices(run)


def rate_when_stage_2_begins(run: Run) -> float:
    start_stage2(run, specialized=0.5)
    take_step(run)
    return run.optimizer.param_groups[0]["lr"]


def loss_of_four_known_heads(run: Run) -> float:
    """The loss of stage 1 where the structure is everywhere: three heads are undecided, the Dice head is at 0 and 1."""
    heads = run.student.heads
    nn.init.zeros_(heads.weight)
    heads.bias.data = torch.tensor([0.0, 0, 0, 1, 0, 0, 0, 0])
    everywhere = torch.ones(2, ROWS, COLUMNS, dtype=torch.uint8)
    return float(annotated_loss(run, torch.ones(2, 1, ROWS, COLUMNS), everywhere).detach())


def four_head_loss_with(probability: float) -> float:
    """The same by hand, with the Dice head's probability of the structure; its other class has Dice and IoU 0.

    Cross-entropy ln 2, Dice 2 p / (1 + p), focal (1 - 1/2)^2 ln 2, IoU 1/2.
    """
    dice = 2 * probability / (1 + probability)
    return 1 / 4 * (math.log(2) + (1 - dice / 2) + 1 / 4 * math.log(2) + (1 - 1 / 4))


def the_specialized_teacher_repeats_itself(run: Run) -> bool:
    first, second = (run.specialized_probabilities_at([FAR]) for _ in range(2))
    return torch.equal(first, second)


def boxes_where_no_mask_shows_anything(run: Run) -> list[list[float]]:
    """The questions about slices of a case without annotated ones, in which the specialized teacher sees nothing."""
    run.step, run.specialized_teacher = 4, Says(0.01)
    run.start_stage2()
    run.opinions.slices = [ELSEWHERE]
    run.setup.teacher.boxes.clear()
    run.prompt_generalized_teacher()
    return run.setup.teacher.boxes


def distillation_moves_the_aligner(run: Run) -> bool:
    """Whether it does although what the student is told never reaches its prediction."""
    for each in run.student.attention.out.parameters():
        nn.init.zeros_(each)
    distill(run).backward()
    return any(each.grad is not None and bool(each.grad.any()) for each in run.helpers["aligner"].parameters())


def label_against_a_poor_teacher(run: Run) -> int:
    """The specialized teacher, of Dice 0.1, is all but sure that the structure is not there; the other one hesitates.

    As far as it deserves: 0.1 * 0.99 + 0.9 / 2 = 0.549, 0.993 bit, above the gate of 0.752: the other one decides.
    Taken at its word: 0.081 bit against 0.722, weight 0.655, so that the structure has 0.345 * 0.8 + 0.655 * 0.01.
    """
    start_stage2(run, specialized=0.01, reliability=0.1)
    return label_far_from_annotated_slices(run)


@dataclass(frozen=True)
class Effect:
    """What a run shows in the corrected method and with an ablation."""

    of: Callable[[Run], object]
    corrected: object
    ablated: object


ONCE = 1 / (1 + math.exp(-1))
TWICE = 1 / (1 + math.exp(-(ONCE - (1 - ONCE))))
EFFECTS = {
    "frozen-ema": Effect(the_student_is_the_result, False, True),
    "softmax-of-probabilities": Effect(label_by_the_generalized_teacher_alone, 1, UNKNOWN_LABEL),
    "adamw-lr-0.01": Effect(rate_when_stage_2_begins, pytest.approx(4e-3 * 0.5**0.9), 0.01),
    "double-softmax-dice": Effect(
        loss_of_four_known_heads, pytest.approx(four_head_loss_with(ONCE)), pytest.approx(four_head_loss_with(TWICE))
    ),
    "teacher-train-mode": Effect(the_specialized_teacher_repeats_itself, True, False),
    "whole-image-box": Effect(boxes_where_no_mask_shows_anything, [], [[0, 0, ROWS, COLUMNS]]),
    "attached-semantic-target": Effect(distillation_moves_the_aligner, False, True),
    "equal-teachers": Effect(label_against_a_poor_teacher, 1, 0),
}


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_in_the_configuration_changes_what_it_says(tmp_path: Path, name: str):
    effect = EFFECTS[name]

    assert effect.of(begin(tmp_path / "corrected")) == effect.corrected
    assert effect.of(begin(tmp_path / "ablated", name)) == effect.ablated
