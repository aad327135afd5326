"""What a run does, step by step: segment a volume, or learn from annotated slices and show what that proposes.

All that touches the scene happens between the yields, on the main thread; files are written and read in threads.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from slicer.i18n import tr as _

from uncol.core.config import FEW_STEPS
from uncol.core.errors import CancelledError, CheckpointError
from uncol.core.jobs import Case, FineTuneJob, FineTuneResult, SegmentJob, SegmentResult
from uncol.core.model_card import verdict_in
from uncol.core.model_store import Store
from uncol.core.round_scores import ComparedSlices, ScoreJob
from UnCoLSegmentLib.Engine.ExportSteps import exportSteps
from UnCoLSegmentLib.Engine.Run import (
    EngineReady,
    EngineRequest,
    InThread,
    NextTick,
    RunResult,
    Steps,
    Waiting,
    inThread,
)
from UnCoLSegmentLib.Engine.RunFiles import RunFiles, makeFolders, removeFolder, writeInputs, writeStacks
from UnCoLSegmentLib.Engine.RunTexts import foundText, notesIn, verdictText
from UnCoLSegmentLib.Engine.Signal import Signal
from UnCoLSegmentLib.Scene import Rounds
from UnCoLSegmentLib.Scene.ExportData import ExportData
from UnCoLSegmentLib.Scene.JointLabels import JointInputs, joined
from UnCoLSegmentLib.Scene.RunData import RunInputs, SegmentationResult
from UnCoLSegmentLib.Scene.RunScene import RunScene
from UnCoLSegmentLib.Scene.RunScenes import RunScenes


@dataclass(frozen=True)
class Training:
    """How to learn: into which model, for how long, and whether to go on where an earlier run stopped.

    Attributes:
        name: Name of the model to make.
        base: Name of the model to start from; "" for none.
        minutes: How long; None where the number of steps says that.
        steps: How many steps; None where the time says that.
        resume: Whether to go on with an unfinished run.
        previewEvery_s: Time between two previews, in s; None for none.
    """

    name: str
    base: str
    minutes: float | None = None
    steps: int | None = None
    resume: bool = False
    previewEvery_s: float | None = None


class RunSteps:
    """The steps of the runs of one panel.

    Args:
        scenes: The scene's side of this run.
        store: The user's models.
        roundScored: Told each round once its new slices are scored.
        modelsChanged: Told when a model was made or activated.
        resultShown: Told each result of the first volume, a `SegmentationResult`, when it is in the scene.
    """

    def __init__(
        self, scenes: RunScenes, store: Store, roundScored: Signal, modelsChanged: Signal, resultShown: Signal
    ) -> None:
        self._scenes, self._scene, self._store, self._resultShown = scenes, scenes.first, store, resultShown
        self._roundScored, self._modelsChanged = roundScored, modelsChanged
        self.folder: Path | None = None
        """Where the files of this run are, while it lasts."""
        self._own: tuple[RunInputs, ...] = ()

    def inputs(self) -> JointInputs:
        """Take what a fine-tuning learns from out of the scene.

        Raises:
            DataError: If a volume has no finished slice that shows a structure, or the volumes do not fit together.
        """
        self._own = tuple(each.forSlices() for each in self._scenes)
        return joined(self._own, self._scenes.names)

    def segment(self, inputs: RunInputs) -> Steps:
        """Segment one volume and show proposal and uncertainty."""
        began = time.monotonic()
        folder = yield from self._openFolder()
        files = yield from writeInputs(folder, inputs)
        report = yield from self._segment(inputs, folder, files)
        return RunResult(
            kind="segment",
            message=foundText(report, inputs),
            notes=(*inputs.notes, *notesIn(report)),
            seconds=time.monotonic() - began,
            modelName=inputs.model,
        )

    def fineTune(self, joint: JointInputs, training: Training) -> Steps:
        """Score the new slices, learn from all annotated ones, keep what is better, and show what that proposes."""
        began, inputs = time.monotonic(), joint.cases[0]
        folder = yield from self._openFolder()
        folders = [folder, *(folder / f"case-{number}" for number in range(2, len(joint.cases) + 1))]
        yield InThread(partial(makeFolders, folders))
        if not training.resume:
            for scene, own, place in zip(self._scenes, self._own, folders, strict=True):
                yield from self._scoreNewSlices(scene, own, training, place)
        files = []
        for each, place in zip(joint.cases, folders, strict=True):
            files.append((yield from writeInputs(place, each)))
        result = yield EngineRequest(
            FineTuneJob(
                cases=tuple(Case(each.image, each.labels) for each in files),
                out=self._store.folder / training.name,
                structures=joint.structures,
                minutes=training.minutes,
                steps=training.steps,
                seed=0,
                base=self._store.path_of(training.base) if training.base else None,
                compare_with=self._inUse(),
                resume=training.resume,
                proposal=folder,
                further_proposals=tuple(folders[1:]),
                preview_s=training.previewEvery_s,
                device=inputs.device,
            )
        )
        self._scenes.endPreviews()
        training = self._withNameGiven(training, result.out.name)
        verdict = self._activateIfBetter(training)
        report, names, unchanged = result.proposal.report, self._scenes.names, []
        for scene, found, each, name in zip(self._scenes, self._proposals(result), joint.cases, names, strict=True):
            if verdict.isBetter or found.report.get("by_both_teachers"):  # the latter knows all annotated slices
                yield from self._show(scene, found, replace(each, model=training.name), each.annotated)
            elif scene is self._scene:
                segmenting = replace(inputs, boxes=(), labels=None, model=str(self._store.active))
                report = yield from self._segment(segmenting, folder, RunFiles(files[0].image))
            else:
                unchanged.append(name)
        return RunResult(
            kind="fineTune",
            message=verdictText(verdict, report, self._fewSteps(training), unchanged),
            notes=(*self._notes(joint, names, unchanged), *notesIn(self._training(training.name)), *notesIn(report)),
            seconds=time.monotonic() - began,
            modelName=training.name,
            activated=verdict.isBetter,
        )

    def exportDicom(self, data: ExportData, folder: Path) -> Steps:
        """Write the proposal and its map as DICOM into a folder of the user's."""
        jobFolder = yield from self._openFolder()
        return (yield from exportSteps(jobFolder, data, folder))

    def leftText(self, kind: str, training: Training | None) -> str:
        """Return what is left of a run that did not reach its end."""
        if kind == "export":
            return ""
        name = training.name if kind == "fineTune" and training else ""
        sentences = [self._scene.leftText]
        if name and self._store.has(name):
            sentences.append(_('The new model "{name}" is saved.').format(name=name))
        elif name and self._store.has_unfinished(name):
            sentences.append(_("What was learned is saved; Resume goes on from there."))
        return " ".join(filter(None, sentences))

    def proposePreviews(self) -> None:
        """Let what a cancelled run has found so far be the proposals."""
        shown = self._scenes.proposePreviews()
        if shown is not None:
            self._resultShown.emit(shown)

    def closeFolder(self) -> None:
        """Remove the run's files, in a thread, once it is over: one that is still being written goes on the second try.

        This is not done by the steps themselves: Python ends forgotten steps while it quits, when no thread can start.
        """
        folder, self.folder = self.folder, None
        if folder is not None:
            inThread(partial(removeFolder, folder))

    def _openFolder(self) -> Generator[EngineReady, Any, Path]:
        greeting = yield EngineReady()
        self.folder = greeting.job_folder / f"run-{uuid4().hex[:12]}"
        return self.folder

    def _segment(self, inputs: RunInputs, folder: Path, files: RunFiles) -> Generator[Waiting, Any, dict[str, Any]]:
        """Show what the engine finds in the volume; return its report."""
        result = yield EngineRequest(
            SegmentJob(
                image=files.image,
                out=folder,
                model=self._store.path_of(inputs.model) if inputs.model else None,
                boxes=inputs.boxes,
                labels=files.labels,
                structures=files.structures,
                device=inputs.device,
            )
        )
        self._scenes.endPreviews()
        known = inputs.annotated if inputs.labels is not None else self._scene.knownTo(inputs.model)
        yield from self._show(self._scene, result, inputs, known)
        return result.report

    def _show(
        self, scene: RunScene, result: SegmentResult, inputs: RunInputs, known: tuple[str, ...]
    ) -> Generator[Waiting, Any, None]:
        """Put a result of the engine into the scene; `known` are the annotated slices that its maker has seen."""
        shown = yield InThread(partial(SegmentationResult.read, result, inputs, known))
        scene.showProposal(shown)
        try:
            yield NextTick()
        except CancelledError:
            scene.showUncertainty(shown)  # a proposal is never left with the map of another one
            raise
        scene.showUncertainty(shown)
        yield NextTick()
        if scene is self._scene:
            self._resultShown.emit(shown)

    def _proposals(self, result: FineTuneResult) -> Iterator[SegmentResult]:
        yield result.proposal
        yield from result.further_proposals

    def _notes(self, joint: JointInputs, names: Sequence[str], unchanged: Sequence[str]) -> list[str]:
        """Return what the user should know about what was learned from; of several volumes also which these were."""
        if len(names) == 1:
            return list(self._own[0].notes)
        learned = _("Learned from {count} volumes, each of which has a new proposal: {names}.")
        if unchanged:
            learned = _("Learned from {count} volumes: {names}.")
        notes = [learned.format(count=len(names), names=", ".join(names))]
        for name, each in zip(names, self._own, strict=True):
            notes += [_("{volume}: {note}").format(volume=name, note=note) for note in each.notes]
        return [*notes, *joint.notes]

    def _scoreNewSlices(
        self, scene: RunScene, inputs: RunInputs, training: Training, folder: Path
    ) -> Generator[Waiting, Any, None]:
        """Note the round, with what the proposal there and its map are worth on slices that they have not seen."""
        entry = scene.newRound(inputs, training.name, training.base)
        if entry.scored:
            assert inputs.labels is not None  # there is no round without annotated slices
            proposal, predicted = scene.proposalIn(entry.scored)
            yield NextTick()
            uncertainty = scene.uncertaintyOfProposal()

            def stacks() -> list[ComparedSlices]:
                volumes = inputs.labels.volume(), inputs.structures, proposal.volume(), predicted, uncertainty
                return Rounds.stacksOf(entry.scored, *volumes)

            files = yield InThread(lambda: writeStacks(folder, stacks()))
            found = yield EngineRequest(ScoreJob(folder, files, Rounds.askedOf(inputs.structures, predicted)))
            entry = replace(entry, dice=found.dice, errorAuroc=found.error_auroc)
        scene.noteRound(entry)
        if scene is self._scene:
            self._roundScored.emit(entry)

    def _activateIfBetter(self, training: Training) -> Rounds.Verdict:
        """Activate the new model if there is none yet or if it is better; note that in the round."""
        active, entry = self._store.active, self._scene.roundOf(training.name)
        heldOut = self._heldOut(training.name)
        if active is None:
            verdict = Rounds.Verdict(True, _("First model, in use now. Annotate new slices to measure it."))
        else:
            isItsScore = entry is not None and entry.dice and entry.against == active
            old = Rounds.Candidate(active, self._knownTo(active), self._heldOut(active))
            old = old.renamed(Rounds.namesSince(self._scene.roundOf(active), entry))
            if entry is not None and isItsScore:
                old = replace(old, dice=entry.dice)  # by the names of now already
            new = Rounds.Candidate(training.name, self._knownTo(training.name), heldOut)
            said = verdict_in(self._training(training.name))
            if said is not None and said.slices:  # on the same slices, new to both
                new, old = replace(new, dice=said.new), replace(old, dice=said.old)
            verdict = Rounds.judge(new, old)
        if verdict.isBetter:
            self._store.activate(training.name)
        for scene in self._scenes:
            if (noted := scene.roundOf(training.name)) is not None:
                scene.noteRound(replace(noted, heldOut=heldOut, activated=verdict.isBetter))
        self._scene.takeModel(str(self._store.active))
        self._modelsChanged.emit()
        return verdict

    def _inUse(self) -> Path | None:
        """Return the folder of the model in use, if there is one that can be read."""
        active = self._store.active
        return self._store.path_of(active) if active and self._knownTo(active) else None

    def _withNameGiven(self, training: Training, name: str) -> Training:
        """Return the training with the name under which the engine saved the model, as the round has it then, too."""
        if name != training.name:
            for scene in self._scenes:
                scene.renameRound(training.name, name)
        return replace(training, name=name)

    def _fewSteps(self, training: Training) -> int | None:
        """Return how many steps there was time for, if that is too few to learn much."""
        steps = self._training(training.name).get("steps", FEW_STEPS)
        return steps if training.minutes is not None and steps < FEW_STEPS else None

    def _heldOut(self, name: str) -> dict[str, float]:
        """Return a model's Dice on slices held out of its first stage; empty if nothing was held out."""
        return dict(self._training(name).get("held_out_dice") or {})

    def _knownTo(self, name: str) -> list[str]:
        """Return the structures of a model; none if it cannot be read."""
        with suppress(CheckpointError):
            return [each.name for each in self._store.entry(name).structures]
        return []

    def _training(self, name: str) -> dict[str, Any]:
        with suppress(CheckpointError):
            return self._store.entry(name).training
        return {}
