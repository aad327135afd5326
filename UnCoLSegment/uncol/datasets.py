"""Annotated and unannotated slices of one or several cases, as the student sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from uncol.errors import DataError
from uncol.interpolation import complete_slices
from uncol.job import Structure
from uncol.transforms import SliceFrame, apply_window, resize_image, resize_labels
from uncol.volume import UNKNOWN_LABEL, Plane, SliceView, Volume, view_slices

_RESIZE_BATCH = 32
_HELD_OUT_STEP = 4
"""One inner annotated slice in four is held out of stage 1, to score both teachers on it."""
_LEAST_INNER_SLICES = 3
"""With fewer annotated slices that hold a structure, the first and the last not counted, nothing is held out."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class LabeledCase:
    """One image and the label map of its annotated slices (255: unknown) on the same grid."""

    image: Volume
    labels: Volume


@dataclass(frozen=True)
class SliceStack:
    """One case in the student's frame.

    Attributes:
        view: How the case's slices are counted.
        images: Windowed slices (S, H, W), float32 in [0, 1].
        labels: Class indices (S, H, W), uint8: 0 background, 1 the first structure, 255 unknown.
        native_labels: The same (S, h, w) in the pixels of the image, for contours and prompts.
    """

    view: SliceView
    images: Tensor
    labels: Tensor
    native_labels: NDArray[np.uint8]


def stack_case(
    case: LabeledCase, structures: Sequence[Structure], plane: Plane, pixel_mm: float, window: tuple[float, float]
) -> SliceStack:
    """Bring a case into the student's frame: square pixels of `pixel_mm`, grey values windowed to [0, 1]."""
    view = view_slices(case.image, plane)
    native_labels = class_indices(view.stack_from(case.labels.voxels), structures)
    grey = view.stack_from(case.image.voxels)
    slices, rows, columns = grey.shape
    frame = SliceFrame.fitting(rows, columns, view.spacing_mm[1:], pixel_mm)
    images = torch.empty(slices, frame.rows, frame.columns)
    labels = torch.empty(slices, frame.rows, frame.columns, dtype=torch.uint8)
    for start in range(0, slices, _RESIZE_BATCH):
        part = slice(start, start + _RESIZE_BATCH)
        windowed = apply_window(torch.from_numpy(np.ascontiguousarray(grey[part], dtype=np.float32)), window)
        images[part] = resize_image(windowed[:, None], frame.rows, frame.columns)[:, 0]
        labels[part] = resize_labels(torch.from_numpy(native_labels[part].copy()), frame.rows, frame.columns)
    return SliceStack(view, images, labels, native_labels)


def class_indices(labels: NDArray[np.uint8], structures: Sequence[Structure]) -> NDArray[np.uint8]:
    """Turn label values into class indices: structures in their order from 1, 255 stays, all else is background."""
    table = np.zeros(256, dtype=np.uint8)
    table[UNKNOWN_LABEL] = UNKNOWN_LABEL
    for index, structure in enumerate(structures, start=1):
        table[structure.value] = index
    return table[labels]


def finest_pixel_mm(view: SliceView, rows: int, columns: int, longest: int) -> float:
    """Return the student's pixel: the slice's own finer spacing, or larger so that `longest` pixels suffice."""
    extent_mm = max(rows * view.spacing_mm[1], columns * view.spacing_mm[2])
    return max(min(view.spacing_mm[1:]), extent_mm / longest)


@dataclass(frozen=True)
class SliceAddress:
    """One slice of one case."""

    case: int
    index: int


@dataclass(frozen=True)
class SliceCut:
    """A part of one slice of one case, in the student's pixels."""

    case: int
    index: int
    rows: slice
    columns: slice


class Pool(Protocol):
    """What training draws from: slices (`SlicePool`) or patches of volumes (`volume_pool.VolumePool`), by address.

    Attributes:
        size: Rows and columns, or slices, rows and columns, of everything that is drawn.
        voxel_counts: Annotated voxels of each class (C,), background first.
        unlabeled: Addresses with unknown voxels.
        held_out: Annotated addresses that stage 1 does not draw, to score both teachers on.
        slice_size: Rows and columns of a whole slice in the student's frame; `SliceCut` counts in them.
        unlabeled_slices: Slices with unknown voxels, about which a generalized teacher can be asked.
    """

    size: tuple[int, ...]
    voxel_counts: Tensor
    unlabeled: list[Any]
    held_out: list[Any]
    slice_size: tuple[int, int]
    unlabeled_slices: list[SliceAddress]

    @property
    def held_out_slices(self) -> list[SliceAddress]:
        """The image's own slices in what is held out."""

    def draw_labeled(self, count: int, generator: torch.Generator) -> list[Any]:
        """Draw addresses with annotated voxels; rare structures come as often as large ones."""

    def draw_unlabeled(self, count: int, generator: torch.Generator) -> list[Any]:
        """Draw addresses with unknown voxels."""

    def release_held_out(self) -> None:
        """From now on what was held out is drawn like everything else that is annotated."""

    def inputs(self, addresses: Sequence[Any]) -> Tensor:
        """Return the student's inputs (B, N, ...)."""

    def targets(self, addresses: Sequence[Any]) -> Tensor:
        """Return label maps (B, ...), uint8, 255 where unknown."""

    def inside(self, addresses: Sequence[Any]) -> Tensor:
        """Return where there is an image and not padding (B, ...), bool."""

    def slices_of(self, addresses: Sequence[Any]) -> list[SliceCut]:
        """Return the image's own slices that lie in what was drawn, in the order of `as_slices`."""

    def as_slices(self, maps: Tensor) -> Tensor:
        """Return maps (B, C, ...) as those of their slices (S, C, H, W)."""

    def from_slices(self, labels: Tensor) -> Tensor:
        """Return labels (S, H, W) of slices as those (B, ...) of what was drawn."""


class SlicePool:
    """All slices of all cases, drawn by what is known about them.

    Args:
        stacks: The cases in the student's frame; smaller ones are padded to the largest.
        class_count: Classes with background.
        neighbor_count: Slices in one input, the slice itself in the middle.
        multiple: Rows and columns are padded to a multiple of this.

    Raises:
        DataError: If no structure is annotated anywhere.
    """

    def __init__(self, stacks: Sequence[SliceStack], class_count: int, neighbor_count: int, multiple: int) -> None:
        self.class_count = class_count
        self._reach = neighbor_count // 2
        rows = _round_up(max(each.images.shape[1] for each in stacks), multiple)
        columns = _round_up(max(each.images.shape[2] for each in stacks), multiple)
        self.size: tuple[int, ...] = (rows, columns)
        self.slice_size = (rows, columns)
        self._sizes = [(each.images.shape[1], each.images.shape[2]) for each in stacks]
        self.images = [_padded(each.images, rows, columns) for each in stacks]
        self.labels = [_padded_labels(each.labels, rows, columns) for each in stacks]
        self.voxel_counts = sum((count_classes(each.labels, class_count) for each in stacks), torch.zeros(class_count))
        self._by_class = self._addresses_by_class()
        self.held_out = self._choose_held_out(stacks)
        self.unlabeled = [
            SliceAddress(case, index)
            for case, stack in enumerate(stacks)
            for index, labels in enumerate(stack.labels)
            if (labels == UNKNOWN_LABEL).any()
        ]
        self.unlabeled_slices = self.unlabeled
        if not any(self._by_class[1:]):
            message = "No structure is annotated: the annotated slices hold background only. Annotate a structure."
            raise DataError(message)

    def draw_labeled(self, count: int, generator: torch.Generator) -> list[SliceAddress]:
        """Draw annotated slices: a class first, so that rare structures come as often as large ones."""
        withheld = set(self.held_out)
        free = [[each for each in addresses if each not in withheld] for addresses in self._by_class]
        present = [addresses for addresses in free if addresses]
        return [one_of(one_of(present, generator), generator) for _ in range(count)]

    def release_held_out(self) -> None:
        """From now on the held-out slices are drawn like all other annotated ones."""
        self.held_out = []

    @property
    def held_out_slices(self) -> list[SliceAddress]:
        """The held-out slices themselves."""
        return self.held_out

    def draw_unlabeled(self, count: int, generator: torch.Generator) -> list[SliceAddress]:
        """Draw slices with unknown voxels, all alike."""
        return [one_of(self.unlabeled, generator) for _ in range(count)]

    def inputs(self, addresses: Sequence[SliceAddress]) -> Tensor:
        """Return slices with their neighbors (B, neighbors, H, W); beyond the ends the last slice is repeated."""
        return torch.stack([self._with_neighbors(each) for each in addresses])

    def targets(self, addresses: Sequence[SliceAddress]) -> Tensor:
        """Return label maps (B, H, W), uint8, 255 where unknown."""
        return torch.stack([self.labels[each.case][each.index] for each in addresses])

    def inside(self, addresses: Sequence[SliceAddress]) -> Tensor:
        """Return where a slice is itself and not padding (B, H, W), bool."""
        inside = torch.zeros(len(addresses), *self.size, dtype=torch.bool)
        for row, address in zip(inside, addresses, strict=True):
            rows, columns = self._sizes[address.case]
            row[:rows, :columns] = True
        return inside

    def slices_of(self, addresses: Sequence[SliceAddress]) -> list[SliceCut]:
        """Return the slices themselves, whole."""
        return [SliceCut(each.case, each.index, slice(None), slice(None)) for each in addresses]

    def as_slices(self, maps: Tensor) -> Tensor:
        """Return maps (B, C, H, W) as they are."""
        return maps

    def from_slices(self, labels: Tensor) -> Tensor:
        """Return labels (B, H, W) as they are."""
        return labels

    def _with_neighbors(self, address: SliceAddress) -> Tensor:
        images = self.images[address.case]
        offsets = torch.arange(-self._reach, self._reach + 1)
        return images[(address.index + offsets).clamp(0, len(images) - 1)]

    def _choose_held_out(self, stacks: Sequence[SliceStack]) -> list[SliceAddress]:
        inner = [
            SliceAddress(case, index)
            for case, stack in enumerate(stacks)
            for index in complete_slices(stack.native_labels)[1:-1]
            if stack.native_labels[index].any()
        ]
        chosen: list[SliceAddress] = []
        for address in inner[1::_HELD_OUT_STEP] if len(inner) >= _LEAST_INNER_SLICES else []:
            withheld = {*chosen, address}
            if all(set(addresses) - withheld for addresses in self._by_class if addresses):
                chosen.append(address)
        return chosen

    def _addresses_by_class(self) -> list[list[SliceAddress]]:
        found: list[list[SliceAddress]] = [[] for _ in range(self.class_count)]
        for case, labels in enumerate(self.labels):
            for index, each in enumerate(labels):
                for present in each.unique().tolist():
                    if present != UNKNOWN_LABEL:
                        found[present].append(SliceAddress(case, index))
        return found


def _round_up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


def _padded(images: Tensor, rows: int, columns: int) -> Tensor:
    missing = (0, columns - images.shape[2], 0, rows - images.shape[1])
    return functional.pad(images[:, None], missing, mode="replicate")[:, 0]


def _padded_labels(labels: Tensor, rows: int, columns: int) -> Tensor:
    missing = (0, columns - labels.shape[2], 0, rows - labels.shape[1])
    return functional.pad(labels, missing, value=UNKNOWN_LABEL)


def count_classes(labels: Tensor, class_count: int) -> Tensor:
    """Return how many voxels of each class (C,) a label map of any shape holds; unknown ones do not count."""
    return torch.bincount(labels[labels != UNKNOWN_LABEL].long(), minlength=class_count).float()


def one_of(items: Sequence[Item], generator: torch.Generator) -> Item:
    """Draw one item."""
    return items[int(torch.randint(len(items), (1,), generator=generator))]
