"""What a proposal was worth in slices that were annotated after it: Dice, and whether its map found its errors.

Needs nothing but numpy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from uncol.core.error_detection import BAND_MM, error_detection_auroc, label_boundary, within_distance
from uncol.core.errors import ConfigError
from uncol.core.jobs import Structure
from uncol.core.volume import UNKNOWN_LABEL, Volume
from uncol.core.volume_files import VolumeFile

_DECIMALS = 4


@dataclass(frozen=True)
class SliceStack:
    """Slices that were annotated, beside what had been proposed there; K counts them, J and I are their pixels.

    Attributes:
        reference: Annotated labels, uint8; 255 is unknown.
        prediction: Proposed labels, uint8, with the values of the reference.
        uncertainty: The map that came with them; None for none.
    """

    reference: VolumeFile
    prediction: VolumeFile
    uncertainty: VolumeFile | None = None


@dataclass(frozen=True)
class ScoreJob:
    """Compare a proposal with slices that were annotated since; nothing is written.

    Attributes:
        out: A folder in the worker's job folder, from which all files must come.
        stacks: The slices, those of one plane together.
        structures: What their labels mean.
    """

    out: Path
    stacks: tuple[SliceStack, ...]
    structures: tuple[Structure, ...]

    def __post_init__(self) -> None:
        if not self.stacks:
            message = "There is nothing to score: give at least one stack of annotated slices."
            raise ConfigError(message)


@dataclass(frozen=True)
class ScoreResult:
    """What the proposal was worth in those slices, by the rules of this file.

    Attributes:
        dice: By the structures' names, in [0, 1].
        error_auroc: How well its uncertainty found its errors, in [0, 1]; None where that cannot be said.
    """

    dice: dict[str, float]
    error_auroc: float | None = None


class ComparedSlices(NamedTuple):
    """Slices of one plane on one grid, in which K counts the slices.

    Attributes:
        reference: Annotated labels, uint8; 255 is unknown.
        prediction: Proposed labels, with the values of the reference.
        uncertainty: The map that came with them; None for none.
    """

    reference: Volume
    prediction: Volume
    uncertainty: Volume | None


def score_round(stacks: Sequence[ComparedSlices], structures: Sequence[Structure]) -> ScoreResult:
    """Return Dice by structure, and how well the maps found the errors, over all voxels of some slices."""
    return ScoreResult(dice_by_structure(stacks, structures), error_auroc(stacks, structures))


def dice_by_structure(stacks: Sequence[ComparedSlices], structures: Sequence[Structure]) -> dict[str, float]:
    """Return the Dice of each structure over the voxels of some slices whose reference is known.

    Returns:
        Dice in [0, 1] by name; a structure that neither shows is left out.
    """
    truths = np.concatenate([each.reference.voxels.ravel() for each in stacks])
    guesses = np.concatenate([each.prediction.voxels.ravel() for each in stacks])
    known = truths != UNKNOWN_LABEL
    scores: dict[str, float] = {}
    for structure in structures:
        truth, guess = (labels[known] == structure.value for labels in (truths, guesses))
        total = np.count_nonzero(truth) + np.count_nonzero(guess)
        if total:
            scores[structure.name] = round(float(2 * np.count_nonzero(truth & guess) / total), _DECIMALS)
    return scores


def error_auroc(stacks: Sequence[ComparedSlices], structures: Sequence[Structure]) -> float | None:
    """Return the chance that a wrong voxel of some slices is more uncertain than a right one.

    Only voxels within 5 mm of a predicted or annotated contour of their slice count, as in `uncol evaluate`; those
    that were annotated as anything else than background and the structures do not.

    Returns:
        In [0, 1], 0.5 is chance; None without maps, or where there are no errors or nothing but errors.
    """
    values = [0, *(each.value for each in structures)]
    doubts, errors = [], []
    for stack in stacks:
        if stack.uncertainty is None:
            return None
        spacing = stack.reference.spacing_mm[1::-1]
        arrays = (each.voxels for each in (stack.reference, stack.prediction, stack.uncertainty))
        for truth, guess, doubt in zip(*arrays, strict=True):
            known = np.isin(truth, values)
            band = within_distance(label_boundary(truth, known) | label_boundary(guess), spacing, BAND_MM) & known
            doubts.append(doubt[band])
            errors.append((truth != guess)[band])
    auroc = error_detection_auroc(np.concatenate(doubts), np.concatenate(errors))
    return None if auroc is None else round(auroc, _DECIMALS)
