"""Segment a volume with a trained student: labels and uncertainty on the volume's own grid.

The student takes no prompt and needs no foundation model. With a 2D student the volume is streamed: slices are
prepared, predicted and written batch by batch, so memory does not grow with their number. A 3D student predicts
overlapping windows of the volume in its own, often coarser, voxels; the result is written slice by slice.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from itertools import count

import numpy as np
import torch
from torch import Tensor

from uncol.core.model_card import ModelCard
from uncol.core.progress import UNWATCHED, Monitor, Progress
from uncol.core.uncertainty_maps import AUGMENTATION, MapName
from uncol.core.volume import SliceView, Volume, view_slices
from uncol.data.patch_dataset import in_student_frame
from uncol.data.transforms import SliceFrame, neighbor_offsets, resize_image, windowed_in_frame, with_neighbors
from uncol.inference.augmented import VARIANTS, augmentation_spread
from uncol.inference.grey_scale import says_unlike, window_for
from uncol.inference.predict import memory_format, predict, predict_volume, window_count
from uncol.inference.result import Segmentation, SegmentationBuilder
from uncol.models.card import Model
from uncol.models.devices import with_memory_fallback

_SLICES_AT_ONCE = {"cpu": 4, "mps": 8, "cuda": 32}
_WINDOWS_AT_ONCE = {"cpu": 1, "mps": 2, "cuda": 8}


def segment_with_model(
    image: Volume,
    model: Model,
    device: torch.device,
    monitor: Monitor = UNWATCHED,
    maps: Collection[MapName] = (),
) -> Segmentation:
    """Segment a volume of any spacing, orientation and size with a trained student.

    Args:
        image: The volume.
        model: The student and what it was trained for.
        device: Where to compute.
        monitor: Told about the progress, and asked at every batch.
        maps: Which maps are wanted beside the entropy: `augmentation-variance`, which costs eight times as much again.

    Raises:
        CancelledError: If the monitor says so.
    """
    view = view_slices(image, model.card.plane)
    builder = SegmentationBuilder(image, view, model.card.structures, maps)
    notes = [*says_unlike(model.card, image.voxels)]

    work, is_3d = _Work(image, view, model, builder, monitor), model.card.config.student.dims == 3
    segment, at_once = (work.by_windows, _WINDOWS_AT_ONCE) if is_3d else (work.by_slices, _SLICES_AT_ONCE)
    with_memory_fallback(segment, device, at_once[device.type], notes.append)
    builder.remove_small_components(model.card.is_connected)
    return builder.finish(tuple(notes))


@dataclass(frozen=True)
class _Work:
    image: Volume
    view: SliceView
    model: Model
    builder: SegmentationBuilder
    monitor: Monitor

    def by_slices(self, place: torch.device, slices_at_once: int) -> None:
        student = self.model.student.to(place).to(memory_format=memory_format(2))
        inputs = SliceInputs(self.image, self.view, self.model.card)
        for start in range(0, len(inputs), slices_at_once):
            self.monitor.check()
            indices = range(start, min(start + slices_at_once, len(inputs)))
            slices = inputs.of(indices)
            answers = predict(student, slices, place)
            for index, probabilities in zip(indices, answers, strict=True):
                self.builder.put(index, inputs.to_native(probabilities))
            if self.builder.wants(AUGMENTATION):
                spread = augmentation_spread(self._checked(partial(predict, student, device=place)), slices, answers)
                for index, each in zip(indices, spread, strict=True):
                    self.builder.put_map(AUGMENTATION, index, inputs.in_own_pixels(each))
            self.monitor.report(Progress("Segmenting", indices.stop / len(inputs)))

    def by_windows(self, place: torch.device, windows_at_once: int) -> None:
        card = self.model.card
        grey = self.view.stack_from(self.image.voxels)
        prepared = in_student_frame(
            grey, self.view.spacing_mm, (card.slice_mm, card.pixel_mm), window_for(card, self.image.voxels)
        )
        patch = card.config.data.patch_vox
        wants_spread = self.builder.wants(AUGMENTATION)
        windows, done = window_count(prepared.shape, patch), count(step=windows_at_once)
        whole_count = windows * (1 + len(VARIANTS) * wants_spread)

        def tell_progress() -> None:
            self.monitor.step("Segmenting", min(1.0, next(done) / whole_count))

        student = self.model.student.to(place).to(memory_format=memory_format(3))

        def answer(volume: Tensor) -> Tensor:
            return predict_volume(
                student, volume, patch, place, windows_at_once=windows_at_once, before_windows=tell_progress
            )

        whole = answer(prepared[None, None])
        for index in range(len(grey)):
            self.builder.put(index, _native_slice(whole, index, grey.shape))
        if wants_spread:
            spread = augmentation_spread(answer, prepared[None, None], whole[None])[0][None]
            for index in range(len(grey)):
                own = _between(spread, index, len(grey))
                self.builder.put_map(AUGMENTATION, index, resize_image(own[None], *grey.shape[1:])[0, 0].clamp(0, 1))

    def _checked(self, answer: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """Return the same answers, but the monitor is asked before each of them."""

        def checked(inputs: Tensor) -> Tensor:
            self.monitor.check()
            return answer(inputs)

        return checked


class SliceInputs:
    """The student's inputs for every slice of a volume, prepared when they are needed.

    Args:
        image: The volume.
        view: How its slices are counted.
        card: Pixel, slice distance, grey values and neighbors that the student was trained with.
    """

    def __init__(self, image: Volume, view: SliceView, card: ModelCard) -> None:
        self._stack = view.stack_from(image.voxels)
        self._window = window_for(card, image.voxels)
        slices, self._rows, self._columns = self._stack.shape
        self._frame = SliceFrame.fitting(self._rows, self._columns, view.spacing_mm[1:], card.pixel_mm)
        self._offsets = neighbor_offsets(card.config.data.neighbor_count, card.slice_mm, view.spacing_mm[0])
        self._last = slices - 1
        self._prepared: OrderedDict[int, Tensor] = OrderedDict()
        self._kept = 2 * int(np.ceil(self._offsets[-1])) + max(_SLICES_AT_ONCE.values()) + 2

    def __len__(self) -> int:
        return self._last + 1

    def of(self, indices: range) -> Tensor:
        """Return slices with their neighbors (B, neighbors, h, w) in the student's frame.

        Neighbors lie at the training's distance in mm; between two slices they are interpolated,
        beyond the ends the last slice is repeated.
        """
        return torch.stack([with_neighbors(self._slice, index, self._offsets, self._last) for index in indices])

    def to_native(self, probabilities: Tensor) -> Tensor:
        """Bring class probabilities (C, h, w) from the student's frame to the slice's own pixels (C, H, W)."""
        return in_own_pixels(probabilities, self._rows, self._columns)

    def in_own_pixels(self, values: Tensor) -> Tensor:
        """Bring a map (h, w) of numbers in [0, 1] from the student's frame to the slice's own pixels (H, W)."""
        return resize_image(values[None, None], self._rows, self._columns)[0, 0].clamp(0, 1)

    def _slice(self, index: int) -> Tensor:
        if index not in self._prepared:
            self._prepared[index] = windowed_in_frame(self._stack[index : index + 1], self._window, self._frame)[0]
            while len(self._prepared) > self._kept:
                self._prepared.popitem(last=False)
        return self._prepared[index]


def _native_slice(whole: Tensor, index: int, shape: tuple[int, ...]) -> Tensor:
    """Return class probabilities (C, H, W) of one slice of an image (S, H, W) from those of its volume (C, D, h, w)."""
    slices, rows, columns = shape
    return in_own_pixels(_between(whole, index, slices), rows, columns)


def _between(whole: Tensor, index: int, slice_count: int) -> Tensor:
    """Return one of so many slices of an image from a volume (C, D, h, w) that was predicted for it: (C, h, w)."""
    depth = whole.shape[1]
    position = min(max((index + 0.5) * depth / slice_count - 0.5, 0.0), depth - 1.0)
    lower = int(position)
    return torch.lerp(whole[:, lower], whole[:, min(lower + 1, depth - 1)], position - lower)


def in_own_pixels(probabilities: Tensor, rows: int, columns: int) -> Tensor:
    """Bring class probabilities (C, h, w) from the student's frame to a slice's own rows and columns."""
    native = resize_image(probabilities[None], rows, columns)[0].clamp_(0, 1)
    return native / native.sum(0, keepdim=True)
