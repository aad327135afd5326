"""The panel: loads its widgets, ties them to the parameter node, and lets one section each do its part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import qt
import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _

from uncol.core.errors import CancelledError
from UnCoLSegmentLib.Dependencies import ensureInstalled, missingPackages
from UnCoLSegmentLib.Engine.Signal import Signal
from UnCoLSegmentLib.Logic import Logic
from UnCoLSegmentLib.Panel.AdvancedSection import AdvancedSection
from UnCoLSegmentLib.Panel.CasesSection import CasesSection
from UnCoLSegmentLib.Panel.CorrectSection import CorrectSection
from UnCoLSegmentLib.Panel.Editor import Editor
from UnCoLSegmentLib.Panel.ExportSection import ExportSection
from UnCoLSegmentLib.Panel.FineTuneSection import FineTuneSection
from UnCoLSegmentLib.Panel.Guide import Guide, nextStep
from UnCoLSegmentLib.Panel.Inputs import Inputs
from UnCoLSegmentLib.Panel.Keys import Held, Keys, keyActions
from UnCoLSegmentLib.Panel.ModelsSection import ModelsSection
from UnCoLSegmentLib.Panel.Observations import Observations
from UnCoLSegmentLib.Panel.PlacesSection import PlacesSection
from UnCoLSegmentLib.Panel.ResultSection import ResultSection
from UnCoLSegmentLib.Panel.Section import Message
from UnCoLSegmentLib.Panel.SegmentSection import SegmentSection
from UnCoLSegmentLib.Panel.Settings import Defaults
from UnCoLSegmentLib.Panel.StartCard import StartCard
from UnCoLSegmentLib.Panel.StatusStrip import StatusStrip
from UnCoLSegmentLib.Panel.VerdictSection import VerdictSection
from UnCoLSegmentLib.ParameterNode import ParameterNode
from UnCoLSegmentLib.Scene import Proposal, Results

_DETECT_AFTER_MS = 400
"""So long after the last brush stroke the annotated slices are looked for."""

_LEAST_BETWEEN_LOOKS_MS = 50
"""Where the views are is looked at no more often than this."""

_SEGMENTATION_EVENTS = (
    slicer.vtkSegmentation.SegmentAdded,
    slicer.vtkSegmentation.SegmentRemoved,
    slicer.vtkSegmentation.SegmentModified,
    slicer.vtkSegmentation.SourceRepresentationModified,
    slicer.vtkSegmentation.RepresentationModified,
    slicer.vtkMRMLTransformableNode.TransformModifiedEvent,
)
"""Undo tells only that segments were modified, and Clear only that representations were."""
_VOLUME_EVENTS = (
    slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent,
    slicer.vtkMRMLTransformableNode.TransformModifiedEvent,
)
_ROI_EVENTS = (
    slicer.vtkMRMLMarkupsNode.PointPositionDefinedEvent,
    slicer.vtkMRMLMarkupsNode.PointPositionUndefinedEvent,
)


class Widget:
    """What the module's panel shows and does.

    Args:
        moduleWidget: The `ScriptedLoadableModuleWidget`: its layout, resources and `parent`.
        logic: What does the work.
        moduleLogic: Keeps the parameter node: a `ScriptedLoadableModuleLogic`.
    """

    def __init__(self, moduleWidget: Any, logic: Logic, moduleLogic: Any = None) -> None:
        self._moduleWidget, self.logic = moduleWidget, logic
        self._moduleLogic = moduleLogic or moduleWidget.logic
        self.parameters: ParameterNode | None = None
        self._guiTag: int | None = None
        self._observations = Observations()
        self._signals: tuple[Signal, ...] = (logic.stateChanged, logic.modelsChanged, logic.engineGreeted)
        self._isEntered = False
        self._defaults = Defaults()

    def setup(self) -> None:
        """Build the panel."""
        uiWidget = slicer.util.loadUI(self._moduleWidget.resourcePath("UI/UnCoLSegment.ui"))
        self._moduleWidget.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        for button in (each for each in vars(self.ui).values() if isinstance(each, qt.QPushButton)):
            button.autoDefault = True  # Enter presses it: Space is a key of the Segment Editor
        # Before the scene: the editor selects a segmentation by itself, and has to keep it somewhere.
        self._editor, self._message = Editor(self.ui), Message(self.ui)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self._inputs, self._guide = Inputs(self.ui), Guide(self.ui)
        logic, ui, message = self.logic, self.ui, self._message
        self._strip = StatusStrip(ui, logic, message)
        self._segmentSection = SegmentSection(ui, logic, message, self._prepareEngine, self.update)
        self._correctSection = CorrectSection(ui, logic, message, self._editor)
        self._startCard = StartCard(ui, logic, message, self._whatIsMissing, self._prepareEngine)
        self._resultSection = result = ResultSection(ui, logic, message, lambda: self._correctSection.donePlaces)
        self._sections = (
            self._segmentSection,
            result,
            ExportSection(ui, logic, message, self._prepareEngine),
            VerdictSection(ui, logic, message, self._editor, self._correctSection.goOn),
            self._correctSection,
            PlacesSection(ui, logic, message, lambda: self._correctSection.table),
            FineTuneSection(ui, logic, message, self._prepareEngine),
            CasesSection(ui, logic, message, self._prepareEngine),
            ModelsSection(ui, logic, message),
            AdvancedSection(ui, logic, message, self._requirementsFile),
            self._startCard,
        )
        others = {"C": "own", "Shift+C": "earlier"}
        self._held = {
            key: Held(qt.Qt.Key_C, partial(result.compare, other), partial(result.compare, ""))
            for key, other in others.items()
        }
        held = {key: each.press for key, each in self._held.items()}
        self._keys = Keys(uiWidget, {**keyActions(ui, logic, message), **held})
        ofScene = (
            (slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose),
            (slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose),
            (slicer.mrmlScene.StartImportEvent, self.onSceneStartImport),
            (slicer.mrmlScene.EndImportEvent, self.onSceneEndClose),
            (slicer.mrmlScene.NodeAddedEvent, self._onNodesChange),
            (slicer.mrmlScene.NodeRemovedEvent, self._onNodesChange),
        )
        self._observations.observe("scene", slicer.mrmlScene, ofScene)
        self._signals = (*self._signals, message.changed)
        for signal in self._signals:
            signal.connect(self.update)
        self.logic.pollSooner.connect(self._pace)
        self._pollTimer = _timer(self.logic.pollAfter_ms, self._poll)
        self._pollTimer.start()
        self._detectTimer = _timer(_DETECT_AFTER_MS, self._detect)
        self._detectTimer.setSingleShot(True)
        self._chooseTimer = _timer(0, self._onNodesChanged)
        self._chooseTimer.setSingleShot(True)
        self._setParameterNode(self._moduleLogic.getParameterNode())

    def enter(self) -> None:
        """The user comes to the module."""
        self._isEntered = True
        if self.parameters is None:
            self._setParameterNode(self._moduleLogic.getParameterNode())
        self._onNodesChanged()
        self._startCard.enter()
        self.update()
        self._editor.enter()
        self._keys.install()

    def showResult(self, node: Any) -> bool:
        """Choose a proposal or a map with its volume; say whether the node is one."""
        volume = Results.volumeOf(node)
        if volume is None:
            return False
        if self.parameters is None:
            self._setParameterNode(self._moduleLogic.getParameterNode())
        if self.parameters is not None:
            self.parameters.inputVolume = volume
            if node.GetAttribute(Proposal.ATTRIBUTE):
                self.parameters.proposal = node
            else:
                self.parameters.uncertaintyVolume = node
        return True

    def exit(self) -> None:
        """The user goes to another module; a run goes on meanwhile."""
        self._isEntered = False
        self._leave()

    def cleanup(self) -> None:
        """The panel is going away: end what runs, leave nothing behind."""
        self._leave()
        self._pollTimer.stop()
        self._detectTimer.stop()
        self._chooseTimer.stop()
        for signal in self._signals:
            signal.disconnect(self.update)
        self.logic.pollSooner.disconnect(self._pace)
        for follower in (self._strip, *self._sections):
            follower.disconnect()
        self._setParameterNode(None)
        self._observations.end()
        self.logic.shutdown()

    def _leave(self) -> None:
        """Let go of views and keys."""
        for each in self._held.values():
            each.release()
        self._keys.uninstall()
        for section in self._sections:
            section.leave()
        self._editor.leave()

    def onSceneStartClose(self, _caller: Any = None, _event: Any = None) -> None:
        """Let go of everything in the scene; logic stops a run by itself."""
        self._detectTimer.stop()
        self._setParameterNode(None)
        for section in self._sections:
            section.forgetScene()

    def onSceneEndClose(self, _caller: Any = None, _event: Any = None) -> None:
        """Begin anew with the empty scene, or show what the user had chosen when it was saved, if they are here."""
        self._editor.takeParameters()
        if self._isEntered:
            self._setParameterNode(self._moduleLogic.getParameterNode())

    def onSceneStartImport(self, _caller: Any = None, _event: Any = None) -> None:
        """Let the widgets go: while nodes come in, they would take references to nodes still missing for no choice."""
        self._setParameterNode(None)

    def update(self, _caller: Any = None, _event: Any = None) -> None:
        """Show the state of parameters, scene and run."""
        parameters = self.parameters
        self._defaults.note(parameters)
        self._observeNodes(parameters)
        self._inputs.update(parameters)
        for section in self._sections:
            section.update(parameters)
        if self._isEntered:
            self._resultSection.showTexts()
        missing, isPlacing = self._startCard.missing, self._segmentSection.isPlacing
        step = nextStep(parameters, self.logic, self._correctSection.table, missing, isPlacing)
        self._strip.update(step)
        self._guide.show(step, self.logic.state)

    def _poll(self) -> None:
        try:
            self.logic.poll()
            if self._isEntered and self.logic.pollAfter_ms >= _LEAST_BETWEEN_LOOKS_MS:
                self._correctSection.showRuler()  # the views may have moved, and show other things
                self._resultSection.showTexts()
        finally:
            self._pace()

    def _pace(self) -> None:
        """Poll as often as the logic wants it, and no more: each time wakes the application."""
        wanted = self.logic.pollAfter_ms
        if wanted != self._pollTimer.interval:
            self._pollTimer.setInterval(wanted)

    def _setParameterNode(self, node: Any) -> None:
        if self.parameters is not None:
            self.parameters.disconnectGui(self._guiTag)
            self._observations.observe("parameters", None, ())
        isNew = node is not None and not node.GetParameterNames()  # that of a new scene
        self.parameters = ParameterNode(node) if node is not None else None
        if self.parameters is not None:
            if isNew:
                self._defaults.giveTo(self.parameters)
            self._choose(self.parameters)
            # Not connectGui: in some releases of Slicer that returns no tag to disconnect with.
            self._guiTag = self.parameters.connectParametersToGui(self._widgetsOfParameters())
            self._observations.observe("parameters", node, [(vtk.vtkCommand.ModifiedEvent, self.update)])
        self.update()

    def _widgetsOfParameters(self) -> dict[str, qt.QWidget]:
        named = {widget.property("SlicerParameterName"): widget for widget in vars(self.ui).values()}
        return {name: widget for name, widget in named.items() if name}

    def _choose(self, parameters: ParameterNode) -> None:
        """Choose what is obvious: the volume that is shown, and the model in use."""
        self._inputs.choose(parameters)
        if not parameters.modelName and self.logic.store.active:
            parameters.modelName = self.logic.store.active

    def _onNodesChange(self, _caller: Any = None, _event: Any = None) -> None:
        """Look at it in a moment: a node comes before its voxels, and before it is shown."""
        self._chooseTimer.start()

    def _onNodesChanged(self) -> None:
        if self.parameters is not None:
            self._inputs.choose(self.parameters)
            self.update()

    def _observeNodes(self, parameters: ParameterNode | None) -> None:
        """Follow what happens inside the chosen nodes: the parameter node only tells when others are chosen."""
        segmentation = parameters.segmentation if parameters else None
        volume = parameters.inputVolume if parameters else None
        self._observe("volume", volume, _VOLUME_EVENTS, self._onSegmentationChanged)
        self._observe("roi", parameters.roi if parameters else None, _ROI_EVENTS, self.update)
        self._observe("segmentation", segmentation, _SEGMENTATION_EVENTS, self._onSegmentationChanged)
        if segmentation is not None and volume is not None and not segmentation.GetSegmentation().GetNumberOfSegments():
            segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)

    def _observe(self, role: str, node: Any, events: Sequence[int], callback: Callable[..., None]) -> None:
        isAnother = self._observations.observe(role, node, [(event, callback) for event in events])
        if isAnother and role in ("volume", "segmentation") and node is not None:
            self._detectTimer.start()

    def _onSegmentationChanged(self, _caller: Any, _event: Any) -> None:
        """Segments came, went or were painted, or nodes moved: look for annotated slices when the user pauses."""
        self._detectTimer.start()
        self.update()

    def _detect(self) -> None:
        """Look for annotated slices, and show what that noted in the segments."""
        self._correctSection.detect()
        self.update()

    def _whatIsMissing(self) -> list[str]:
        return missingPackages(self._requirementsFile)

    @property
    def _requirementsFile(self) -> Path:
        return Path(self._moduleWidget.resourcePath("requirements.txt"))

    def _prepareEngine(self) -> None:
        """Install what the engine lacks or cannot load; asked for in a click, so that consent can be given."""
        damaged = self.logic.damagedPackage
        if damaged:
            self.logic.engine.stop()  # it may hold the files of the package
        if self.logic.engine.isRunning or not (damaged or self._whatIsMissing()):
            return
        with self.logic.installing():
            ensureInstalled(self._requirementsFile, damaged)
        if self.parameters is None:
            message = _("The scene or the module was closed meanwhile, so nothing was started.")
            raise CancelledError(message)


def _timer(interval_ms: int, action: Any) -> qt.QTimer:
    timer = qt.QTimer()
    timer.setInterval(interval_ms)
    timer.connect("timeout()", action)
    return timer
