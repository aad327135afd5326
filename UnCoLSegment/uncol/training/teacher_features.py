"""What the generalized teacher sees in slices, averaged to the grid of the student's tokens and kept for the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from uncol.core.volume import UNKNOWN_LABEL
from uncol.data.cases import FramedCase, Pool, SliceCut, SliceIndex
from uncol.foundation.boxes import can_prompt
from uncol.foundation.promptable import FeatureModel
from uncol.foundation.prompting import SlicePredictor

_EVERY = 4
"""In volumes, every n-th completely annotated slice is encoded; between them features are interpolated."""


class TeacherFeatures:
    """Maps and tokens of the frozen teacher for what training draws, in 2D or stacked to volumes.

    Args:
        pool: What training draws from.
        framed: The same cases with their own slices.
        prompted: For every case its slices as the teacher sees them.
        teacher: The foundation model.
        patch: Side of the student's tokens, in voxels.
        prompted_slices: Unannotated slices that may be encoded.
        margin_pixels: How far a box reaches beyond its mask, in a frame of 256 pixels.
    """

    def __init__(
        self,
        pool: Pool,
        framed: Sequence[FramedCase],
        prompted: Sequence[SlicePredictor],
        teacher: FeatureModel,
        *,
        patch: int,
        prompted_slices: Sequence[SliceIndex],
        margin_pixels: float,
    ) -> None:
        self._pool, self._stacks, self._prompted, self._teacher = pool, framed, prompted, teacher
        self._patch, self._margin = patch, margin_pixels
        self.grid = tuple(size // patch for size in pool.size)
        self._structure_count = len(pool.voxel_counts) - 1
        step = 1 if len(self.grid) == 2 else _EVERY
        annotated = {
            (case, index)
            for case, stack in enumerate(framed)
            for index, labels in enumerate(stack.native_labels)
            if index % step == 0 and not (labels == UNKNOWN_LABEL).any()
        }
        self._usable = annotated | {(each.case, each.index) for each in prompted_slices}
        self._maps: dict[tuple[int, int], list[Tensor]] = {}
        self._tokens: dict[tuple[int, int], Tensor] = {}

    def has(self, address: Any) -> bool:
        """Say whether anything that was drawn at an address may be encoded."""
        return any((each.case, each.index) in self._usable for each in self._pool.slices_of([address]))

    def maps(self, addresses: Sequence[Any]) -> list[Tensor]:
        """Return the teacher's intermediate maps, shallow first, each (B, width, *grid), float32."""
        by_address = [self._stacked(each, self._maps_of) for each in addresses]
        return [torch.stack(each) for each in zip(*by_address, strict=True)]

    def tokens(self, addresses: Sequence[Any]) -> Tensor:
        """Return the tokens after the prompts (B, structures, width, *grid), one box round each annotated structure.

        The tokens of a structure that is not there are 0.
        """
        flat = torch.stack([self._stacked(each, lambda *at: [self._tokens_of(*at)])[0] for each in addresses])
        return flat.unflatten(1, (self._structure_count, -1))

    def _stacked(self, address: Any, of_slice: Any) -> list[Tensor]:
        """Return what was drawn at one address as maps (C, *grid)."""
        cuts = self._pool.slices_of([address])
        found = {
            number: [self._cut(each, cut) for each in of_slice(cut.case, cut.index)]
            for number, cut in enumerate(cuts)
            if (cut.case, cut.index) in self._usable
        }
        if len(self.grid) == 2:
            return found[0]
        count = len(next(iter(found.values())))
        return [
            stack_slice_maps({at: each[number] for at, each in found.items()}, len(cuts), self.grid)
            for number in range(count)
        ]

    def _cut(self, features: Tensor, cut: SliceCut) -> Tensor:
        """Return the part (C, h, w) of a whole slice's features that was drawn."""
        first_row, first_column = ((part.start or 0) // self._patch for part in (cut.rows, cut.columns))
        rows, columns = self.grid[-2:]
        return features[:, first_row : first_row + rows, first_column : first_column + columns].float()

    def _maps_of(self, case: int, index: int) -> list[Tensor]:
        if (case, index) not in self._maps:
            encoded = self._teacher.encode_with_maps(self._prompted[case].image(index))
            self._maps[case, index] = [self._on_grid(case, each[None])[0] for each in encoded.maps]
        return self._maps[case, index]

    def _tokens_of(self, case: int, index: int) -> Tensor:
        """Return the tokens of all structures in an annotated slice, one after the other (structures * width, h, w)."""
        if (case, index) not in self._tokens:
            prompted, labels = self._prompted[case], self._stacks[case].native_labels[index]
            masks = [labels == structure + 1 for structure in range(self._structure_count)]
            shown = [number for number, mask in enumerate(masks) if can_prompt(mask)]
            width, (rows, columns) = self._teacher.token_width, self._slice_grid
            tokens = torch.zeros(self._structure_count, width, rows, columns, dtype=torch.float16)
            if shown:
                boxes = np.stack([prompted.box_round(masks[number], self._margin) for number in shown])
                answers = self._teacher.decode_tokens(
                    prompted.embedding(index), torch.from_numpy(boxes), prompted.frame
                )
                tokens[shown] = self._on_grid(case, answers)
            self._tokens[case, index] = tokens.flatten(0, 1)
        return self._tokens[case, index]

    @property
    def _slice_grid(self) -> tuple[int, int]:
        rows, columns = (-(-size // self._patch) for size in self._pool.slice_size)
        return rows, columns

    def _on_grid(self, case: int, features: Tensor) -> Tensor:
        """Average features (N, C, h, w) of a whole slice to the tokens that it covers; padding repeats the edge."""
        filled = [max(1, round(size / self._patch)) for size in self._stacks[case].images.shape[1:]]
        rows, columns = self._slice_grid
        pooled = pool_to_grid(features, filled)
        padded = functional.pad(pooled, (0, columns - filled[1], 0, rows - filled[0]), mode="replicate")
        return padded.half()


def pool_to_grid(features: Tensor, grid: Sequence[int]) -> Tensor:
    """Average features (B, C, ...) over the voxels of a coarser grid; on a finer one they are repeated."""
    if features.shape[2:] == tuple(grid):
        return features.float()
    if len(grid) == 2:
        return functional.adaptive_avg_pool2d(features.float(), (grid[0], grid[1]))
    return functional.adaptive_avg_pool3d(features.float(), (grid[0], grid[1], grid[2]))


def stack_slice_maps(maps: Mapping[int, Tensor], slice_count: int, grid: Sequence[int]) -> Tensor:
    """Make a volume's map of what a 2D teacher saw in its slices.

    Each map is averaged over the rows and columns of the grid, slices for which the teacher was not prompted are
    interpolated between their neighbors (the first and the last prompted one continue to the ends), and the stack is
    averaged along the slices. Maps of different classes are stacked one by one: a slice without the class has zeros.

    Args:
        maps: Map (C, h, w) of each slice for which the teacher was prompted, by the slice's index along D.
        slice_count: Slices of the volume, D.
        grid: The student's grid (d, h, w).

    Returns:
        The map (C, d, h, w), float32.
    """
    asked = torch.tensor(sorted(maps))
    planes = torch.cat([pool_to_grid(maps[index][None], grid[1:]) for index in asked.tolist()])  # (asked, C, h, w)
    slices = torch.arange(slice_count)
    after = torch.searchsorted(asked, slices).clamp(max=len(asked) - 1)
    before = (torch.searchsorted(asked, slices, right=True) - 1).clamp(min=0)
    gap = (asked[after] - asked[before]).clamp(min=1)
    part = ((slices - asked[before]) / gap).clamp(0, 1).to(planes.device)[:, None, None, None]
    volume = torch.lerp(planes[before], planes[after], part).transpose(0, 1)  # (C, D, h, w)
    return pool_to_grid(volume[None], grid)[0]
