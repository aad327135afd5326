"""Prompting the foundation model: slices in which it segments what boxes show, and the way to its pixels and back."""

from __future__ import annotations

import hashlib
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uncol.core.volume import SliceView, Volume
from uncol.data.transforms import SliceFrame, resize_image, windowed_in_frame
from uncol.foundation.boxes import PixelBox, box_of_mask, grow_box, scale_box
from uncol.foundation.embeddings import EmbeddingCache
from uncol.foundation.promptable import BoxPrediction, PromptableModel

Window = tuple[float, float]
"""Lowest and highest grey value."""


class SlicePredictor:
    """Slices in which a foundation model segments boxes; each slice is encoded at most once.

    Args:
        stack: Grey values (S, H, W) in display orientation.
        spacing_mm: Distance between rows and between columns.
        window: Lowest and highest grey value.
        model: The foundation model.
        cache: Where embeddings are kept.
    """

    def __init__(
        self,
        stack: NDArray[np.generic],
        spacing_mm: tuple[float, float],
        window: Window,
        model: PromptableModel,
        cache: EmbeddingCache,
    ) -> None:
        self._stack, self._window, self._model, self._cache = stack, window, model, cache
        _, self.rows, self.columns = stack.shape
        self.frame: SliceFrame = model.frame_of(self.rows, self.columns, spacing_mm)
        self.limits: PixelBox = np.array([0, 0, self.frame.rows, self.frame.columns], dtype=np.float32)
        """The box that holds a whole slice in the model's frame."""

    @classmethod
    def of_volume(
        cls,
        image: Volume,
        view: SliceView,
        window: Window,
        model: PromptableModel,
        cache: EmbeddingCache,
    ) -> Self:
        """Take the slices of a volume, in the order of a view."""
        return cls(view.stack_from(image.voxels), view.spacing_mm[1:], window, model, cache)

    def __len__(self) -> int:
        return len(self._stack)

    def embedding(self, index: int) -> Tensor:
        """Return the embedding of a slice, from the cache if it was ever encoded."""
        image = self.image(index)
        text = repr((tuple(image.shape), self._model.identity)).encode()
        key = hashlib.sha256(image.numpy().tobytes() + text).hexdigest()
        found = self._cache.find(key)
        if found is None:
            found = self._model.encode(image)
            self._cache.keep(key, found)
        return found

    def predict(self, index: int, boxes: NDArray[np.float32]) -> BoxPrediction:
        """Segment what boxes (N, 4) = (row0, column0, row1, column1) in pixels of the model's frame show."""
        return self._model.decode(self.embedding(index), torch.from_numpy(boxes), self.frame)

    def image(self, index: int) -> Tensor:
        """Return the windowed slice (h, w) in [0, 1] in the model's frame."""
        return windowed_in_frame(self._stack[index : index + 1], self._window, self.frame)[0].contiguous()

    def box_round(self, mask: NDArray[np.bool_], margin: float) -> PixelBox:
        """Return the box round a mask in the image's own pixels (H, W), grown by a margin, in the model's frame."""
        box = scale_box(box_of_mask(mask), self.frame.rows / self.rows, self.frame.columns / self.columns)
        return grow_box(box, self.pixels(margin), self.limits)

    def pixels(self, margin: float) -> float:
        """Return a margin, given in pixels of a frame of 256, in pixels of the model's own: SAM's frame has 1024."""
        return margin * max(1.0, max(self.frame.rows, self.frame.columns) / 256)

    def to_frame(self, values: Tensor) -> Tensor:
        """Bring values (H, W) from the image's own pixels to the model's frame (h, w)."""
        return resize_image(values[None, None], self.frame.rows, self.frame.columns)[0, 0]

    def to_native(self, probabilities: Tensor) -> Tensor:
        """Bring probabilities (N, h, w) from the model's frame to the image's own pixels (N, H, W)."""
        return resize_image(probabilities[None], self.rows, self.columns)[0].clamp(0, 1)
