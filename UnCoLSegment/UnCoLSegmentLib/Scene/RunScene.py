"""The scene's side of one run: what it takes out at the start, what it puts in at the end, and when it must stop.

Everything here runs on the main thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import vtk
from slicer.i18n import tr as _

from uncol.core.errors import DataError
from uncol.core.jobs import Structure
from uncol.core.volume import Volume
from UnCoLSegmentLib.Scene import (
    Bridge,
    Labelmaps,
    Origins,
    Places,
    Proposal,
    ProposalBefore,
    Results,
    Rounds,
    RoundStore,
    UncertaintyDisplay,
    UncertaintyParts,
)
from UnCoLSegmentLib.Scene.AnnotatedSlices import (
    AnnotatedSlice,
    detectAnnotated,
    leftOutNotes,
    noStructureText,
    readTable,
)
from UnCoLSegmentLib.Scene.Maker import MODEL_ATTRIBUTE, Maker
from UnCoLSegmentLib.Scene.Preview import Preview
from UnCoLSegmentLib.Scene.RunData import RunInputs, SegmentationResult
from UnCoLSegmentLib.Scene.SegmentNames import SegmentNames, proposedAsNow

_AS_GOOD = 0.02
"""Dice on annotated slices that are known to both: a smaller difference is that of their rims."""


class RunScene:
    """Nodes and parameters of one run.

    Args:
        parameters: The panel's parameter node, or anything with its attributes.
        panel: That of the panel, where the former speak of another volume than the one that it shows.
    """

    def __init__(self, parameters: Any, panel: Any = None) -> None:
        self._parameters, self._panel = parameters, panel or parameters
        self._volume, self._segmentation = parameters.inputVolume, parameters.segmentation
        self._scene = self._volume.GetScene()
        self._observations: list[int] = []
        self._preview, self._soFar = Preview(self._volume), (None, 0, None)
        self._names = SegmentNames(parameters.segmentation)
        self._kept, self._new, self._maker = [], [], Maker()
        self.hasResult = self._hasPreview = False
        """Whether proposal and map are those of this run."""
        RoundStore.adopt(parameters)

    @property
    def isJoint(self) -> bool:
        """Whether this run's result joined structures that were proposed before."""
        return bool(self._kept)

    @property
    def volumeName(self) -> str:
        """What the run's volume is called."""
        return self._volume.GetName() or ""

    @property
    def uncertaintyMap(self) -> Any:
        """The map about this run's volume; None if there is none."""
        return Results.mapAbout(self._volume, self._parameters.uncertaintyVolume)

    @property
    def leftText(self) -> str:
        """What became of proposal and map, in a sentence for a run that did not reach its end; "" if there are none."""
        if not self._isInScene(self._volume):
            return ""
        if self._hasPreview:
            return _("The proposal is the best that was found so far.")
        if self.hasResult:
            return _("Proposal and uncertainty map are new: the result was there already.")
        return _("The proposal is as it was before.") if self._proposal() is not None else ""

    def watch(self, onLost: Callable[[str], None]) -> None:
        """Call `onLost` with a sentence when the scene is about to close or the volume about to be removed."""

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def aboutToRemove(_scene: Any, _event: str, node: Any) -> None:
            if node is self._volume:
                message = _('The volume "{name}" was removed, so the run was stopped.')
                onLost(message.format(name=self.volumeName))

        def aboutToClose(_scene: Any, _event: str) -> None:
            onLost(_("The scene was closed, so the run was stopped."))

        scene = self._scene
        self._observations = [
            scene.AddObserver(scene.NodeAboutToBeRemovedEvent, aboutToRemove),
            scene.AddObserver(scene.StartCloseEvent, aboutToClose),
        ]

    def unwatch(self) -> None:
        """Stop watching."""
        for observation in self._observations:
            self._scene.RemoveObserver(observation)
        self._observations = []

    def forSegmenting(self) -> RunInputs:
        """Take what a run needs that segments in the chosen way."""
        model = partial(self.forModel, self._parameters.modelName)
        return {"model": model, "box": self.forBox, "slices": self.forSlices}[self._parameters.segmentFrom.value]()

    def forBox(self) -> RunInputs:
        """Take what a run from a box needs; the box carries the structure's name."""
        roi = self._parameters.roi
        box = Bridge.boxFromRoi(roi, self._volume, roi.GetName())
        return self._inputs(boxes=(box,))

    def forModel(self, model: str) -> RunInputs:
        """Take what a run of a model needs."""
        return self._inputs(model=model)

    def forSlices(self) -> RunInputs:
        """Take what a run from annotated slices needs, a fine-tune or a first pass.

        What was painted is looked for once more, so that what is learned is what is there.

        Raises:
            DataError: If no annotated slice shows a structure.
        """
        parameters = self._parameters
        table = detectAnnotated(parameters.segmentation, self._proposal(), self._volume)
        labels, structures, notes = Bridge.labelsFromSegmentation(parameters.segmentation, self._volume, table)
        if not structures:
            raise DataError(noStructureText())
        return self._inputs(
            labels=labels,
            structures=tuple(structures),
            annotated=tuple(f"{row.axis}:{row.index}" for row in table.complete),
            notes=(*notes, *leftOutNotes(table)),
        )

    def showProposal(self, shown: SegmentationResult) -> None:
        """Put proposed labels into the proposal; a new one is made if there is none about this volume.

        Segments are the user's by the names that theirs have now, whatever they were called when the run began.
        """
        before, structures = self._proposal(), self._asNamedNow(shown.structures, shown.model)
        earlier = Maker.of(before)
        if before is not None:
            ProposalBefore.keep(before, self._volume)
        node = Proposal.putProposal(
            shown.labels, structures, self._volume, before, self._own, shown.filled, joins=shown.joins
        )
        new = [each.name for each in structures]
        self._new, self._kept = new, [name for name in segmentNames(node) if name not in new]
        maker = Maker(shown.model, shown.known, shown.byBothTeachers)
        self._maker = earlier.andFoundationModel() if self._kept else maker  # only the foundation model joins others
        self._maker.write(node)
        Origins.note(node, new, shown.origin)
        node.SetNodeReferenceID(Results.VOLUME_ROLE, self._volume.GetID())
        Results.choose(self._parameters)
        if before is None and self._panel.inputVolume is not self._volume:
            node.GetDisplayNode().SetVisibility(False)  # it would lie over the volume that the user looks at now
        self.hasResult = True

    def showPreview(self, labels: Volume, inputs: RunInputs, step: int, uncertainty: Volume | None) -> None:
        """Show what is found so far, after so many steps of learning, beside the proposal.

        With uncertainty it may stand as the proposal later.
        """
        if not self._parameters.previewsShown:
            return
        self._preview.show(labels, self._asNamedNow(inputs.structures, ""), step, self._own)
        if uncertainty is not None:
            found = SegmentationResult(labels, uncertainty, inputs.structures, known=inputs.annotated)
            self._soFar = found, step, inputs.labels

    def proposePreview(self) -> SegmentationResult | None:
        """Let what was found so far be the proposal of a run that ends early, and return it.

        None where nothing is shown that may stand, or where the proposal there is not worse: see `_isBetter`.
        """
        (found, step, labels), before = self._soFar, self._proposal()
        if found is None or self.hasResult or not (self._preview.isShown and self._isInScene(self._volume)):
            return None
        if before is not None and not self._isBetter(found, step, labels):
            return None
        self.showProposal(found)
        self.showUncertainty(found)
        self._hasPreview = True
        return found

    def _isBetter(self, found: SegmentationResult, step: int, annotated: Bridge.SlicesOfLabels | None) -> bool:
        """Say whether a preview may take the place of the proposal.

        One that has seen slices which the proposal has not must agree better with the annotated slices than the
        proposal does. Any other one must have learned, where no model made the proposal, and agree about as well.
        """
        maker = Maker.of(self._proposal())
        knowsMore = not set(found.known) <= set(maker.known)
        if annotated is None or not (knowsMore or (step and not maker.model)):
            return False
        proposed, structures = self.proposalIn(found.known)
        own, truth = self._asNamedNow(found.structures, ""), annotated.volume()
        new = Rounds.agreement(found.known, truth, own, found.labels, own)
        old = Rounds.agreement(found.known, truth, own, proposed.volume(), structures)
        return new > old if knowsMore else new > old - _AS_GOOD

    def endPreview(self) -> None:
        """Remove the preview; the run has nothing more to say before its result."""
        self._preview.end()

    def showUncertainty(self, shown: SegmentationResult) -> None:
        """Put an uncertainty map into its volume; a new one is made if there is none about the run's volume.

        Where structures of before are still proposed, it is the larger one of what was said about them and what is new.
        """
        parameters, volume = self._parameters, self._volume
        if not self._isInScene(volume):
            return
        name = _("{volume} uncertainty").format(volume=volume.GetName())
        before = self.uncertaintyMap
        UncertaintyParts.keep(volume, before, self._kept)
        node = Bridge.putUncertainty(shown.uncertainty, volume, before, name)
        if self._kept:
            UncertaintyParts.add(volume, shown.uncertainty.voxels, self._new)
            UncertaintyParts.join(volume, node)
        node.SetAttribute(MODEL_ATTRIBUTE, self._maker.model)
        node.SetNodeReferenceID(Results.VOLUME_ROLE, volume.GetID())
        UncertaintyDisplay.show(node, parameters.uncertaintyThreshold, shown.findings.unsure_from)
        Places.put(volume, self._proposal(), shown.findings, shown.places, self._kept)
        Results.choose(parameters)

    def proposalIn(self, slices: Sequence[str]) -> tuple[Bridge.SlicesOfLabels, tuple[Structure, ...]]:
        """Return what the proposal says now in some slices ("K:12"), and all of its structures.

        A structure has the name that the user's segment with its ID has now, so that it is compared with that one.
        """
        proposal = self._proposal()
        labels, structures = Bridge.labelsInSlices(proposal, self._volume, slices)
        return labels, proposedAsNow(proposal, structures, self._own)

    def uncertaintyOfProposal(self) -> Volume | None:
        """Return the map that came with the proposal; None if there is none, or it is another model's."""
        proposal, node = self._proposal(), self.uncertaintyMap
        if proposal is None or node is None:
            return None
        isSameModel = node.GetAttribute(MODEL_ATTRIBUTE) == proposal.GetAttribute(MODEL_ATTRIBUTE)
        return Bridge.snapshotVolume(node) if isSameModel else None

    @property
    def rounds(self) -> list[Rounds.Round]:
        """The rounds about this run's volume, the oldest first."""
        return RoundStore.read(self._volume)

    def newRound(self, inputs: RunInputs, model: str, base: str) -> Rounds.Round:
        """Return the entry of a round that begins; `scored` names the slices that the proposal has not seen."""
        rounds, proposal = self.rounds, self._proposal()
        maker = Maker.of(proposal)
        return Rounds.Round(
            number=len(rounds) + 1,
            annotated=inputs.annotated,
            hadProposal=proposal is not None,
            scored=Rounds.newSlices(inputs.annotated, maker.known, rounds) if proposal else (),
            against=maker.alone,
            model=model,
            base=base,
            segmentation=self._names.segmentation,
            segments=self._names.ids,
        )

    def roundOf(self, model: str) -> Rounds.Round | None:
        """Return the round in which a model was trained; None if it is not noted."""
        return next((each for each in reversed(self.rounds) if each.model == model), None)

    def noteRound(self, entry: Rounds.Round) -> None:
        """Add a round, or put it in the place of the one with its model."""
        others = [each for each in self.rounds if each.model != entry.model]
        RoundStore.write(self._volume, [*others, entry])

    def renameRound(self, old: str, new: str) -> None:
        """Give the model of a round another name, wherever the rounds of this volume name it."""
        RoundStore.write(self._volume, Rounds.renamed(self.rounds, old, new))

    def knownTo(self, model: str) -> tuple[str, ...]:
        """Return the slices of this volume from which a model has learned."""
        return tuple(Rounds.knownTo(model, self.rounds)) if model else ()

    def takeModel(self, model: str) -> None:
        """Choose a model in the panel."""
        self._parameters.modelName = model

    def _asNamedNow(self, structures: Sequence[Structure], model: str) -> list[Structure]:
        """Return structures by the names that the user's segments have now; a model knows those of its own round."""
        return self._names.asNow(structures, self._own, self.roundOf(model) if model else None)

    @property
    def _own(self) -> Any:
        """The user's segmentation of this volume: the chosen one, also after they went on to another volume.

        None if there is none, or it was removed.
        """
        isChosen = self._parameters.inputVolume is self._volume
        own = self._parameters.segmentation if isChosen else self._segmentation
        return own if self._isInScene(own) else None

    def _proposal(self) -> Any:
        """Return the proposal about this run's volume; None if there is none, or the user removed it."""
        return Results.proposalAbout(self._volume, self._parameters.proposal)

    def _isInScene(self, node: Any) -> bool:
        return node is not None and node.GetScene() is self._scene

    def _inputs(self, **others: Any) -> RunInputs:
        image, device = Bridge.snapshotVolume(self._volume), str(self._parameters.device.value)
        return RunInputs(image, device, imageTime=self._volume.GetImageData().GetMTime, **others)


def segmentNames(segmentationNode: Any) -> list[str]:
    """Return the names of a segmentation's segments, in their order."""
    return [segment.GetName() for segment in Labelmaps.segmentsOf(segmentationNode).values()]


def annotatedSlices(parameters: Any) -> list[AnnotatedSlice]:
    """Return the slices of a panel's volume that are completely annotated, as they were found last."""
    if parameters.segmentation is None or parameters.inputVolume is None:
        return []
    return readTable(parameters.segmentation, parameters.inputVolume).complete


def roundsOf(parameters: Any) -> list[Rounds.Round]:
    """Return the rounds about a panel's volume."""
    RoundStore.adopt(parameters)
    return RoundStore.read(parameters.inputVolume)
