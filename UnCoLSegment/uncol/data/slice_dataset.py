"""Annotated and unannotated slices of one or several cases, as the 2D student sees them: with their neighbors."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from uncol.core.volume import UNKNOWN_LABEL
from uncol.data.cases import FramedCase, Pool, SliceCut, SliceIndex, one_of, slices_with_unknown
from uncol.data.holdout import held_out_slices
from uncol.data.transforms import neighbor_offsets, padded_size, with_neighbors


class SliceDataset(Pool):
    """All slices of all cases, drawn by what is known about them.

    Args:
        framed: The cases in the student's frame; smaller ones are padded to the largest.
        class_count: Classes with background.
        neighbor_count: Slices in one input, the slice itself in the middle.
        multiple: Rows and columns are padded to a multiple of this (`data.transforms.padded_size`).
        slice_mm: Distance between neighbors; that of each case's own slices if None.
        seen: Annotated slices that a model before has learned from; they are not held out.
    """

    def __init__(
        self,
        framed: Sequence[FramedCase],
        class_count: int,
        neighbor_count: int,
        multiple: int,
        slice_mm: float | None = None,
        seen: Collection[SliceIndex] = (),
    ) -> None:
        largest = [max(each.images.shape[axis] for each in framed) for axis in (1, 2)]
        super().__init__(framed, class_count, padded_size(largest, multiple))
        spacings_mm = [each.view.spacing_mm[0] for each in framed]
        self._offsets = [neighbor_offsets(neighbor_count, slice_mm or each, each) for each in spacings_mm]
        self._by_class: list[list[SliceIndex]] = [[] for _ in range(class_count)]
        for case, labels in enumerate(self.labels):
            for index, each in enumerate(labels):
                for present in set(each.unique().tolist()) - {UNKNOWN_LABEL}:
                    self._by_class[present].append(SliceIndex(case, index))
        self.held_out = held_out_slices(framed, seen)
        self.unlabeled = self.unlabeled_slices = slices_with_unknown([each.labels for each in framed])

    def draw_labeled(self, count: int, generator: torch.Generator) -> list[SliceIndex]:
        """Draw annotated slices: a class first, so that rare structures come as often as large ones."""
        withheld = set(self.held_out)
        free = [[each for each in addresses if each not in withheld] for addresses in self._by_class]
        present = [addresses for addresses in free if addresses]
        return [one_of(one_of(present, generator), generator) for _ in range(count)]

    def draw_unlabeled(self, count: int, generator: torch.Generator) -> list[SliceIndex]:
        """Draw slices with unknown voxels, all alike."""
        return [one_of(self.unlabeled, generator) for _ in range(count)]

    def inputs(self, addresses: Sequence[SliceIndex]) -> Tensor:
        """Return slices with their neighbors (B, neighbors, H, W), as `data.transforms.with_neighbors` takes them."""
        cases = [(self.images[each.case], self._offsets[each.case], each.index) for each in addresses]
        return torch.stack(
            [with_neighbors(of.__getitem__, index, offsets, len(of) - 1) for of, offsets, index in cases]
        )

    def targets(self, addresses: Sequence[SliceIndex]) -> Tensor:
        """Return label maps (B, H, W), uint8, 255 where unknown."""
        return torch.stack([self.labels[each.case][each.index] for each in addresses])

    def inside(self, addresses: Sequence[SliceIndex]) -> Tensor:
        """Return where a slice is itself and not padding (B, H, W), bool."""
        inside = torch.zeros(len(addresses), *self.size, dtype=torch.bool)
        for row, address in zip(inside, addresses, strict=True):
            _, rows, columns = self._sizes[address.case]
            row[:rows, :columns] = True
        return inside

    def slices_of(self, addresses: Sequence[SliceIndex]) -> list[SliceCut]:
        """Return the slices themselves, whole."""
        return [SliceCut(each.case, each.index, slice(None), slice(None)) for each in addresses]
