"""SAM and MedSAM as teachers, on a tiny checkpoint that the test itself writes: frames, answers and features."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from uncol.core.errors import CheckpointError
from uncol.foundation.embeddings import EmbeddingCache, PromptableStack
from uncol.foundation.promptable import FeatureTeacher
from uncol.foundation.sam_checkpoint import EncoderSize, build_sam
from uncol.foundation.segment_anything import SegmentAnything, load_segment_anything

pytest.importorskip("segment_anything", reason="needs the optional package segment-anything")

CPU = torch.device("cpu")
TINY = EncoderSize(width=32, depth=4, heads=2, patch=8, grid=8, window=3, global_blocks=(1, 3), embedding_width=16)
# 64 pixels along the longer side: 40 rows of 1.6 mm are 64 mm, 50 columns of 0.8 mm are 40 mm
ROWS, COLUMNS, SPACING_MM = 40, 50, (1.6, 0.8)
BOXES = torch.tensor([[8.0, 4.0, 30.0, 20.0], [20.0, 10.0, 60.0, 38.0]])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    network = build_sam(TINY)
    for weights in network.parameters():
        nn.init.normal_(weights, std=0.1)
    path = tmp_path_factory.mktemp("weights") / "tiny_sam.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def teacher(checkpoint: Path) -> SegmentAnything:
    return load_segment_anything(checkpoint, CPU)


@pytest.fixture
def image() -> Tensor:
    """A slice that fills its frame of 64 x 40 pixels."""
    return torch.rand(64, 40)


class TestTeacher:
    def test_it_is_a_frozen_teacher_with_features(self, teacher: SegmentAnything, checkpoint: Path) -> None:
        as_protocol: FeatureTeacher = teacher

        digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
        assert as_protocol.name == f"MedSAM ViT with 4 blocks of width 32 ({digest[:8]})"
        assert as_protocol.identity.startswith(digest[:16])
        assert (as_protocol.map_widths, as_protocol.token_width) == ((32, 32), 16)
        assert not any(each.requires_grad or each.grad is not None for each in teacher._network.parameters())
        assert not any(module.training for module in teacher._network.modules())

    def test_the_frame_fills_the_models_square_along_the_longer_side(self, teacher: SegmentAnything) -> None:
        frame = teacher.frame_of(ROWS, COLUMNS, SPACING_MM)

        assert (frame.rows, frame.columns) == (64, 40)

    def test_sam_and_medsam_are_two_teachers_that_see_other_grey_values(
        self, teacher: SegmentAnything, checkpoint: Path, image: Tensor
    ) -> None:
        sam = load_segment_anything(checkpoint, CPU, family="SAM")

        assert sam.identity != teacher.identity
        assert sam.name.startswith("SAM ")
        assert not torch.equal(sam.encode(image), teacher.encode(image))

    @pytest.mark.parametrize(
        ("family", "grey", "expected"),
        [
            pytest.param("MedSAM", 1.0, [1.0, 1.0, 1.0], id="MedSAM: as it is"),
            # (255 - 123.675) / 58.395, (255 - 116.28) / 57.12, (255 - 103.53) / 57.375
            pytest.param("SAM", 1.0, [2.2489, 2.4286, 2.6400], id="SAM: white of photographs"),
            pytest.param("SAM", 0.0, [-2.1179, -2.0357, -1.8044], id="SAM: black of photographs"),
        ],
    )
    def test_grey_values_are_scaled_as_in_training(
        self, checkpoint: Path, family, grey: float, expected: list[float]
    ) -> None:
        scaled = load_segment_anything(checkpoint, CPU, family)._scale(torch.tensor([[grey]]))

        torch.testing.assert_close(scaled.expand(3, 1, 1).flatten(), torch.tensor(expected), atol=1e-4, rtol=0)

    def test_a_wrong_file_gets_one_sentence(self, tmp_path: Path) -> None:
        wrong = tmp_path / "wrong.pth"
        torch.save({"weights": torch.zeros(1)}, wrong)

        with pytest.raises(CheckpointError, match=r'"[^"]*wrong.pth" is no checkpoint of SAM or MedSAM'):
            load_segment_anything(wrong, CPU)


class TestAnswers:
    def test_an_embedding_is_what_the_networks_own_encoder_returns(
        self, teacher: SegmentAnything, image: Tensor
    ) -> None:
        scaled = (image - image.min()) / (image.max() - image.min())
        padded = functional.pad(scaled, (0, 24)).expand(1, 3, 64, 64)

        embedding = teacher.encode(image)

        assert (embedding.shape, embedding.dtype, embedding.device) == ((16, 8, 8), torch.float16, CPU)
        with torch.no_grad():
            expected = teacher._network.image_encoder(padded)[0]
        torch.testing.assert_close(embedding.float(), expected, rtol=0, atol=0.05)

    def test_probabilities_fill_the_frame_without_its_padding(self, teacher: SegmentAnything, image: Tensor) -> None:
        decoded = teacher.decode(teacher.encode(image), BOXES, teacher.frame_of(ROWS, COLUMNS, SPACING_MM))

        assert decoded.probabilities.shape == (2, 64, 40)
        assert decoded.quality.shape == (2,)
        assert ((decoded.probabilities >= 0) & (decoded.probabilities <= 1)).all()

    def test_it_answers_in_a_stack_of_slices(self, teacher: SegmentAnything) -> None:
        slices = np.random.default_rng(0).integers(-100, 200, (2, ROWS, COLUMNS)).astype(np.int16)
        stack = PromptableStack(slices, SPACING_MM, (-160.0, 240.0), teacher, EmbeddingCache(None))

        assert stack.decode(1, BOXES.numpy()).probabilities.shape == (2, 64, 40)


class TestFeatures:
    def test_encoding_with_maps_gives_the_same_embedding(self, teacher: SegmentAnything, image: Tensor) -> None:
        encoded = teacher.encode_with_maps(image)

        assert torch.equal(encoded.embedding, teacher.encode(image))

    def test_maps_are_those_of_the_middle_and_the_last_block_cut_to_the_slice(
        self, teacher: SegmentAnything, image: Tensor
    ) -> None:
        maps = teacher.encode_with_maps(image).maps

        # 64 x 40 pixels in patches of 8
        assert [tuple(each.shape) for each in maps] == [(32, 8, 5)] * 2
        encoder = teacher._network.image_encoder
        padded = functional.pad((image - image.min()) / (image.max() - image.min()), (0, 24)).expand(1, 3, 64, 64)
        with torch.no_grad():
            tokens = encoder.patch_embed(padded) + encoder.pos_embed
            for block in encoder.blocks[:2]:  # of 4 blocks, 0 and 1 lie before the middle
                tokens = block(tokens)
        torch.testing.assert_close(maps[0].float(), tokens[0].permute(2, 0, 1)[:, :, :5], rtol=0, atol=0.05)

    def test_tokens_are_those_that_the_masks_are_made_of(self, teacher: SegmentAnything, image: Tensor) -> None:
        embedding, frame = teacher.encode(image), teacher.frame_of(40, 40, (1.0, 1.0))
        tokens = teacher.decode_tokens(embedding, BOXES, frame)
        decoder = teacher._network.mask_decoder

        assert (tokens.shape, tokens.dtype) == ((2, 16, 8, 8), torch.float16)
        seen = []
        hook = decoder.output_upscaling.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        teacher.decode(embedding, BOXES, frame)
        hook.remove()
        torch.testing.assert_close(tokens.float(), seen[0], rtol=0, atol=0.01)

    def test_each_box_has_tokens_of_its_own(self, teacher: SegmentAnything, image: Tensor) -> None:
        embedding, frame = teacher.encode(image), teacher.frame_of(ROWS, COLUMNS, SPACING_MM)
        many = torch.cat([BOXES] * 5)  # ten boxes: more than are asked at a time

        tokens = teacher.decode_tokens(embedding, many, frame)

        assert tokens.shape == (10, 16, 8, 5)
        assert not torch.equal(tokens[0], tokens[1])
        torch.testing.assert_close(tokens[8], tokens[0], rtol=0, atol=0.01)

    def test_students_can_learn_from_features(self, teacher: SegmentAnything, image: Tensor) -> None:
        encoded = teacher.encode_with_maps(image)
        tokens = teacher.decode_tokens(encoded.embedding, BOXES, teacher.frame_of(ROWS, COLUMNS, SPACING_MM))
        projection = nn.Conv2d(32, 1, kernel_size=1)

        (projection(encoded.maps[0][None].float()).sum() + tokens.float().sum()).backward()

        assert projection.weight.grad is not None
        assert not tokens.requires_grad

    def test_looking_inside_leaves_no_trace(self, teacher: SegmentAnything, image: Tensor) -> None:
        embedding = teacher.encode_with_maps(image).embedding
        teacher.decode_tokens(embedding, BOXES, teacher.frame_of(ROWS, COLUMNS, SPACING_MM))

        assert not any(module._forward_hooks for module in teacher._network.modules())
