"""Prompting the foundation model: slices in which it segments what boxes show, and the way to its pixels and back."""

from __future__ import annotations

import hashlib
import logging
from functools import partial
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uncol.core.clock import awake_s
from uncol.core.errors import NotFiniteError
from uncol.core.volume import SliceView, Volume
from uncol.data.transforms import SliceFrame, resize_image, windowed_in_frame
from uncol.foundation.boxes import PixelBox, box_of_mask, grow_box, scale_box
from uncol.foundation.embeddings import EmbeddingCache
from uncol.foundation.promptable import BoxPrediction, PromptableModel
from uncol.models.devices import in_smaller_batches

_log = logging.getLogger(__name__)

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
        self._slices_at_once = model.slices_at_once
        _, self.rows, self.columns = stack.shape
        self.frame: SliceFrame = model.frame_of(self.rows, self.columns, spacing_mm)
        self._embedding_shape = model.embedding_shape(self.frame)
        self.limits: PixelBox = np.array([0, 0, self.frame.rows, self.frame.columns], dtype=np.float32)
        """The box that holds a whole slice in the model's frame."""
        self.first_looks_s: dict[int, float] = {}
        """What the embedding of each slice took when it was first asked for, in s."""
        self.prompts = 0
        """How many boxes have prompted."""

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
        """Return the embedding of a slice, from the cache if it was ever encoded.

        A GPU encodes its neighbors in the same call, as many as it does best: they are nearly always asked for next.
        Where its memory is full, they are fewer from then on, which is logged.
        """
        started = awake_s()
        image = self.image(index)
        key = self._key(image)
        found = self._cache.find(key, self._embedding_shape)
        if found is None:
            around = partial(self._encode_around, index, key, image)
            found = in_smaller_batches(around, self._model.device, self._slices_at_once, _log.warning)
        self.first_looks_s.setdefault(index, awake_s() - started)
        return found

    def _encode_around(self, index: int, key: str, image: Tensor, slices_at_once: int) -> Tensor:
        """Encode the slices of the block that a slice is in, unless they are in the cache; return its embedding."""
        self._slices_at_once = slices_at_once
        wanted, first = {key: image}, index - index % slices_at_once
        for neighbor in range(first, min(first + slices_at_once, len(self))):
            if neighbor != index:
                other = self.image(neighbor)
                wanted[self._key(other)] = other
        missing = {
            name: each
            for name, each in wanted.items()
            if name == key or self._cache.find(name, self._embedding_shape) is None
        }
        found = dict(zip(missing, self._model.encode_all(list(missing.values())), strict=True))
        for name, embedding in found.items():
            self._cache.keep(name, embedding)
        return found[key]

    def _key(self, image: Tensor) -> str:
        text = repr((tuple(image.shape), self._model.identity)).encode()
        return hashlib.sha256(image.numpy().tobytes() + text).hexdigest()

    def predict(self, index: int, boxes: NDArray[np.float32]) -> BoxPrediction:
        """Segment what boxes (N, 4) = (row0, column0, row1, column1) in pixels of the model's frame show.

        Raises:
            NotFiniteError: If what the model finds is no finite number; it would look like nothing found, and certain.
        """
        self.prompts += len(boxes)
        found = self._model.decode(self.embedding(index), torch.from_numpy(boxes), self.frame)
        if not all(bool(each.isfinite().all()) for each in (found.probabilities, found.quality)):
            message = (
                f"What {self._model.name} finds in a slice is not finite: its weights are broken. Install them again, "
                "or choose others with --foundation-weights."
            )
            raise NotFiniteError(message)
        return found

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
