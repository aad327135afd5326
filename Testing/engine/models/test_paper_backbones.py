"""The convolutional parts: features of every level, and what the skips do."""

from __future__ import annotations

import torch
from torch import nn

from uncol.models.paper_backbones import PointwiseInGroups, UNetBackbone, VNetBackbone, vnet_heads
from uncol.models.paper_config import PaperStudentConfig

SMALL_2D, SMALL_3D = PaperStudentConfig.small_2d(), PaperStudentConfig.small_3d()


def _counts(module: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(each, kind) for each in module.modules())


class TestUNet:
    def test_each_level_has_half_the_side_of_the_one_above(self) -> None:
        features = UNetBackbone(SMALL_2D, input_channels=3).encode(torch.rand(1, 3, 32, 48))

        assert [tuple(each.shape[1:]) for each in features] == [
            (16, 32, 48),
            (32, 16, 24),
            (64, 8, 12),
            (96, 4, 6),
            (128, 2, 3),
        ]

    def test_decoding_returns_to_full_resolution(self) -> None:
        backbone = UNetBackbone(SMALL_2D, input_channels=1)

        assert backbone.decode(backbone.encode(torch.rand(1, 1, 32, 48))).shape == (1, 16, 32, 48)

    def test_the_encoder_drops_features_once_a_level_and_the_decoder_none(self) -> None:
        backbone = UNetBackbone(PaperStudentConfig.paper_2d(), input_channels=1)

        dropped = [each.p for each in backbone.modules() if isinstance(each, nn.Dropout)]
        assert dropped == [0.05, 0.1, 0.2, 0.3, 0.5]

    def test_every_level_has_two_convolutions(self) -> None:
        backbone = UNetBackbone(SMALL_2D, input_channels=1)

        # five levels down, four up, one more 1 x 1 convolution for each way up
        assert _counts(backbone.down, nn.Conv2d) == 10
        assert _counts(backbone.merge, nn.Conv2d) == 8
        assert _counts(backbone.up, nn.Conv2d) == 4


class TestVNet:
    def test_each_level_has_half_the_side_of_the_one_above(self) -> None:
        features = VNetBackbone(SMALL_3D, input_channels=1).encode(torch.rand(1, 1, 16, 32, 48))

        assert [tuple(each.shape[1:]) for each in features] == [
            (8, 16, 32, 48),
            (16, 8, 16, 24),
            (32, 4, 8, 12),
            (48, 2, 4, 6),
            (64, 1, 2, 3),
        ]

    def test_levels_have_one_two_and_three_convolutions(self) -> None:
        backbone = VNetBackbone(SMALL_3D, input_channels=1)

        assert [_counts(each, nn.Conv3d) for each in backbone.convolutions] == [1, 2, 3, 3, 3]
        assert [_counts(each, nn.Conv3d) for each in backbone.merge] == [3, 3, 2, 0]

    def test_the_skip_of_full_resolution_is_added(self) -> None:
        backbone = VNetBackbone(SMALL_3D, input_channels=1)
        full, *lower = backbone.encode(torch.rand(1, 1, 16, 16, 32))

        with_skip, with_more = backbone.decode([full, *lower]), backbone.decode([full + 1, *lower])

        assert with_skip.shape == (1, 8, 16, 16, 32)
        torch.testing.assert_close(with_more, with_skip + 1)

    def test_its_norms_have_no_weights(self) -> None:
        backbone = VNetBackbone(SMALL_3D, input_channels=1)

        norms = [each for each in backbone.modules() if isinstance(each, nn.InstanceNorm3d)]
        assert norms
        assert not any(each.affine or each.track_running_stats for each in norms)

    def test_pointwise_convolution_in_groups_gives_the_numbers_of_torchs_own(self) -> None:
        fast = PointwiseInGroups(6, 4, kernel_size=1, groups=2)
        own = nn.Conv3d(6, 4, kernel_size=1, groups=2)
        own.load_state_dict(fast.state_dict())
        features = torch.rand(2, 6, 2, 3, 4)

        torch.testing.assert_close(fast(features), own(features))

    def test_heads_in_one_convolution_do_not_see_one_another(self) -> None:
        heads = vnet_heads(8, output_channels=6, head_count=2)
        features = torch.rand(1, 8, 2, 2, 2)
        before = heads(features)
        with torch.no_grad():
            heads[0].conv.weight[8:] *= -1  # the second head's block: output channels 8 to 15

        after = heads(features)

        assert torch.equal(after[:, :3], before[:, :3])
        assert (after[:, 3:] != before[:, 3:]).any()
