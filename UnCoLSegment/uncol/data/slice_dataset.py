"""Annotated and unannotated slices of one or several cases, as the 2D student sees them: with their neighbors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from uncol.core.errors import DataError
from uncol.core.volume import UNKNOWN_LABEL
from uncol.data.cases import SliceAddress, SliceCut, SliceStack, count_classes, one_of
from uncol.data.holdout import held_out_slices
from uncol.data.transforms import neighbor_offsets, padded_size, with_neighbors


class SlicePool:
    """All slices of all cases, drawn by what is known about them.

    Args:
        stacks: The cases in the student's frame; smaller ones are padded to the largest.
        class_count: Classes with background.
        neighbor_count: Slices in one input, the slice itself in the middle.
        multiple: Rows and columns are padded to a multiple of this (`data.transforms.padded_size`).
        slice_mm: Distance between neighbors; that of each case's own slices if None.

    Raises:
        DataError: If no structure is annotated anywhere.
    """

    def __init__(
        self,
        stacks: Sequence[SliceStack],
        class_count: int,
        neighbor_count: int,
        multiple: int,
        slice_mm: float | None = None,
    ) -> None:
        self.class_count = class_count
        spacings_mm = [each.view.spacing_mm[0] for each in stacks]
        self._offsets = [neighbor_offsets(neighbor_count, slice_mm or each, each) for each in spacings_mm]
        largest = [max(each.images.shape[axis] for each in stacks) for axis in (1, 2)]
        rows, columns = padded_size(largest, multiple)
        self.size: tuple[int, ...] = (rows, columns)
        self.slice_size = (rows, columns)
        self._sizes = [(each.images.shape[1], each.images.shape[2]) for each in stacks]
        self.images = [_padded(each.images, rows, columns) for each in stacks]
        self.labels = [_padded_labels(each.labels, rows, columns) for each in stacks]
        self.voxel_counts = sum((count_classes(each.labels, class_count) for each in stacks), torch.zeros(class_count))
        self._by_class = self._addresses_by_class()
        self.held_out = held_out_slices(stacks)
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
        """Return slices with their neighbors (B, neighbors, H, W), as `data.transforms.with_neighbors` takes them."""
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
        return with_neighbors(images.__getitem__, address.index, self._offsets[address.case], len(images) - 1)

    def _addresses_by_class(self) -> list[list[SliceAddress]]:
        found: list[list[SliceAddress]] = [[] for _ in range(self.class_count)]
        for case, labels in enumerate(self.labels):
            for index, each in enumerate(labels):
                for present in each.unique().tolist():
                    if present != UNKNOWN_LABEL:
                        found[present].append(SliceAddress(case, index))
        return found


def _padded(images: Tensor, rows: int, columns: int) -> Tensor:
    missing = (0, columns - images.shape[2], 0, rows - images.shape[1])
    return functional.pad(images[:, None], missing, mode="replicate")[:, 0]


def _padded_labels(labels: Tensor, rows: int, columns: int) -> Tensor:
    missing = (0, columns - labels.shape[2], 0, rows - labels.shape[1])
    return functional.pad(labels, missing, value=UNKNOWN_LABEL)
