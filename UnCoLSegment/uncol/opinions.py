"""What the generalized teacher says about every unannotated slice, asked anew in a few rounds.

Where its boxes come from: from the contours interpolated between annotated slices, or from the
specialized teacher's own mask where that one is surer of itself than interpolation deserves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import label as connected_components
from torch import Tensor

from uncol.datasets import SliceAddress, SlicePool, SliceStack
from uncol.interpolation import ShapeInterpolation, complete_slices
from uncol.metrics import dice
from uncol.prompts import box_of_mask, grow_box, scale_box
from uncol.segmentation import with_background
from uncol.teachers.embeddings import PromptableStack
from uncol.transforms import resize_image
from uncol.uncertainty import normalized_entropy

_LEAST_MASK_PIXELS = 8
"""A mask smaller than this prompts nothing (method, section 10)."""
_LEAST_RELIABILITY = 0.5
_INSIDE = 0.5
"""Probability from which a pixel belongs to the structure."""

Probabilities = Callable[[Sequence[SliceAddress]], Tensor]
"""The specialized teacher: class probabilities (B, C, H, W) of slices in the student's frame."""


@dataclass(frozen=True)
class Prompts:
    """One box per slice and structure, for one case.

    Attributes:
        boxes: (S, C - 1, 4) = (row0, column0, row1, column1) in the teacher's frame; NaN where
            nothing is asked.
    """

    boxes: NDArray[np.float32]

    @property
    def asked(self) -> NDArray[np.bool_]:
        """Where there is a box (S, C - 1)."""
        return ~np.isnan(self.boxes[..., 0])


@dataclass(frozen=True)
class CaseOpinion:
    """The generalized teacher's answers for one case.

    Attributes:
        probabilities: (S, C - 1, H, W), uint8, 0 ... 255, in the student's frame.
        asked: Where the teacher was asked (S, C - 1), bool.
    """

    probabilities: Tensor
    asked: Tensor


class GeneralizedOpinions:
    """The frozen foundation teacher's part in the training of one student.

    Args:
        pool: The slices in the student's frame.
        stacks: The same cases with their annotated contours.
        prompted: For every case its slices as the foundation teacher sees them.
        margin_pixels: How far a box reaches beyond its mask, in the teacher's frame.
    """

    def __init__(
        self,
        pool: SlicePool,
        stacks: Sequence[SliceStack],
        prompted: Sequence[PromptableStack],
        margin_pixels: float,
    ) -> None:
        self._pool = pool
        self._stacks = stacks
        self._prompted = prompted
        self._margin = margin_pixels
        self._structure_count = pool.class_count - 1
        self._shapes = [_shapes_of(each, self._structure_count) for each in stacks]
        self.interpolation_dice = self._score_interpolation()
        self.reliability = torch.ones(pool.class_count)
        self.prompts: list[Prompts] = []
        self._cases: list[CaseOpinion] = []

    def measure_reliability(self, before_slice: Callable[[], None]) -> None:
        """Score the teacher on annotated slices; the mean Dice of a class becomes its `reliability`.

        Held-out slices are asked about as if nobody had annotated them, with the box of the contour interpolated from
        the others. Where none holds a class, its annotated slices are asked about with the box of their own contour.
        Below 0.5 a class gets no vote at all: boxes do not fit rings and thin vessels.
        """
        with_own_box: list[list[float]] = [[] for _ in range(self._structure_count)]
        held_out: list[list[float]] = [[] for _ in range(self._structure_count)]
        for case, stack in enumerate(self._stacks):
            for index in complete_slices(stack.native_labels):
                is_held_out = SliceAddress(case, index) in self._pool.held_out
                scores_here = self._try(case, index, before_slice, interpolated=is_held_out)
                for structure, score in scores_here.items():
                    (held_out if is_held_out else with_own_box)[structure].append(score)
        scores = [held or own or [1.0] for held, own in zip(held_out, with_own_box, strict=True)]
        means = torch.tensor([float(np.mean(each)) for each in scores])
        self.reliability[1:] = torch.where(means < _LEAST_RELIABILITY, 0.0, means)

    def _try(self, case: int, index: int, before_slice: Callable[[], None], *, interpolated: bool) -> dict[int, float]:
        """Return the teacher's Dice for each structure in an annotated slice; without one it is not asked."""
        boxes, truths = {}, {}
        for structure, shape in enumerate(self._shapes[case]):
            truth = self._stacks[case].native_labels[index] == structure + 1
            mask = shape.without(index).mask(index) if interpolated else truth
            if truth.sum() >= _LEAST_MASK_PIXELS and mask is not None and mask.any():
                boxes[structure], truths[structure] = self._box(mask, self._prompted[case]), truth
        if not boxes:
            return {}
        before_slice()
        decoded = self._prompted[case].decode(index, np.stack(list(boxes.values()))).probabilities
        rows, columns = self._stacks[case].native_labels.shape[1:]
        answers = resize_image(decoded[None], rows, columns)[0].numpy()
        return {
            structure: dice(answer > _INSIDE, truths[structure])
            for structure, answer in zip(boxes, answers, strict=True)
        }

    def prompt(
        self,
        specialized: Probabilities | None,
        before_slice: Callable[[], None],
        specialized_reliability: Tensor | None = None,
    ) -> None:
        """Choose a box for every unannotated slice and structure, and ask the teacher.

        Args:
            specialized: The specialized teacher; None prompts from interpolated contours only.
            before_slice: Called before every slice, to tell progress and to stop.
            specialized_reliability: How much of its certainty it deserves (C,); None takes all of it.
        """
        deserves = torch.ones(self._structure_count + 1) if specialized_reliability is None else specialized_reliability
        self.prompts = [Prompts(np.full((len(s.images), self._structure_count, 4), np.nan, "f4")) for s in self._stacks]
        for address in self._pool.unlabeled:
            before_slice()
            self.prompts[address.case].boxes[address.index] = self._boxes_for(address, specialized, deserves)
        self.ask(self.prompts, before_slice)

    def ask(self, prompts: Sequence[Prompts], before_slice: Callable[[], None]) -> None:
        """Ask the teacher with given boxes, as `prompt` chose them or a checkpoint kept them."""
        self.prompts = list(prompts)
        self._cases = [
            self._answer(case, prompted, each, before_slice)
            for case, (prompted, each) in enumerate(zip(self._prompted, prompts, strict=True))
        ]

    def about(self, addresses: Sequence[SliceAddress]) -> tuple[Tensor, Tensor]:
        """Return class probabilities (B, C, H, W) and which structures were asked about (B, C - 1)."""
        foreground = torch.stack([self._cases[each.case].probabilities[each.index] for each in addresses])
        asked = torch.stack([self._cases[each.case].asked[each.index] for each in addresses])
        return with_background(foreground.movedim(1, 0).float() / 255).movedim(0, 1), asked

    def _boxes_for(
        self, address: SliceAddress, specialized: Probabilities | None, deserves: Tensor
    ) -> NDArray[np.float32]:
        prompted = self._prompted[address.case]
        boxes = np.full((self._structure_count, 4), np.nan, dtype=np.float32)
        learned = specialized([address])[0] if specialized else None
        for structure in range(self._structure_count):
            if self.reliability[structure + 1] == 0:
                continue
            mask = self._shapes[address.case][structure].mask(address.index)
            if learned is not None:
                own, certainty = self._mask_of(learned, structure, address.case)
                surer = certainty * float(deserves[structure + 1]) > self.interpolation_dice[structure]
                mask = own if own.any() and (mask is None or surer) else mask
            if mask is not None and mask.sum() >= _LEAST_MASK_PIXELS:
                boxes[structure] = self._box(mask, prompted)
        return boxes

    def _mask_of(self, learned: Tensor, structure: int, case: int) -> tuple[NDArray[np.bool_], float]:
        """Return the specialized teacher's largest piece of a structure (H, W) and how certain it is there, in [0, 1].

        A piece that is too small to prompt anything is none at all.
        """
        rows, columns = self._stacks[case].images.shape[1:]
        own = largest_component((learned.argmax(0) == structure + 1).numpy())[:rows, :columns]
        if own.sum() < _LEAST_MASK_PIXELS:
            return np.zeros_like(own), 0.0
        certainty = 1 - normalized_entropy(learned[None])[0].numpy()[:rows, :columns]
        return own, float(certainty[own].mean())

    def _answer(
        self, case: int, prompted: PromptableStack, prompts: Prompts, before_slice: Callable[[], None]
    ) -> CaseOpinion:
        count, (rows, columns) = len(prompted), self._stacks[case].images.shape[1:]
        shape = (count, self._structure_count, *self._pool.images[case].shape[1:])
        probabilities, asked = torch.zeros(shape, dtype=torch.uint8), torch.from_numpy(prompts.asked)
        for index in np.flatnonzero(prompts.asked.any(1)).tolist():
            before_slice()
            decoded = prompted.decode(index, prompts.boxes[index][prompts.asked[index]])
            answers = resize_image(decoded.probabilities[None], rows, columns)[0].clamp(0, 1)
            probabilities[index, asked[index], :rows, :columns] = (answers * 255).round().to(torch.uint8)
        return CaseOpinion(probabilities, asked)

    def _box(self, mask: NDArray[np.bool_], prompted: PromptableStack) -> NDArray[np.float32]:
        frame = prompted.frame
        box = scale_box(box_of_mask(mask), frame.rows / mask.shape[0], frame.columns / mask.shape[1])
        return grow_box(box, self._margin, np.array([0, 0, frame.rows, frame.columns], dtype=np.float32))

    def _score_interpolation(self) -> list[float]:
        scores: list[list[float]] = [[] for _ in range(self._structure_count)]
        for structure, shape, index in self._shapes_with_neighbors():
            guess, truth = shape.without(index).mask(index), shape.mask(index)
            if truth is not None:
                scores[structure].append(dice(guess, truth) if guess is not None else 0.0)
        return [float(np.mean(each)) if each else 1.0 for each in scores]

    def _shapes_with_neighbors(self) -> Iterator[tuple[int, ShapeInterpolation, int]]:
        for shapes in self._shapes:
            for structure, shape in enumerate(shapes):
                for index in shape.annotated_slices[1:-1]:
                    yield structure, shape, index


def largest_component(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the largest connected part of a mask (H, W)."""
    parts, count = connected_components(mask)
    if count <= 1:
        return mask
    return parts == np.bincount(parts.ravel())[1:].argmax() + 1


def _shapes_of(stack: SliceStack, structure_count: int) -> list[ShapeInterpolation]:
    annotated = complete_slices(stack.native_labels)
    spacing = stack.view.spacing_mm[1:]
    return [
        ShapeInterpolation.of_structure(stack.native_labels, annotated, structure + 1, spacing)
        for structure in range(structure_count)
    ]
