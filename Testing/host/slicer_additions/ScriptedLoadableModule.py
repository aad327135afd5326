"""Stand-in for `slicer.ScriptedLoadableModule`: the four base classes of a scripted module, without reload and help."""

from __future__ import annotations

import inspect
import unittest
from pathlib import Path

import mrml_widgets
import qt
import slicer

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
        qt.QVBoxLayout(self)
        self.setMRMLScene(slicer.mrmlScene)


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
        self.parent = parent or ModuleWidgetParent()
        self.layout = self.parent.layout()
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = False
        self.logic = None

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


def _resourcePath(described: object, filename: str) -> str:
    return str(Path(inspect.getfile(type(described))).parent / "Resources" / filename)
