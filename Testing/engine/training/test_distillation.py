"""Dual-path distillation: both paths by hand, which there are in which stage, that it learns and can resume."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from doubles import SeeingTeacher
from given import BALL, a_ball, a_setup, annotated_in, assert_bit_equal, begun_state
from torch import Tensor, nn

from uncol.core.config import DataConfig
from uncol.core.errors import CancelledError
from uncol.core.progress import Monitor
from uncol.core.volume import UNKNOWN_LABEL
from uncol.data.cases import LabeledCase
from uncol.models.paper_student import PaperStudent, StudentOutput
from uncol.training.distillation import (
    Projector,
    SemanticAligner,
    distillation_loss,
    distillation_weight,
    semantic_loss,
    visual_loss,
)
from uncol.training.state import FineTuneSetup, TrainingState
from uncol.training.teacher_features import pool_to_grid
from uncol.training.train import fine_tune, start_stage2

GRID = (1, 2)


def _summing(module: nn.Module) -> nn.Module:
    """Make every output channel the sum of the input's."""
    for name, weights in module.named_parameters():
        nn.init.constant_(weights, 0.0 if name.endswith("bias") else 1.0)
    return module


def _constant(value: float, channels: int = 2, grid: tuple[int, ...] = GRID) -> Tensor:
    return torch.full((1, channels, *grid), value)


class TestWeight:
    @pytest.mark.parametrize(
        ("progress", "expected"),
        [
            pytest.param(0.0, 0.1 * math.exp(-5), id="start"),
            pytest.param(0.25, 0.1 * math.exp(-5 * 0.25), id="step 3,750 of 15,000"),
            pytest.param(0.5, 0.1, id="step 7,500: full"),
            pytest.param(1.0, 0.1, id="end"),
        ],
    )
    def test_it_is_full_after_half_of_stage_1(self, progress: float, expected: float) -> None:
        assert distillation_weight(progress) == pytest.approx(expected)


class TestVisualPath:
    def test_two_maps_meet_layers_1_and_2(self) -> None:
        projector = _summing(Projector((3, 3), token_dim=2, dims=2))
        tokens = [_constant(100.0), _constant(2.0), _constant(1.0), _constant(-100.0)]

        # channels 3 x 1 = 3 against 2: 1; 3 x 2 = 6 against 1: 25; their mean 13
        loss = visual_loss(projector, [_constant(1.0, 3), _constant(2.0, 3)], tokens)

        assert loss.item() == pytest.approx(13.0)

    def test_three_maps_of_a_volume_meet_layers_0_to_2(self) -> None:
        grid = (1, 2, 1)
        projector = _summing(Projector((1, 1, 1), token_dim=2, dims=3))
        tokens = [_constant(value, 2, grid) for value in (0.0, 1.0, 5.0, 100.0)]

        # 1 against 0, 1 and 5: errors 1, 0 and 16; their mean 17 / 3
        assert visual_loss(projector, [_constant(1.0, 1, grid)] * 3, tokens).item() == pytest.approx(17 / 3)

    def test_maps_are_averaged_over_the_patches_of_the_tokens(self) -> None:
        projector = _summing(Projector((1,), token_dim=1, dims=2))
        fine = torch.tensor([[[[0.0, 2.0, 5.0, 5.0], [4.0, 6.0, 5.0, 9.0]]]])

        # left half (0 + 2 + 4 + 6) / 4 = 3, right half (5 + 5 + 5 + 9) / 4 = 6
        assert projector([fine], GRID)[0].flatten().tolist() == [3.0, 6.0]

    def test_averaging_before_the_projection_changes_nothing(self) -> None:
        projector = Projector((3,), token_dim=4, dims=2)
        fine = torch.rand(2, 3, 4, 8)

        torch.testing.assert_close(projector([fine], GRID)[0], pool_to_grid(projector.by_width["3"](fine), GRID))

    def test_maps_of_one_width_share_a_projection_and_others_have_their_own(self) -> None:
        projector = Projector((160, 320, 320), token_dim=8, dims=2)

        assert sorted(projector.by_width) == ["160", "320"]

    def test_projector_and_student_learn_and_the_teacher_does_not(self) -> None:
        projector = Projector((3,), token_dim=2, dims=2)
        teacher_map = torch.rand(1, 3, *GRID, requires_grad=True)
        tokens = [torch.rand(1, 2, *GRID, requires_grad=True) for _ in range(4)]

        visual_loss(projector, [teacher_map], tokens).backward()

        assert teacher_map.grad is None
        assert projector.by_width["3"].weight.grad is not None
        assert [each.grad is not None for each in tokens] == [False, False, True, False]

    @pytest.mark.parametrize("count", [0, 4])
    def test_as_many_maps_as_layers_or_none_are_refused(self, count: int) -> None:
        projector = Projector((1,) * count, token_dim=2, dims=2)

        with pytest.raises(ValueError, match=f"4 layers can learn from 1 to 3 maps, got {count}"):
            visual_loss(projector, [_constant(1.0, 1)] * count, [_constant(0.0)] * 4)

    def test_maps_of_other_widths_are_refused(self) -> None:
        with pytest.raises(ValueError, match=r"for maps of \(3,\) channels, got \(5,\)"):
            Projector((3,), token_dim=2, dims=2)([_constant(1.0, 5)], GRID)


class TestSemanticPath:
    def test_the_classes_tokens_are_joined_and_averaged(self) -> None:
        aligner = _summing(SemanticAligner(token_width=2, structure_count=2, prior_channels=3, dims=2))
        tokens = torch.zeros(1, 2, 2, 1, 4)
        tokens[0, 0, 0] = torch.tensor([1.0, 3.0, 5.0, 5.0])
        tokens[0, 1, 1] = 10.0

        # class by class and channel by channel summed: 11 13 15 15, averaged in pairs: 12 and 15
        assert aligner(tokens, GRID).tolist() == [[[[12.0, 15.0]]] * 3]

    def test_the_loss_is_the_mean_squared_error(self) -> None:
        prior, knowledge = torch.tensor([[[[1.0, 4.0]]]]), torch.tensor([[[[3.0, 4.0]]]])

        # (2^2 + 0) / 2
        assert semantic_loss(prior, knowledge).item() == 2.0

    @pytest.mark.parametrize(("attached", "aligner_learns"), [(False, False), (True, True)])
    def test_the_target_learns_only_in_the_named_ablation(self, attached: bool, aligner_learns: bool) -> None:
        prior, knowledge = torch.rand(1, 3, *GRID, requires_grad=True), torch.rand(1, 3, *GRID, requires_grad=True)

        semantic_loss(prior, knowledge, attached_target=attached).backward()

        assert prior.grad is not None
        assert (knowledge.grad is not None) == aligner_learns

    def test_in_3d_nothing_has_a_bias(self) -> None:
        aligner = SemanticAligner(384, 1, 256, dims=3)

        assert [tuple(each.shape) for each in aligner.parameters()] == [(256, 384, 1, 1, 1)]


SLICES, ROWS, COLUMNS = 12, 24, 32


def setup_of(*, dims: int = 2, kind: str = "paper-small", ablations: tuple[str, ...] = ()) -> FineTuneSetup:
    ball = a_ball()
    return a_setup(
        [annotated_in(ball) if dims == 2 else ball],
        unlabeled=[] if dims == 2 else [ball.image],
        teacher=SeeingTeacher(COLUMNS),
        dims=dims,
        kind=kind,
        steps=8,
        method="uncol-paper",
        data=DataConfig(neighbor_count=1, patch_vox=(16, 32, 32)),
        ablations=ablations,
    )


def distilled(run: TrainingState) -> float:
    return float(distillation_loss(run)["distillation"].detach())


def gradients_after(run: TrainingState) -> tuple[float, float]:
    """How strongly the projector and the aligner are moved by one step of distillation, at full weight."""
    run.optimizer.zero_grad()
    distillation_loss(run)["distillation"].backward()
    sums = [
        sum(float(each.grad.abs().sum()) for each in run.helpers[name].parameters() if each.grad is not None)
        for name in ("projector", "aligner")
    ]
    return sums[0], sums[1]


@pytest.mark.parametrize("dims", [2, 3])
def test_stage_1_moves_projector_and_aligner_and_stage_2_the_projector_alone(dims: int):
    run = begun_state(setup_of(dims=dims))
    run.step = 3  # t/T = 0.75 of stage 1: full weight

    projector, aligner = gradients_after(run)
    assert projector > 0
    assert aligner > 0
    start_stage2(run)
    projector, aligner = gradients_after(run)
    assert projector > 0
    assert aligner == 0


class KnownStudent(PaperStudent):
    """A paper's student that sees nothing: its heads give the ball 1/2, 2/3, 1/4 and 1/3, its features are flat."""

    def explain(self, image: Tensor, knowledge: Tensor | None = None) -> StudentOutput:
        grid = [side // self.config.patch for side in image.shape[2:]]
        heads = [torch.tensor([1 - p, p]).log().view(1, 2, *[1] * len(grid)) for p in (1 / 2, 2 / 3, 1 / 4, 1 / 3)]
        return StudentOutput(
            tuple(each.expand(len(image), 2, *image.shape[2:]) for each in heads),
            tuple(torch.full((len(image), self.config.token_dim, *grid), each) for each in (7.0, 0.3, 0.1, 7.0)),
            torch.full((len(image), self.config.prior_channels, *grid), 0.4),
        )


def begin_known(setup: FineTuneSetup) -> TrainingState:
    """A run of the known student, in which the ball is everywhere; projector and aligner answer 0 to everything."""
    labels = setup.cases[0].labels
    everywhere = labels.with_voxels(np.where(labels.voxels == UNKNOWN_LABEL, UNKNOWN_LABEL, BALL.value))
    run = begun_state(replace(setup, cases=[LabeledCase(setup.cases[0].image, everywhere)]))
    run.student = KnownStudent(run.student.config, 1, 2)
    for each in run.helpers.parameters():
        torch.nn.init.zeros_(each)
    return run


# Nothing but the ball is there, so that the other class has a Dice and an IoU of 0. Cross-entropy -ln(1/2); Dice
# 2 p / (1 + p) = 4/5 of p = 2/3; focal (1 - 1/4)^2 (-ln(1/4)); IoU p = 1/3.
CROSS_ENTROPY, DICE, FOCAL, IOU = math.log(2), 1 - (4 / 5 + 0) / 2, 9 / 16 * math.log(4), 1 - (1 / 3 + 0) / 2
SEGMENTATION = 1 / 4 * (CROSS_ENTROPY + DICE + FOCAL + IOU)
# The prior 0.4 against 0; the tokens of the two layers before the last, 0.3 and 0.1, against 0.
SEMANTIC, VISUAL = 0.4**2, (0.3**2 + 0.1**2) / 2


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(
    ("step", "weight"),
    [
        pytest.param(0, 0.1 * math.exp(-5), id="start"),
        pytest.param(1, 0.1 * math.exp(-5 / 4), id="a quarter of stage 1"),
        pytest.param(2, 0.1, id="half of stage 1"),
        pytest.param(4, 0.1, id="end of stage 1"),
    ],
)
def test_stage_1_is_the_segmentation_loss_and_both_paths_at_a_weight_that_rises(step: int, weight: float, dims: int):
    run = begin_known(setup_of(dims=dims))
    run.step = step

    assert distilled(run) == pytest.approx(SEGMENTATION + weight * (SEMANTIC + VISUAL))


@pytest.mark.parametrize("dims", [2, 3])
def test_stage_2_is_a_tenth_of_the_visual_path(dims: int):
    run = begin_known(setup_of(dims=dims))
    run.step = 4
    start_stage2(run)

    assert distilled(run) == pytest.approx(0.1 * VISUAL)


def test_double_softmax_dice_changes_the_dice_head_of_distillation():
    run = begin_known(setup_of(ablations=("double-softmax-dice",)))

    # softmax(1/3, 2/3): its second part is 1 / (1 + exp(-1/3)).
    twice = 1 / (1 + math.exp(-1 / 3))
    dice = 1 - (2 * twice / (1 + twice) + 0) / 2
    segmentation = 1 / 4 * (CROSS_ENTROPY + dice + FOCAL + IOU)
    assert distilled(run) == pytest.approx(segmentation + 0.1 * math.exp(-5) * (SEMANTIC + VISUAL))


@pytest.mark.parametrize(
    ("ablations", "gradient"),
    [
        pytest.param((), 0.0, id="corrected"),
        # 0.1 (0.4 - knowledge)^2 at knowledge = 0, over all channels together.
        pytest.param(("attached-semantic-target",), 0.1 * -2 * 0.4, id="attached-semantic-target"),
    ],
)
def test_only_an_attached_target_of_the_semantic_path_teaches_the_aligner(ablations: tuple[str, ...], gradient: float):
    run = begin_known(setup_of(ablations=ablations))
    run.step = 2  # full weight; the known student takes no knowledge that could teach the aligner otherwise

    distillation_loss(run)["distillation"].backward()

    bias = run.helpers["aligner"].align.bias
    assert (0.0 if bias.grad is None else float(bias.grad.sum())) == pytest.approx(gradient)


def test_a_plain_student_has_nothing_to_distill():
    run = begun_state(setup_of(kind="unet"))

    assert run.features is None
    assert len(run.helpers) == 0
    assert distillation_loss(run) == {}


def test_the_learning_curve_tells_what_distillation_costs_in_both_stages(tmp_path: Path):
    model = fine_tune(setup_of(), tmp_path)

    losses = {(point["stage"], point["distillation"] > 0) for point in model.card.training["curve"]}
    assert losses == {(1, True), (2, True)}


def test_distillation_stopped_and_resumed_equals_distillation_in_one_go(tmp_path: Path):
    torch.set_num_threads(1)
    straight = fine_tune(setup_of(), tmp_path / "straight")
    # It is asked at 5 annotated slices and propagated ones, at 4 steps of stage 1, at 7 other slices, and in stage 2.
    questions = iter([False] * 29 + [True])

    with pytest.raises(CancelledError, match=r"after 6 steps"):
        fine_tune(setup_of(), tmp_path / "stopped", monitor=Monitor(should_stop=lambda: next(questions)))
    resumed = fine_tune(setup_of(), tmp_path / "stopped", resume=True)

    assert_bit_equal(straight, resumed)
