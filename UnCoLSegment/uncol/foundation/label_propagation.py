"""What a few annotated slices and the frozen teacher say about all other slices, before anything is learned.

Four sources propose every structure in every slice (`Source`). Their proposals, the *candidates*, are fused; each
counts as far as it is reliable: annotated slices are predicted as if nobody had annotated them, and the Dice there
says how reliable a source is at the distance of one gap; next to an annotated slice it is as reliable as a prompt with
the true box.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uncol.core.progress import Phase
from uncol.data.annotations import complete_slices
from uncol.data.shape_interpolation import ShapeInterpolation
from uncol.evaluation.metrics import dice
from uncol.foundation.boxes import box_of_mask, can_prompt, grow_box, keep_inside
from uncol.foundation.prompting import SlicePredictor
from uncol.foundation.propagation import INSIDE, annotated_mask, margin_of, propagate
from uncol.foundation.source_reliability import Scores, Source, SourceReliability, ValidationScores

_SHARPNESS = 4
"""A source weighs its Dice to this power."""
_WHOLE_STEP = 4
"""Of a case that is annotated as a whole, every n-th slice is predicted to score the sources."""
_EDGE_SOFTNESS = 0.5
"""Width of the interpolated contour's edge, in pixels of the image."""
_FROM_TEACHER = (Source.PROMPTED, Source.FORWARD, Source.BACKWARD)
_LEFT_OUT = len(Source)


@dataclass(frozen=True)
class CroppedMask:
    """One candidate where it is not zero: uint8, 0 ... 255, from `row`, `column` of its frame on."""

    row: int
    column: int
    values: NDArray[np.uint8]


_NOTHING = CroppedMask(0, 0, np.zeros((1, 1), dtype=np.uint8))


class PropagatedLabels:
    """The candidates for every slice of one case.

    Args:
        predictor: The slices as the frozen teacher sees them.
        labels: Class indices (S, H, W) in the image's own pixels, 255 unknown.
        spacing_mm: Distance between slices, rows and columns.
        structure_count: Structures, N.
        margin_pixels: How far the box of an interpolated contour reaches beyond it, in a frame of 256 pixels.
    """

    def __init__(
        self,
        predictor: SlicePredictor,
        labels: NDArray[np.uint8],
        spacing_mm: tuple[float, float, float],
        structure_count: int,
        margin_pixels: float,
    ) -> None:
        self.predictor, self._labels, self._margin = predictor, labels, margin_pixels
        self._structures = range(structure_count)
        self._step_margin = margin_of(predictor, spacing_mm[0])
        self._softness_mm = _EDGE_SOFTNESS * min(spacing_mm[1:])
        self.annotated = complete_slices(labels)
        self.gap = float(np.median(np.diff(self.annotated))) if len(self.annotated) > 1 else float(len(labels))
        self.shapes = [
            ShapeInterpolation.of_structure(labels, self.annotated, value + 1, spacing_mm[1:])
            for value in self._structures
        ]
        self.candidates: dict[tuple[int, int, int], CroppedMask] = {}
        """What the teacher found, by (slice, structure, source); with `_LEFT_OUT` as source, what interpolated contours
        prompt in annotated slices that are left out."""
        self.has_candidate = np.zeros((len(labels), structure_count, len(Source)), dtype=np.bool_)
        """Where a source has a say; without a mask it says that the structure is not there."""

        self.is_propagated = np.ones(structure_count, dtype=np.bool_)
        """Which structures (N,) the teacher finds well enough in the boxes of annotated contours."""

    @property
    def is_whole(self) -> bool:
        """Whether every slice is annotated."""
        return len(self.annotated) == len(self._labels)

    @cached_property
    def expected_looks(self) -> list[int]:
        """The slices that `propagate_and_validate` looks at, one for each step, as far as that can be foreseen.

        A structure is followed to the next annotated slice that shows it; where that does not, or there is none, it
        ends on the way: half of the slices count, or half of the usual gap.
        """
        looks = self.annotated[:: _WHOLE_STEP if self.is_whole else 1].copy()
        if self.is_whole:
            return looks
        shows = {
            (index, structure): can_prompt(self._annotation(index, structure))
            for index in self.annotated
            for structure in self._structures
        }
        for (start, structure), _ in filter(lambda each: each[1], shows.items()):
            for _source, indices in self._directions_from(start):
                goes_on = bool(indices) and shows.get((indices[-1], structure), False)
                looks += indices if goes_on else indices[: round(min(len(indices), self.gap) / 2)]
        return looks

    def propagate_and_validate(self, phase: Phase, least_dice: float = 0.0) -> ValidationScores:
        """Propagate annotated structures, and predict annotated slices as if nobody had annotated them.

        Prompts with a box are scored first: their reliability decides how much every later candidate counts.

        Args:
            phase: Told before every slice; ends early when its time is up.
            least_dice: Mean Dice in the boxes of annotated contours below which a structure is not propagated.
        """
        scores = ValidationScores(self.is_whole)
        for index in self.annotated[:: _WHOLE_STEP if self.is_whole else 1]:
            if phase.time_is_up:
                break
            self._validate_prompts(index, scores, phase)
        for structure in self._structures:
            found = scores.near.get((structure, Source.PROMPTED))
            self.is_propagated[structure] = not found or float(np.mean(found)) >= least_dice
        self._propagate_all(phase)
        for structure in self._structures:
            for index in self.annotated:
                self._validate_propagation(index, structure, scores)
        return scores

    def prompt_with_mask(self, index: int, structure: int, mask: NDArray[np.bool_]) -> None:
        """Prompt for one structure with the box of a mask in the image's own pixels (H, W)."""
        self._keep(index, structure, Source.PROMPTED, self._prompt(index, [mask])[0])

    def score_mask(self, index: int, structure: int, mask: NDArray[np.bool_]) -> float:
        """Return the Dice of what a mask's box prompts with the annotated structure, in an annotated slice."""
        return dice(self._prompt(index, [mask])[0] > INSIDE, self._truth(index, structure))

    def contour(self, index: int, structure: int) -> NDArray[np.bool_] | None:
        """Return the interpolated contour (H, W) where it is large enough to prompt with."""
        mask = self.shapes[structure].mask(index)
        return mask if mask is not None and can_prompt(mask) else None

    def fuse(self, index: int, reliability: SourceReliability, *, is_left_out: bool = False) -> tuple[Tensor, Tensor]:
        """Fuse the candidates of a slice, weighted by reliability.

        Args:
            index: The slice.
            reliability: Of the sources.
            is_left_out: Whether it is an annotated slice, taken as if nobody had annotated it.

        Returns:
            Every structure's probability (N, h, w), float32 in the teacher's frame, and the reliability (N,) of its
            candidates, 0 without any.
        """
        fused = torch.zeros(len(self._structures), self.predictor.frame.rows, self.predictor.frame.columns)
        mean_reliability = torch.zeros(len(self._structures))
        for structure in self._structures:
            total = total_dice = 0.0
            for source, candidate in self._candidates_of(index, structure, is_left_out=is_left_out):
                gaps = 1.0 if is_left_out else self.gaps_to(index, source)
                own = reliability.at(structure, source, gaps)
                weight = own**_SHARPNESS
                fused[structure] += weight * torch.from_numpy(candidate)
                total, total_dice = total + weight, total_dice + weight * own
            if total:
                fused[structure] /= total
                mean_reliability[structure] = total_dice / total
        return fused, mean_reliability

    def gaps_to(self, index: int, source: int | None = None) -> float:
        """Return the distance from a slice to the annotated one that a source, or the nearest, comes from, in gaps."""
        before = index - max((each for each in self.annotated if each <= index), default=-np.inf)
        behind = min((each for each in self.annotated if each >= index), default=np.inf) - index
        distance = before if source == Source.FORWARD else behind if source == Source.BACKWARD else min(before, behind)
        return float(min(distance / self.gap, 1.0))

    def state(self) -> dict[str, NDArray[np.generic]]:
        """Return all candidates as arrays: where each one lies, and their values one after the other."""
        places = [(*key, each.row, each.column, *each.values.shape) for key, each in self.candidates.items()]
        values = [each.values.ravel() for each in self.candidates.values()]
        return {
            "decided": self.has_candidate,
            "places": np.array(places, dtype=np.int32).reshape(-1, 7),
            "values": np.concatenate(values) if values else np.zeros(0, dtype=np.uint8),
        }

    def load_state(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over what `state` returned."""
        self.has_candidate = arrays["decided"].astype(np.bool_)
        values, start = arrays["values"].astype(np.uint8), 0
        self.candidates = {}
        for index, structure, source, row, column, rows, columns in arrays["places"].tolist():
            stop = start + rows * columns
            mask = CroppedMask(row, column, values[start:stop].reshape(rows, columns))
            self.candidates[index, structure, source] = mask
            start = stop

    def _propagate_all(self, phase: Phase) -> None:
        """Propagate every annotated structure both ways, up to and including the next annotated slice.

        The nearest slices come first, for all structures alike: where time is short, the far ones go without.
        In a case that is annotated as a whole there is nowhere to go.
        """
        if self.is_whole:
            return
        chains = [
            self._propagate(start, structure, source, indices, phase)
            for start in self.annotated
            for structure in self._structures
            if self.is_propagated[structure] and can_prompt(self._annotation(start, structure))
            for source, indices in self._directions_from(start)
        ]
        while chains:
            for chain in chains.copy():
                if phase.time_is_up:
                    return
                if next(chain, None) is None:
                    chains.remove(chain)

    def _directions_from(self, start: int) -> Iterator[tuple[Source, range]]:
        place = bisect_left(self.annotated, start)
        last = self.annotated[place + 1] if place + 1 < len(self.annotated) else len(self._labels) - 1
        first = self.annotated[place - 1] if place else 0
        yield Source.FORWARD, range(start + 1, last + 1)
        yield Source.BACKWARD, range(start - 1, first - 1, -1)

    def _propagate(self, start: int, structure: int, source: Source, indices: range, phase: Phase) -> Iterator[int]:
        """Propagate one structure one way, and yield slice after slice."""
        begin = annotated_mask(self.predictor, start, self._annotation(start, structure))
        if begin is None:
            return
        limits = self.predictor.limits
        for index, found in propagate(self.predictor, begin, indices, limits, self._step_margin, phase):
            self._keep(index, structure, source, found.probability)
            yield index
        self.has_candidate[list(indices), structure, source] = True

    def _keep(self, index: int, structure: int, source: Source, probability: NDArray[np.float32]) -> None:
        self.has_candidate[index, structure, source] = True
        mask = _cropped(probability)
        if mask is None:
            self.candidates.pop((index, structure, source), None)
        else:
            self.candidates[index, structure, source] = mask

    def _prompt(self, index: int, masks: Sequence[NDArray[np.bool_]]) -> list[NDArray[np.float32]]:
        """Return what the box of each mask prompts (h, w); it reaches beyond the box by the margin at most."""
        boxes = [self.predictor.box_round(each, self._margin) for each in masks]
        found = self.predictor.predict(index, np.stack(boxes)).probabilities.numpy()
        margin, limits = self.predictor.pixels(self._margin), self.predictor.limits
        return [keep_inside(grow_box(box, margin, limits), each) for box, each in zip(boxes, found, strict=True)]

    def _validate_prompts(self, index: int, scores: ValidationScores, phase: Phase) -> None:
        """Prompt in an annotated slice with the boxes of its own contours and of those interpolated without it."""
        prompts: list[tuple[Scores, int, NDArray[np.bool_]]] = []
        for structure in self._structures:
            own = self._annotation(index, structure)
            if not can_prompt(own):
                continue
            prompts.append((scores.near, structure, own))
            guess = self.shapes[structure].without(index).mask(index)
            if guess is not None and can_prompt(guess):
                prompts.append((scores.far, structure, guess))
            elif self._is_inner(index):
                scores.far[structure, Source.PROMPTED].append(0.0)
        if prompts:
            phase.step()
            found = self._prompt(index, [mask for _, _, mask in prompts])
            said = {
                (index, key, _LEFT_OUT): each
                for (table, key, _), each in zip(prompts, found, strict=True)
                if table is scores.far
            }
            self.candidates |= {key: _cropped(each) or _NOTHING for key, each in said.items()}
            for (table, structure, _), each in zip(prompts, found, strict=True):
                score = dice(each > INSIDE, self._truth(index, structure))
                for source in _FROM_TEACHER if table is scores.near else (Source.PROMPTED,):
                    table[structure, source].append(score)

    def _validate_propagation(self, index: int, structure: int, scores: ValidationScores) -> None:
        """Score what was propagated to an annotated slice, and what interpolation without it says."""
        truth = self._truth(index, structure)
        guesses = {
            source: self._on_canvas(index, structure, source) > INSIDE
            for source in (Source.FORWARD, Source.BACKWARD)
            if self.has_candidate[index, structure, source]
        }
        if self._is_inner(index):
            shape = self.shapes[structure].without(index).mask(index)
            guesses[Source.INTERPOLATED] = np.zeros_like(truth) if shape is None else self._in_frame(shape)
        for source, guess in guesses.items():
            if guess.any() or truth.any():
                scores.far[structure, source].append(dice(guess, truth))

    def _is_inner(self, index: int) -> bool:
        return self.annotated[0] < index < self.annotated[-1]

    def _annotation(self, index: int, structure: int) -> NDArray[np.bool_]:
        return np.asarray(self._labels[index] == structure + 1)

    def _truth(self, index: int, structure: int) -> NDArray[np.bool_]:
        return self._in_frame(self._annotation(index, structure))

    def _in_frame(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return (self.predictor.to_frame(torch.from_numpy(mask).float()) > INSIDE).numpy()

    def _candidates_of(
        self, index: int, structure: int, *, is_left_out: bool
    ) -> Iterator[tuple[Source, NDArray[np.float32]]]:
        for source in _FROM_TEACHER:
            if self.has_candidate[index, structure, source]:
                yield source, self._on_canvas(index, structure, source)
        if is_left_out and (index, structure, _LEFT_OUT) in self.candidates:
            yield Source.PROMPTED, self._on_canvas(index, structure, _LEFT_OUT)
        shape = self.shapes[structure].without(index) if is_left_out else self.shapes[structure]
        distance = shape.distance_mm(index)
        if distance is not None:
            inside = torch.from_numpy(distance / self._softness_mm).sigmoid()
            yield Source.INTERPOLATED, self.predictor.to_frame(inside).clamp(0, 1).numpy()

    def _on_canvas(self, index: int, structure: int, source: int) -> NDArray[np.float32]:
        canvas = np.zeros((self.predictor.frame.rows, self.predictor.frame.columns), dtype=np.float32)
        mask = self.candidates.get((index, structure, source))
        if mask is not None:
            rows, columns = mask.values.shape
            canvas[mask.row : mask.row + rows, mask.column : mask.column + columns] = mask.values / 255
        return canvas


def _cropped(probability: NDArray[np.float32]) -> CroppedMask | None:
    """Return a probability (h, w) where it is not zero; None where it is zero everywhere."""
    values = np.round(probability * 255).astype(np.uint8)
    if not values.any():
        return None
    row, column, last_row, last_column = box_of_mask(values > 0).astype(int).tolist()
    return CroppedMask(row, column, values[row:last_row, column:last_column].copy())
