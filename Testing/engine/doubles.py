"""Foundation models without weights, whose answers can be computed by hand."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from uncol.data.transforms import SliceFrame, frame_with_longest_side
from uncol.foundation.boxes import mask_of_box
from uncol.foundation.promptable import BoxPrediction, EncodedSlice


class ThresholdTeacher:
    """It finds whatever is brighter than the middle of the window inside a box.

    `encoded` counts the slices that it has seen; `boxes` are those that it was asked about.

    Args:
        side: Longest side of its frame in pixels.
        identity: What distinguishes its embeddings from those of others.
        probability: What it gives to the pixels that it finds.
        quality: What it says about its own masks.
    """

    name, device, slices_at_once = "threshold", torch.device("cpu"), 1

    def __init__(
        self, side: int, identity: str = "threshold-1", *, probability: float = 1.0, quality: float = 1.0
    ) -> None:
        self.identity, self.encoded = identity, 0
        self.boxes: list[list[float]] = []
        self._side, self._probability, self._quality = side, probability, quality

    def frame_of(self, rows: int, columns: int, spacing_mm: tuple[float, float]) -> SliceFrame:
        return frame_with_longest_side(rows, columns, spacing_mm, self._side)

    def embedding_shape(self, frame: SliceFrame) -> tuple[int, int, int]:
        return 1, frame.rows, frame.columns

    def encode(self, image: Tensor) -> Tensor:
        self.encoded += 1
        return image[None].half()

    def encode_all(self, images: Sequence[Tensor]) -> list[Tensor]:
        return [self.encode(each) for each in images]

    def decode(self, embedding: Tensor, boxes: Tensor, frame: SliceFrame) -> BoxPrediction:
        self.boxes += boxes.tolist()
        inside = [torch.from_numpy(mask_of_box(box, frame.rows, frame.columns)) for box in boxes.numpy()]
        found = (torch.stack(inside) & (embedding > 0.5)).float() * self._probability
        return BoxPrediction(found, torch.full((len(boxes),), self._quality))


class SeeingTeacher(ThresholdTeacher):
    """It also shows its features: the slice and its negative, and what it finds as the token of each box."""

    map_widths = (1, 1)
    token_width = 1

    def encode_with_maps(self, image: Tensor) -> EncodedSlice:
        return EncodedSlice(self.encode(image), (image[None].half(), 1 - image[None].half()))

    def decode_tokens(self, embedding: Tensor, boxes: Tensor, frame: SliceFrame) -> Tensor:
        return self.decode(embedding, boxes, frame).probabilities[:, None].half()
