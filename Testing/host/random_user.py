"""A user who does anything at any time, and a witness who notes what they did and looks what became of it.

The witness knows three things: what each segmentation of the user's must hold now, in which slices the user painted,
and which they said are complete. Undo and redo go through what it noted, as Slicer's own history goes through the
voxels.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import qt
import slicer
import slicer.util
from as_slicer_waits import waitAsSlicer
from numpy.typing import NDArray
from panel_driver import Panel
from scripted_engine import ScriptedEngine

from UnCoLSegmentLib.Scene import Labelmaps
from UnCoLSegmentLib.Scene.AnnotatedSlices import MOST_AT_ONCE, detectAnnotated

PATIENCE_S = 20.0
CHECKED, UNCHECKED = qt.Qt.Checked, qt.Qt.Unchecked
SHAPE_KJI = (10, 24, 24)
TO_RAS = np.array([[-1.2, 0.9, 0, 20], [-0.9, -1.2, 0, 15], [0, 0, 4.0, -20], [0, 0, 0, 1.0]])
NAMES = ("liver", "spleen")
Voxels = dict[str, bytes]


@dataclass(frozen=True)
class State:
    """A segmentation at one moment: its voxels, what the user said of its slices, and what the witness knows of both.

    Attributes:
        voxels: What each segment holds.
        notes: What is noted in the segments by acts of the user; an undo goes back through that, too.
        painted: Slices in which the user painted.
        complete: Slices that they said are complete.
        open: Slices that they said are not.
    """

    voxels: Voxels = field(default_factory=dict, repr=False)
    notes: str = ""
    painted: frozenset[int] = frozenset()
    complete: frozenset[int] = frozenset()
    open: frozenset[int] = frozenset()


class History:
    """The states of one segmentation, and which of them is the present one."""

    def __init__(self, first: State) -> None:
        self.states, self.at = [first], 0

    @property
    def now(self) -> State:
        return self.states[self.at]

    def add(self, state: State) -> None:
        self.states[self.at + 1 :] = [state]
        self.at += 1


class RandomUser:
    """Two patients, a panel with an engine that waits for a word, and acts that may or may not be possible now."""

    def __init__(self, panel: Panel, engine: ScriptedEngine, folder: Path, views: list[Any]) -> None:
        self.panel, self.engine, self.folder, self._views = panel, engine, folder, views
        self._histories: dict[str, History] = {}
        self._saved: dict[str, State] = {}
        self._patients = 0
        self.addPatients()

    # What is there

    @property
    def _parameters(self) -> Any:
        return self.panel.parameters

    @property
    def _own(self) -> Any:
        return self._parameters.segmentation

    @property
    def _editor(self) -> Any:
        return self.panel.ui.segmentEditor

    def _segmentations(self) -> list[Any]:
        nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
        ours = ("UnCoL.Proposal", "UnCoL.Preview")
        return [n for n in nodes if not n.GetHideFromEditors() and not any(n.GetAttribute(each) for each in ours)]

    def _volumes(self) -> list[Any]:
        nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
        return [node for node in nodes if not node.GetAttribute("UnCoL.Uncertainty")]

    def addPatients(self) -> None:
        for _ in range(2):
            self._patients += 1
            name = f"Patient {self._patients}"
            voxels = np.random.default_rng(self._patients).normal(0, 9, SHAPE_KJI).astype(np.int16)
            volume = slicer.util.addVolumeFromArray(voxels, ijkToRAS=TO_RAS, name=name)
            node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{name} segments")
            node.CreateDefaultDisplayNodes()
            node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
            for each in NAMES:
                node.GetSegmentation().AddEmptySegment(each, each)
            self._histories[node.GetID()] = History(State(voxelsOf(node), notesOf(node)))
            self._choose(volume, node)

    def _choose(self, volume: Any, segmentation: Any) -> None:
        self._parameters.inputVolume, self._parameters.segmentation = volume, segmentation
        self.panel.settle()

    # Acts; each takes numbers that hypothesis draws

    def paint(self, index: int, size: int) -> None:
        """Paint a block of one slice, as a stroke of the brush."""
        part = np.zeros(SHAPE_KJI, dtype=bool)
        part[index % SHAPE_KJI[0], 3 : 15 + size, 4 : 16 + size] = True
        self._stroke(size, lambda mask: mask | part)

    def erase(self, index: int, size: int) -> None:
        """Erase in one slice."""
        part = np.zeros(SHAPE_KJI, dtype=bool)
        part[index % SHAPE_KJI[0], :, 5 + size :] = True
        self._stroke(size, lambda mask: mask & ~part)

    def effect(self, index: int, size: int) -> None:
        """Let a tool that works in 3D change all of a segment: it grows in each slice, and by two on either side."""

        def grow(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
            grown = np.logical_or.reduce([np.roll(mask, by, axis=0) for by in range(-2, 3)])
            return grown | np.roll(grown, 1, axis=1) | np.roll(grown, -1, axis=2)

        self._stroke(index, grow)

    def _stroke(self, which: int, change: Any) -> None:
        if self._own is None:
            return
        ids = self._own.GetSegmentation().GetSegmentIDs()
        segmentId, volume = ids[which % len(ids)], slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
        before = maskOf(self._own, segmentId, volume)
        after = change(before)
        if np.array_equal(before, after):
            return
        self._editor.saveStateForUndo()
        slicer.util.updateSegmentBinaryLabelmapFromArray(after.astype(np.uint8), self._own, segmentId, volume)
        added = np.flatnonzero((after & ~before).any(axis=(1, 2))).tolist()
        changed = np.count_nonzero((after != before).any(axis=(1, 2)))
        state = self._history().now
        painted = state.painted | frozenset(added if changed <= MOST_AT_ONCE else ())
        self._history().add(replace(state, voxels=voxelsOf(self._own), painted=painted))

    def acceptSlice(self, index: int, size: int) -> None:
        self._show(index)
        self._press("acceptSliceButton", index % SHAPE_KJI[0])

    def acceptSegment(self, index: int, size: int) -> None:
        self._press("acceptSegmentButton")

    def acceptAll(self, index: int, size: int) -> None:
        self._press("acceptAllButton")

    def sliceIsRight(self, index: int, size: int) -> None:
        self._show(index)
        self._press("sliceIsRightButton", index % SHAPE_KJI[0], completes=True)

    def sliceIsEmpty(self, index: int, size: int) -> None:
        self._show(index)
        self._press("sliceIsEmptyButton", index % SHAPE_KJI[0], completes=True)

    def untick(self, index: int, size: int) -> None:
        """Take the tick of a row away."""
        table = self.panel.ui.slicesTable
        if not table.rowCount or table.item(index % table.rowCount, 3).checkState() != CHECKED:
            return
        name = table.item(index % table.rowCount, 0).text()
        table.item(index % table.rowCount, 3).setCheckState(UNCHECKED)
        self.panel.settle()
        self._note(open=int(name.split()[-1]))

    def undo(self, index: int, size: int) -> None:
        self._goThrough(-1, self._editor._editor.CanUndo(), self._editor.undo)

    def redo(self, index: int, size: int) -> None:
        self._goThrough(1, self._editor._editor.CanRedo(), self._editor.redo)

    def _goThrough(self, step: int, isPossible: bool, act: Any) -> None:
        act()
        if isPossible and self._own is not None:
            self._history().at += step

    def segment(self, index: int, size: int) -> None:
        """Segment from a box; every second time it is drawn anew, under another name."""
        if self._parameters.inputVolume is None or self.panel.logic.state.value != "idle":
            return
        roi = self._parameters.roi
        if roi is None or index % 2:
            roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", NAMES[size % 2])
            roi.SetCenterWorld(*(TO_RAS @ [12, 12, 5, 1])[:3])
            roi.SetSize(12, 12, 12)
            self._parameters.roi = roi
        self._parameters.segmentFrom = type(self._parameters.segmentFrom)("box")
        asked = len(self.engine.requests)
        self.panel.ui.segmentButton.click()
        self._untilAsked(asked, "segment")
        self.engine.finishSegment(block(index, size), np.full(SHAPE_KJI, 0.3, np.float32), [roi.GetName()])
        self._untilIdle()

    def fineTune(self, index: int, size: int) -> None:
        """Begin to learn, if that is possible; another act ends it, or this one."""
        if not self.panel.ui.fineTuneButton.enabled or self.panel.logic.state.value != "idle":
            return
        asked = len(self.engine.requests)
        self.panel.ui.fineTuneButton.click()
        self._untilAsked(asked, "fine_tune")

    def preview(self, index: int, size: int) -> None:
        if self.panel.logic.state.value != "idle":
            self.engine.say("fine_tune", "preview", segmentation=self.engine.writePreview(block(index, size)))
            self._poll(6)

    def finish(self, index: int, size: int) -> None:
        if self.panel.logic.state.value == "idle":
            return
        names = [each["name"] for each in self.engine.asked("fine_tune")["structures"]]
        scores = dict.fromkeys(names, 0.5 + index / 100)
        asked = len(self.engine.requests)
        self.engine.finishFineTune(scores, block(index, size), np.full(SHAPE_KJI, 0.2, np.float32))

        def isOver() -> bool:
            nonlocal asked
            if any(op == "segment" for op, _fields in self.engine.requests[asked:]):
                asked = len(self.engine.requests)
                self.engine.finishSegment(block(index, size), np.full(SHAPE_KJI, 0.2, np.float32), names)
            return bool(self.panel.logic.state.value == "idle")

        self._until(isOver, "the run ends")

    def cancel(self, index: int, size: int) -> None:
        if self.panel.logic.state.value != "idle":
            self.panel.logic.cancel()
            self.engine.say("fine_tune", "cancelled")
            self._untilIdle()

    def changeVolume(self, index: int, size: int) -> None:
        volumes = self._volumes()
        if volumes and self.panel.logic.state.value == "idle":
            self._choose(volumes[index % len(volumes)], self._own)

    def changeSegmentation(self, index: int, size: int) -> None:
        nodes = self._segmentations()
        if nodes and self.panel.logic.state.value == "idle":
            before, chosen = self._own, nodes[index % len(nodes)]
            self._choose(self._parameters.inputVolume, chosen)
            if chosen is not before:  # Slicer's history goes on where the same one is chosen again
                self._forgetUndo()

    def rename(self, index: int, size: int) -> None:
        """Rename all there is; to Slicer's history a renamed segment is an edit, after which nothing can be redone."""
        if self._own is not None:
            couldRedo = self._editor._editor.CanRedo()
            self._own.SetName(f"renamed {size}")
            segmentation = self._own.GetSegmentation()
            segmentation.GetNthSegment(0).SetName(f"{NAMES[0]} {index}")
            self._parameters.inputVolume.SetName(f"volume {index}")
            if couldRedo and not self._editor._editor.CanRedo():
                self._history().add(self._history().now)

    def save(self, index: int, size: int) -> None:
        self.look()
        nodes = self._segmentations()
        for number, node in enumerate(nodes):
            node.SetAttribute("Test.Number", str(number))
        self._saved = {str(number): self._histories[node.GetID()].now for number, node in enumerate(nodes)}
        assert slicer.util.saveScene(str(self.folder / "scene.mrb"))

    def load(self, index: int, size: int) -> None:
        """Close the scene and open the saved one."""
        if self._saved:
            self.close(index, size, isForGood=False)
            self._read()

    def importScene(self, index: int, size: int) -> None:
        """Add the saved scene to the open one."""
        if self._saved and len(self._segmentations()) < 6:
            self._read()

    def _read(self) -> None:
        before = {node.GetID() for node in self._segmentations()}
        slicer.util.loadScene(str(self.folder / "scene.mrb"))
        self.panel.settle()
        for node in self._segmentations():
            if node.GetID() not in before:
                state = self._saved[node.GetAttribute("Test.Number")]
                assert voxelsOf(node) == state.voxels, "what was saved is not what was loaded"
                self._histories[node.GetID()] = History(state)
        if self._own is None:
            self._choose(self._volumes()[0], self._segmentations()[0])
        self._forgetUndo()

    def close(self, index: int, size: int, *, isForGood: bool = True) -> None:
        """Close the scene; nothing of ours may be left in it."""
        self.cancel(index, size)
        slicer.mrmlScene.Clear(False)
        self.panel.settle()
        self._poll(3)
        left = [n.GetName() for n in slicer.util.getNodesByClass("vtkMRMLNode") if n.GetAttribute("UnCoL.Preview")]
        assert not [*left, *self._segmentations(), *self._volumes()]
        for kind in ("vtkMRMLSegmentationNode", "vtkMRMLScalarVolumeNode", "vtkMRMLMarkupsNode", "vtkMRMLTableNode"):
            assert slicer.mrmlScene.GetNumberOfNodesByClass(kind) == 0, kind
        self._histories = {}
        if isForGood:
            self.addPatients()

    # The witness

    def look(self) -> None:
        """See that no voxel changed but by an act, and that every annotated slice was painted or named."""
        self._histories = {i: each for i, each in self._histories.items() if slicer.mrmlScene.GetNodeByID(i)}
        self.panel.widget._detect()  # the user pauses
        for nodeId, history in self._histories.items():
            node = slicer.mrmlScene.GetNodeByID(nodeId)
            assert voxelsOf(node) == history.now.voxels, f"voxels of {node.GetName()} changed by no act of the user"
            table = detectAnnotated(node, self._parameters.proposal, self._volumes()[0])
            for row in table.complete:
                said, known = history.now, f"{row.axis}:{row.index}"
                assert row.axis == "K", f"nobody painted {known}"
                assert row.index in said.painted | said.complete, f"{known} was neither painted nor named: {said}"
                assert row.index not in said.open, f"the user said that {known} is not complete"

    def _history(self) -> History:
        return self._histories[self._own.GetID()]

    def _press(self, button: str, place: int | None = None, *, completes: bool = False) -> None:
        """Click a button of ours that may change the segmentation, and take what it did for the user's act.

        What is proposed must be about the volume, and an act on one slice, `place`, must leave the others alone.
        """
        widget = getattr(self.panel.ui, button)
        if not widget.enabled:
            return
        before = self._history().now if self._own is not None else None
        proposal, volume = self._parameters.proposal, self._parameters.inputVolume
        assert proposal is None or proposal.GetNodeReference("UnCoL.Volume") is volume, "another volume's proposal"
        widget.click()
        self.panel.settle()
        if before is None:
            if self._own is None:
                return
            before = State(notes=notesOf(self._own))
            self._histories[self._own.GetID()] = History(before)
        state = replace(before, voxels=voxelsOf(self._own), notes=notesOf(self._own))
        if place is not None:
            assert changedSlices(before.voxels, state.voxels) <= {place}, f"an act on slice {place} changed others"
        if completes and not self.panel.shown().startswith("No "):
            state = replace(state, complete=state.complete | {place}, open=state.open - {place})
        if state != before:
            self._history().add(state)

    def _note(self, *, open: int) -> None:
        state = self._history().now
        state = replace(state, open=state.open | {open}, complete=state.complete - {open}, notes=notesOf(self._own))
        self._history().add(state)

    def _forgetUndo(self) -> None:
        """Slicer's history begins anew with another segmentation."""
        if self._own is not None:
            self._histories[self._own.GetID()] = History(self._history().now)

    def _show(self, index: int) -> None:
        point = (TO_RAS @ [12, 12, index % SHAPE_KJI[0], 1])[:3]
        for view in self._views:
            view.node.JumpSliceByOffsetting(*point)

    def _poll(self, count: int = 1) -> None:
        for _ in range(count):
            self.panel.logic.poll()
            self.panel.settle()

    def _untilAsked(self, before: int, op: str) -> None:
        self._until(lambda: any(name == op for name, _fields in self.engine.requests[before:]), f"{op} is asked for")

    def _untilIdle(self) -> None:
        self._until(lambda: self.panel.logic.state.value == "idle", "the run ends")

    def _until(self, isReached: Callable[[], bool], what: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while not isReached():
            self._poll()
            waitAsSlicer(1)
            assert time.monotonic() < end, f"waited in vain until {what}; the panel says {self.panel.shown()!r}"


def changedSlices(before: Voxels, after: Voxels) -> set[int]:
    """Return the slices in which a segment holds other voxels than before."""
    empty = bytes(np.packbits(np.zeros(SHAPE_KJI, bool)))
    changed: set[int] = set()
    for each in {*before, *after}:
        then, now = (np.frombuffer(voxels.get(each, empty), np.uint8) for voxels in (before, after))
        differs = np.unpackbits(then ^ now, count=int(np.prod(SHAPE_KJI))).reshape(SHAPE_KJI)
        changed |= set(np.flatnonzero(differs.any(axis=(1, 2))).tolist())
    return changed


def block(index: int, size: int) -> NDArray[np.uint8]:
    """Labels of a block that lies where the numbers say."""
    voxels = np.zeros(SHAPE_KJI, dtype=np.uint8)
    voxels[index % 5 : index % 5 + 4, 2 + size : 16, 3 : 17 + size] = 1
    return voxels


def maskOf(segmentation: Any, segmentId: str, volume: Any) -> NDArray[np.bool_]:
    found = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segmentId, volume)
    mask: NDArray[np.bool_] = np.zeros(SHAPE_KJI, dtype=bool) if found is None else found > 0
    return mask


def voxelsOf(segmentation: Any) -> Voxels:
    """Return what each segment holds, on the grid that all patients share; empty ones are left out."""
    volume = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
    ids = segmentation.GetSegmentation().GetSegmentIDs()
    masks = {segmentId: maskOf(segmentation, segmentId, volume) for segmentId in ids}
    return {segmentId: np.packbits(mask).tobytes() for segmentId, mask in masks.items() if mask.any()}


def notesOf(segmentation: Any) -> str:
    """Return what the user's acts have noted in the segments: what was accepted, and slices declared or disclaimed."""
    notes = []
    for segmentId, segment in Labelmaps.segmentsOf(segmentation).items():
        entries = [each.split() for each in Labelmaps.tagOf(segment, "UnCoL.Slices").split(";") if each]
        said = sorted(f"{place} {mark[0]}" for *_normal, place, mark in entries if mark[0] in "co")
        notes.append(f"{segmentId} {Labelmaps.tagOf(segment, 'UnCoL.Accepted')} {said}")
    return "\n".join(notes)
