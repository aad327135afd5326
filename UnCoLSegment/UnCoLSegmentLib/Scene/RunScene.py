"""The scene's side of one run: what it takes out at the start, what it puts in at the end, and when it must stop.

Everything here runs on the main thread.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import vtk
from slicer.i18n import tr as _

from uncol.core.errors import DataError
from uncol.core.jobs import Box, Structure
from uncol.core.volume import Volume
from UnCoLSegmentLib.Scene import Bridge, Labelmaps, Proposal, Rounds, UncertaintyDisplay
from UnCoLSegmentLib.Scene.AnnotatedSlices import AnnotatedSlice, AnnotatedTable, detectAnnotated, readTable
from UnCoLSegmentLib.Scene.Grids import Region

MODEL_ATTRIBUTE = "UnCoL.Model"
"""On a proposal and on its map: name of the model that made it, "" for the foundation model."""
KNOWN_ATTRIBUTE = "UnCoL.KnownSlices"
"""On a proposal: JSON list of the annotated slices that its maker has seen."""
BOTH_ATTRIBUTE = "UnCoL.BothTeachers"
"""On a proposal: "1" where model and foundation model made it together."""
VOLUME_ROLE = "UnCoL.Volume"
"""Reference of a proposal and of an uncertainty map to the volume that it is about."""


@dataclass(frozen=True)
class RunInputs:
    """What a run takes out of the scene before it starts; arrays are views, nobody writes to them.

    Attributes:
        image: The volume.
        device: "auto", "cpu", "cuda" or "mps".
        labels: Annotated slices, 255 elsewhere; None where the run needs none.
        structures: What the labels mean.
        boxes: Boxes round structures.
        model: Name of the model to segment with; "" for none.
        annotated: The annotated slices, as "K:12".
        notes: What the user should know about the snapshot, such as overlapping segments.
    """

    image: Volume
    device: str
    labels: Volume | None = None
    structures: tuple[Structure, ...] = ()
    boxes: tuple[Box, ...] = ()
    model: str = ""
    annotated: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SegmentationResult:
    """A result on its way into the scene.

    Attributes:
        labels: Proposed labels.
        uncertainty: Normalized entropy in [0, 1].
        structures: What the labels mean.
        model: Name of the model that made it, "" for the foundation model.
        known: Annotated slices that its maker has seen, as "K:12".
        filled: The region that holds all labels; None where it is not known, or there are none.
        byBothTeachers: Whether the foundation model had a say beside the model.
    """

    labels: Volume
    uncertainty: Volume
    structures: tuple[Structure, ...]
    model: str = ""
    known: tuple[str, ...] = ()
    filled: Region | None = None
    byBothTeachers: bool = False


class RunScene:
    """Nodes and parameters of one run.

    Args:
        parameters: The panel's parameter node, or anything with its attributes.
    """

    def __init__(self, parameters: Any) -> None:
        self._parameters = parameters
        self._volume = parameters.inputVolume
        self._scene = self._volume.GetScene()
        self._observations: list[int] = []

    def watch(self, onLost: Callable[[str], None]) -> None:
        """Call `onLost` with a sentence when the scene is about to close or the volume about to be removed."""

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def aboutToRemove(_scene: Any, _event: str, node: Any) -> None:
            if node is self._volume:
                onLost(_("The volume was removed, so the run was stopped."))

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
        table = detectAnnotated(parameters.segmentation, parameters.proposal, self._volume)
        labels, structures, notes = Bridge.labelsFromSegmentation(parameters.segmentation, self._volume, table)
        if not structures:
            raise DataError(noStructureText())
        return self._inputs(
            labels=labels,
            structures=tuple(structures),
            annotated=tuple(f"{row.axis}:{row.index}" for row in table.complete),
            notes=(*notes, *_leftOutNotes(table)),
        )

    def showProposal(self, shown: SegmentationResult) -> None:
        """Put proposed labels into the proposal; a new one is made if there is none about this volume."""
        parameters = self._parameters
        like = parameters.segmentation if self._isInScene(parameters.segmentation) else None
        node = Proposal.putProposal(
            shown.labels, list(shown.structures), self._volume, self._proposal(), like=like, filled=shown.filled
        )
        node.SetAttribute(MODEL_ATTRIBUTE, shown.model)
        node.SetAttribute(KNOWN_ATTRIBUTE, json.dumps(shown.known))
        node.SetAttribute(BOTH_ATTRIBUTE, "1" if shown.byBothTeachers else "")
        node.SetNodeReferenceID(VOLUME_ROLE, self._volume.GetID())
        parameters.proposal = node

    def showPreview(self, labels: Volume, inputs: RunInputs, model: str) -> None:
        """Put what an unfinished model says into the proposal."""
        self.showProposal(SegmentationResult(labels, labels, inputs.structures, model, inputs.annotated))

    def showUncertainty(self, shown: SegmentationResult) -> None:
        """Put an uncertainty map into its volume; a new one is made if there is none about the run's volume."""
        parameters = self._parameters
        name = _("{volume} uncertainty").format(volume=self._volume.GetName())
        before = parameters.uncertaintyVolume if self._isAboutVolume(parameters.uncertaintyVolume) else None
        node = Bridge.putUncertainty(shown.uncertainty, self._volume, before, name)
        node.SetAttribute(MODEL_ATTRIBUTE, shown.model)
        node.SetNodeReferenceID(VOLUME_ROLE, self._volume.GetID())
        UncertaintyDisplay.show(node, parameters.uncertaintyThreshold)
        parameters.uncertaintyVolume = node

    def proposalIn(self, slices: Sequence[str]) -> tuple[Volume, tuple[Structure, ...]]:
        """Return what the proposal says now in some slices ("K:12"); a structure in none of them is left out."""
        wanted = [key.split(":") for key in slices]
        table = AnnotatedTable.of(
            AnnotatedSlice(axis, int(index), complete=True, hasStructure=True) for axis, index in wanted
        )
        found = Bridge.labelsFromSegmentation(self._parameters.proposal, self._volume, table)
        return found.labels, tuple(found.structures)

    def uncertaintyOfProposal(self) -> Volume | None:
        """Return the map that came with the proposal; None if there is none, or it is another model's."""
        proposal, node = self._proposal(), self._parameters.uncertaintyVolume
        if proposal is None or not self._isAboutVolume(node):
            return None
        isSameModel = node.GetAttribute(MODEL_ATTRIBUTE) == proposal.GetAttribute(MODEL_ATTRIBUTE)
        return Bridge.snapshotVolume(node) if isSameModel else None

    def newRound(self, inputs: RunInputs, model: str, base: str) -> Rounds.Round:
        """Return the entry of a round that begins; `scored` names the slices that the proposal has not seen."""
        rounds, proposal = self._rounds(), self._proposal()
        known = json.loads(proposal.GetAttribute(KNOWN_ATTRIBUTE) or "[]") if proposal else []
        return Rounds.Round(
            number=len(rounds) + 1,
            volume=self._volume.GetID(),
            annotated=inputs.annotated,
            hadProposal=proposal is not None,
            scored=Rounds.newSlices(inputs.annotated, known, rounds) if proposal else (),
            against=_modelBehind(proposal),
            model=model,
            base=base,
        )

    def roundOf(self, model: str) -> Rounds.Round | None:
        """Return the round in which a model was trained; None if it is not noted."""
        return next((each for each in reversed(self._rounds()) if each.model == model), None)

    def noteRound(self, entry: Rounds.Round) -> None:
        """Add a round, or put it in the place of the one with its model."""
        rounds = Rounds.readRounds(self._parameters.rounds)
        others = [each for each in rounds if (each.volume, each.model) != (entry.volume, entry.model)]
        self._parameters.rounds = Rounds.writeRounds([*others, entry])

    def knownTo(self, model: str) -> tuple[str, ...]:
        """Return the slices of this volume from which a model has learned."""
        return tuple(Rounds.knownTo(model, self._rounds())) if model else ()

    def takeModel(self, model: str) -> None:
        """Choose a model in the panel; no run is unfinished any more."""
        self._parameters.modelName, self._parameters.runName = model, ""

    def _rounds(self) -> list[Rounds.Round]:
        return Rounds.ofVolume(Rounds.readRounds(self._parameters.rounds), self._volume.GetID())

    def _proposal(self) -> Any:
        """Return the proposal about this run's volume; None if there is none, or the user removed it."""
        return self._parameters.proposal if self._isAboutVolume(self._parameters.proposal) else None

    def _isAboutVolume(self, node: Any) -> bool:
        return self._isInScene(node) and node.GetNodeReference(VOLUME_ROLE) is self._volume

    def _isInScene(self, node: Any) -> bool:
        return node is not None and node.GetScene() is self._scene

    def _inputs(self, **others: Any) -> RunInputs:
        return RunInputs(Bridge.snapshotVolume(self._volume), str(self._parameters.device.value), **others)


def _modelBehind(proposal: Any) -> str:
    """Return the model whose own score a proposal's is; "" where the foundation model had a say, or there is none."""
    if proposal is None or proposal.GetAttribute(BOTH_ATTRIBUTE):
        return ""
    return proposal.GetAttribute(MODEL_ATTRIBUTE) or ""


def segmentNames(segmentationNode: Any) -> list[str]:
    """Return the names of a segmentation's segments, in their order."""
    return [segment.GetName() for segment in Labelmaps.segmentsOf(segmentationNode).values()]


def annotatedSlices(parameters: Any) -> list[AnnotatedSlice]:
    """Return the slices of a panel's volume that are completely annotated, as they were found last."""
    if parameters.segmentation is None or parameters.inputVolume is None:
        return []
    return readTable(parameters.segmentation, parameters.inputVolume).complete


def noStructureText() -> str:
    """Return what to do when no annotated slice shows a structure."""
    return _("No annotated slice shows a structure. Paint it in at least one slice that is ticked as complete.")


def _leftOutNotes(table: AnnotatedTable) -> list[str]:
    names = ", ".join(f"{row.axis}:{row.index}" for row in table.leftOut if not row.knownIds)
    if not names:
        return []
    return [_("Left out, as they are not ticked as complete: {slices}.").format(slices=names)]


def roundsOf(parameters: Any) -> list[Rounds.Round]:
    """Return the rounds about a panel's volume."""
    if parameters.inputVolume is None:
        return []
    return Rounds.ofVolume(Rounds.readRounds(parameters.rounds), parameters.inputVolume.GetID())


def renameModel(parameters: Any, old: str, new: str) -> None:
    """Give a model another name wherever a panel's scene names it."""
    parameters.rounds = Rounds.writeRounds(Rounds.renamed(Rounds.readRounds(parameters.rounds), old, new))
    for node in filter(None, (parameters.proposal, parameters.uncertaintyVolume)):
        if node.GetAttribute(MODEL_ATTRIBUTE) == old:
            node.SetAttribute(MODEL_ATTRIBUTE, new)
    if parameters.modelName == old:
        parameters.modelName = new


def resultInScene(parameters: Any) -> tuple[Volume, Volume, list[Structure]]:
    """Return proposed labels, uncertainty and structures as they stand in the scene, as after it was loaded.

    Raises:
        DataError: If there is no result yet.
    """
    if parameters.uncertaintyVolume is None or parameters.proposal is None:
        raise DataError(_("There is no uncertainty map yet. Segment the volume first."))
    labels, structures = Bridge.labelsOfAllSegments(parameters.proposal, parameters.inputVolume)
    return labels, Bridge.snapshotVolume(parameters.uncertaintyVolume), structures
