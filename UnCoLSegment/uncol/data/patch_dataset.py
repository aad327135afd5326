"""Annotated and unannotated volumes, as the 3D student sees them: patches of one size and one spacing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from uncol.core.grey_values import Window
from uncol.core.jobs import Structure
from uncol.core.volume import UNKNOWN_LABEL, Plane
from uncol.data.cases import (
    FramedCase,
    LabeledCase,
    Pool,
    SliceCut,
    SliceIndex,
    as_stacks,
    one_of,
    slices_with_unknown,
)
from uncol.data.holdout import held_out_cases
from uncol.data.transforms import (
    MOST_VOXELS,
    SliceFrame,
    check_voxel_count,
    resize_depth,
    resize_labels,
    windowed_in_frame,
)

_PLACES_KEPT = 2000
"""Annotated voxels of a class in a volume round which patches are drawn."""


def frame_volume(
    case: LabeledCase,
    structures: Sequence[Structure],
    plane: Plane,
    voxel_mm: tuple[float, float],
    window: Window,
) -> FramedCase:
    """Bring a case into the 3D student's frame, grey values windowed to [0, 1].

    Args:
        case: Image and labels.
        structures: What to learn.
        plane: Plane whose slices become the depth.
        voxel_mm: Distance between slices, and side of a pixel.
        window: Lowest and highest grey value.

    Returns:
        Images and labels (D, H, W) in voxels of that size; `native_labels` in the image's own slices.
    """
    view, grey, native_labels = as_stacks(case, structures, plane)
    images = in_student_frame(grey, view.spacing_mm, voxel_mm, window)
    depth, rows, columns = images.shape
    nearest = torch.tensor([native_slice(index, depth, len(grey)) for index in range(depth)])
    labels = resize_labels(torch.from_numpy(native_labels.copy()), rows, columns)[nearest]
    return FramedCase(view, images, labels, native_labels, window)


def in_student_frame(
    grey: NDArray[Any],
    spacing_mm: tuple[float, float, float],
    voxel_mm: tuple[float, float],
    window: Window,
) -> Tensor:
    """Return a stack of grey values (S, h, w) as the 3D student sees it (D, H, W), in [0, 1]."""
    slices, rows, columns = grey.shape
    frame = SliceFrame.fitting(rows, columns, spacing_mm[1:], voxel_mm[1])
    depth = max(1, round(slices * spacing_mm[0] / voxel_mm[0]))
    check_voxel_count(depth * frame.rows * frame.columns, MOST_VOXELS, voxel_mm[1])
    return resize_depth(windowed_in_frame(grey, window, frame), depth)


def native_slice(index: int, depth: int, native_depth: int) -> int:
    """Return which of `native_depth` slices of the image lies nearest to one of `depth` in the student's frame."""
    return min(int((index + 0.5) * native_depth / depth), native_depth - 1)


@dataclass(frozen=True)
class PatchIndex:
    """One patch of one case: its first slice, row and column in the student's frame."""

    case: int
    corner: tuple[int, int, int]


class PatchDataset(Pool):
    """Patches of all cases, drawn by what is known about them.

    Args:
        framed: The cases in the student's frame; smaller ones are padded to a patch.
        class_count: Classes with background.
        patch: Slices, rows and columns of a patch.
        seen: Annotated slices that a model before has learned from; their cases are not held out.
    """

    def __init__(
        self,
        framed: Sequence[FramedCase],
        class_count: int,
        patch: tuple[int, int, int],
        seen: Collection[SliceIndex] = (),
    ) -> None:
        super().__init__(framed, class_count, patch)
        self._native_depths = [len(each.native_labels) for each in framed]
        self._places: list[dict[int, Tensor]] = [{} for _ in range(class_count)]
        """For every class and case that shows it, some of its voxels (N, 3)."""
        for case, labels in enumerate(self.labels):
            for value, cases in enumerate(self._places):
                found = (labels == value).nonzero()
                if len(found):
                    cases[case] = found[:: -(-len(found) // _PLACES_KEPT)].clone()
        first = (0, 0, 0)
        self.unlabeled = [
            PatchIndex(case, first) for case, each in enumerate(framed) if (each.labels == UNKNOWN_LABEL).any()
        ]
        self.unlabeled_slices = slices_with_unknown([each.native_labels for each in framed])
        self.held_out = [each for case in held_out_cases(framed, seen) for each in self._tiles(case)]

    def draw_labeled(self, count: int, generator: torch.Generator) -> list[PatchIndex]:
        """Draw patches round annotated voxels: a class first, so that rare structures come as often as large ones."""
        withheld = {each.case for each in self.held_out}
        free = [{case: at for case, at in cases.items() if case not in withheld} for cases in self._places]
        present = [cases for cases in free if cases]
        drawn = []
        for _ in range(count):
            cases = one_of(present, generator)
            case = one_of(list(cases), generator)
            place = one_of(cases[case].tolist(), generator)
            around = [(at - size + 1, at) for at, size in zip(place, self.size, strict=True)]
            drawn.append(self._patch_between(case, around, generator))
        return drawn

    @property
    def held_out_slices(self) -> list[SliceIndex]:
        """All slices of the held-out volumes."""
        cases = dict.fromkeys(each.case for each in self.held_out)
        return [SliceIndex(case, index) for case in cases for index in range(self._native_depths[case])]

    def draw_unlabeled(self, count: int, generator: torch.Generator) -> list[PatchIndex]:
        """Draw patches anywhere in volumes with unknown voxels."""
        cases = (one_of(self.unlabeled, generator).case for _ in range(count))  # each drawn before its corner
        return [self._patch_between(case, [(0, size) for size in self.images[case].shape], generator) for case in cases]

    def inputs(self, addresses: Sequence[PatchIndex]) -> Tensor:
        """Return patches (B, 1, D, H, W)."""
        return torch.stack([self._cut(self.images[each.case], each)[None] for each in addresses])

    def targets(self, addresses: Sequence[PatchIndex]) -> Tensor:
        """Return label maps (B, D, H, W), uint8, 255 where unknown."""
        return torch.stack([self._cut(self.labels[each.case], each) for each in addresses])

    def inside(self, addresses: Sequence[PatchIndex]) -> Tensor:
        """Return where there is an image and not padding (B, D, H, W), bool."""
        inside = torch.zeros(len(addresses), *self.size, dtype=torch.bool)
        for each, address in zip(inside, addresses, strict=True):
            ends = (size - start for size, start in zip(self._sizes[address.case], address.corner, strict=True))
            each[tuple(slice(max(0, end)) for end in ends)] = True
        return inside

    def whole(self, case: int) -> Tensor:
        """Return a whole volume (1, 1, D, H, W) without padding."""
        depth, rows, columns = self._sizes[case]
        return self.images[case][None, None, :depth, :rows, :columns]

    def slices_of(self, addresses: Sequence[PatchIndex]) -> list[SliceCut]:
        """Return for every slice of every patch the image's own slice that lies nearest."""
        depth, rows, columns = self.size
        return [
            SliceCut(
                each.case,
                native_slice(each.corner[0] + index, self._sizes[each.case][0], self._native_depths[each.case]),
                slice(each.corner[1], each.corner[1] + rows),
                slice(each.corner[2], each.corner[2] + columns),
            )
            for each in addresses
            for index in range(depth)
        ]

    def as_slices(self, maps: Tensor) -> Tensor:
        """Return maps (B, C, D, H, W) slice by slice (B * D, C, H, W)."""
        return maps.movedim(2, 1).flatten(0, 1).contiguous()  # reductions over classes take a tenth of the time

    def from_slices(self, labels: Tensor) -> Tensor:
        """Return labels (B * D, H, W) of slices as volumes (B, D, H, W)."""
        return labels.unflatten(0, (-1, self.size[0]))

    def _cut(self, volume: Tensor, address: PatchIndex) -> Tensor:
        return volume[tuple(slice(start, start + size) for start, size in zip(address.corner, self.size, strict=True))]

    def _tiles(self, case: int) -> list[PatchIndex]:
        starts = [
            [*range(0, size - patch, patch), size - patch]
            for size, patch in zip(self.images[case].shape, self.size, strict=True)
        ]
        return [PatchIndex(case, corner) for corner in product(*starts)]

    def _patch_between(self, case: int, limits: Sequence[tuple[int, int]], generator: torch.Generator) -> PatchIndex:
        """Return a patch whose corner lies between limits (both included), as far as the volume reaches."""
        corner = []
        for (low, high), size, patch in zip(limits, self.images[case].shape, self.size, strict=True):
            first, last = max(0, low), min(size - patch, high)
            corner.append(first + int(torch.randint(last - first + 1, (1,), generator=generator)))
        return PatchIndex(case, (corner[0], corner[1], corner[2]))
