"""Distillation by hand: which maps meet which layers, what is pooled where, and who learns from what."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from uncol.training.distillation import (
    Projector,
    SemanticAligner,
    distillation_weight,
    pool_to_grid,
    semantic_loss,
    stack_slice_maps,
    visual_loss,
)

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


class TestVolumesOfA2DTeacher:
    def test_slices_are_stacked_in_their_order_and_averaged_along_the_axis(self) -> None:
        maps = {index: torch.full((1, 2, 2), float(index)) for index in (3, 0, 2, 1)}

        # slices 0 1 2 3 on a grid of two: (0 + 1) / 2 and (2 + 3) / 2
        assert stack_slice_maps(maps, 4, (2, 1, 1)).flatten().tolist() == [0.5, 2.5]

    def test_slices_that_nobody_asked_about_are_interpolated_and_ends_continued(self) -> None:
        maps = {1: torch.full((1, 1, 1), 10.0), 4: torch.full((1, 1, 1), 40.0)}

        stacked = stack_slice_maps(maps, 6, (6, 1, 1)).flatten()

        assert stacked.tolist() == pytest.approx([10.0, 10.0, 20.0, 30.0, 40.0, 40.0])

    def test_one_slice_speaks_for_the_whole_volume(self) -> None:
        assert stack_slice_maps({2: torch.full((1, 2, 2), 7.0)}, 4, (2, 1, 1)).flatten().tolist() == [7.0, 7.0]

    def test_rows_and_columns_stay_where_they_are(self) -> None:
        plane = torch.tensor([[[1.0, 1.0, 2.0, 2.0, 3.0, 3.0], [4.0, 4.0, 5.0, 5.0, 6.0, 6.0]]])

        stacked = stack_slice_maps({0: plane.half()}, 1, (1, 2, 3))

        assert stacked.dtype == torch.float32
        assert stacked.tolist() == [[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]]
