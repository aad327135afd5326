"""SAM and MedSAM as teachers, on a tiny checkpoint that the test itself writes: answers, features and wrong files."""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import tiny_sam
import torch
from torch import Tensor, nn
from torch.nn import functional

from uncol.core.errors import CheckpointError
from uncol.foundation.embeddings import EmbeddingCache
from uncol.foundation.promptable import FeatureModel
from uncol.foundation.prompting import SlicePredictor
from uncol.foundation.sam_layers import SamTeacher
from uncol.foundation.segment_anything import load_segment_anything

tiny_sam.register()

CPU = torch.device("cpu")
# 64 pixels along the longer side: 40 rows of 1.6 mm are 64 mm, 50 columns of 0.8 mm are 40 mm
ROWS, COLUMNS, SPACING_MM = 40, 50, (1.6, 0.8)
BOXES = torch.tensor([[8.0, 4.0, 30.0, 20.0], [20.0, 10.0, 60.0, 38.0]])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_sam.write_checkpoint(tmp_path_factory.mktemp("weights") / "tiny_sam.pth")


@pytest.fixture(scope="module")
def teacher(checkpoint: Path) -> SamTeacher:
    return load_segment_anything(checkpoint, CPU)


@pytest.fixture(scope="module")
def tiny_state(checkpoint: Path) -> dict[str, Tensor]:
    return torch.load(checkpoint, weights_only=True)


@pytest.fixture
def save(tmp_path: Path):
    """Write anything the way training programs do."""

    def write(content: object, name: str = "weights.pth") -> Path:
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return write


@pytest.fixture
def image() -> Tensor:
    """A slice that fills its frame of 64 x 40 pixels."""
    return torch.rand(64, 40)


class TestTeacher:
    def test_it_is_a_frozen_teacher_with_features(self, teacher: SamTeacher, checkpoint: Path) -> None:
        as_protocol: FeatureModel = teacher

        digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
        assert as_protocol.name == f"MedSAM ViT-T ({digest[:8]})"
        assert as_protocol.identity.startswith(digest[:16])
        assert (as_protocol.map_widths, as_protocol.token_width) == ((32, 32), 16)
        assert not any(each.requires_grad or each.grad is not None for each in teacher.network.parameters())
        assert not any(module.training for module in teacher.network.modules())

    def test_the_frame_fills_the_models_square_along_the_longer_side(self, teacher: SamTeacher) -> None:
        frame = teacher.frame_of(ROWS, COLUMNS, SPACING_MM)

        assert (frame.rows, frame.columns) == (64, 40)

    def test_sam_and_medsam_are_two_teachers_that_see_other_grey_values(
        self, teacher: SamTeacher, checkpoint: Path, image: Tensor
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
        scaled = load_segment_anything(checkpoint, CPU, family).scale(torch.tensor([[grey]]))

        torch.testing.assert_close(scaled.expand(3, 1, 1).flatten(), torch.tensor(expected), atol=1e-4, rtol=0)


class TestAnswers:
    def test_an_embedding_is_what_the_networks_own_encoder_returns(self, teacher: SamTeacher, image: Tensor) -> None:
        scaled = (image - image.min()) / (image.max() - image.min())
        padded = functional.pad(scaled, (0, 24)).expand(1, 3, 64, 64)

        embedding = teacher.encode(image)

        assert (embedding.shape, embedding.dtype, embedding.device) == ((16, 8, 8), torch.float16, CPU)
        with torch.no_grad():
            expected = teacher.network.image_encoder(padded)[0]
        torch.testing.assert_close(embedding.float(), expected, rtol=0, atol=0.05)

    def test_probabilities_fill_the_frame_without_its_padding(self, teacher: SamTeacher, image: Tensor) -> None:
        decoded = teacher.decode(teacher.encode(image), BOXES, teacher.frame_of(ROWS, COLUMNS, SPACING_MM))

        assert decoded.probabilities.shape == (2, 64, 40)
        assert decoded.quality.shape == (2,)
        assert ((decoded.probabilities >= 0) & (decoded.probabilities <= 1)).all()

    def test_it_answers_in_a_stack_of_slices(self, teacher: SamTeacher) -> None:
        slices = np.random.default_rng(0).integers(-100, 200, (2, ROWS, COLUMNS)).astype(np.int16)
        predictor = SlicePredictor(slices, SPACING_MM, (-160.0, 240.0), teacher, EmbeddingCache(None))

        assert predictor.predict(1, BOXES.numpy()).probabilities.shape == (2, 64, 40)


class TestFeatures:
    def test_encoding_with_maps_gives_the_same_embedding(self, teacher: SamTeacher, image: Tensor) -> None:
        encoded = teacher.encode_with_maps(image)

        assert torch.equal(encoded.embedding, teacher.encode(image))

    def test_maps_are_those_of_the_middle_and_the_last_block_cut_to_the_slice(
        self, teacher: SamTeacher, image: Tensor
    ) -> None:
        maps = teacher.encode_with_maps(image).maps

        # 64 x 40 pixels in patches of 8
        assert [tuple(each.shape) for each in maps] == [(32, 8, 5)] * 2
        encoder = teacher.network.image_encoder
        padded = functional.pad((image - image.min()) / (image.max() - image.min()), (0, 24)).expand(1, 3, 64, 64)
        with torch.no_grad():
            tokens = encoder.patch_embed(padded) + encoder.pos_embed
            for block in encoder.blocks[:2]:  # of 4 blocks, 0 and 1 lie before the middle
                tokens = block(tokens)
        torch.testing.assert_close(maps[0].float(), tokens[0].permute(2, 0, 1)[:, :, :5], rtol=0, atol=0.05)

    def test_tokens_are_those_that_the_masks_are_made_of(self, teacher: SamTeacher, image: Tensor) -> None:
        embedding, frame = teacher.encode(image), teacher.frame_of(40, 40, (1.0, 1.0))
        tokens = teacher.decode_tokens(embedding, BOXES, frame)
        decoder = teacher.network.mask_decoder

        assert (tokens.shape, tokens.dtype) == ((2, 16, 8, 8), torch.float16)
        seen = []
        hook = decoder.output_upscaling.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        teacher.decode(embedding, BOXES, frame)
        hook.remove()
        torch.testing.assert_close(tokens.float(), seen[0], rtol=0, atol=0.01)

    def test_each_box_has_tokens_of_its_own(self, teacher: SamTeacher, image: Tensor) -> None:
        embedding, frame = teacher.encode(image), teacher.frame_of(ROWS, COLUMNS, SPACING_MM)
        many = torch.cat([BOXES] * 5)  # ten boxes: more than are asked at a time

        tokens = teacher.decode_tokens(embedding, many, frame)

        assert tokens.shape == (10, 16, 8, 5)
        assert not torch.equal(tokens[0], tokens[1])
        torch.testing.assert_close(tokens[8], tokens[0], rtol=0, atol=0.01)

    def test_students_can_learn_from_features(self, teacher: SamTeacher, image: Tensor) -> None:
        encoded = teacher.encode_with_maps(image)
        tokens = teacher.decode_tokens(encoded.embedding, BOXES, teacher.frame_of(ROWS, COLUMNS, SPACING_MM))
        projection = nn.Conv2d(32, 1, kernel_size=1)

        (projection(encoded.maps[0][None].float()).sum() + tokens.float().sum()).backward()

        assert projection.weight.grad is not None
        assert not tokens.requires_grad

    def test_looking_inside_leaves_no_trace(self, teacher: SamTeacher, image: Tensor) -> None:
        embedding = teacher.encode_with_maps(image).embedding
        teacher.decode_tokens(embedding, BOXES, teacher.frame_of(ROWS, COLUMNS, SPACING_MM))

        assert not any(module._forward_hooks for module in teacher.network.modules())


class TestLoading:
    def test_every_weight_of_the_file_is_in_the_network(self, tiny_state: dict[str, Tensor], save) -> None:
        teacher = load_segment_anything(save(tiny_state), CPU)

        loaded = teacher.network.state_dict()
        assert loaded.keys() == tiny_state.keys()
        assert all(torch.equal(loaded[name], each) for name, each in tiny_state.items())

    @pytest.mark.parametrize("wrapper", ["model", "state_dict"])
    def test_weights_beside_an_optimizer_are_found(self, tiny_state: dict[str, Tensor], save, wrapper: str) -> None:
        path = save({wrapper: tiny_state, "epoch": 3, "optimizer": {"state": {}}})

        assert load_segment_anything(path, CPU).side == tiny_sam.SIDE


class TestWrongFiles:
    def test_a_pipe_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.pth")

        with pytest.raises(CheckpointError, match=r'pipe.pth" could not be read \(.*is no regular file\)'):
            load_segment_anything(tmp_path / "pipe.pth", CPU)

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match=r'missing.pth" could not be read \(.+\)\. Name an existing file\.'):
            load_segment_anything(tmp_path / "missing.pth", CPU)

    @pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 no zip"], ids=["empty", "text", "zip"])
    def test_a_file_of_another_kind_is_refused(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "weights.pth"
        path.write_bytes(content)

        with pytest.raises(CheckpointError, match=r'weights.pth" is no checkpoint file of tensors alone, or it is dam'):
            load_segment_anything(path, CPU)

    def test_a_file_that_could_run_code_is_refused(self, save) -> None:
        with pytest.raises(CheckpointError, match="files that could run code are never opened"):
            load_segment_anything(save({"image_encoder.pos_embed": Path("anything but a tensor")}), CPU)

    def test_a_single_tensor_is_refused(self, save) -> None:
        with pytest.raises(CheckpointError, match="holds a Tensor instead of named weights"):
            load_segment_anything(save(torch.zeros(3)), CPU)

    def test_another_network_is_refused(self, save) -> None:
        expected = r"is no checkpoint of SAM or MedSAM .*: it has no weights named image_encoder.pos_embed\. Choose a"
        with pytest.raises(CheckpointError, match=expected):
            load_segment_anything(save({"conv.weight": torch.zeros(2, 2)}), CPU)

    def test_a_width_that_no_sam_has_is_refused(self, save) -> None:
        expected = r"is no checkpoint of SAM or MedSAM .*: its image encoder has width 48\. Choose a file"
        with pytest.raises(CheckpointError, match=expected):
            load_segment_anything(save({"image_encoder.pos_embed": torch.zeros(1, 8, 8, 48)}), CPU)

    def test_one_missing_weight_is_refused_and_named(self, tiny_state: dict[str, Tensor], save) -> None:
        state = {name: each for name, each in tiny_state.items() if name != "mask_decoder.iou_token.weight"}

        with pytest.raises(CheckpointError, match=r'Missing key.*"mask_decoder.iou_token.weight"'):
            load_segment_anything(save(state), CPU)

    def test_one_weight_too_many_is_refused_and_named(self, tiny_state: dict[str, Tensor], save) -> None:
        with pytest.raises(CheckpointError, match=r'Unexpected key.*"adapter.weight"'):
            load_segment_anything(save(tiny_state | {"adapter.weight": torch.zeros(1)}), CPU)

    def test_a_weight_of_another_shape_is_refused(self, tiny_state: dict[str, Tensor], save) -> None:
        with pytest.raises(CheckpointError, match=r"size mismatch for mask_decoder.mask_tokens.weight"):
            load_segment_anything(save(tiny_state | {"mask_decoder.mask_tokens.weight": torch.zeros(2, 16)}), CPU)

    def test_a_volume_encoder_is_refused(self, tiny_state: dict[str, Tensor], save) -> None:
        with pytest.raises(CheckpointError, match="is no checkpoint of SAM or MedSAM"):
            load_segment_anything(save(tiny_state | {"image_encoder.pos_embed": torch.zeros(1, 8, 8, 8, 32)}), CPU)


def test_without_the_package_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uncol.foundation.segment_anything.find_spec", lambda name: None)
    assert importlib.util.find_spec("segment_anything") is not None

    with pytest.raises(CheckpointError, match=r"not installed\. Install it with `pip install segment-anything`, or"):
        load_segment_anything(tmp_path / "weights.pth", CPU)


class FourAtOnce(SamTeacher):
    """A teacher on a device that encodes four slices best in one call."""

    slices_at_once = 4  # type: ignore[assignment]  # a property of what it stands for


@pytest.fixture
def batching(teacher: SamTeacher) -> SamTeacher:
    return FourAtOnce(**{each.name: getattr(teacher, each.name) for each in fields(teacher)})


@pytest.fixture
def sizes(batching: SamTeacher) -> Iterator[list[int]]:
    """How many slices each call of the encoder gets."""
    seen: list[int] = []
    hook = batching.network.image_encoder.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    yield seen
    hook.remove()


class TestBatches:
    STACK = np.random.default_rng(0).integers(0, 100, (10, ROWS, COLUMNS)).astype(np.int16)

    def predictor(self, teacher: SamTeacher) -> SlicePredictor:
        return SlicePredictor(self.STACK, SPACING_MM, (0.0, 100.0), teacher, EmbeddingCache(None))

    def test_neighbors_are_encoded_in_the_same_call(self, batching: SamTeacher, sizes: list[int]) -> None:
        predictor = self.predictor(batching)

        for index in (5, 4, 7, 6, 9, 0):
            predictor.embedding(index)

        assert sizes == [4, 2, 4]  # slices 4 to 7, 8 and 9, 0 to 3

    def test_in_a_batch_each_slice_is_encoded_as_on_its_own(self, batching: SamTeacher, teacher: SamTeacher) -> None:
        together, alone = self.predictor(batching), self.predictor(teacher)

        for index in range(len(self.STACK)):
            found, expected = together.embedding(index), alone.embedding(index)
            torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)  # two steps of float16 from 1 to 2

    def test_where_the_memory_is_short_batches_are_smaller_from_then_on_and_it_is_told(
        self, batching: SamTeacher, teacher: SamTeacher, sizes: list[int], caplog: pytest.LogCaptureFixture
    ) -> None:
        def refuse(_encoder: nn.Module, inputs: tuple[Tensor]) -> None:
            if len(inputs[0]) > 1:
                message = "CUDA out of memory. Tried to allocate 20.00 MiB."
                raise torch.OutOfMemoryError(message)

        predictor = self.predictor(batching)
        hook = batching.network.image_encoder.register_forward_pre_hook(refuse)
        found = [predictor.embedding(index) for index in (2, 3)]
        hook.remove()

        assert sizes == [4, 2, 1, 1]
        assert caplog.messages == [
            "The CPU memory is full; going on in smaller batches (2 at a time).",
            "The CPU memory is full; going on in smaller batches (1 at a time).",
        ]
        alone = self.predictor(teacher)
        assert all(torch.equal(each, alone.embedding(index)) for each, index in zip(found, (2, 3), strict=True))

    def test_a_slice_that_does_not_fit_the_memory_alone_is_an_error(self, batching: SamTeacher) -> None:
        def refuse(_encoder: nn.Module, _inputs: tuple[Tensor]) -> None:
            message = "MPS backend out of memory"
            raise RuntimeError(message)

        hook = batching.network.image_encoder.register_forward_pre_hook(refuse)
        with pytest.raises(RuntimeError, match="MPS backend out of memory"):
            self.predictor(batching).embedding(0)
        hook.remove()

    def test_a_cpu_encodes_slice_by_slice(self, teacher: SamTeacher) -> None:
        assert teacher.slices_at_once == 1

    @pytest.mark.parametrize(
        ("device", "side", "expected"), [("cuda", 256, 16), ("cuda", 1024, 1), ("mps", 256, 8), ("mps", 1024, 1)]
    )
    def test_a_gpu_encodes_as_many_as_fill_it(self, device: str, side: int, expected: int) -> None:
        empty = nn.Module()  # without weights it can be anywhere
        teacher = SamTeacher(
            network=empty, device=torch.device(device), name="", weights_id="", side=side, layers=[], map_width=1,
            token_width=1,
        )  # fmt: skip

        assert teacher.slices_at_once == expected
