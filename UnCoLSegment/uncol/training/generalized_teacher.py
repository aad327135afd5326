"""The generalized teacher: what the foundation model predicts for every unannotated slice, in the student's frame.

Annotated slices are propagated once, before anything is learned (`label_propagation`). When stage 2 begins, it is
prompted between them, too: with the box of the contour interpolated there, or of the specialized teacher's own mask
where that one is more certain than interpolation is reliable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uncol.core.progress import Phase
from uncol.data.cases import FramedCase, Pool, SliceIndex
from uncol.data.connected_components import largest_component
from uncol.data.transforms import resize_image
from uncol.foundation.boxes import can_prompt
from uncol.foundation.label_propagation import PropagatedLabels
from uncol.foundation.prompting import SlicePredictor
from uncol.foundation.prompting_time import PromptingTime
from uncol.foundation.source_reliability import Source, SourceReliability, ValidationScores
from uncol.inference.result import with_background
from uncol.inference.uncertainty import normalized_entropy

_LEAST_RELIABILITY = 0.5
"""Dice below which a prediction does not count: boxes do not fit rings and thin vessels."""

_FUSING = 2
"""How often interpolated contours prompt in a round: once in the round, once while its sources are fused."""
_MOST_SCORED = 60
"""Annotated slices on which answers to the specialized teacher's masks are scored."""

Probabilities = Callable[[Sequence[SliceIndex]], Tensor]
"""The specialized teacher: class probabilities (B, C, H, W) of slices in the student's frame."""


@dataclass(frozen=True)
class TeacherPrediction:
    """What the generalized teacher predicts for some slices.

    Attributes:
        probabilities: Class probabilities (B, C, H, W), background first.
        prompted: For which structures there is a prediction (B, C - 1), bool.
        reliability: Dice of each class (B, C), by which its certainty is discounted, in [0, 1]; background 1.
    """

    probabilities: Tensor
    prompted: Tensor
    reliability: Tensor


class GeneralizedTeacher:
    """The frozen foundation teacher's part in the training of one student.

    Args:
        pool: The slices in the student's frame.
        framed: The same cases with their annotated contours.
        prompted: For every case its slices as the foundation teacher sees them.
        margin_pixels: How far a box reaches beyond its mask, in a frame of 256 pixels.
        most_slices: For how many unannotated slices it is prompted, drawn at random; None prompts for all.
        every_vote: Let every prediction count, however low its Dice.
        whole_slices: Prompt for a structure that no mask shows with a box round the whole slice.
        least_dice: Mean Dice in the boxes of annotated contours below which a structure is not propagated.
    """

    def __init__(
        self,
        pool: Pool,
        framed: Sequence[FramedCase],
        prompted: Sequence[SlicePredictor],
        margin_pixels: float,
        *,
        most_slices: int | None = None,
        every_vote: bool = False,
        whole_slices: bool = False,
        least_dice: float = 0.0,
    ) -> None:
        self._pool, self._stacks = pool, framed
        self.structure_count = len(pool.voxel_counts) - 1
        """Structures, N: all classes but the background."""
        self._least_reliability = 1e-6 if every_vote else _LEAST_RELIABILITY
        self._whole_slices, self._least_dice = whole_slices, least_dice
        self.time_left = PromptingTime(prompted)
        """How long it still takes to prompt for what is expected."""
        self.slices = _some_of(pool.unlabeled_slices, most_slices)
        self.cases = [
            PropagatedLabels(slices, each.native_labels, each.view.spacing_mm, self.structure_count, margin_pixels)
            for slices, each in zip(prompted, framed, strict=True)
        ]
        self.source_reliability = ValidationScores().reliability(self.structure_count)
        self._probabilities: list[Tensor] = []
        self._reliability: list[Tensor] = []

    def propagate_and_validate(self, phase: Phase) -> None:
        """Propagate annotated slices, and score every source of labels on annotated slices."""
        scores = [case.propagate_and_validate(phase, self._least_dice) for case in self.cases]
        self.source_reliability = ValidationScores.pooled(scores).reliability(self.structure_count)

    @property
    def reliability(self) -> Tensor:
        """Dice (C,) that the best source reaches on annotated slices as if nobody had annotated them; background 1.

        Between cases that are annotated as a whole or not at all, boxes are the only source.
        """
        far = self.source_reliability.far
        reached = far[:, Source.PROMPTED].copy() if self._cases_are_whole else far.max(1)
        return torch.cat([torch.ones(1), torch.from_numpy(reached)])

    @property
    def steps_to_propagate(self) -> int:
        """About how many steps it takes to follow every structure from annotated slice to annotated slice."""
        return sum(len(each.expected_looks) for each in self.cases)

    def expect_propagation(self) -> None:
        """Let `time_left` tell the seconds until annotated slices are propagated and a round is over."""
        looks = sum(len({*each.expected_looks} - each.predictor.first_looks_s.keys()) for each in self.cases)
        self.time_left.expect(looks + self.unseen_slices, self.steps_to_propagate + _FUSING * self.prompts_per_round)

    def expect_fusing(self) -> None:
        """Let `time_left` tell the seconds until what it says is fused with other sources."""
        new = sum(each.index not in self.cases[each.case].predictor.first_looks_s for each in self.slices)
        self.time_left.expect(new, self.prompts_per_round)

    def expect_round(self) -> None:
        """Let `time_left` tell the seconds until a round is over."""
        self.time_left.expect(self.unseen_slices, _FUSING * self.prompts_per_round)

    @property
    def prompts_per_round(self) -> int:
        """How many prompts to expect in a round: for all structures wherever one may be.

        That is where an interpolated contour waits, and every slice of a case without annotated slices.
        """
        structures = range(self.structure_count)
        waiting = sum(
            any(self.cases[each.case].contour(each.index, structure) is not None for structure in structures)
            for each in self.slices
        )
        return self.structure_count * (waiting + self.unseen_slices)

    @property
    def unseen_slices(self) -> int:
        """How many slices are prompted for in cases without annotated slices: nothing was propagated through them."""
        return sum(not self.cases[each.case].annotated for each in self.slices)

    def score_prompts(self, specialized: Probabilities, slices: Sequence[SliceIndex], phase: Phase) -> None:
        """Score the predictions from the specialized teacher's masks in slices that it did not learn from.

        That is its reliability in cases without any annotation. Where every case has annotated slices, interpolated
        contours tell it, and nothing is prompted here.
        """
        if not self._cases_are_whole:
            return
        scores: list[list[float]] = [[] for _ in range(self.structure_count)]
        for address in slices[:: -(-len(slices) // _MOST_SCORED) or 1]:
            phase.step()
            if phase.time_is_up:
                break
            learned = specialized([address])[0]
            for structure, found in enumerate(scores):
                own, _ = self._mask_of(learned, structure, address.case)
                if own.any():
                    found.append(self.cases[address.case].score_mask(address.index, structure, own))
        for structure, found in enumerate(scores):
            if found:
                self.source_reliability.far[structure, Source.PROMPTED] = np.mean(found)

    @property
    def _cases_are_whole(self) -> bool:
        return all(each.is_whole or not each.annotated for each in self.cases)

    def prompt(
        self, specialized: Probabilities | None, phase: Phase, specialized_reliability: Tensor | None = None
    ) -> None:
        """Prompt for every unannotated slice between annotated ones, then fuse the candidates.

        Args:
            specialized: The specialized teacher; None prompts from interpolated contours only.
            phase: Told before every slice; ends early when its time is up.
            specialized_reliability: Dice (C,) by which its certainty is discounted; None leaves it.
        """
        if specialized_reliability is None:
            specialized_reliability = torch.ones(self.structure_count + 1)
        for address in self.slices:
            phase.step()
            if phase.time_is_up:
                break
            self._prompt_for(address, specialized, specialized_reliability)
        self.fuse_candidates()

    def fuse_candidates(self) -> None:
        """Fuse the labels that each source proposes for every slice to probabilities in the student's frame."""
        self._probabilities, self._reliability = [], []
        for case, stack in zip(self.cases, self._stacks, strict=True):
            rows, columns = stack.images.shape[1:]
            shape = (len(stack.native_labels), self.structure_count, *self._pool.slice_size)
            probabilities, reliability = torch.zeros(shape, dtype=torch.uint8), torch.zeros(shape[:2])
            for index in range(len(stack.native_labels)):
                fused, reliability[index] = case.fuse(index, self.source_reliability)
                if reliability[index].any():
                    resized = resize_image(fused[None], rows, columns)[0].clamp(0, 1)
                    probabilities[index, :, :rows, :columns] = (resized * 255).round().to(torch.uint8)
            self._probabilities.append(probabilities)
            self._reliability.append(reliability)

    @property
    def has_predictions(self) -> bool:
        """Whether candidates have been fused, so that there is a prediction for every slice."""
        return bool(self._probabilities)

    def predictions_for(self, addresses: Sequence[Any]) -> TeacherPrediction:
        """Return the predictions for some slices, or for all slices of some patches, one after the other.

        Below a Dice of 0.5 a structure has none.
        """
        cuts = self._pool.slices_of(addresses)
        foreground = torch.stack([self._probabilities[it.case][it.index][:, it.rows, it.columns] for it in cuts])
        reliability = torch.stack([self._reliability[it.case][it.index] for it in cuts])
        prompted = reliability >= self._least_reliability
        believed = foreground.float() / 255 * prompted[:, :, None, None]
        return TeacherPrediction(
            with_background(believed.movedim(1, 0)).movedim(0, 1),
            prompted,
            torch.cat([torch.ones(len(cuts), 1), reliability * prompted], 1),
        )

    def gaps_to(self, addresses: Sequence[Any]) -> Tensor:
        """Return how far the nearest annotated slice is (S,), as a part of the gap between two of them, at most 1.

        A case without annotated slices has no gaps: 0 (docs/decisions/0015).
        """
        cuts = self._pool.slices_of(addresses)
        cases = [self.cases[it.case] for it in cuts]
        return torch.tensor(
            [case.gaps_to(it.index) if case.annotated else 0.0 for case, it in zip(cases, cuts, strict=True)]
        )

    def state(self) -> dict[str, Tensor]:
        """Return all that was propagated and prompted, and the sources' reliability, as tensors by name."""
        tensors = {
            "near": torch.from_numpy(self.source_reliability.near),
            "far": torch.from_numpy(self.source_reliability.far),
        }
        for number, case in enumerate(self.cases):
            tensors |= {f"{number}.{name}": torch.from_numpy(array) for name, array in case.state().items()}
        return tensors

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Take over what `state` returned.

        Raises:
            ValueError: If reliabilities are of another shape, or not in [0, 1].
        """
        for name, own in (("near", self.source_reliability.near), ("far", self.source_reliability.far)):
            if tensors[name].shape != own.shape or not bool(((tensors[name] >= 0) & (tensors[name] <= 1)).all()):
                message = f"the reliability {name} is not one of shape {own.shape} in [0, 1]"
                raise ValueError(message)
        self.source_reliability = SourceReliability(tensors["near"].numpy(), tensors["far"].numpy())
        for number, case in enumerate(self.cases):
            case.load_state({name: tensors[f"{number}.{name}"].numpy() for name in case.state()})

    def _prompt_for(
        self, address: SliceIndex, specialized: Probabilities | None, specialized_reliability: Tensor
    ) -> None:
        case = self.cases[address.case]
        learned = specialized([address])[0] if specialized else None
        for structure in np.flatnonzero(case.is_propagated).tolist():
            mask = case.contour(address.index, structure)
            if learned is not None:
                own, certainty = self._mask_of(learned, structure, address.case)
                interpolation_dice = float(self.source_reliability.far[structure, Source.INTERPOLATED])
                surer = certainty * float(specialized_reliability[structure + 1]) > interpolation_dice
                mask = own if own.any() and (mask is None or surer) else mask
            if mask is None and self._whole_slices:
                mask = np.ones(self._stacks[address.case].native_labels.shape[1:], dtype=np.bool_)
            if mask is not None:
                case.prompt_with_mask(address.index, structure, mask)

    def _mask_of(self, learned: Tensor, structure: int, case: int) -> tuple[NDArray[np.bool_], float]:
        """Return the specialized teacher's largest piece of a structure (H, W) and how certain it is there, in [0, 1].

        A piece that is too small to prompt anything is none at all.
        """
        rows, columns = self._stacks[case].images.shape[1:]
        own = largest_component((learned.argmax(0) == structure + 1).numpy())[:rows, :columns]
        if not can_prompt(own):
            return np.zeros_like(own), 0.0
        certainty = 1 - normalized_entropy(learned[None])[0].numpy()[:rows, :columns]
        return own, float(certainty[own].mean())


def _some_of(slices: Sequence[SliceIndex], most: int | None) -> list[SliceIndex]:
    """Draw slices, the same ones in every run: their embeddings are then found in the cache."""
    if most is None or len(slices) <= most:
        return list(slices)
    chosen = torch.randperm(len(slices), generator=torch.Generator().manual_seed(0))[:most]
    return [slices[index] for index in sorted(chosen.tolist())]
