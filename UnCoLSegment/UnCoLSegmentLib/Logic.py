"""What the panel's buttons do: one run at a time, told through signals, and why a run cannot start. No GUI here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from uncol.core.errors import CancelledError
from uncol.core.model_store import Store
from uncol.core.progress import Progress
from uncol.core.protocol import Event, Greeting, Log, Preview, RequestId
from uncol.core.slice_suggestion import score_slices
from uncol.core.unfinished import RunOrigin, UnfinishedRun
from uncol.core.volume import view_slices
from UnCoLSegmentLib import Preconditions
from UnCoLSegmentLib.Engine.EngineProcess import EngineProcess, engineCommand, engineEnvironment, letThreadsRun
from UnCoLSegmentLib.Engine.Previews import Previews
from UnCoLSegmentLib.Engine.Run import Run, RunState, Steps, messageAndDetails
from UnCoLSegmentLib.Engine.RunSteps import RunSteps, Training
from UnCoLSegmentLib.Engine.Signal import Signal
from UnCoLSegmentLib.Engine.SliceComparison import SliceComparison
from UnCoLSegmentLib.Scene import Bridge, Results, Rounds, RoundStore
from UnCoLSegmentLib.Scene.Cases import othersToLearnFrom
from UnCoLSegmentLib.Scene.ExportData import ExportData
from UnCoLSegmentLib.Scene.JointLabels import JointInputs
from UnCoLSegmentLib.Scene.Places import findingsOf
from UnCoLSegmentLib.Scene.RunData import RunInputs, SegmentationResult
from UnCoLSegmentLib.Scene.RunScene import RunScene, annotatedSlices, roundsOf
from UnCoLSegmentLib.Scene.RunScenes import RunScenes
from UnCoLSegmentLib.Scene.SliceSuggestion import Suggestion, suggest, suggestTold

PREVIEW_EVERY_S = 30.0
_THREAD_SHARE_S = 0.01
"""So long a poll lets a thread run that is awaited."""
_POLL_FOR_THREAD_MS, _POLL_IN_RUN_MS, _POLL_IDLE_MS = 10, 50, 500
"""Time between two polls: while a thread of this process works, in a run, and else, only to notice the engine's end."""
_WARNING_LEVELS = ("warning", "error", "critical")
"""Levels of the engine's log events that the user is told of."""


class Logic:
    """Runs, models and rounds of one panel.

    Args:
        modelFolder: Where the user's models are kept.
        engine: The process that computes; None takes the one that comes with this module.
        cacheFolder: Where that keeps what it has computed of images; None takes a folder beside the models.

    Signals:
        stateChanged: The state is another one.
        progressed: How far the run has come, a `uncol.core.progress.Progress`.
        finished: The run ended well, a `RunResult`.
        failed: It did not, or could not start: a sentence for the user, details for a developer.
        cancelled: It was stopped: a sentence.
        modelsChanged: The store holds other models, or another one is active.
        roundScored: The newly annotated slices were scored, a round (see `Rounds`).
        outdated: What was said about proposal and map no longer counts: a run begins, or its result is there.
        slicesCompared: `suggestSlice`, which had nothing to say yet, can answer now.
        pollSooner: `pollAfter_ms` is less than before.
        engineGreeted: The engine has said what it can compute on, in `engine.greeting`.
    """

    def __init__(self, modelFolder: Path, engine: EngineProcess | None = None, cacheFolder: Path | None = None) -> None:
        self.stateChanged, self.progressed, self.modelsChanged = Signal(), Signal(), Signal()
        self.finished, self.failed, self.cancelled, self.roundScored = Signal(), Signal(), Signal(), Signal()
        self.outdated, self.slicesCompared, self.pollSooner, self.engineGreeted = (Signal() for _each in range(4))
        self.store = Store(modelFolder)
        self.curve: list[dict[str, float]] = []
        """Points of the learning curve of the latest fine-tune: `step` and the losses by name."""
        self.previewEvery_s = PREVIEW_EVERY_S
        """Time between two previews of a fine-tune, in s."""
        folders = ("--models", str(modelFolder), "--cache", str(cacheFolder or modelFolder.parent / "Embeddings"))
        self.engine = engine or EngineProcess(engineCommand(*folders), engineEnvironment())
        self.engine.received.connect(self._onReceived)
        self.engine.ended.connect(self._onEngineEnded)
        self._state = RunState.IDLE
        self._run: Run | None = None
        self._scenes: RunScenes | None = None
        self._steps: RunSteps | None = None
        self._training: Training | None = None
        self._inputs: Sequence[RunInputs] = ()
        self._previews, self._lastStep = Previews(), 0
        self._warnings: list[str] = []
        self.comparison, self._isSuggestionAwaited = SliceComparison(), False
        self.damagedPackage = ""
        """A package that the engine could not load in the latest run; "" for none."""

    @property
    def state(self) -> RunState:
        """Whether a run is under way."""
        return self._state

    @property
    def runKind(self) -> str:
        """What the run under way does, "segment" or "fineTune"; "" without one."""
        return self._run.kind if self._run is not None else ""

    @property
    def pollAfter_ms(self) -> int:
        """How soon `poll` wants to be called, in ms: an idle panel wakes Slicer twice a second at most."""
        without = _POLL_IDLE_MS if self._run is None else _POLL_IN_RUN_MS
        return _POLL_FOR_THREAD_MS if self._waitsForThread else without

    def whyNotSegment(self, parameters: Any) -> str:
        """Return what is missing for `segment`, as a sentence; "" if nothing is."""
        return self._state.obstacle or Preconditions.toSegment(parameters, self.store)

    def whyNotFineTune(self, parameters: Any) -> str:
        """Return what is missing for `fineTune`, as a sentence; "" if nothing is."""
        return self._state.obstacle or Preconditions.toFineTune(parameters)

    def whyNotResume(self, parameters: Any, run: UnfinishedRun | None = None) -> str:
        """Return what is missing for `resumeFineTune`, as a sentence; "" if nothing is."""
        run = run or self.unfinishedRun(parameters)
        return self._state.obstacle or Preconditions.toResume(parameters, run) or Preconditions.toFineTune(parameters)

    def whyNotExport(self, parameters: Any) -> str:
        """Return what is missing for `exportDicom`, as a sentence; "" if nothing is."""
        return self._state.obstacle or Preconditions.toExport(parameters)

    def unfinishedRun(self, parameters: Any) -> UnfinishedRun | None:
        """Return the latest unfinished run about the panel's volume; None if there is none."""
        about = Bridge.volumeDigest(parameters.inputVolume)
        found = (each for each in self.store.unfinished() if about and each.origin.volume_digest == about)
        return next(found, None)

    def segment(self, parameters: Any) -> None:
        """Propose a segmentation: from a box, from annotated slices or with a model."""

        def prepare(scenes: RunScenes, steps: RunSteps) -> Steps:
            inputs = scenes.first.forSegmenting()
            self._inputs = (inputs,)
            return steps.segment(inputs)

        self._begin("segment", parameters, self.whyNotSegment(parameters), prepare)

    def fineTune(self, parameters: Any, steps: int | None = None) -> None:
        """Learn from annotated slices for some minutes, or for a number of steps, and show what that proposes.

        It learns from the panel's volume and, beside it, from the others of the scene that the user did not leave out.
        """
        minutes = parameters.minutes if steps is None else None

        def prepare(scenes: RunScenes, runSteps: RunSteps) -> Steps:
            inputs = runSteps.inputs()
            known = [each for scene in scenes for each in scene.rounds]
            volume, base = parameters.inputVolume, Rounds.baseFor(parameters.modelName, known, RoundStore.inScene())
            origin = RunOrigin(volume.GetName() or "", Bridge.volumeDigest(volume), base)
            name = self.store.claim(inputs.structures[0].name, origin)
            training = Training(name, base, minutes, steps, previewEvery_s=self.previewEvery_s)
            return self._fineTuneSteps(runSteps, inputs, training)

        obstacle, others = self.whyNotFineTune(parameters), othersToLearnFrom(parameters)
        self._begin("fineTune", parameters, obstacle, prepare, others)

    def resumeFineTune(self, parameters: Any, steps: int | None = None, run: UnfinishedRun | None = None) -> None:
        """Go on with an unfinished run, the latest about the volume if none is named; annotations must be as then."""
        minutes, chosen = parameters.minutes if steps is None else None, run or self.unfinishedRun(parameters)

        def prepare(_scenes: RunScenes, runSteps: RunSteps) -> Steps:
            assert chosen is not None  # an obstacle would have been told
            name, base = chosen.name, chosen.origin.base
            training = Training(name, base, minutes, steps, resume=True, previewEvery_s=self.previewEvery_s)
            return self._fineTuneSteps(runSteps, runSteps.inputs(), training)

        obstacle, others = self.whyNotResume(parameters, chosen), othersToLearnFrom(parameters)
        self._begin("fineTune", parameters, obstacle, prepare, others)

    def exportDicom(self, parameters: Any, folder: Path) -> None:
        """Write the proposal and its map as DICOM SEG and Parametric Map into a folder."""

        def prepare(_scenes: RunScenes, steps: RunSteps) -> Steps:
            return steps.exportDicom(ExportData.take(parameters), folder)

        self._begin("export", parameters, self.whyNotExport(parameters), prepare)

    def cancel(self) -> None:
        """Stop the run; the signal `cancelled` comes within about a second."""
        self._cancel(_("Cancelled."))

    def poll(self) -> None:
        """Go on; the panel's timer calls this after `pollAfter_ms`. Signals come from here, unless a click is told."""
        if self._waitsForThread:
            letThreadsRun(_THREAD_SHARE_S)
        self.engine.poll()
        if self._state is RunState.RUNNING and self._scenes is not None:
            self._previews.show(self._scenes, self._inputs)
        self._tellCompared()
        if run := self._run:
            run.advance()
            if run.isOver:
                self._finish(run)

    def shutdown(self) -> None:
        """Stop the run and the engine with everything that it started, and tell nobody: the panel is going away."""
        if self._run is not None:
            self._run.abort(_("The module was closed."))
            self._putAway()
        self.engine.stop()
        self._state = RunState.IDLE

    @contextmanager
    def installing(self) -> Iterator[None]:
        """While packages are installed, which goes on handling clicks, neither a run nor this can begin."""
        assert self._state is RunState.IDLE  # the panel's buttons are off in every other state
        self._setState(RunState.INSTALLING)
        try:
            yield
            self.damagedPackage = ""
        finally:
            self._setState(RunState.IDLE)

    def suggestSlice(self, parameters: Any) -> Suggestion | None:
        """Return the slice to annotate next, in the panel's plane; None if the slices have to be compared first.

        The engine compares them with each result; that is done here only after a scene was loaded, and
        `slicesCompared` says when to ask again.

        Raises:
            UncolError: If there is nothing to go by, or no slice is left.
        """
        Results.choose(parameters)
        volume, node = parameters.inputVolume, parameters.uncertaintyVolume
        axis = view_slices(Bridge.snapshotVolume(volume), parameters.plane.value).slice_axis
        annotated = [row.index for row in annotatedSlices(parameters) if row.axis == axis]
        if told := suggestTold(findingsOf(parameters.proposal).next_slices, axis, annotated):
            return told
        scores = self.comparison.find(node, axis, lambda: partial(score_slices, *Results.inScene(parameters), axis))
        if scores is None:
            self._isSuggestionAwaited = True
            self.pollSooner.emit()
            return None
        return suggest(scores, axis, annotated)

    def rounds(self, parameters: Any) -> list[Rounds.Round]:
        """Return the rounds about the panel's volume, the oldest first; see `Rounds` for their fields."""
        return roundsOf(parameters)

    def _begin(self, kind: str, parameters: Any, obstacle: str, prepare: Any, others: Sequence[Any] = ()) -> None:
        if obstacle:
            self.failed.emit(obstacle, "")
            return
        scenes, resultShown = RunScenes(parameters, others), Signal()
        resultShown.connect(partial(self._onResultShown, scenes.first))
        steps = RunSteps(scenes, self.store, self.roundScored, self.modelsChanged, resultShown)
        try:
            self._run = Run(kind, self.engine, prepare(scenes, steps))
        except Exception as error:  # noqa: BLE001 - a click must end in a run or in a sentence
            self.failed.emit(*messageAndDetails(error))
            return
        self._scenes, self._steps, self._warnings, self._lastStep = scenes, steps, [], 0
        self.damagedPackage = ""
        self._run.happened.connect(self._onHappened)
        scenes.watch(self._cancel)
        if kind == "fineTune":
            self.curve = []
        self.outdated.emit()
        self._setState(RunState.RUNNING)
        self.pollSooner.emit()

    def _fineTuneSteps(self, runSteps: RunSteps, inputs: JointInputs, training: Training) -> Steps:
        self._training, self._inputs = training, inputs.cases
        return runSteps.fineTune(inputs, training)

    def _cancel(self, reason: str) -> None:
        if self._run is not None and not self._run.isCancelling:
            self._run.cancel(reason)
            self._setState(RunState.CANCELLING)

    def _finish(self, run: Run) -> None:
        assert self._steps is not None  # set together with the run
        if isinstance(run.error, CancelledError):
            self._steps.proposePreviews()
        left = self._steps.leftText(run.kind, self._training)
        self._putAway()
        self._setState(RunState.IDLE)
        if run.kind == "fineTune":
            self.modelsChanged.emit()
        if run.result is not None:
            self.finished.emit(run.result.withNotes(self._warnings))
        elif isinstance(run.error, CancelledError):
            self.cancelled.emit(" ".join(filter(None, [str(run.error), left])))
        elif run.error is not None:
            self.damagedPackage = getattr(run.error, "damagedPackage", "")
            message, details = messageAndDetails(run.error)
            self.failed.emit(" ".join(filter(None, [message, left])), details)

    def _putAway(self) -> None:
        """Leave nothing of the run behind."""
        assert self._scenes is not None  # set together with the run
        assert self._steps is not None
        self._scenes.unwatch()
        self._scenes.endPreviews()
        self._previews.forget()
        self._steps.closeFolder()
        if self._run is not None and self._run.kind == "fineTune" and self._training is not None:
            self.store.release(self._training.name)
        self._run = self._scenes = self._steps = self._training = None
        self._inputs = ()

    def _setState(self, state: RunState) -> None:
        if state is not self._state:
            self._state = state
            self.stateChanged.emit()

    def _onReceived(self, number: RequestId | None, event: Event) -> None:
        if isinstance(event, Greeting):
            self.engineGreeted.emit()
        if self._run is not None:
            self._run.onEvent(number, event)

    def _onEngineEnded(self, exitCode: int | None, stderrTail: str) -> None:
        if self._run is not None:
            self._run.onEngineEnded(exitCode, stderrTail)

    def _onHappened(self, event: Progress | Preview | Log) -> None:
        if isinstance(event, Preview):
            self._previews.take(event, self._lastStep)
        elif isinstance(event, Progress):
            self._lastStep = event.step or self._lastStep
            if event.losses:
                self.curve.append({"step": event.step or 0, **event.losses})
            self.progressed.emit(event)
        elif event.level in _WARNING_LEVELS:
            self._warnings.append(event.message)

    def _onResultShown(self, scene: RunScene, shown: SegmentationResult) -> None:
        """Keep what the engine found out about the slices until the user asks for the next one to annotate."""
        self.outdated.emit()
        self._previews.forget()  # those that are still being read are older
        isAboutAll = not scene.isJoint  # else it is about what is new only
        self.comparison.take(scene.uncertaintyMap, shown.slices if isAboutAll else {})

    def _tellCompared(self) -> None:
        if self._isSuggestionAwaited and self.comparison.isDone:
            self._isSuggestionAwaited = False
            self.slicesCompared.emit()

    @property
    def _waitsForThread(self) -> bool:
        isInRun = self._run is not None and self._run.waitsForThread
        return isInRun or self._previews.areAwaited or not self.comparison.isDone
