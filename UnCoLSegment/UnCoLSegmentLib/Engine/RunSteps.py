"""What a run does, step by step: segment a volume, or learn from annotated slices and show what that proposes.

All that touches the scene happens between the yields, on the main thread; files are written and read in threads.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
from slicer.i18n import tr as _

from uncol.core.errors import CheckpointError
from uncol.core.jobs import Structure
from uncol.core.model_store import Store
from uncol.core.volume import UNKNOWN_LABEL, Volume
from uncol.core.volume_files import read_nrrd, write_nrrd
from UnCoLSegmentLib.Engine.Run import Asked, Breath, Greeting, InThread, RunResult, Steps, Waiting, inThread
from UnCoLSegmentLib.Engine.Signal import Signal
from UnCoLSegmentLib.Scene import Grids, Rounds
from UnCoLSegmentLib.Scene.RunScene import Inputs, RunScene, Shown

IMAGE_FILE, LABELS_FILE = "image.nrrd", "labels.nrrd"


@dataclass(frozen=True)
class Training:
    """How to learn: into which model, for how long, and whether to go on where an earlier run stopped.

    Attributes:
        name: Name of the model to make.
        base: Name of the model to start from; "" for none.
        budget: `{"minutes": M}` or `{"steps": N}`.
        resume: Whether to go on with an unfinished run.
        previewEvery_s: Time between two previews, in s; None for none.
    """

    name: str
    base: str
    budget: dict[str, float]
    resume: bool = False
    previewEvery_s: float | None = None


class RunSteps:
    """The steps of the runs of one panel.

    Args:
        scene: The scene's side of this run.
        store: The user's models.
        roundScored: Told each round once its new slices are scored.
        modelsChanged: Told when a model was made or activated.
        resultShown: Told each result, a `Shown`, when it is in the scene.
    """

    def __init__(
        self, scene: RunScene, store: Store, roundScored: Signal, modelsChanged: Signal, resultShown: Signal
    ) -> None:
        self._scene, self._store, self._resultShown = scene, store, resultShown
        self._roundScored, self._modelsChanged = roundScored, modelsChanged
        self.folder: Path | None = None
        """Where the files of this run are, while it lasts."""

    def segment(self, inputs: Inputs) -> Steps:
        """Segment one volume and show proposal and uncertainty."""
        began = time.monotonic()
        folder = yield from self._openFolder()
        structures = yield InThread(partial(_writeInputs, folder, inputs))
        report, shown = yield from self._segment(inputs, folder, structures)
        return RunResult(
            kind="segment",
            message=_foundText(report, inputs),
            notes=(*inputs.notes, *_notesIn(report)),
            seconds=time.monotonic() - began,
            modelName=shown.model,
            document=report,
        )

    def fineTune(self, inputs: Inputs, training: Training) -> Steps:
        """Score the new slices, learn from all annotated ones, keep what is better, and show what that proposes."""
        began = time.monotonic()
        folder = yield from self._openFolder()
        if not training.resume:
            yield from self._score(inputs, training)
        structures = yield InThread(partial(_writeInputs, folder, inputs))
        summary = yield Asked("fine_tune", self._fineTuneFields(inputs, training, folder, structures))
        verdict = self._decide(training)
        report = summary["report"]
        if verdict.isBetter or report.get("by_both_teachers"):  # the latter knows all annotated slices
            yield from self._show(summary, replace(inputs, model=training.name), folder, inputs.annotated)
        else:
            segmenting = replace(inputs, boxes=(), labels=None, model=str(self._store.active))
            report, _shown = yield from self._segment(segmenting, folder, ())
        return RunResult(
            kind="fineTune",
            message=_verdictText(verdict, report),
            notes=(*inputs.notes, *_notesIn(self._training(training.name)), *_notesIn(report)),
            seconds=time.monotonic() - began,
            modelName=training.name,
            activated=verdict.isBetter,
            document={**summary, "report": report},
        )

    def closeFolder(self) -> None:
        """Remove the run's files, in a thread, once it is over: one that is still being written goes on the second try.

        This is not done by the steps themselves: Python ends forgotten steps while it quits, when no thread can start.
        """
        folder, self.folder = self.folder, None
        if folder is not None:
            inThread(partial(_removeFolder, folder))

    def _openFolder(self) -> Generator[Greeting, Any, Path]:
        greeting = yield Greeting()
        self.folder = Path(greeting["job_folder"]) / f"run-{uuid4().hex[:12]}"
        return self.folder

    def _segment(
        self, inputs: Inputs, folder: Path, structures: tuple[Structure, ...]
    ) -> Generator[Waiting, Any, tuple[dict[str, Any], Shown]]:
        fields = self._segmentFields(inputs, folder, structures)
        event = yield Asked("segment", fields)
        known = inputs.annotated if inputs.labels is not None else self._scene.knownTo(inputs.model)
        shown = yield from self._show(event, inputs, folder, known)
        return event["report"], shown

    def _show(
        self, event: dict[str, Any], inputs: Inputs, folder: Path, known: tuple[str, ...]
    ) -> Generator[Waiting, Any, Shown]:
        """Put a result of the engine into the scene; `known` are the annotated slices that its maker has seen."""
        shown = yield InThread(partial(_readResult, folder, event, inputs, known))
        self._scene.showProposal(shown)
        yield Breath()
        self._scene.showUncertainty(shown)
        yield Breath()
        self._resultShown.emit(shown)
        return shown

    def _segmentFields(self, inputs: Inputs, folder: Path, structures: tuple[Structure, ...]) -> dict[str, Any]:
        return {
            "job": str(folder),
            "image": IMAGE_FILE,
            "model": str(self._store.path_of(inputs.model)) if inputs.model else None,
            "boxes": [
                {"structure": each.structure, "lower_ijk": list(each.lower_ijk), "upper_ijk": list(each.upper_ijk)}
                for each in inputs.boxes
            ],
            "labels": LABELS_FILE if inputs.labels is not None else None,
            "structures": _structureFields(structures),
            "device": inputs.device,
        }

    def _fineTuneFields(
        self, inputs: Inputs, training: Training, folder: Path, structures: tuple[Structure, ...]
    ) -> dict[str, Any]:
        return {
            "job": str(folder),
            "cases": [{"image": IMAGE_FILE, "labels": LABELS_FILE}],
            "out": str(self._store.folder / training.name),
            "structures": _structureFields(structures),
            **training.budget,
            "seed": 0,
            "base": str(self._store.path_of(training.base)) if training.base else None,
            "resume": training.resume,
            "device": inputs.device,
            "preview_s": training.previewEvery_s,
        }

    def _score(self, inputs: Inputs, training: Training) -> Generator[Waiting, Any, None]:
        """Note the round, with what the proposal there and its map are worth on slices that they have not seen."""
        entry = self._scene.newRound(inputs, training.name, training.base)
        if entry["scored"]:
            proposal = self._scene.proposalIn(entry["scored"])
            yield Breath()
            uncertainty = self._scene.uncertaintyOfProposal()
            entry |= yield InThread(partial(_scoreRound, inputs, proposal, uncertainty, entry["scored"]))
        self._scene.noteRound(entry)
        self._roundScored.emit(entry)

    def _decide(self, training: Training) -> Rounds.Verdict:
        """Activate the new model if there is none yet or if it is better; note that in the round."""
        active, entry = self._store.active, self._scene.roundOf(training.name)
        heldOut = self._heldOut(training.name)
        if active is None:
            verdict = Rounds.Verdict(True, _("This is your first model; it is used from now on."))
        else:
            verdict = Rounds.judge(heldOut, self._scoreOfActive(active, entry))
        if verdict.isBetter:
            self._store.activate(training.name)
        self._scene.noteRound({**entry, "heldOut": heldOut, "activated": verdict.isBetter})
        self._scene.takeModel(str(self._store.active))
        self._modelsChanged.emit()
        return verdict

    def _scoreOfActive(self, active: str, entry: Rounds.Round) -> dict[str, float]:
        if entry.get("dice") and entry.get("against") == active:
            return dict(entry["dice"])
        return self._heldOut(active)

    def _heldOut(self, name: str) -> dict[str, float]:
        """Return a model's Dice on slices held out of its first stage; empty if nothing was held out."""
        return dict(self._training(name).get("held_out_dice") or {})

    def _training(self, name: str) -> dict[str, Any]:
        with suppress(CheckpointError):
            return self._store.entry(name).training
        return {}


def _writeInputs(folder: Path, inputs: Inputs) -> tuple[Structure, ...]:
    """Write image and labels; return the structures that the annotated slices really show."""
    folder.mkdir(mode=0o700, exist_ok=True)
    write_nrrd(folder / IMAGE_FILE, inputs.image)
    if inputs.labels is None:
        return inputs.structures
    write_nrrd(folder / LABELS_FILE, inputs.labels)
    present = set(np.unique(inputs.labels.voxels).tolist()) - {0, UNKNOWN_LABEL}
    return tuple(each for each in inputs.structures if each.value in present)


def _readResult(folder: Path, event: dict[str, Any], inputs: Inputs, known: tuple[str, ...]) -> Shown:
    labels, uncertainty = (read_nrrd(folder / event[name]) for name in ("segmentation", "uncertainty"))
    structures = tuple(Structure(each["value"], each["name"]) for each in event["report"]["structures"])
    return Shown(
        labels,
        uncertainty,
        structures,
        inputs.model,
        known,
        Grids.nonzeroRegion(labels.voxels),
        byBothTeachers=bool(event["report"].get("by_both_teachers")),
    )


def _scoreRound(
    inputs: Inputs, proposal: tuple[Volume, tuple[Structure, ...]], uncertainty: Volume | None, scored: list[str]
) -> Rounds.Round:
    """Return the entries `dice` and `errorAuroc` of a round."""
    assert inputs.labels is not None  # there is no round without annotated slices
    labels, structures = proposal
    compared = (inputs.labels.voxels, inputs.structures, labels.voxels, structures)
    auroc = None
    if uncertainty is not None:
        auroc = Rounds.errorAuroc(*compared, uncertainty.voxels, scored, labels.spacing_mm[::-1])
    return {"dice": Rounds.scoreSlices(*compared, scored), "errorAuroc": auroc}


def _structureFields(structures: tuple[Structure, ...]) -> list[dict[str, Any]]:
    return [{"value": each.value, "name": each.name} for each in structures]


def _notesIn(document: dict[str, Any]) -> tuple[str, ...]:
    return tuple(map(str, document.get("notes", ())))


def _verdictText(verdict: Rounds.Verdict, report: dict[str, Any]) -> str:
    if verdict.isBetter or not report.get("by_both_teachers"):
        return verdict.sentence
    text = _("{verdict} The proposal shown was still made by the new model, together with the foundation model.")
    return text.format(verdict=verdict.sentence)


def _foundText(report: dict[str, Any], inputs: Inputs) -> str:
    found = [each["name"] for each in report["structures"] if each["voxels"]]
    if found:
        return _("Proposed: {names}. Check it, then accept what is right.").format(names=", ".join(found))
    if inputs.model:
        known = ", ".join(each["name"] for each in report["structures"])
        text = _(
            "Nothing was found. The model looks for: {names}. Choose another model, or annotate a few slices and "
            "fine-tune."
        )
        return text.format(names=known)
    if inputs.labels is not None:
        return _("Nothing was found. Annotate more slices that show the structure, or fine-tune.")
    return _("Nothing was found. Draw the box tighter, or annotate a few slices and fine-tune.")


def _removeFolder(folder: Path) -> None:
    for wait_s in (0.0, 1.0):
        time.sleep(wait_s)
        shutil.rmtree(folder, ignore_errors=True)
