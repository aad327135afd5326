"""The side encoder: patches and positions by hand, tokens where their patch is, a prior of the right width."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from uncol.models.paper_config import PaperStudentConfig
from uncol.models.prior_encoder import PriorEncoder, sincos_positions, split_into_patches

SMALL_2D, SMALL_3D = PaperStudentConfig.small_2d(), PaperStudentConfig.small_3d()


class TestPatches:
    def test_each_patch_keeps_its_place_and_its_channels_follow_one_another(self) -> None:
        first_channel = torch.arange(8.0).reshape(2, 4)  # 0 1 2 3 / 4 5 6 7
        image = torch.stack([first_channel, first_channel + 10])[None]

        patches = split_into_patches(image, 2)

        assert patches.shape == (1, 1, 2, 8)
        assert patches[0, 0].tolist() == [[0, 1, 4, 5, 10, 11, 14, 15], [2, 3, 6, 7, 12, 13, 16, 17]]

    def test_volumes_are_cut_along_three_axes(self) -> None:
        volume = torch.arange(16.0).reshape(1, 1, 2, 2, 4)  # slices hold 0 ... 7 and 8 ... 15

        patches = split_into_patches(volume, 2)

        assert patches[0].tolist() == [[[[0, 1, 4, 5, 8, 9, 12, 13], [2, 3, 6, 7, 10, 11, 14, 15]]]]


class TestPositions:
    def test_places_are_coded_axis_by_axis_and_the_rest_of_the_width_is_zero(self) -> None:
        code = sincos_positions((2, 3), 9)

        assert code.shape == (6, 9)
        # 9 // (2 axes x 2) = 2 waves of 1 and 1/10,000 radian per step; the place in row 1, column 2 comes last
        slow = 1e-4
        row = [math.sin(1), math.sin(slow), math.cos(1), math.cos(slow)]
        column = [math.sin(2), math.sin(2 * slow), math.cos(2), math.cos(2 * slow)]
        torch.testing.assert_close(code[5], torch.tensor([*row, *column, 0.0]))

    def test_every_place_of_a_volume_has_a_code_of_its_own(self) -> None:
        code = sincos_positions((3, 4, 2), 12)

        assert len({tuple(place) for place in code.tolist()}) == 24


class TestEncoder:
    def test_slices_give_a_map_for_each_layer_and_a_prior_as_wide_as_the_bottleneck(self) -> None:
        encoding = PriorEncoder(SMALL_2D, input_channels=3)(torch.rand(2, 3, 16, 40))

        assert [each.shape for each in encoding.token_maps] == [(2, 64, 2, 5)] * 4
        assert encoding.prior.shape == (2, 128, 2, 5)

    def test_volumes_give_a_prior_as_wide_as_the_tokens(self) -> None:
        encoding = PriorEncoder(SMALL_3D, input_channels=1)(torch.rand(1, 1, 8, 16, 24))

        assert [each.shape for each in encoding.token_maps] == [(1, 64, 1, 2, 3)] * 4
        assert encoding.prior.shape == (1, 64, 1, 2, 3)

    def test_without_attention_a_change_in_one_patch_changes_the_token_there_only(self) -> None:
        encoder = PriorEncoder(SMALL_2D, input_channels=1)
        for layer in encoder.layers:
            nn.init.zeros_(layer.attention.out.weight)
        image = torch.rand(1, 1, 16, 24)
        changed = image.clone()
        changed[..., 8:, 16:] = torch.rand(8, 8)  # row 1, column 2 of 2 x 3 patches

        before, after = encoder(image).token_maps[3], encoder(changed).token_maps[3]

        assert (before != after).any(1)[0].tolist() == [[False, False, False], [False, False, True]]

    def test_attention_carries_a_change_to_every_token(self) -> None:
        encoder = PriorEncoder(SMALL_2D, input_channels=1)
        image = torch.rand(1, 1, 16, 24)
        changed = image.clone()
        changed[..., 8:, 16:] = torch.rand(8, 8)

        assert (encoder(image).token_maps[0] != encoder(changed).token_maps[0]).any(1).all()

    @pytest.mark.parametrize("config", [SMALL_2D, SMALL_3D], ids=["2D", "3D"])
    def test_the_prior_is_normalized_over_its_channels(self, config: PaperStudentConfig) -> None:
        prior = PriorEncoder(config, input_channels=1)(torch.rand(1, 1, *(16,) * config.dims)).prior

        torch.testing.assert_close(prior.mean(1), torch.zeros_like(prior[:, 0]), rtol=0, atol=1e-5)
        torch.testing.assert_close(prior.var(1, correction=0), torch.ones_like(prior[:, 0]), rtol=0, atol=0.02)
