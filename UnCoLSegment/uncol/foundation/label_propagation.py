"""What a few annotated slices and the frozen teacher say about all other slices, before anything is learned.

Four sources vote on every structure in every slice:

* the frozen teacher, asked with the box of the contour that is interpolated there;
* the frozen teacher, carried there from the annotated slice before it, and from the one behind it;
* the interpolated contour itself, which knows nothing of the image.

Each counts as it deserves: annotated slices are voted on as if nobody had annotated them, and the Dice there says what
a source is worth at the distance of one gap; next to an annotated slice it is worth what it is worth with the true box.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uncol.core.progress import Phase
from uncol.data.shape_interpolation import ShapeInterpolation, complete_slices
from uncol.data.transforms import resize_image
from uncol.evaluation.metrics import dice
from uncol.foundation.boxes import PixelBox, box_of_mask, grow_box, mask_of_box
from uncol.foundation.embeddings import PromptableStack
from uncol.foundation.propagation import INSIDE, box_in_frame, carry, known, margin_of, whole_frame

CONTOUR, FORWARD, BACKWARD, SHAPE = range(4)
"""The sources, in the order of every array here."""
LEAST_MASK_PIXELS = 8
"""A mask smaller than this prompts nothing (method, section 10)."""
_SHARPNESS = 4
"""A source weighs its Dice to this power."""
_LEAST_DICE = 0.01
_WHOLE_STEP = 4
"""Of a case that is annotated as a whole, every n-th slice is voted on to score the sources."""
_EDGE_SOFTNESS = 0.5
"""Width of the interpolated contour's edge, in pixels of the image."""


@dataclass(frozen=True)
class SourceDice:
    """What the sources are worth.

    Attributes:
        near: Dice (N, 4) of each structure and source next to an annotated slice.
        far: The same at the distance of one gap between annotated slices.
    """

    near: NDArray[np.float32]
    far: NDArray[np.float32]

    @classmethod
    def of_scores(
        cls, near: Sequence[Sequence[Sequence[float]]], far: Sequence[Sequence[Sequence[float]]]
    ) -> SourceDice:
        """Average the Dice of single slices, given for each structure and source.

        A source that could not be tried on a structure is worth there what it is worth on the others.
        """
        near_dice, far_dice = _means(near, otherwise=1.0), _means(far)
        return cls(near_dice, np.where(np.isnan(far_dice), near_dice, np.minimum(far_dice, near_dice)))

    def at(self, structure: int, source: int, gaps: float) -> float:
        """Return what a source deserves so many gaps away from the annotated slice it comes from; it falls linearly."""
        near, far = float(self.near[structure, source]), float(self.far[structure, source])
        return max(_LEAST_DICE, near + (far - near) * min(1.0, gaps))


@dataclass(frozen=True)
class Patch:
    """One answer of the teacher where it is not zero: uint8, 0 ... 255, from `row`, `column` of its frame on."""

    row: int
    column: int
    values: NDArray[np.uint8]


class CaseVotes:
    """The votes on one case.

    Args:
        prompted: The slices as the frozen teacher sees them.
        labels: Class indices (S, H, W) in the image's own pixels, 255 unknown.
        spacing_mm: Distance between slices, rows and columns.
        structure_count: Structures, N.
        margin_pixels: How far the box of an interpolated contour reaches beyond it, in a frame of 256 pixels.
    """

    def __init__(
        self,
        prompted: PromptableStack,
        labels: NDArray[np.uint8],
        spacing_mm: tuple[float, float, float],
        structure_count: int,
        margin_pixels: float,
    ) -> None:
        self.prompted, self._labels = prompted, labels
        self._structures = range(structure_count)
        self._margin, self._step_margin = margin_pixels * prompted.scale, margin_of(prompted, spacing_mm[0])
        self._softness_mm = _EDGE_SOFTNESS * min(spacing_mm[1:])
        self.annotated = complete_slices(labels)
        self.gap = float(np.median(np.diff(self.annotated))) if len(self.annotated) > 1 else float(len(labels))
        self.shapes = [
            ShapeInterpolation.of_structure(labels, self.annotated, value + 1, spacing_mm[1:])
            for value in self._structures
        ]
        self.patches: dict[tuple[int, int, int], Patch] = {}
        """Answers by (slice, structure, source)."""
        self.decided = np.zeros((len(labels), structure_count, 4), dtype=np.bool_)
        """Where a source has a vote; without a patch it says that the structure is not there."""

    @property
    def is_whole(self) -> bool:
        """Whether every slice is annotated."""
        return len(self.annotated) == len(self._labels)

    def carry_and_score(self, phase: Phase) -> tuple[list[list[list[float]]], list[list[list[float]]]]:
        """Carry annotated structures on, and vote on annotated slices as if nobody had annotated them.

        What a box is worth is tried out first: it decides how much every later answer counts.

        Returns:
            Dice near and far (N, 4, slices).
        """
        near: list[list[list[float]]] = [[[], [], [], []] for _ in self._structures]
        far: list[list[list[float]]] = [[[], [], [], []] for _ in self._structures]
        for index in self.annotated[:: _WHOLE_STEP if self.is_whole else 1]:
            if phase.time_is_up:
                break
            self._score_asked(index, near, far, phase)
        self._carry_from_annotated(phase)
        for structure in self._structures:
            near[structure][FORWARD] = near[structure][BACKWARD] = near[structure][CONTOUR]
            for index in self.annotated:
                self._score_unasked(index, structure, far)
        return near, far

    def ask_with_mask(self, index: int, structure: int, mask: NDArray[np.bool_]) -> None:
        """Ask about one structure with the box of a mask in the image's own pixels (H, W)."""
        self._keep(index, structure, CONTOUR, self._ask(index, [box_in_frame(self.prompted, mask, self._margin)])[0])

    def score_mask(self, index: int, structure: int, mask: NDArray[np.bool_]) -> float:
        """Return the Dice of the answer to a mask's box with the annotated structure, in an annotated slice."""
        answer = self._ask(index, [box_in_frame(self.prompted, mask, self._margin)])[0]
        return dice(answer > INSIDE, self._truth(index, structure))

    def contour(self, index: int, structure: int) -> NDArray[np.bool_] | None:
        """Return the interpolated contour (H, W) where it is large enough to prompt with."""
        mask = self.shapes[structure].mask(index)
        return mask if mask is not None and mask.sum() >= LEAST_MASK_PIXELS else None

    def votes_on(self, index: int, dice_of: SourceDice) -> tuple[Tensor, Tensor]:
        """Return every structure's probability and how much of its certainty it deserves.

        Returns:
            Probabilities (N, h, w), float32 in the teacher's frame, and the Dice (N,) they deserve, 0 without a vote.
        """
        frame = self.prompted.frame
        probabilities = torch.zeros(len(self._structures), frame.rows, frame.columns)
        deserved = torch.zeros(len(self._structures))
        for structure in self._structures:
            total = total_dice = 0.0
            for source, vote in self._votes_of(index, structure):
                worth = dice_of.at(structure, source, self.gaps_to(index, source))
                weight = worth**_SHARPNESS
                probabilities[structure] += weight * torch.from_numpy(vote)
                total, total_dice = total + weight, total_dice + weight * worth
            if total:
                probabilities[structure] /= total
                deserved[structure] = total_dice / total
        return probabilities, deserved

    def gaps_to(self, index: int, source: int | None = None) -> float:
        """Return the distance from a slice to the annotated one that a source, or the nearest, comes from, in gaps."""
        before = index - max((each for each in self.annotated if each <= index), default=-np.inf)
        behind = min((each for each in self.annotated if each >= index), default=np.inf) - index
        distance = before if source == FORWARD else behind if source == BACKWARD else min(before, behind)
        return float(min(distance / self.gap, 1.0))

    def shows(self, index: int, structure: int) -> bool:
        """Say whether an annotated slice holds enough of a structure to prompt with."""
        return int((self._labels[index] == structure + 1).sum()) >= LEAST_MASK_PIXELS

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Return all answers as arrays: where each one lies, and their values one after the other."""
        places = [(*key, each.row, each.column, *each.values.shape) for key, each in self.patches.items()]
        values = [each.values.ravel() for each in self.patches.values()]
        return {
            "decided": self.decided,
            "places": np.array(places, dtype=np.int32).reshape(-1, 7),
            "values": np.concatenate(values) if values else np.zeros(0, dtype=np.uint8),
        }

    def load_state(self, arrays: dict[str, NDArray[np.generic]]) -> None:
        """Take over what `state` returned."""
        self.decided = arrays["decided"].astype(np.bool_)
        values, start = arrays["values"].astype(np.uint8), 0
        self.patches = {}
        for index, structure, source, row, column, rows, columns in arrays["places"].tolist():
            stop = start + rows * columns
            self.patches[index, structure, source] = Patch(row, column, values[start:stop].reshape(rows, columns))
            start = stop

    def _ways_from(self, start: int) -> Iterator[tuple[int, range]]:
        place = bisect_left(self.annotated, start)
        last = self.annotated[place + 1] if place + 1 < len(self.annotated) else len(self._labels) - 1
        first = self.annotated[place - 1] if place else 0
        yield FORWARD, range(start + 1, last + 1)
        yield BACKWARD, range(start - 1, first - 1, -1)

    def _carry_from_annotated(self, phase: Phase) -> None:
        """Carry every annotated structure both ways, up to and including the next annotated slice.

        The nearest slices come first, for all structures alike: where time is short, the far ones go without a vote.
        In a case that is annotated as a whole there is nowhere to carry it.
        """
        if self.is_whole:
            return
        chains = [
            self._carry(start, structure, source, indices, phase)
            for start in self.annotated
            for structure in self._structures
            if self.shows(start, structure)
            for source, indices in self._ways_from(start)
        ]
        while chains:
            for chain in chains.copy():
                if phase.time_is_up:
                    return
                if next(chain, None) is None:
                    chains.remove(chain)

    def _carry(self, start: int, structure: int, source: int, indices: range, phase: Phase) -> Iterator[int]:
        """Carry one structure one way, and yield slice after slice."""
        begin = known(self.prompted, start, self._labels[start] == structure + 1)
        if begin is None:
            return
        limits = whole_frame(self.prompted)
        for index, answer in carry(self.prompted, begin, indices, limits, self._step_margin, phase):
            self._keep(index, structure, source, answer.probability)
            yield index
        self.decided[list(indices), structure, source] = True

    def _keep(self, index: int, structure: int, source: int, probability: NDArray[np.float32]) -> None:
        self.decided[index, structure, source] = True
        values = np.round(probability * 255).astype(np.uint8)
        if values.any():
            row, column, last_row, last_column = box_of_mask(values > 0).astype(int).tolist()
            self.patches[index, structure, source] = Patch(row, column, values[row:last_row, column:last_column].copy())
        else:
            self.patches.pop((index, structure, source), None)

    def _ask(self, index: int, boxes: list[PixelBox]) -> list[NDArray[np.float32]]:
        """Return an answer (h, w) for each box; an answer reaches beyond its box by the margin at most."""
        frame, answers = self.prompted.frame, self.prompted.decode(index, np.stack(boxes)).probabilities.numpy()
        near = (grow_box(box, self._margin, whole_frame(self.prompted)) for box in boxes)
        return [
            np.where(mask_of_box(box, frame.rows, frame.columns), answer, 0).astype(np.float32)
            for box, answer in zip(near, answers, strict=True)
        ]

    def _score_asked(
        self, index: int, near: list[list[list[float]]], far: list[list[list[float]]], phase: Phase
    ) -> None:
        """Ask about an annotated slice with the boxes of its own contours and of those interpolated without it."""
        asked: list[tuple[list[float], int, PixelBox]] = []
        for structure in (each for each in self._structures if self.shows(index, each)):
            own = self._labels[index] == structure + 1
            asked.append((near[structure][CONTOUR], structure, box_in_frame(self.prompted, own, self._margin)))
            guess = self.shapes[structure].without(index).mask(index)
            if guess is not None and guess.sum() >= LEAST_MASK_PIXELS:
                asked.append((far[structure][CONTOUR], structure, box_in_frame(self.prompted, guess, self._margin)))
            elif self._is_inner(index):
                far[structure][CONTOUR].append(0.0)
        if asked:
            phase.step()
            answers = self._ask(index, [box for _, _, box in asked])
            for (scores, structure, _), answer in zip(asked, answers, strict=True):
                scores.append(dice(answer > INSIDE, self._truth(index, structure)))

    def _score_unasked(self, index: int, structure: int, far: list[list[list[float]]]) -> None:
        """Score what was carried to an annotated slice, and what interpolation without it says."""
        truth = self._truth(index, structure)
        for source in (FORWARD, BACKWARD):
            if self.decided[index, structure, source]:
                _add_score(far[structure][source], self._patch_on_frame(index, structure, source) > INSIDE, truth)
        if self._is_inner(index):
            guess = self.shapes[structure].without(index).mask(index)
            _add_score(far[structure][SHAPE], np.zeros_like(truth) if guess is None else self._on_frame(guess), truth)

    def _is_inner(self, index: int) -> bool:
        return self.annotated[0] < index < self.annotated[-1]

    def _truth(self, index: int, structure: int) -> NDArray[np.bool_]:
        return self._on_frame(self._labels[index] == structure + 1)

    def _votes_of(self, index: int, structure: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
        for source in (CONTOUR, FORWARD, BACKWARD):
            if self.decided[index, structure, source]:
                yield source, self._patch_on_frame(index, structure, source)
        distance = self.shapes[structure].distance_mm(index)
        if distance is not None:
            inside = torch.from_numpy(distance / self._softness_mm).sigmoid()
            frame = self.prompted.frame
            yield SHAPE, resize_image(inside[None, None], frame.rows, frame.columns)[0, 0].clamp(0, 1).numpy()

    def _patch_on_frame(self, index: int, structure: int, source: int) -> NDArray[np.float32]:
        canvas = np.zeros((self.prompted.frame.rows, self.prompted.frame.columns), dtype=np.float32)
        patch = self.patches.get((index, structure, source))
        if patch is not None:
            rows, columns = patch.values.shape
            canvas[patch.row : patch.row + rows, patch.column : patch.column + columns] = patch.values / 255
        return canvas

    def _on_frame(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        frame = self.prompted.frame
        resized = resize_image(torch.from_numpy(mask).float()[None, None], frame.rows, frame.columns)[0, 0]
        return (resized > INSIDE).numpy()


def _add_score(scores: list[float], guess: NDArray[np.bool_], truth: NDArray[np.bool_]) -> None:
    if guess.any() or truth.any():
        scores.append(dice(guess, truth))


def _means(scores: Sequence[Sequence[Sequence[float]]], otherwise: float = np.nan) -> NDArray[np.float32]:
    means = np.array([[np.mean(each) if each else np.nan for each in sources] for sources in scores], dtype=np.float32)
    for column in means.T:
        measured = column[~np.isnan(column)]
        column[np.isnan(column)] = measured.mean() if measured.size else otherwise
    return means
