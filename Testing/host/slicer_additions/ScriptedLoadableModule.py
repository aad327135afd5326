"""Stand-in for `slicer.ScriptedLoadableModule`: the four base classes of a scripted module, and what holds its panel.

As in the application, a panel without a parent sets itself up, and loading a module again makes a new module object,
cleans up the old panel and sets up a new one in the same frame, without telling it that the user is there.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import unittest
from pathlib import Path
from typing import Any

import mrml_widgets
import qt
import slicer
import slicer.util

__all__ = [
    "ScriptedLoadableModule",
    "ScriptedLoadableModuleLogic",
    "ScriptedLoadableModuleTest",
    "ScriptedLoadableModuleWidget",
]


class ModuleDescription:
    """What the application knows about a module; it takes only what a real one takes."""

    __slots__ = (
        "acknowledgementText",
        "categories",
        "contributors",
        "dependencies",
        "helpText",
        "hidden",
        "icon",
        "index",
        "path",
        "title",
    )


class ModuleWidgetParent(mrml_widgets.qMRMLWidget):
    """The frame in which the application shows a module's panel."""

    def __init__(self, parent: qt.QWidget | None = None) -> None:
        super().__init__(parent)
        self.isEntered = False
        self._panel: Any = None
        qt.QVBoxLayout(self)
        self.setMRMLScene(slicer.mrmlScene)

    def self(self) -> Any:
        """Return the Python side of the panel."""
        return self._panel

    def build(self, moduleName: str) -> None:
        """Make the panel out of the module's code as it is now."""
        self._panel = getattr(sys.modules[moduleName], f"{moduleName}Widget")(self)
        setattr(slicer.modules, f"{moduleName}Widget", self._panel)
        self._panel.setup()

    def reload(self) -> None:
        """Put a new panel into this frame; whether the user is here stays as it is, and nobody is told."""
        self.build(self._panel.moduleName)


class Module:
    """What `slicer.modules` holds of a scripted module."""

    def __init__(self, name: str) -> None:
        self.name, self._frame = name, None
        self.path = importlib.import_module(name).__file__

    def widgetRepresentation(self) -> ModuleWidgetParent:
        """Return the panel's frame; the panel is made with the first call."""
        if self._frame is None:
            self._frame = ModuleWidgetParent()
            self._frame.build(self.name)
        return self._frame

    def unload(self) -> None:
        """What the application does when it quits."""
        if self._frame is not None:
            self._frame.self().cleanup()
            self._frame.deleteLater()


def addModule(name: str) -> Module:
    """Make a module known to the application, without a window."""
    module = Module(name)
    setattr(slicer.modules, name.lower(), module)
    return module


class ScriptedLoadableModule:
    """Base of the class that describes a module."""

    def __init__(self, parent: ModuleDescription) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__
        parent.path = inspect.getfile(type(self))

    def resourcePath(self, filename: str) -> str:
        return _resourcePath(self, filename)

    def getDefaultModuleDocumentationLink(self, docPage: str | None = None) -> str:
        return f'<p>For more information see the <a href="{docPage or self.moduleName}">documentation</a>.</p>'


class ScriptedLoadableModuleWidget:
    """Base of the class that shows a module's panel."""

    def __init__(self, parent: ModuleWidgetParent | None = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = False
        self.parent = parent or _plainParent()
        self.layout = self.parent.layout()
        if not parent:
            self.setup()
            self.parent.show()
        slicer.app.moduleManager().connect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)

    def resourcePath(self, filename: str) -> str:
        return _resourcePath(self, filename)

    def setup(self) -> None:
        """Nothing to show outside developer mode."""

    def cleanup(self) -> None:
        """Called when the panel is about to go."""

    def enter(self) -> None:
        """Called when the user comes to the module."""

    def exit(self) -> None:
        """Called when the user goes to another module."""

    def onReload(self) -> None:
        """Load the module's file again, as Slicer does."""
        slicer.util.reloadScriptedModule(self.moduleName)

    def _onModuleAboutToBeUnloaded(self, moduleName: str) -> None:
        if moduleName == self.moduleName:
            self.cleanup()
            slicer.app.moduleManager().disconnect("moduleAboutToBeUnloaded(QString)", self._onModuleAboutToBeUnloaded)


class ScriptedLoadableModuleLogic:
    """Base of the class that does a module's work."""

    def __init__(self, parent: object = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Logic")

    def getParameterNode(self) -> slicer.vtkMRMLScriptedModuleNode:
        """Return the one node with the module's parameters; it is made when it is not there."""
        for node in slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode"):
            if node.GetAttribute("ModuleName") == self.moduleName:
                return node
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        node.SetSingletonTag(self.moduleName)
        node.SetModuleName(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return slicer.mrmlScene.AddNode(node)


class ScriptedLoadableModuleTest(unittest.TestCase):
    """Base of a module's self-test."""

    def delayDisplay(self, message: str, requestedDelay: int | None = None, msec: int | None = None) -> None:
        qt.application.processEvents()

    def runTest(self) -> None:
        """The module's own class says what to run."""


def _plainParent() -> mrml_widgets.qMRMLWidget:
    """Return what holds a panel that nobody gave a frame: it does not know whether the user is there."""
    parent = mrml_widgets.qMRMLWidget()
    qt.QVBoxLayout(parent)
    parent.setMRMLScene(slicer.mrmlScene)
    return parent


def _resourcePath(described: object, filename: str) -> str:
    return str(Path(inspect.getfile(type(described))).parent / "Resources" / filename)
