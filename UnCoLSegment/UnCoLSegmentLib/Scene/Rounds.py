"""Honest numbers: each newly annotated slice is scored against what stood there before, and decides what is better."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import numpy as np
from slicer.i18n import tr as _

from uncol.core.errors import ConfigError
from uncol.core.jobs import Structure
from uncol.core.records import from_document, to_document
from uncol.core.round_scores import ComparedSlices, dice_by_structure
from uncol.core.volume import ARRAY_AXIS, Axis, Volume


@dataclass(frozen=True)
class Round:
    """One fine-tune of a volume; the scene keeps it, so that the names of its fields stay.

    Attributes:
        annotated: All annotated slices, as "K:12".
        number: Counts the rounds of a volume from 1.
        volume: Node ID of the volume in scenes of version 0.1, which kept all rounds together; "" since then.
        hadProposal: Whether a proposal stood there before; the first release did not say.
        scored: The annotated slices that were new to its maker.
        dice: What it was worth there, by structure.
        errorAuroc: How well its uncertainty map found errors there; None where that cannot be said.
        against: The model that made it alone, "" where the foundation model had a say.
        model: The model that was trained.
        base: The one it started from, "" for none.
        heldOut: Its Dice by structure on slices held out of its first stage.
        activated: Whether it took the place of the one in use; None before the training has ended.
        segmentation: Which segmentation was annotated, as `RunScene` tells them apart.
        segments: IDs of its segments by the names that they had.
    """

    annotated: tuple[str, ...]
    number: int = 0
    volume: str = ""
    hadProposal: bool = False
    scored: tuple[str, ...] = ()
    dice: dict[str, float] = field(default_factory=dict)
    errorAuroc: float | None = None
    against: str = ""
    model: str = ""
    base: str = ""
    heldOut: dict[str, float] = field(default_factory=dict)
    activated: bool | None = None
    segmentation: str = ""
    segments: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Candidate:
    """A model to be judged.

    Attributes:
        name: Its name in the store.
        known: The structures that it knows.
        dice: Its Dice by structure on slices that it had not seen; empty if there were none.
    """

    name: str
    known: Sequence[str]
    dice: Mapping[str, float]

    def renamed(self, names: Mapping[str, str]) -> Candidate:
        """Return the same with other names of its structures; those without one keep theirs."""
        known = [names.get(each, each) for each in self.known]
        return replace(self, known=known, dice={names.get(name, name): score for name, score in self.dice.items()})


@dataclass(frozen=True)
class Verdict:
    """Whether a new model takes the place of the old one, and why, in a sentence."""

    isBetter: bool
    sentence: str


def readRounds(text: str) -> list[Round]:
    """Return the rounds that a parameter node holds; what is none of ours counts as no rounds."""
    rounds = []
    with suppress(ValueError, TypeError, RecursionError):
        for each in json.loads(text):
            with suppress(ConfigError):
                rounds.append(from_document(Round, each, "Round"))
    return rounds


def writeRounds(rounds: Sequence[Round]) -> str:
    """Return the text that `readRounds` reads."""
    return json.dumps(to_document(list(rounds)))


def ofVolume(rounds: Iterable[Round], volumeId: str) -> list[Round]:
    """Return the rounds about one volume."""
    return [each for each in rounds if each.volume == volumeId]


def newSlices(annotated: Sequence[str], known: Iterable[str], earlier: Iterable[Round]) -> tuple[str, ...]:
    """Return the annotated slices that neither the proposal's maker nor an earlier round has seen."""
    seen = {*known, *(key for each in earlier for key in each.annotated)}
    return tuple(key for key in annotated if key not in seen)


def knownTo(model: str, rounds: Iterable[Round]) -> list[str]:
    """Return the slices of this volume from which a model has learned, itself or as another one's base."""
    known: dict[str, None] = {}
    for each in reversed(list(rounds)):
        if each.model == model:
            known |= dict.fromkeys(each.annotated)
            model = each.base or model
    return list(known)


def renamed(rounds: Iterable[Round], old: str, new: str) -> list[Round]:
    """Return rounds in which a model has another name: what it has seen stays known."""
    roles = ("model", "base", "against")
    return [replace(each, **{role: new for role in roles if getattr(each, role) == old}) for each in rounds]


def namesSince(old: Round | None, new: Round | None) -> dict[str, str]:
    """Return what the segments of one round are called in a later one, by what they were called then."""
    if old is None or new is None or old.segmentation != new.segmentation:
        return {}
    now = {segmentId: name for name, segmentId in new.segments.items()}
    return {name: now[segmentId] for name, segmentId in old.segments.items() if segmentId in now}


def baseFor(model: str, rounds: Sequence[Round], inScene: Sequence[Round] = ()) -> str:
    """Return the model from which a fine-tune starts, or "" for none.

    One that has learned from these volumes, or whose base has, is trained anew from where that started: the weights
    have seen the slices that are to be held out, so that a score on them would not be honest.

    Args:
        model: The model that the user chose; "" for none.
        rounds: Those of the volumes from which is learned.
        inScene: Those of all volumes, which tell from what a model was made.
    """
    bases = {each.model: each.base for each in (*inScene, *rounds)}
    haveLearned, base = {each.model for each in rounds}, model
    while model in bases:
        before = bases.pop(model)  # a model's name can be given anew: never ask twice
        base = before if model in haveLearned else base
        model = before
    return base


def askedOf(structures: Sequence[Structure], predicted: Sequence[Structure]) -> tuple[Structure, ...]:
    """Return the annotated structures that a proposal was to find, by their names; the others say nothing of it."""
    names = {each.name for each in predicted}
    return tuple(each for each in structures if each.name in names)


def stacksOf(
    slices: Sequence[str],
    reference: Volume,
    structures: Sequence[Structure],
    prediction: Volume,
    predicted: Sequence[Structure],
    uncertainty: Volume | None,
) -> list[ComparedSlices]:
    """Cut the slices to compare out of whole volumes, those along one axis together.

    Args:
        slices: Which slices, as "K:12".
        reference: Annotated labels (K, J, I); 255 is unknown.
        structures: Its structures.
        prediction: What stood there before (K, J, I).
        predicted: Its structures; one that the annotation lacks counts as background.
        uncertainty: The map that came with it (K, J, I); None for none.
    """
    values = {each.name: each.value for each in structures}
    inReference = np.zeros(256, dtype=np.uint8)
    for structure in predicted:
        inReference[structure.value] = values.get(structure.name, 0)
    stacks = []
    for axis in ARRAY_AXIS:
        indices = [int(key[2:]) for key in slices if key.startswith(axis)]
        if indices:
            guess = _cut(prediction, axis, indices)
            stacks.append(
                ComparedSlices(
                    _cut(reference, axis, indices),
                    guess.with_voxels(inReference[guess.voxels]),
                    uncertainty and _cut(uncertainty, axis, indices),
                )
            )
    return stacks


def agreement(
    slices: Sequence[str],
    reference: Volume,
    structures: Sequence[Structure],
    prediction: Volume,
    predicted: Sequence[Structure],
) -> float:
    """Return the Dice of labels over annotated slices, mean over the annotated structures; see `stacksOf`."""
    dice = dice_by_structure(stacksOf(slices, reference, structures, prediction, predicted, None), structures)
    return sum(dice.values()) / len(dice) if dice else 0.0


def _cut(volume: Volume, axis: Axis, indices: Sequence[int]) -> Volume:
    """Return some slices as a volume of their own, in which K counts them and J and I are their pixels."""
    rows_mm, columns_mm = np.delete(volume.spacing_mm[::-1], ARRAY_AXIS[axis])
    voxels = np.moveaxis(volume.voxels, ARRAY_AXIS[axis], 0)[list(indices)]
    return Volume(voxels, np.diag([columns_mm, rows_mm, 1.0, 1.0]))


def judge(new: Candidate, old: Candidate) -> Verdict:
    """Compare a new model with the active one, by their mean Dice over the structures that both were scored on.

    One that knows a structure more is used, whatever its score: nothing else could find that structure. The sentence
    names what either lacks.
    """
    gained = [name for name in new.known if name not in old.known] if old.known else []
    lost = [name for name in old.known if name not in new.known]
    verdict = _judgeScores(new.dice, old.dice, isNeeded=bool(gained))
    sentences = [verdict.sentence]
    if gained:
        sentences.append(_("It also knows: {names}.").format(names=", ".join(gained)))
    if lost and verdict.isBetter:
        text = _('It does not know: {names}. To segment that, choose the model "{model}".')
        sentences.append(text.format(names=", ".join(lost), model=old.name))
    elif lost:
        sentences.append(_("The new one would not have known: {names}.").format(names=", ".join(lost)))
    return Verdict(verdict.isBetter, " ".join(sentences))


def _judgeScores(new: Mapping[str, float], old: Mapping[str, float], *, isNeeded: bool) -> Verdict:
    """Compare two models by their scores; one that is needed is used in any case."""
    if not new:
        return Verdict(True, _("There were too few annotated slices for a comparison, so the new model is used."))
    if not old:
        return Verdict(True, _("The model in use has no score of its own to compare with, so the new model is used."))
    common = [name for name in new if name in old]
    if not common:
        sentence = _(
            "The model in use was scored on other structures ({names}), so the two cannot be compared; the new model "
            "is used. Models > Roll back returns to the old one."
        )
        return Verdict(True, sentence.format(names=", ".join(old)))
    before, after = (float(np.mean([scores[name] for name in common])) for scores in (old, new))
    if after > before:
        sentence = _("Better than before: Dice {after:.2f} on held-out slices, before {before:.2f}.")
    elif isNeeded:
        sentence = _(
            "Not better than before (Dice of {names} {after:.2f}, before {before:.2f}), but the new model is used for "
            "what only it knows. Models > Roll back returns to the old one."
        )
    else:
        sentence = _("Not better than before - kept the old model (Dice {after:.2f}, before {before:.2f}).")
    text = sentence.format(after=after, before=before, names=", ".join(common))
    return Verdict(after > before or isNeeded, text)
