"""What a frozen, promptable foundation model must be able to do to teach."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from uncol.transforms import SliceFrame


@dataclass(frozen=True)
class Decoded:
    """A foundation model's answer to one box per structure in one slice.

    Attributes:
        probabilities: Sigmoid map of every box (N, H, W), in the frame of the slice, in [0, 1].
        quality: The model's own estimate of each mask's IoU (N,).
    """

    probabilities: Tensor
    quality: Tensor


class GeneralizedTeacher(Protocol):
    """A frozen foundation model that is asked with boxes, slice by slice."""

    @property
    def name(self) -> str:
        """Name for reports, with version or file."""
        ...

    @property
    def identity(self) -> str:
        """Hash of the weights and of the precision: two teachers with one identity answer alike."""
        ...

    def frame_of(self, rows: int, columns: int, spacing_mm: tuple[float, float]) -> SliceFrame:
        """Return the pixel grid in which this model sees a slice; boxes are given in it."""
        ...

    def encode(self, image: Tensor) -> Tensor:
        """Encode one windowed slice (H, W) in [0, 1], already in the model's frame.

        Returns:
            The embedding (C, h, w), float16, on the CPU.
        """
        ...

    def decode(self, embedding: Tensor, boxes: Tensor, frame: SliceFrame) -> Decoded:
        """Segment one structure per box (N, 4) = (row0, column0, row1, column1) in pixels of the frame."""
        ...
