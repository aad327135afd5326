"""Which widget can show which kind of parameter, as `slicer.parameterNodeWrapper` has it; other pairs are errors."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

import ctk
import qt
import slicer


class Connector:
    """Reads and writes one widget, and tells when the user changed it."""

    def __init__(self, widget: Any, signal: str, read: Callable[[], Any], write: Callable[[Any], None]) -> None:
        self._signal, self.read, self.write = getattr(widget, signal), read, write
        self._callback: Callable[[], None] | None = None

    def onChanged(self, callback: Callable[[], None] | None) -> None:
        """Call `callback` at every change from now on; None ends that."""
        if self._callback is None and callback is not None:
            self._signal.connect(self._tell)
        elif self._callback is not None and callback is None:
            self._signal.disconnect(self._tell)
        self._callback = callback

    def _tell(self, *_: object) -> None:
        if self._callback is not None:
            self._callback()


def connectorFor(parameter: Any, widget: Any) -> Connector:
    """Return the connector for a parameter and a widget.

    Raises:
        RuntimeError: If the application has none for the two, or if they are a pair that this project does not use.
    """
    for fits, make in _CONNECTORS:
        if fits(parameter, type(widget)):
            return make(parameter, widget)
    message = f"A {type(widget).__name__} cannot show parameter {parameter.name} of type {parameter.kind.__name__}."
    raise RuntimeError(message)


def _propertyConnector(widget: Any, name: str, signal: str) -> Connector:
    return Connector(widget, signal, lambda: getattr(widget, name), lambda value: setattr(widget, name, value))


def _numberConnector(parameter: Any, widget: Any) -> Connector:
    if parameter.range is None:
        message = f"Parameter {parameter.name} needs a range to be shown by a {type(widget).__name__}."
        raise RuntimeError(message)
    widget.minimum, widget.maximum = parameter.range.minimum, parameter.range.maximum
    return _propertyConnector(widget, "value", "valueChanged")


def _enumerationConnector(parameter: Any, widget: Any) -> Connector:
    members = list(parameter.kind)
    widget.clear()
    for member in members:
        widget.addItem(member.label() if hasattr(member, "label") else member.name)

    def write(member: enum.Enum) -> None:
        widget.currentIndex = members.index(member)

    return Connector(widget, "currentIndexChanged", lambda: members[widget.currentIndex], write)


def _nodeConnector(parameter: Any, widget: Any) -> Connector:
    widget.nodeTypes = [parameter.kind.__name__]
    return Connector(widget, "currentNodeChanged", widget.currentNode, widget.setCurrentNode)


_CONNECTORS: list[tuple[Callable[[Any, type], bool], Callable[[Any, Any], Connector]]] = [
    (
        lambda parameter, widget: parameter.kind is bool and widget in (qt.QCheckBox, qt.QPushButton),
        lambda _parameter, widget: _propertyConnector(widget, "checked", "toggled"),
    ),
    (
        lambda parameter, widget: parameter.kind is float and widget in (qt.QDoubleSpinBox, ctk.ctkSliderWidget),
        _numberConnector,
    ),
    (
        lambda parameter, widget: issubclass(parameter.kind, enum.Enum) and widget is qt.QComboBox,
        _enumerationConnector,
    ),
    (
        lambda parameter, widget: parameter.kind is str and widget is qt.QLineEdit,
        lambda _parameter, widget: _propertyConnector(widget, "text", "textChanged"),
    ),
    (
        lambda parameter, widget: issubclass(parameter.kind, slicer.vtkMRMLNode) and widget is slicer.qMRMLNodeComboBox,
        _nodeConnector,
    ),
]
