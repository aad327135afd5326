"""A real MRML host without the Slicer application.

`Host()` builds scene, application logic, module logics and file input and output from slicer-core, and publishes them
where the code of an extension looks: `slicer.mrmlScene`, `slicer.app`, `slicer.modules`. Below the functions of
`slicer.util` everything is Slicer's own C++ code.

What the application adds to the `slicer` package in Python (`slicer.i18n` and more) is a matter of `stand_ins`, which
importing this module makes importable.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import slicer
import slicer.util
import stand_ins  # noqa: F401  # makes slicer.i18n and the like importable
import vtk
from announcer import Announcer

# Colors first: Volumes asks for it. A logic registers its node classes when it gets the scene.
_MODULE_LOGICS = {
    "Colors": slicer.vtkSlicerColorLogic,
    "Volumes": slicer.vtkSlicerVolumesLogic,
    "Markups": slicer.vtkSlicerMarkupsLogic,
    "Tables": slicer.vtkSlicerTablesLogic,
    "Plots": slicer.vtkSlicerPlotsLogic,
    "Transforms": slicer.vtkSlicerTransformLogic,
    "CropVolume": slicer.vtkSlicerCropVolumeLogic,
    "SubjectHierarchy": slicer.vtkSlicerSubjectHierarchyModuleLogic,
    "Segmentations": slicer.vtkSlicerSegmentationsModuleLogic,
}
_FILE_TYPES = {".seg.nrrd": "SegmentationFile", ".mrb": "SceneFile"}
"""Slicer's file type by suffix; every other file is read as a volume."""


class Host:
    """One scene with its logics; a context manager, so that a test cannot leave nodes behind.

    One at a time, because it sets globals of the `slicer` package; any number one after the other.

    Attributes:
        scene: The MRML scene.
        logic: The application logic.
        views: Open slice views; they are closed before the scene.
        errors: Every error text of VTK and MRML; most of MRML's failures are told in no other way.
    """

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.views: list[Any] = []
        self._watchErrors()
        self.folder = Path(tempfile.mkdtemp(prefix="mrml-host-"))
        self._writeLabelColors()
        self.scene = slicer.mrmlScene = slicer.vtkMRMLScene()
        self.logic = self._makeApplicationLogic()
        slicer.modules = SimpleNamespace()
        for name, logicClass in _MODULE_LOGICS.items():
            self._addModule(name, logicClass())
        self._enableBundles()
        self._addCrosshair()
        slicer.app = _makeApplication(self)
        effects = Announcer("effectRegistered(QString)")
        slicer.qSlicerSegmentEditorEffectFactory = SimpleNamespace(instance=lambda: effects)

    def sliceWidget(self, layoutName: str) -> Any:
        """Return the widget round a drawn slice view, as far as our code asks; None where there is none."""
        views = [each for each in self.views if each.node.GetLayoutName() == layoutName]
        return SimpleNamespace(sliceView=lambda: views[-1]) if views else None

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Empty the scene and take back what was published."""
        for view in self.views:
            view.close()
        self.scene.Clear(True)
        if "qt" in sys.modules:
            sys.modules["qt"].QSettings.kept.clear()
        vtk.vtkOutputWindow.GetInstance().RemoveObserver(self._errorTag)
        slicer.app = slicer.modules = slicer.mrmlScene = None
        vars(slicer).pop("dicomDatabase", None)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _watchErrors(self) -> None:
        @vtk.calldata_type(vtk.VTK_STRING)
        def note(_window: Any, _event: str, text: str) -> None:
            self.errors.append(text.strip())

        self._errorTag = vtk.vtkOutputWindow.GetInstance().AddObserver("ErrorEvent", note)

    def _makeApplicationLogic(self) -> Any:
        logic = slicer.vtkSlicerApplicationLogic()
        logic.SetHomeDirectory(str(self.folder))
        logic.SetShareDirectory("share")  # relative to the home directory
        logic.SetTemporaryPath(str(self.folder))
        logic.SetMRMLScene(self.scene)
        logic.SetSliceLogics(vtk.vtkCollection())  # the views', which the application's layout manager makes
        return logic

    def _addModule(self, name: str, logic: Any) -> None:
        if name == "Colors":
            self.logic.SetColorLogic(logic)
        logic.SetMRMLApplicationLogic(self.logic)
        logic.SetMRMLScene(self.scene)
        self.logic.SetModuleLogic(name, logic)
        setattr(slicer.modules, name.lower(), SimpleNamespace(logic=lambda: logic))

    def _writeLabelColors(self) -> None:
        """Label maps use a color file that only the application ships; the Colors logic finds ours instead."""
        folder = self.folder / "share" / "ColorFiles"
        folder.mkdir(parents=True)
        rows = [f"{i} label_{i} {i * 37 % 256} {i * 91 % 256} {i * 151 % 256} 255" for i in range(1, 256)]
        (folder / "GenericColors.txt").write_text("\n".join(["0 background 0 0 0 0", *rows]) + "\n")

    def _enableBundles(self) -> None:
        """Reading .mrb needs the remote-input logic and its cache folder."""
        cache = self.folder / "cache"
        cache.mkdir()
        (cache / ".slicer-cache").touch()  # marks a folder that the cache manager may empty
        self._remoteIO = slicer.vtkMRMLRemoteIOLogic()
        self._remoteIO.SetMRMLScene(self.scene)
        self._remoteIO.GetCacheManager().SetRemoteCacheDirectory(str(cache))
        self._remoteIO.AddDataIOToScene()

    def _addCrosshair(self) -> None:
        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetSingletonTag("default")
        self.scene.AddNode(crosshair)


def _makeApplication(host: Host) -> SimpleNamespace:
    """Return the part of `slicer.app` that works without a main window; anything else is an AttributeError."""
    inputOutput = _InputOutput(host.scene)
    moduleManager = Announcer("moduleAboutToBeUnloaded(QString)")

    def processEvents() -> None:
        if "qt" in sys.modules:
            sys.modules["qt"].application.processEvents()

    return SimpleNamespace(
        applicationName="Slicer",
        majorVersion=5,
        minorVersion=12,
        temporaryPath=str(host.folder),
        cachePath=str(host.folder),
        slicerHome=str(host.folder),
        applicationLogic=lambda: host.logic,
        coreIOManager=lambda: inputOutput,
        ioManager=lambda: inputOutput,
        topLevelWidgets=list,
        layoutManager=lambda: SimpleNamespace(sliceWidget=host.sliceWidget) if host.views else None,
        mainWindow=_nothing,
        moduleManager=lambda: moduleManager,
        installEventFilter=lambda each: sys.modules["qt"].application.installEventFilter(each) or None,
        removeEventFilter=lambda each: sys.modules["qt"].application.removeEventFilter(each) or None,
        pauseRender=_nothing,
        resumeRender=_nothing,
        setOverrideCursor=_nothing,
        restoreOverrideCursor=_nothing,
        testingEnabled=lambda: True,
        processEvents=processEvents,
        startupEnvironment=lambda: SimpleNamespace(keys=lambda: list(os.environ), value=os.environ.get),
    )


def _nothing(*_: object) -> None:
    """There is no window to show, ask or draw in."""


class _InputOutput:
    """`slicer.app.coreIOManager()` on the real storage nodes: what `slicer.util.load*` and `save*` call.

    The dictionaries that it gets are defaults shared by all calls of `slicer.util`, so it only reads them.
    """

    def __init__(self, scene: Any) -> None:
        self._scene = scene

    def fileType(self, filename: str) -> str:
        name = str(filename).lower()
        return next((fileType for suffix, fileType in _FILE_TYPES.items() if name.endswith(suffix)), "VolumeFile")

    def loadNodes(self, fileType: str, properties: dict[str, Any], loaded: Any, _messages: Any = None) -> bool:
        path = Path(properties["fileName"])
        if not path.is_file():
            return False
        if fileType == "SceneFile":
            return bool(self._scene.ReadFromMRB(str(path)))
        load = self._loadSegmentation if fileType == "SegmentationFile" else self._loadVolume
        node = load(str(path), properties.get("name") or path.name.split(".")[0], properties)
        if node:
            loaded.AddItem(node)
        return node is not None

    def _loadVolume(self, path: str, name: str, properties: dict[str, Any]) -> Any:
        options = 1 * bool(properties.get("labelmap")) + 8 * bool(properties.get("singleFile", True))
        return slicer.modules.volumes.logic().AddArchetypeVolume(path, name, options)

    def _loadSegmentation(self, path: str, name: str, _properties: dict[str, Any]) -> Any:
        node = self._scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        storage = self._scene.AddNewNodeByClass("vtkMRMLSegmentationStorageNode")
        storage.SetFileName(path)
        if not storage.ReadData(node):
            self._scene.RemoveNode(node)
            self._scene.RemoveNode(storage)
            return None
        node.SetAndObserveStorageNodeID(storage.GetID())
        node.CreateDefaultDisplayNodes()
        return node

    def fileWriterFileType(self, node: Any) -> str:
        return str(node.GetClassName())

    def saveNodes(self, fileType: str, properties: dict[str, Any], _messages: Any = None) -> bool:
        path = str(properties["fileName"])
        if fileType == "SceneFile":
            return bool(self._scene.WriteToMRB(path, None))
        node = self._scene.GetNodeByID(properties["nodeID"])
        if not node.GetStorageNode():
            node.AddDefaultStorageNode()
        node.GetStorageNode().SetFileName(path)
        node.GetStorageNode().SetUseCompression(int(properties.get("useCompression", True)))
        return bool(node.GetStorageNode().WriteData(node))
