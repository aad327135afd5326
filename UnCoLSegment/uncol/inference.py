"""Segment a volume with a trained student: labels and uncertainty on the volume's own grid.

The student takes no prompt and needs no foundation model. The volume is streamed: slices are
prepared, predicted and written batch by batch, so memory does not grow with their number.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from uncol.checkpoints import Model, ModelCard
from uncol.devices import autocast, with_memory_fallback
from uncol.errors import CancelledError
from uncol.job import Progress, Report, ShouldStop, ignore_progress, never_stop
from uncol.networks.student import SIZE_MULTIPLE
from uncol.segmentation import Segmentation, SegmentationBuilder
from uncol.transforms import SliceFrame, apply_window, pad_to_multiple, resize_image
from uncol.volume import SliceView, Volume, view_slices

_SLICES_AT_ONCE = {"cpu": 4, "mps": 8, "cuda": 32}


def segment_with_model(
    image: Volume,
    model: Model,
    device: torch.device,
    *,
    report: Report = ignore_progress,
    should_stop: ShouldStop = never_stop,
) -> Segmentation:
    """Segment a volume of any spacing, orientation and size with a trained student.

    Raises:
        CancelledError: If `should_stop` says so; nothing is written then.
    """
    view = view_slices(image, model.card.plane)
    builder = SegmentationBuilder(image, view, model.card.structures)
    notes: list[str] = []

    def predict_all(place: torch.device, slices_at_once: int) -> None:
        student = model.student.to(place).to(memory_format=torch.channels_last)
        inputs = SliceInputs(image, view, model.card)
        for indices in _batches(len(inputs), slices_at_once):
            if should_stop():
                message = "Segmentation was cancelled; nothing was written."
                raise CancelledError(message)
            for index, probabilities in zip(indices, predict(student, inputs.of(indices), place), strict=True):
                builder.put(index, inputs.to_native(probabilities))
            report(Progress("Segmenting", (indices[-1] + 1) / len(inputs)))

    with_memory_fallback(predict_all, device, _SLICES_AT_ONCE[device.type], notes.append)
    builder.remove_islands(model.card.in_one_piece)
    return builder.finish(tuple(notes))


@torch.no_grad()
def predict(student: nn.Module, slices: Tensor, device: torch.device) -> Tensor:
    """Return class probabilities (B, C, H, W), float32 on the CPU, for slices (B, neighbors, H, W) of any size."""
    rows, columns = slices.shape[-2:]
    padded = pad_to_multiple(slices, SIZE_MULTIPLE).to(device, memory_format=torch.channels_last)
    with autocast(device):
        logits = student(padded)
    return logits[..., :rows, :columns].float().softmax(1).cpu()


class SliceInputs:
    """The student's inputs for every slice of a volume, prepared when they are needed.

    Args:
        image: The volume.
        view: How its slices are counted.
        card: Pixel, slice distance, window and neighbors that the student was trained with.
    """

    def __init__(self, image: Volume, view: SliceView, card: ModelCard) -> None:
        self._stack = view.stack_from(image.voxels)
        self._window = card.window
        slices, self._rows, self._columns = self._stack.shape
        self._frame = SliceFrame.fitting(self._rows, self._columns, view.spacing_mm[1:], card.pixel_mm)
        reach = card.config.data.neighbor_count // 2
        self._offsets = np.arange(-reach, reach + 1) * card.slice_mm / view.spacing_mm[0]
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
        return torch.stack([torch.stack([self._at(index + offset) for offset in self._offsets]) for index in indices])

    def to_native(self, probabilities: Tensor) -> Tensor:
        """Bring class probabilities (C, h, w) from the student's frame to the slice's own pixels (C, H, W)."""
        native = resize_image(probabilities[None], self._rows, self._columns)[0].clamp_(0, 1)
        return native / native.sum(0, keepdim=True)

    def _at(self, position: float) -> Tensor:
        inside = min(max(position, 0.0), float(self._last))
        lower = int(inside)
        part = inside - lower
        if part < 1e-3:  # a thousandth of a slice
            return self._slice(lower)
        return torch.lerp(self._slice(lower), self._slice(min(lower + 1, self._last)), part)

    def _slice(self, index: int) -> Tensor:
        if index not in self._prepared:
            grey = torch.from_numpy(np.ascontiguousarray(self._stack[index], dtype=np.float32))
            windowed = apply_window(grey, self._window)[None, None]
            self._prepared[index] = resize_image(windowed, self._frame.rows, self._frame.columns)[0, 0]
            while len(self._prepared) > self._kept:
                self._prepared.popitem(last=False)
        return self._prepared[index]


def _batches(count: int, size: int) -> Iterator[range]:
    for start in range(0, count, size):
        yield range(start, min(start + size, count))
