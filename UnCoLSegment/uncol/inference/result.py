"""A finished segmentation: labels and uncertainty on the input's grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uncol.core.errors import NotFiniteError
from uncol.core.jobs import Structure
from uncol.core.volume import UNKNOWN_LABEL, SliceView, Volume
from uncol.data.connected_components import remove_small_components
from uncol.inference.uncertainty import normalized_entropy

NOTHING_FOUND = (
    "Warning: nothing was found anywhere in this image. That is no finding: the uncertainty is given as 1 (unknown) "
    "everywhere. Check that image and model belong together."
)


Show = Callable[[Volume, Volume | None], None]
"""Told labels (uint8) on the image's grid before the end, better each time than those before, and with labels that may
stand as the result their uncertainty (float32)."""


@dataclass(frozen=True)
class Segmentation:
    """What a run gives back.

    Attributes:
        labels: Label map, uint8, on the input's grid; 0 is background.
        uncertainty: Normalized entropy, float32 in [0, 1], on the same grid.
        structures: The label values with their names.
        notes: Sentences that the user should read: fallbacks, structures that were not found.
    """

    labels: Volume
    uncertainty: Volume
    structures: tuple[Structure, ...]
    notes: tuple[str, ...] = ()


class SegmentationBuilder:
    """Collects slice after slice of class probabilities into one `Segmentation`.

    Args:
        image: The image that is segmented; its grid becomes the result's.
        view: How its slices are counted.
        structures: The structures in the order of the probability channels, after background.
    """

    def __init__(self, image: Volume, view: SliceView, structures: tuple[Structure, ...]) -> None:
        self._image, self._structures = image, structures
        self._values = np.array([0, *(each.value for each in structures)], dtype=np.uint8)
        self._labels = np.zeros(image.shape_kji, dtype=np.uint8)
        self._uncertainty = np.zeros(image.shape_kji, dtype=np.float32)
        self._known: dict[int, NDArray[np.bool_]] = {}
        self._notes: list[str] = []
        self._label_stack = view.stack_from(self._labels)
        self._uncertainty_stack = view.stack_from(self._uncertainty)

    def put(self, index: int, probabilities: Tensor) -> None:
        """Enter one slice's class probabilities (C, H, W), channel 0 background, in the slice's own pixels.

        Raises:
            NotFiniteError: If one is infinite or no number: there is no label for it.
        """
        if not bool(probabilities.isfinite().all()):
            message = (
                f"The probabilities in slice {index} are not finite: the model's weights or window, or the image, are "
                "broken. Nothing was written. Choose another model, or fine-tune it anew."
            )
            raise NotFiniteError(message)
        self._label_stack[index] = self._values[probabilities.argmax(0).numpy()]
        self._uncertainty_stack[index] = normalized_entropy(probabilities[None])[0].numpy()

    def put_known(self, index: int, classes: NDArray[np.uint8]) -> None:
        """Enter the annotated pixels of a slice as they are, without uncertainty: class indices (H, W), 255 unknown."""
        known = classes != UNKNOWN_LABEL
        self._label_stack[index][known] = self._values[classes[known]]
        self._uncertainty_stack[index][known] = 0
        self._known[index] = known

    @property
    def labels(self) -> Volume:
        """The labels so far, a copy; slices that were not entered are background."""
        return self._image.with_voxels(self._labels.copy())

    def remove_small_components(self, is_connected: Sequence[bool]) -> None:
        """Take islands away from the structures that are known to be in one piece; their uncertainty stays."""
        chosen = [each.value for each, whole in zip(self._structures, is_connected, strict=False) if whole]
        removed = remove_small_components(self._label_stack, chosen)
        for structure in self._structures:
            count = removed.get(structure.value, 0)
            if count:
                voxels = "1 voxel in an island" if count == 1 else f"{count} voxels in islands"
                where = f"apart from the largest piece {'was' if count == 1 else 'were'} removed"
                self._notes.append(f'"{structure.name}": {voxels} {where}.')

    def finish(self, notes: tuple[str, ...] = ()) -> Segmentation:
        """Return the whole segmentation; notes name the structures that were not found.

        Where none was found anywhere, the first note warns of it, and the uncertainty is 1, unknown, in every voxel
        that nobody annotated: that nothing was recognized says nothing about what is there.
        """
        present = {value for each in self._labels for value in np.unique(each).tolist()}
        missing = [
            f'"{each.name}" was not found anywhere. '
            "If the image shows it, annotate one more slice in its middle, or draw its box tighter."
            for each in self._structures
            if each.value not in present
        ]
        warning = [NOTHING_FOUND] if len(missing) == len(self._structures) else []
        if warning:
            self._uncertainty.fill(1)
            for index, known in self._known.items():
                self._uncertainty_stack[index][known] = 0
        labels, uncertainty = self._image.with_voxels(self._labels), self._image.with_voxels(self._uncertainty)
        return Segmentation(labels, uncertainty, self._structures, (*warning, *notes, *self._notes, *missing))


def label_statistics(segmentation: Segmentation) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the voxels of each label value (256,) and their mean uncertainty (256,), NaN where there is none."""
    counts, sums = np.zeros(256, dtype=np.int64), np.zeros(256)
    for labels, uncertainty in zip(segmentation.labels.voxels, segmentation.uncertainty.voxels, strict=True):
        counts += np.bincount(labels.ravel(), minlength=256)
        sums += np.bincount(labels.ravel(), uncertainty.ravel(), minlength=256)
    return counts, np.divide(sums, counts, out=np.full(256, np.nan), where=counts > 0)


def with_background(foreground: Tensor) -> Tensor:
    """Turn independent structure probabilities (N, ...) into class probabilities (N + 1, ...).

    Background is what the structures leave over, `max(0, 1 - sum)`; then all are divided by their
    sum, so that a certain voxel stays certain (method, section 3).
    """
    background = (1 - foreground.sum(0, keepdim=True)).clamp_min(0)
    probabilities = torch.cat([background, foreground])
    return probabilities / probabilities.sum(0, keepdim=True)
