"""Annotated and unannotated slices of one or several cases, as the student sees them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from uncol.core.errors import DataError
from uncol.core.grey_values import Window
from uncol.core.jobs import Structure
from uncol.core.volume import UNKNOWN_LABEL, Plane, SliceView, Volume, view_slices
from uncol.data.transforms import SliceFrame, resize_labels, windowed_in_frame

_RESIZE_BATCH = 32

Item = TypeVar("Item")


@dataclass(frozen=True)
class LabeledCase:
    """One image and the label map of its annotated slices (255: unknown) on the same grid."""

    image: Volume
    labels: Volume


@dataclass(frozen=True)
class FramedCase:
    """One case in the student's frame.

    Attributes:
        view: How the case's slices are counted.
        images: Windowed slices (S, H, W), float32 in [0, 1].
        labels: Class indices (S, H, W), uint8: 0 background, 1 the first structure, 255 unknown.
        native_labels: The same (S, h, w) in the pixels of the image, for contours and prompts.
        window: The grey values that became 0 and 1.
    """

    view: SliceView
    images: Tensor
    labels: Tensor
    native_labels: NDArray[np.uint8]
    window: Window = (0.0, 1.0)


def frame_case(
    case: LabeledCase, structures: Sequence[Structure], plane: Plane, pixel_mm: float, window: Window
) -> FramedCase:
    """Bring a case into the student's frame: square pixels of `pixel_mm`, grey values windowed to [0, 1]."""
    view, grey, native_labels = as_stacks(case, structures, plane)
    slices, rows, columns = grey.shape
    frame = SliceFrame.fitting(rows, columns, view.spacing_mm[1:], pixel_mm)
    images = torch.empty(slices, frame.rows, frame.columns)
    labels = torch.empty(slices, frame.rows, frame.columns, dtype=torch.uint8)
    for start in range(0, slices, _RESIZE_BATCH):
        part = slice(start, start + _RESIZE_BATCH)
        images[part] = windowed_in_frame(grey[part], window, frame)
        labels[part] = resize_labels(torch.from_numpy(native_labels[part].copy()), frame.rows, frame.columns)
    return FramedCase(view, images, labels, native_labels, window)


def as_stacks(
    case: LabeledCase, structures: Sequence[Structure], plane: Plane
) -> tuple[SliceView, NDArray[Any], NDArray[np.uint8]]:
    """Return how the slices of a case are counted, its grey values and its class indices (S, h, w)."""
    view = view_slices(case.image, plane)
    return view, view.stack_from(case.image.voxels), class_indices(view.stack_from(case.labels.voxels), structures)


def class_indices(labels: NDArray[np.uint8], structures: Sequence[Structure]) -> NDArray[np.uint8]:
    """Turn label values into class indices: structures in their order from 1, 255 stays, all else is background.

    Labels that are class indices already are returned themselves: volumes are large.
    """
    table = np.zeros(256, dtype=np.uint8)
    table[UNKNOWN_LABEL] = UNKNOWN_LABEL
    for index, structure in enumerate(structures, start=1):
        table[structure.value] = index
    stays = table == np.arange(256)
    return labels if all(stays[each].all() for each in labels) else table[labels]


def finest_pixel_mm(view: SliceView, rows: int, columns: int, longest: int) -> float:
    """Return the student's pixel: the slice's own finer spacing, or larger so that `longest` pixels suffice."""
    extent_mm = max(rows * view.spacing_mm[1], columns * view.spacing_mm[2])
    return max(min(view.spacing_mm[1:]), extent_mm / longest)


@dataclass(frozen=True)
class SliceIndex:
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


class Pool(ABC):
    """What training draws from, by address: slices (`slice_dataset`) or patches of volumes (`patch_dataset`).

    Args:
        framed: The cases in the student's frame.
        class_count: Classes with background.
        size: Rows and columns, or slices, rows and columns, of everything that is drawn; smaller cases are padded.

    Attributes:
        size: The same.
        voxel_counts: Annotated voxels of each class (C,), background first.
        unlabeled: Addresses with unknown voxels.
        held_out: Annotated addresses that stage 1 does not draw, to score both teachers on.
        slice_size: Rows and columns of a whole slice in the student's frame; `SliceCut` counts in them.
        unlabeled_slices: Slices with unknown voxels, for which a generalized teacher can be prompted.

    Raises:
        DataError: If no structure is annotated anywhere.
    """

    unlabeled: list[Any]
    held_out: list[Any]
    unlabeled_slices: list[SliceIndex]

    def __init__(self, framed: Sequence[FramedCase], class_count: int, size: tuple[int, ...]) -> None:
        self.size = size
        self.voxel_counts = sum((_count_classes(each.labels, class_count) for each in framed), torch.zeros(class_count))
        if not self.voxel_counts[1:].any():
            drawn = "slices" if len(size) == 2 else "volumes"
            message = f"No structure is annotated: the annotated {drawn} hold background only. Annotate a structure."
            raise DataError(message)
        self._sizes = [tuple(each.images.shape) for each in framed]
        missing = [_missing(shape, (1, *size)[-3:]) for shape in self._sizes]
        pairs = list(zip(framed, missing, strict=True))
        self.images = [
            functional.pad(each.images[None, None], behind, mode="replicate")[0, 0] for each, behind in pairs
        ]
        self.labels = [functional.pad(each.labels, behind, value=UNKNOWN_LABEL) for each, behind in pairs]
        rows, columns = (max(each.shape[axis] for each in self.images) for axis in (1, 2))
        self.slice_size = (rows, columns)

    @property
    def held_out_slices(self) -> list[SliceIndex]:
        """The image's own slices in what is held out."""
        return self.held_out

    def release_held_out(self) -> None:
        """From now on what was held out is drawn like everything else that is annotated."""
        self.held_out = []

    @abstractmethod
    def draw_labeled(self, count: int, generator: torch.Generator) -> list[Any]:
        """Draw addresses with annotated voxels; rare structures come as often as large ones."""

    @abstractmethod
    def draw_unlabeled(self, count: int, generator: torch.Generator) -> list[Any]:
        """Draw addresses with unknown voxels."""

    @abstractmethod
    def inputs(self, addresses: Sequence[Any]) -> Tensor:
        """Return the student's inputs (B, N, ...)."""

    @abstractmethod
    def targets(self, addresses: Sequence[Any]) -> Tensor:
        """Return label maps (B, ...), uint8, 255 where unknown."""

    @abstractmethod
    def inside(self, addresses: Sequence[Any]) -> Tensor:
        """Return where there is an image and not padding (B, ...), bool."""

    @abstractmethod
    def slices_of(self, addresses: Sequence[Any]) -> list[SliceCut]:
        """Return the image's own slices that lie in what was drawn, in the order of `as_slices`."""

    def as_slices(self, maps: Tensor) -> Tensor:
        """Return maps (B, C, ...) as those of their slices (S, C, H, W)."""
        return maps

    def from_slices(self, labels: Tensor) -> Tensor:
        """Return labels (S, H, W) of slices as those (B, ...) of what was drawn."""
        return labels


def slices_with_unknown(cases: Sequence[Tensor | NDArray[np.uint8]]) -> list[SliceIndex]:
    """Return the slices of label stacks (S, H, W) in which anything is unknown."""
    return [
        SliceIndex(case, index)
        for case, stack in enumerate(cases)
        for index, labels in enumerate(stack)
        if (labels == UNKNOWN_LABEL).any()
    ]


def _missing(shape: Sequence[int], wanted: Sequence[int]) -> list[int]:
    """Return what `functional.pad` has to add behind each axis."""
    behind = [max(0, least - size) for size, least in zip(shape, wanted, strict=True)]
    return [part for each in reversed(behind) for part in (0, each)]


def _count_classes(labels: Tensor, class_count: int) -> Tensor:
    """Return how many voxels of each class (C,) a label map of any shape holds; unknown ones do not count."""
    return torch.bincount(labels[labels != UNKNOWN_LABEL].long(), minlength=class_count).float()


def one_of(items: Sequence[Item], generator: torch.Generator) -> Item:
    """Draw one item."""
    return items[int(torch.randint(len(items), (1,), generator=generator))]
