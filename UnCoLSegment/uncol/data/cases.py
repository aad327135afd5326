"""Annotated and unannotated slices of one or several cases, as the student sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uncol.core.jobs import Structure
from uncol.core.volume import UNKNOWN_LABEL, Plane, SliceView, Volume, view_slices
from uncol.data.transforms import SliceFrame, apply_window, resize_image, resize_labels

_RESIZE_BATCH = 32

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
    """What training draws from, by address: slices (`slice_pool`) or patches of volumes (`volume_pool`).

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


def count_classes(labels: Tensor, class_count: int) -> Tensor:
    """Return how many voxels of each class (C,) a label map of any shape holds; unknown ones do not count."""
    return torch.bincount(labels[labels != UNKNOWN_LABEL].long(), minlength=class_count).float()


def one_of(items: Sequence[Item], generator: torch.Generator) -> Item:
    """Draw one item."""
    return items[int(torch.randint(len(items), (1,), generator=generator))]
