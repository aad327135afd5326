"""Stand-in for `slicer.parameterNodeWrapper`: typed parameters on a real node, tied to widgets by name.

It knows text, numbers, yes or no, enumerations and node references, the range of a number, and just the pairs of
parameter and widget that this project uses. As in the application, everything else is an error.
"""

from __future__ import annotations

import enum
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gui_connectors
import slicer
import vtk

__all__ = ["WithinRange", "parameterNodeWrapper"]


@dataclass(frozen=True)
class WithinRange:
    """The smallest and largest allowed value of a number."""

    minimum: float
    maximum: float

    def check(self, value: float) -> None:
        if not self.minimum <= value <= self.maximum:
            message = f"The value must be within [{self.minimum}, {self.maximum}], got {value}."
            raise ValueError(message)


@dataclass(frozen=True)
class Parameter:
    """One parameter: its name, type, range and what it is at first."""

    name: str
    kind: type
    default: Any
    range: WithinRange | None

    @property
    def isNode(self) -> bool:
        return issubclass(self.kind, slicer.vtkMRMLNode)

    def isIn(self, node: slicer.vtkMRMLNode) -> bool:
        if self.isNode:
            return True  # no reference is what it is at first
        return node.GetParameter(self.name) != "" or self.name in node.GetParameterNames()

    def read(self, node: slicer.vtkMRMLNode) -> Any:
        if self.isNode:
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        return self.kind[text] if issubclass(self.kind, enum.Enum) else _READERS[self.kind](text)

    def write(self, node: slicer.vtkMRMLNode, value: Any) -> None:
        allowed = (self.kind, type(None)) if self.isNode else (int, float) if self.kind is float else self.kind
        if not isinstance(value, allowed):
            message = f"Parameter {self.name} takes {self.kind.__name__}, got {value!r}."
            raise TypeError(message)
        if self.range is not None:
            self.range.check(value)
        if self.isNode:
            node.SetNodeReferenceID(self.name, value.GetID() if value else None)
        else:
            node.SetParameter(self.name, value.name if isinstance(value, enum.Enum) else str(value))


_READERS: dict[type, Callable[[str], Any]] = {str: str, int: int, float: float, bool: lambda text: text == "True"}


def parameterNodeWrapper(classtype: type) -> type:
    """Make a class with type hints read and write its attributes in the parameter node that its constructor gets."""
    parameters = {
        name: _parameterOf(classtype, name, hint)
        for name, hint in typing.get_type_hints(classtype, include_extras=True).items()
    }
    namespace: dict[str, Any] = {name: _attribute(parameter) for name, parameter in parameters.items()}
    return type(
        classtype.__name__, (_Wrapper,), {"allParameters": parameters, "__doc__": classtype.__doc__, **namespace}
    )


def _parameterOf(wrapped: type, name: str, hint: Any) -> Parameter:
    kind, *annotations = typing.get_args(hint) if typing.get_origin(hint) is typing.Annotated else (hint,)
    if any(not isinstance(each, WithinRange) for each in annotations):
        message = f"Parameter {name} has an annotation that the stand-in does not know: {annotations}."
        raise TypeError(message)
    if not (kind in _READERS or issubclass(kind, (enum.Enum, slicer.vtkMRMLNode))):
        message = f"Parameter {name} has a type that the stand-in does not know: {kind}."
        raise TypeError(message)
    firsts = {str: "", int: 0, float: 0.0, bool: False}
    first = next(iter(kind)) if issubclass(kind, enum.Enum) else firsts.get(kind)
    return Parameter(name, kind, getattr(wrapped, name, first), annotations[0] if annotations else None)


def _attribute(parameter: Parameter) -> property:
    def read(self: _Wrapper) -> Any:
        return parameter.read(self.parameterNode)

    def write(self: _Wrapper, value: Any) -> None:
        parameter.write(self.parameterNode, value)

    return property(read, write)


class _Wrapper:
    """What every wrapped class can do beside its own attributes; an unknown attribute is an error."""

    allParameters: typing.ClassVar[dict[str, Parameter]] = {}

    def __init__(self, parameterNode: slicer.vtkMRMLScriptedModuleNode) -> None:
        self.parameterNode = parameterNode
        self._connected: dict[int, dict[str, gui_connectors.Connector]] = {}
        self._isShowing = False
        for parameter in self.allParameters.values():
            if not parameter.isIn(parameterNode):
                parameter.write(parameterNode, parameter.default)

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in self.allParameters or name.startswith("_") or name == "parameterNode"):
            message = f"{type(self).__name__} has no parameter {name}."
            raise AttributeError(message)
        super().__setattr__(name, value)

    def StartModify(self) -> bool:
        return self.parameterNode.StartModify()

    def EndModify(self, wasModified: bool) -> int:
        return self.parameterNode.EndModify(wasModified)

    def AddObserver(self, event: int, callback: Callable[..., None], priority: float = 0.0) -> int:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def connectGui(self, gui: Any) -> int:
        """Tie each widget with the property SlicerParameterName to the parameter of that name."""
        named = {widget.property("SlicerParameterName"): widget for widget in vars(gui).values()}
        return self.connectParametersToGui({name: widget for name, widget in named.items() if name})

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        """Tie parameters to widgets; return a number for `disconnectGui`."""
        unknown = set(mapping) - set(self.allParameters)
        if unknown:
            message = f"{type(self).__name__} has no parameter {', '.join(sorted(unknown))}."
            raise ValueError(message)
        connectors = {
            name: gui_connectors.connectorFor(self.allParameters[name], widget) for name, widget in mapping.items()
        }
        tag = len(self._connected)
        self._connected[tag] = connectors
        for name, connector in connectors.items():
            connector.write(getattr(self, name))
            connector.onChanged(lambda name=name, connector=connector: self._take(name, connector))
        self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._show())
        return tag

    def disconnectGui(self, guiTag: int) -> None:
        for connector in self._connected.pop(guiTag, {}).values():
            connector.onChanged(None)

    def _take(self, name: str, connector: gui_connectors.Connector) -> None:
        if not self._isShowing:
            setattr(self, name, connector.read())

    def _show(self) -> None:
        if self._isShowing:
            return
        self._isShowing = True
        try:
            for connectors in list(self._connected.values()):
                for name, connector in connectors.items():
                    connector.write(getattr(self, name))
        finally:
            self._isShowing = False
