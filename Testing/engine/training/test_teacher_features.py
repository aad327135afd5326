"""The frozen teacher's features on the student's tokens: averages by hand, each slice encoded once, stacks in 3D."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from doubles import SeeingTeacher
from torch import Tensor

from uncol.core.volume import UNKNOWN_LABEL, SliceView
from uncol.data.cases import FramedCase, SliceIndex
from uncol.data.patch_dataset import PatchDataset, PatchIndex
from uncol.data.slice_dataset import SliceDataset
from uncol.data.transforms import SliceFrame
from uncol.foundation.embeddings import EmbeddingCache
from uncol.foundation.promptable import BoxPrediction, EncodedSlice
from uncol.foundation.prompting import SlicePredictor
from uncol.training.teacher_features import TeacherFeatures, stack_slice_maps

VIEW = SliceView("axial", (0, 1, 2), (False, False, False), (2.0, 1.0, 1.0))
SIDE, PATCH = 32, 16


class EchoTeacher(SeeingTeacher):
    """A teacher whose maps are the slice itself and twice the slice, and whose tokens are the number of the box."""

    token_width = 2

    def decode(self, embedding: Tensor, boxes: Tensor, frame: SliceFrame) -> BoxPrediction:
        message = "Features come from encoding; nothing is decoded for them."
        raise AssertionError(message)

    def encode_with_maps(self, image: Tensor) -> EncodedSlice:
        return EncodedSlice(self.encode(image), (image[None].half(), 2 * image[None].half()))

    def decode_tokens(self, embedding: Tensor, boxes: Tensor, frame: SliceFrame) -> Tensor:
        numbers = torch.arange(1, len(boxes) + 1).half()
        return numbers[:, None, None, None].expand(-1, self.token_width, *embedding.shape[1:])


def stack_of(labels: np.ndarray, images: np.ndarray) -> FramedCase:
    return FramedCase(VIEW, torch.from_numpy(images), torch.from_numpy(labels), labels)


def case(known: bool, slices: int = 2) -> FramedCase:
    """Slices of 32 x 32 pixels, whose four quarters have the values 0, 1, 2 and 3 tenths, plus 4 tenths a slice."""
    quarter = np.kron(np.array([[0.0, 0.1], [0.2, 0.3]]), np.ones((PATCH, PATCH)))
    images = np.stack([quarter + 0.4 * index / (slices - 1) for index in range(slices)]).astype(np.float32)
    labels = np.full(images.shape, 0 if known else UNKNOWN_LABEL, dtype=np.uint8)
    if known:
        labels[:, 2:8, 2:8] = 2
    return stack_of(labels, images)


class Scene:
    def __init__(self, *, dims: int, prompted_slices: list[SliceIndex], slices: int = 2) -> None:
        stacks = [case(True, slices), case(False, slices)]
        pool = SliceDataset(stacks, 3, 1, 16) if dims == 2 else PatchDataset(stacks, 3, (16, SIDE, SIDE))
        self.teacher = EchoTeacher(SIDE)
        prompted = [
            SlicePredictor(each.images.numpy(), (1.0, 1.0), (0.0, 1.0), self.teacher, EmbeddingCache(None))
            for each in stacks
        ]
        self.features = TeacherFeatures(
            pool, stacks, prompted, self.teacher, patch=PATCH, prompted_slices=prompted_slices, margin_pixels=0.0
        )


def test_maps_are_averaged_over_each_token_and_slices_are_encoded_once():
    scene = Scene(dims=2, prompted_slices=[])

    for _ in range(2):
        first, second = scene.features.maps([SliceIndex(0, 1)])

    expected = torch.tensor([[[[0.4, 0.5], [0.6, 0.7]]]])
    torch.testing.assert_close(first, expected, rtol=0, atol=1e-3)
    torch.testing.assert_close(second, 2 * expected, rtol=0, atol=1e-3)
    assert scene.teacher.encoded == 1


def test_only_annotated_slices_and_those_that_are_asked_about_may_be_encoded():
    features = Scene(dims=2, prompted_slices=[SliceIndex(1, 0)]).features

    assert [features.has(SliceIndex(case, index)) for case in (0, 1) for index in (0, 1)] == [
        True,
        True,
        True,
        False,
    ]


def test_tokens_of_a_structure_that_is_not_there_are_zero():
    tokens = Scene(dims=2, prompted_slices=[]).features.tokens([SliceIndex(0, 0)])

    # Structure 1 is in no slice, structure 2 has the first and only box.
    assert tokens.shape == (1, 2, 2, 2, 2)
    assert (tokens[0, 0] == 0).all()
    assert (tokens[0, 1] == 1).all()


def test_in_volumes_every_fourth_slice_is_encoded_and_stacked():
    scene = Scene(dims=3, prompted_slices=[], slices=16)

    (first, _) = scene.features.maps([PatchIndex(0, (0, 0, 0))])

    # One layer of tokens holds all 16 slices. Encoded are slices 0, 4, 8 and 12, in between they are interpolated,
    # and 13 to 15 repeat 12: (0 + 1 + ... + 12 + 3 * 12) / 16 = 7.125 fifteenths of 0.4 on top of the quarters.
    assert first.shape == (1, 1, 1, 2, 2)
    expected = torch.tensor([[0.0, 0.1], [0.2, 0.3]]) + 0.4 * 7.125 / 15
    torch.testing.assert_close(first[0, 0, 0], expected, rtol=0, atol=2e-3)
    assert scene.teacher.encoded == 4


@pytest.mark.parametrize(("asked", "has"), [([], False), ([SliceIndex(1, 7)], True)])
def test_an_unannotated_volume_needs_a_slice_that_is_asked_about(asked: list[SliceIndex], has: bool):
    assert Scene(dims=3, prompted_slices=asked, slices=16).features.has(PatchIndex(1, (0, 0, 0))) == has


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
