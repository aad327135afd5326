"""A finished segmentation: labels and uncertainty on the input's grid."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uncol.core.errors import NotFiniteError
from uncol.core.findings import ml_text
from uncol.core.jobs import Structure
from uncol.core.next_slices import NextSlices
from uncol.core.promise import StructureCalibration, StructurePromise
from uncol.core.uncertainty_maps import MapName
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

Shares = Mapping[str, NDArray[np.float64]]
"""By source, its part in each structure of a slice (N,), in [0, 1]."""


@dataclass(frozen=True)
class Segmentation:
    """What a run gives back.

    Attributes:
        labels: Label map, uint8, on the input's grid; 0 is background.
        uncertainty: Normalized entropy, float32 in [0, 1], on the same grid.
        structures: The label values with their names.
        notes: Sentences that the user should read: fallbacks, structures that were not found.
        sources: By structure and source, how much that counted, as a part of 1, on average over the slices that show
            the structure; empty where there is one source only.
        maps: Further maps that were wanted, by name, float32 in [0, 1] on the same grid.
        calibration: By structure, what its confidence was brought in line with; empty where that was not tried.
        promises: What is expected of each structure that is calibrated.
        next_slices: Which slices to annotate next, the best first.
    """

    labels: Volume
    uncertainty: Volume
    structures: tuple[Structure, ...]
    notes: tuple[str, ...] = ()
    sources: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    maps: Mapping[MapName, Volume] = field(default_factory=dict)
    calibration: tuple[StructureCalibration, ...] = ()
    promises: tuple[StructurePromise, ...] = ()
    next_slices: NextSlices | None = None


class SegmentationBuilder:
    """Collects slice after slice of class probabilities into one `Segmentation`.

    Args:
        image: The image that is segmented; its grid becomes the result's.
        view: How its slices are counted.
        structures: The structures in the order of the probability channels, after background.
        maps: Which maps are wanted beside the entropy.
    """

    def __init__(
        self, image: Volume, view: SliceView, structures: tuple[Structure, ...], maps: Collection[MapName] = ()
    ) -> None:
        self._image, self._structures = image, structures
        self._values = np.array([0, *(each.value for each in structures)], dtype=np.uint8)
        self._labels = np.zeros(image.shape_kji, dtype=np.uint8)
        self._uncertainty = np.zeros(image.shape_kji, dtype=np.float32)
        self._known: dict[int, NDArray[np.bool_]] = {}
        self.expected: dict[int, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
        """Of slices with calibrated probabilities, by structure (N,): voxels that are expected to be found rightly, and
        the sum of those that were found and those that are expected to be there."""
        self._notes: list[str] = []
        self._shares: dict[str, NDArray[np.float64]] = {}
        self._slices_with = np.zeros(len(structures))
        self._label_stack = view.stack_from(self._labels)
        self._uncertainty_stack = view.stack_from(self._uncertainty)
        self._maps = {name: np.zeros(image.shape_kji, dtype=np.float32) for name in maps}
        self._map_stacks = {name: view.stack_from(each) for name, each in self._maps.items()}

    def put(self, index: int, probabilities: Tensor, calibrated: Tensor | None = None) -> None:
        """Enter one slice's class probabilities (C, H, W), channel 0 background, in the slice's own pixels.

        Labels go by the probabilities; uncertainty, and what is expected, by the calibrated ones, if there are any.

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
        claimed = probabilities if calibrated is None else calibrated
        self._uncertainty_stack[index] = normalized_entropy(claimed[None])[0].numpy()
        if calibrated is not None:
            found = probabilities.argmax(0)[None] == torch.arange(1, len(calibrated))[:, None, None]
            expected = calibrated[1:].double()
            shared, there = ((expected * each).sum((1, 2)).numpy() for each in (found, torch.ones_like(found)))
            self.expected[index] = shared, found.sum((1, 2)).numpy() + there

    def count_sources(self, index: int, shares: Shares) -> None:
        """Note how much each source counted in a slice that was entered, for the structures that it shows."""
        is_there = np.isin(self._values[1:], self._label_stack[index])
        self._slices_with += is_there
        for name, parts in shares.items():
            self._shares[name] = self._shares.get(name, np.zeros_like(parts)) + parts * is_there

    def wants(self, name: MapName) -> bool:
        """Whether a map is wanted."""
        return name in self._map_stacks

    def put_map(self, name: MapName, index: int, values: Tensor) -> None:
        """Enter a slice (H, W) of a map, if that is wanted."""
        if name in self._map_stacks:
            self._map_stacks[name][index] = values.numpy()

    def put_known(self, index: int, classes: NDArray[np.uint8]) -> None:
        """Enter the annotated pixels of a slice as they are, without uncertainty: class indices (H, W), 255 unknown."""
        known = classes != UNKNOWN_LABEL
        if not known.any():
            return
        self._label_stack[index][known] = self._values[classes[known]]
        for each in (self._uncertainty_stack, *self._map_stacks.values()):
            each[index][known] = 0
        self._known[index] = known

    @property
    def labels(self) -> Volume:
        """The labels so far, a copy; slices that were not entered are background."""
        return self._image.with_voxels(self._labels.copy())

    def remove_small_components(self, is_connected: Sequence[bool]) -> None:
        """Take islands away from the structures that are known to be in one piece; their uncertainty stays."""
        chosen = [each.value for each, whole in zip(self._structures, is_connected, strict=False) if whole]
        removed = remove_small_components(self._label_stack, chosen)
        voxel_ml = float(np.prod(self._image.spacing_mm)) / 1000
        sizes = [
            f'"{each.name}" {ml_text(removed[each.value] * voxel_ml)} ml'
            for each in self._structures
            if each.value in removed
        ]
        if sizes:
            self._notes.append(f"Islands apart from the largest piece were removed: {', '.join(sizes)}.")

    def note_open_ends(self) -> None:
        """Note the structures that go on beyond the outermost annotated slices, with nothing that says where they end.

        That is to the edge of the image, or farther than annotated slices lie apart. One annotated slice says nothing
        of ends.
        """
        annotated = sorted(index for index, known in self._known.items() if known.all())
        if not annotated:
            return
        distance = float(np.median([b - a for a, b in pairwise(annotated)] or [0]))
        sides = {"first": self._label_stack[: annotated[0] + 1][::-1], "last": self._label_stack[annotated[-1] :]}
        for structure in self._structures:
            ends = [name for name, side in sides.items() if _goes_on(side, structure.value, distance)]
            if ends:
                where = " and the ".join(ends) if len(annotated) > 1 else "only"
                wanted = "slices" if len(ends) > 1 else "slice"
                note = f'"{structure.name}" goes on beyond the {where} annotated slice; '
                self._notes.append(f"{note}annotate the {wanted} where it ends.")

    def note_breaks(self, breaks: Sequence[int]) -> None:
        """Note where the stack breaks off: slices that nothing connects with the slice before them, ascending."""
        if breaks:
            which = ", ".join(str(each) for each in breaks)
            self._notes.append(
                f"The image changes abruptly at slice {which} (counted from 0): no structure was followed across it. "
                "Look at the slices there, and annotate one on each side."
            )

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
        notes = (*warning, *notes, *self._notes, *missing)
        maps = {name: self._image.with_voxels(each) for name, each in self._maps.items()}
        return Segmentation(labels, uncertainty, self._structures, notes, self._mean_shares(), maps)

    def _mean_shares(self) -> dict[str, dict[str, float]]:
        if len(self._shares) < 2:
            return {}
        return {
            structure.name: {name: round(float(sums[place] / count), 3) for name, sums in self._shares.items()}
            for place, (structure, count) in enumerate(zip(self._structures, self._slices_with, strict=True))
            if count
        }


def _goes_on(side: NDArray[np.uint8], value: int, distance: float) -> bool:
    """Whether a structure goes on through slices (S, H, W), beyond the annotated first one, to the end or far away."""
    is_there = np.array([bool((each == value).any()) for each in side])
    length = len(is_there) if is_there.all() else int(is_there.argmin())
    beyond = length - 1
    return beyond > 1 and (length == len(is_there) or beyond > distance)


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
