"""Everything that knows nothing of the task, fused for every slice: motion between slices, and the foundation model.

Beside it stands how much the specialized teacher's voice counts there: sources are weighed by their agreement
(`inference.fusion`), measured when stage 2 begins and at every round of prompting.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uncol.core.progress import UNWATCHED, Monitor
from uncol.data.annotations import complete_slices
from uncol.data.cases import FramedCase, Pool, SliceIndex
from uncol.data.transforms import resize_image
from uncol.inference.calibration import LeftOutSlice
from uncol.inference.few_slices import foundation_opinion
from uncol.inference.fusion import average, shares, weigh
from uncol.inference.stretches import (
    STUDENT,
    FusedSlice,
    Opinion,
    fused_slices,
    left_out_slices,
    sources_of_stretches,
)
from uncol.inference.student import in_own_pixels
from uncol.registration.carried_labels import CarriedLabels
from uncol.training.generalized_teacher import GeneralizedTeacher, Probabilities

_STATE = ("probabilities", "share")
_LEAST_DICE_ON_OWN_SLICES = 0.7
_EQUAL_SHARE = 0.5
"""Part of the specialized teacher beside the foundation model alone, where nothing is annotated to weigh them by."""


class GeneralizedSources:
    """The generalized part of a training on annotated slices of some cases.

    Args:
        pool: The slices in the student's frame.
        framed: The same cases in their own pixels.
        carried: For each case its annotated slices, carried to the others; None for a case without any, or without
            others.
        others: For each case what is carried from annotated slices of other planes.
        foundation: The foundation model's part, or None.
    """

    def __init__(
        self,
        pool: Pool,
        framed: Sequence[FramedCase],
        carried: Sequence[CarriedLabels | None],
        others: Sequence[Sequence[Opinion]],
        foundation: GeneralizedTeacher | None,
    ) -> None:
        self._pool, self._framed, self._carried = pool, framed, carried
        self._others, self._foundation = others, foundation
        self._structure_count = len(pool.voxel_counts) - 1
        self._probabilities: list[Tensor] = []
        self._share: list[Tensor] = []

    @property
    def has_predictions(self) -> bool:
        """Whether sources have been fused, so that there is a prediction for every slice."""
        return bool(self._probabilities)

    def found_by(self, specialized: Probabilities) -> NDArray[np.bool_]:
        """Return which structures (N,) the specialized teacher finds on their own annotated slices: a Dice of 0.7.

        It has learned from them; what it does not even find there it has not learned yet, and it has no vote on it.
        """
        overlap, sizes = np.zeros(self._structure_count), np.zeros(self._structure_count)
        for case, framed in enumerate(self._framed):
            rows, columns = framed.images.shape[1:]
            for index in complete_slices(framed.native_labels):
                found = specialized([SliceIndex(case, index)])[0, :, :rows, :columns].argmax(0)
                for structure in range(self._structure_count):
                    own, truth = found == structure + 1, framed.labels[index] == structure + 1
                    overlap[structure] += 2 * int((own & truth).sum())
                    sizes[structure] += int(own.sum() + truth.sum())
        return np.asarray(overlap >= _LEAST_DICE_ON_OWN_SLICES * np.maximum(sizes, 1))

    def carries(self, case: int) -> bool:
        """Whether annotated slices of a case are carried to others."""
        return self._carried[case] is not None

    def breaks_of(self, case: int) -> list[int]:
        """Return where a case's stack of slices breaks off, as far as its labels were carried."""
        carried = self._carried[case]
        return [] if carried is None else carried.breaks

    def fused_slices(
        self, case: int, specialized: Probabilities, monitor: Monitor = UNWATCHED, *, asks: bool = True
    ) -> Iterator[FusedSlice]:
        """Yield each slice of a case that nobody annotated, and what all sources say together.

        Args:
            case: One whose annotated slices are carried.
            specialized: The specialized teacher's class probabilities of slices.
            monitor: Told about the progress, and asked at every slice.
            asks: Whether the foundation model is prompted now; else only what it said before counts, and nothing here
                changes.
        """
        carried = self._carried[case]
        if carried is not None:
            student = self._student_opinion(case, specialized, self.found_by(specialized))
            yield from fused_slices(carried, [*self._frozen_opinions(case, asks=asks), student], monitor)

    def left_out_slices(self, case: int, monitor: Monitor = UNWATCHED) -> Iterator[LeftOutSlice]:
        """Yield annotated slices of a case as the others predict them, without any student: it has seen them."""
        carried = self._carried[case]
        if carried is not None:
            yield from left_out_slices(carried, self._framed[case].native_labels, self._frozen_opinions(case), monitor)

    def annotated_in(self, case: int) -> list[int]:
        """Return the slices of a case that are completely annotated and carried; none where none is carried."""
        carried = self._carried[case]
        return [] if carried is None else list(carried.annotated)

    def distance(self, case: int, index: int) -> int:
        """Return how many slices away the nearest annotated one is, in a case that is carried."""
        carried = self._carried[case]
        assert carried is not None  # whoever asks has slices of it
        return carried.distance(index)

    def fuse(self, specialized: Probabilities, monitor: Monitor = UNWATCHED) -> None:
        """Fuse all sources but the specialized teacher, and note how much that one counts beside them.

        What was fused before stays until all cases are done.

        Args:
            specialized: The specialized teacher's class probabilities of slices.
            monitor: Told about the progress, and asked at every slice.
        """
        fused_cases: list[tuple[Tensor, Tensor]] = []
        has_vote = self.found_by(specialized)
        for case, carried in enumerate(self._carried):
            rows, columns = self._framed[case].images.shape[1:]
            count = len(self._framed[case].native_labels)
            probabilities = torch.zeros(count, self._structure_count, rows, columns, dtype=torch.uint8)
            share = torch.ones(count, self._structure_count)
            if carried is None:
                self._take_foundation(case, probabilities, share)
            else:
                student = self._student_opinion(case, specialized, has_vote)
                opinions = [*self._frozen_opinions(case), student]
                for stretch, sources in sources_of_stretches(carried, opinions, monitor):
                    weights = weigh(sources)
                    share[stretch.start : stretch.stop] = torch.from_numpy(shares(sources, weights)[-1])
                    fused = average(sources[:-1], weights[:-1])
                    for index, maps in zip(stretch, fused, strict=True):
                        resized = resize_image(carried.frame.to_native(maps)[None], rows, columns)[0].clamp(0, 1)
                        probabilities[index] = (resized * 255).round().to(torch.uint8)
            fused_cases.append((probabilities, share))
        self._probabilities, self._share = ([each[part] for each in fused_cases] for part in (0, 1))

    def predictions_for(self, addresses: Sequence[Any]) -> tuple[Tensor, Tensor]:
        """Return what the sources say about some slices, or all slices of some patches, one after the other.

        Returns:
            Every structure's probability (S, N, H, W), and the part (S, N) of the specialized teacher's voice beside
            it, in [0, 1].
        """
        cuts = self._pool.slices_of(addresses)
        rows, columns = self._pool.slice_size
        found = torch.zeros(len(cuts), self._structure_count, rows, columns)
        for row, cut in zip(found, cuts, strict=True):
            own = self._probabilities[cut.case][cut.index]
            row[:, : own.shape[1], : own.shape[2]] = own.float() / 255
        maps = torch.stack([row[:, cut.rows, cut.columns] for row, cut in zip(found, cuts, strict=True)])
        return maps, torch.stack([self._share[cut.case][cut.index] for cut in cuts])

    def state(self) -> dict[str, Tensor]:
        """Return what was fused, as tensors by name."""
        return {
            f"{number}.{name}": tensor
            for name, tensors in zip(_STATE, (self._probabilities, self._share), strict=True)
            for number, tensor in enumerate(tensors)
        }

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Take over what `state` returned; nothing if nothing had been fused.

        Raises:
            ValueError: If something is missing or of another shape.
        """
        if not tensors:
            return
        loaded: list[list[Tensor]] = [[], []]
        for number, case in enumerate(self._framed):
            count, (rows, columns) = len(case.native_labels), case.images.shape[1:]
            shapes = ((count, self._structure_count, rows, columns), (count, self._structure_count))
            for name, shape, kept in zip(_STATE, shapes, loaded, strict=True):
                tensor = tensors[f"{number}.{name}"]
                if tensor.shape != shape:
                    message = f"the sources' {name} of case {number + 1} has shape {tuple(tensor.shape)}, not {shape}"
                    raise ValueError(message)
                kept.append(tensor)
        self._probabilities, self._share = loaded

    def _take_foundation(self, case: int, probabilities: Tensor, share: Tensor) -> None:
        """Let the foundation model speak in a case of which nothing is annotated, where it has been prompted."""
        if self._foundation is None or not self._foundation.has_predictions:
            return
        for index in range(len(share)):
            found = self._foundation.predictions_for([SliceIndex(case, index)])
            rows, columns = probabilities.shape[2:]
            probabilities[index] = (found.probabilities[0, 1:, :rows, :columns] * 255).round().to(torch.uint8)
            share[index] = torch.where(found.prompted[0], _EQUAL_SHARE, 1.0)

    def _frozen_opinions(self, case: int, *, asks: bool = True) -> list[Opinion]:
        """Return what knows nothing of the task beside registration."""
        foundation = self._foundation
        if foundation is None:
            return list(self._others[case])
        prompted = foundation_opinion(foundation.cases[case], foundation.source_reliability, asks=asks)
        return [*self._others[case], prompted]

    def _student_opinion(self, case: int, specialized: Probabilities, has_vote: NDArray[np.bool_]) -> Opinion:
        rows, columns = self._framed[case].images.shape[1:]
        native = self._framed[case].native_labels.shape[1:]

        def of_slice(index: int) -> tuple[Tensor, NDArray[np.bool_]]:
            if not has_vote.any():
                return torch.zeros(len(has_vote), *native), has_vote
            learned = specialized([SliceIndex(case, index)])[0, :, :rows, :columns]
            return in_own_pixels(learned, *native)[1:], has_vote

        return Opinion(STUDENT, of_slice)
