"""Stand-ins for Slicer's MRML widgets, live on a real scene; importing this adds them to `slicer`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt
import shiboken6
import slicer
import slicer.util
from PySide6.QtCore import Property, Signal


class qMRMLWidget(qt.QWidget):
    """Tells its scene; the connections in a .ui file hand it to the widgets inside."""

    mrmlSceneChanged = Signal(object)

    def setMRMLScene(self, scene: Any) -> None:
        self.mrmlSceneChanged.emit(scene)


class _ProxyModel:
    """The part of `qMRMLSortFilterProxyModel` that the panel uses; any other name is an error."""

    __slots__ = ("_changed", "_hidden")

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._hidden: tuple[str, ...] = ()

    @property
    def hiddenNodeIDs(self) -> tuple[str, ...]:
        """IDs of nodes that are not listed; PythonQt gives a tuple."""
        return self._hidden

    @hiddenNodeIDs.setter
    def hiddenNodeIDs(self, ids: Sequence[str]) -> None:
        if not isinstance(ids, (list, tuple)) or not all(isinstance(each, str) for each in ids):
            message = f"hiddenNodeIDs is a list of node IDs, not {ids!r}."
            raise TypeError(message)
        self._hidden = tuple(ids)
        self._changed()


class qMRMLNodeComboBox(qt.QWidget):
    """Lists the nodes of the scene; follows nodes that come and go, scenes that are loaded or closed."""

    currentNodeChanged = Signal(object)
    nodeActivated = Signal(object)
    nodeAddedByUser = Signal(object)
    nodeTypes = qt.stored("QStringList", (), "_refresh")
    noneEnabled = qt.stored(bool, False, "_refresh")
    noneDisplay = qt.stored(str, "None", "_refresh")
    addEnabled = qt.stored(bool, True, "_refresh")
    removeEnabled = qt.stored(bool, True, "_refresh")
    renameEnabled = qt.stored(bool, False, "_refresh")
    editEnabled = qt.stored(bool, False, "_refresh")
    baseName = qt.stored(str, "", "_refresh")
    selectNodeUponCreation = qt.stored(bool, True, "_refresh")
    showHidden = qt.stored(bool, False, "_refresh")
    showChildNodeTypes = qt.stored(bool, True, "_refresh")  # True lists label maps as scalar volumes, too

    _CREATE = "create"

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene, self._observers, self._combo = None, [], qt.QComboBox()
        self._attributes: list[tuple[str, str, str | None]] = []
        self._proxyModel = _ProxyModel(self._refresh)
        layout = qt.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._combo)
        self._combo.setSizeAdjustPolicy(qt.QComboBox.AdjustToMinimumContentsLengthWithIcon)
        self.setFocusProxy(self._combo)
        self._combo.currentIndexChanged.connect(self._announce)
        self._combo.activated.connect(self._onActivated)

    def setMRMLScene(self, scene: Any) -> None:
        for tag in self._observers:
            self._scene.RemoveObserver(tag)
        self._scene, self._observers = scene, []
        if scene:
            events = (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndImportEvent, scene.EndCloseEvent)
            self._observers = [scene.AddObserver(event, self._onScene) for event in events]
            self._refresh()

    def addAttribute(self, nodeType: str, name: str, value: str | None = None) -> None:
        """List only nodes that have this attribute, with this value if one is given."""
        self._attributes.append((nodeType, name, value))
        self._refresh()

    def sortFilterProxyModel(self) -> _ProxyModel:
        return self._proxyModel

    def addNode(self) -> Any:
        """Make a node of the first type, as the entry "Create new ..." does."""
        node = self._scene.AddNewNodeByClass(self.nodeTypes[0], self._scene.GenerateUniqueName(self.baseName))
        for nodeType, name, value in self._attributes:
            if node.IsA(nodeType):
                node.SetAttribute(name, value or "")
        self.nodeAddedByUser.emit(node)
        return node

    def listedNames(self) -> list[str]:
        """For tests: the names of the nodes that can be chosen."""
        return list(self._nodes().values())

    def _onScene(self, *_: object) -> None:
        if shiboken6.isValid(self):  # an observer outlives a deleted widget
            self._refresh()

    def _onActivated(self, *_: object) -> None:
        if self._combo.currentData == self._CREATE:
            node = self.addNode()
            self._refresh()
            self.setCurrentNode(node)
        self.nodeActivated.emit(self.currentNode())

    def _isListed(self, node: Any) -> bool:
        if node.GetHideFromEditors() and not self.showHidden:
            return False
        if node.GetID() in self._proxyModel.hiddenNodeIDs:
            return False
        if not self.showChildNodeTypes and node.GetClassName() not in self.nodeTypes:
            return False
        asked = [each for each in self._attributes if node.IsA(each[0])]
        values = [(node.GetAttribute(name), value) for _, name, value in asked]
        return all(has is not None and value in (None, has) for has, value in values)

    def _nodes(self) -> dict[str, str]:
        """Return {ID: name}."""
        nodes = [node for kind in self.nodeTypes for node in slicer.util.getNodesByClass(kind)]
        return {node.GetID(): node.GetName() for node in nodes if self._isListed(node)}

    def _refresh(self) -> None:
        if not self._scene:  # .ui properties come before the scene
            return
        before, nodes = self.currentNodeID, self._nodes()
        self._combo.blockSignals(True)
        self._combo.clear()
        for nodeId, name in [("", self.noneDisplay)] * self.noneEnabled + list(nodes.items()):
            self._combo.addItem(name, nodeId)
        if self.addEnabled and self.nodeTypes:
            kind = self.nodeTypes[0].removeprefix("vtkMRML").removesuffix("Node")
            self._combo.addItem(f"Create new {kind}", self._CREATE)
        first = "" if self.noneEnabled else next(iter(nodes), "")
        self.setCurrentNodeID(before if before in nodes else first)
        self._combo.blockSignals(False)
        if self.currentNodeID != before:
            self._announce()

    def _announce(self, *_: object) -> None:
        if self._combo.currentData != self._CREATE:
            self.currentNodeChanged.emit(self.currentNode())

    def currentNode(self) -> Any:
        return self._scene.GetNodeByID(self.currentNodeID) if self._scene and self.currentNodeID else None

    def setCurrentNode(self, node: Any) -> None:
        self.setCurrentNodeID(node.GetID() if node else "")

    def setCurrentNodeID(self, nodeId: str) -> None:
        self._combo.setCurrentIndex(self._combo.findData(nodeId or ""))

    def _currentNodeID(self) -> str:
        data = self._combo.currentData
        return "" if data in (None, self._CREATE) else data

    currentNodeID = Property(str, _currentNodeID, setCurrentNodeID)


for _class in (qMRMLWidget, qMRMLNodeComboBox):
    qt.QUiLoader.widgets[_class.__name__] = _class
    setattr(slicer, _class.__name__, _class)
