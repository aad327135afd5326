"""What a frozen, promptable foundation model must be able to do to teach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from uncol.data.transforms import SliceFrame


@dataclass(frozen=True)
class BoxPrediction:
    """What a foundation model finds in one slice, for one box per structure.

    Attributes:
        probabilities: Sigmoid map of every box (N, H, W), in the frame of the slice, in [0, 1].
        quality: The model's own estimate of each mask's IoU (N,).
    """

    probabilities: Tensor
    quality: Tensor


class EncodedSlice(NamedTuple):
    """A slice as a foundation model sees it, with what it saw on the way.

    Attributes:
        embedding: What `PromptableModel.encode` returns (C, h, w).
        maps: Intermediate maps, shallow first, each (width, h, w), float16, on the CPU, without padding.
    """

    embedding: Tensor
    maps: tuple[Tensor, ...]


class PromptableModel(Protocol):
    """A frozen foundation model that is prompted with boxes, slice by slice."""

    @property
    def name(self) -> str:
        """Name for reports, with version or file."""
        ...

    @property
    def identity(self) -> str:
        """Hash of the weights and of the precision: two teachers with one identity predict alike."""
        ...

    @property
    def device(self) -> torch.device:
        """Where it works."""
        ...

    @property
    def slices_at_once(self) -> int:
        """How many slices it encodes best in one call: 1 on a CPU."""
        ...

    def frame_of(self, rows: int, columns: int, spacing_mm: tuple[float, float]) -> SliceFrame:
        """Return the pixel grid in which this model sees a slice; boxes are given in it."""
        ...

    def embedding_shape(self, frame: SliceFrame, /) -> tuple[int, int, int]:
        """Return the shape (C, h, w) of the embedding of a slice in a frame."""
        ...

    def encode(self, image: Tensor) -> Tensor:
        """Encode one windowed slice (H, W) in [0, 1], already in the model's frame.

        Returns:
            The embedding (C, h, w), float16, on the CPU.
        """
        ...

    def encode_all(self, images: Sequence[Tensor]) -> list[Tensor]:
        """Encode slices in one call, each as `encode` does up to rounding."""
        ...

    def decode(self, embedding: Tensor, boxes: Tensor, frame: SliceFrame) -> BoxPrediction:
        """Segment one structure per box (N, 4) = (row0, column0, row1, column1) in pixels of the frame."""
        ...


@runtime_checkable
class FeatureModel(PromptableModel, Protocol):
    """A generalized teacher that also shows its features, for distillation (method, section 2).

    Features are cut to what the slice covers: for a slice that fills the model's square they have its full size.
    """

    @property
    def map_widths(self) -> tuple[int, ...]:
        """Channels of each intermediate map, shallow first."""
        ...

    @property
    def token_width(self) -> int:
        """Channels of the tokens after the prompts."""
        ...

    def encode_with_maps(self, image: Tensor) -> EncodedSlice:
        """Encode a slice as `encode` does, and keep the intermediate maps; they carry no gradient."""
        ...

    def decode_tokens(self, embedding: Tensor, boxes: Tensor, frame: SliceFrame) -> Tensor:
        """Return the image tokens after the prompts, one map per box (N, token_width, h, w), float16, on the CPU.

        Args:
            embedding: Output of `encode`.
            boxes: Boxes (N, 4) = (row0, column0, row1, column1) in pixels of the frame, N >= 1.
            frame: The frame of the slice.
        """
        ...
