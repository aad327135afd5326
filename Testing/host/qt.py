"""Stand-in for Slicer's `qt` module on PySide6: PythonQt's manners on subclasses, PySide6 itself untouched.

PythonQt reads and writes Qt properties as attributes (`button.enabled = False`, `label.text`) and connects by
signature (`button.connect("clicked(bool)", f)`). Each QObject class asked for here becomes a subclass with these
manners; other classes and enumerations pass through. As in PythonQt there is no Signal, Slot or Property.
"""

from __future__ import annotations

import inspect
import itertools
import os
import types
from collections.abc import Callable
from typing import Any, ClassVar
from xml.etree import ElementTree

import recorded

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets  # the platform is chosen before Qt is loaded

_keys = itertools.count()
_CONNECTION = ("sender", "signal", "receiver", "slot")
_PLAIN = {"QApplication", "QGuiApplication", "QCoreApplication", "QObject"}
_REFUSED = {"Signal", "Slot", "Property"}
_MODAL = {"QInputDialog", "QMessageBox", "QColorDialog", "QFontDialog"}
# Virtual in C++ (a property would stand in for the override: endless recursion) or also a static function.
_STAY_METHODS = {"sizeHint", "minimumSizeHint", "spacing", "duration", "singleShot"}


def _connect(self: Any, signature: str, slot: Callable[..., Any]) -> bool:
    """Connect by name and types."""
    kind = next((each.__name__ for each in type(self).__mro__ if recorded.isRecorded(each.__name__)), "")
    if kind and signature not in recorded.membersOf(kind).signals:
        message = f"{kind} has no signal {signature}."
        raise AttributeError(message)
    name, _, kinds = signature.rstrip(") ").partition("(")
    limit = _argumentsFor(slot)
    # PySide6 chooses among overloads by the slot's own number of arguments: give it exactly the signature's.
    calls = (
        lambda: slot(),  # noqa: PLW0108  # a slot with default values would be taken for one with arguments
        lambda a: slot(*(a,)[:limit]),
        lambda a, b: slot(*(a, b)[:limit]),
        lambda a, b, c: slot(*(a, b, c)[:limit]),
        lambda a, b, c, d: slot(*(a, b, c, d)[:limit]),
    )
    count = len(kinds.split(",")) if kinds.strip() else 0
    getattr(self, name.strip()).connect(calls[count])  # AttributeError if the stand-in lacks it
    return True


def _argumentsFor(slot: Callable[..., Any]) -> int | None:
    """Return how many arguments PythonQt hands over at most: what a function takes, and to any other object all."""
    function = getattr(slot, "__func__", slot)
    if not isinstance(function, types.FunctionType) or function.__code__.co_flags & inspect.CO_VARARGS:
        return None
    return function.__code__.co_argcount - isinstance(slot, types.MethodType)


class _PythonQtType(type(QtCore.QObject)):
    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> type:
        # PySide6 looks for `connect` in the class's own dictionary only, else it takes its own.
        return super().__new__(mcs, name, bases, {"connect": _connect, **namespace})

    def __instancecheck__(cls, instance: object) -> bool:
        base = cls.__dict__.get("_base")  # a qt.QPushButton is a qt.QWidget, as the PySide6 classes are
        return isinstance(instance, base) if base else super().__instancecheck__(instance)


def _attribute(base: type, name: str) -> property:
    getter = getattr(base, name, None)

    def read(self: Any) -> Any:
        return getter(self) if callable(getter) else self.property(name)

    def write(self: Any, value: Any) -> None:
        if not self.setProperty(name, value):
            message = f"{base.__name__}.{name} does not accept {value!r}."
            raise TypeError(message)

    return property(read, write)


def _noDialog(*_arguments: object, **_options: object) -> Any:
    message = "A dialog would wait for a user. Show it through slicer.util, which stays silent in tests."
    raise AssertionError(message)


def adopt(base: type) -> type:
    """Return the subclass of a PySide6 class that behaves like PythonQt's."""
    meta = base.staticMetaObject
    names = {meta.property(index).name() for index in range(meta.propertyCount())} - _STAY_METHODS
    namespace = {name: _attribute(base, name) for name in names}
    namespace.update(name=namespace["objectName"], delete=base.deleteLater, _base=base, __module__="qt")
    namespace["className"] = lambda self: self.metaObject().className()
    if base.__name__ in _MODAL:
        static = [name for name in dir(base) if name.startswith("get")] + ["question", "warning", "information"]
        namespace.update(dict.fromkeys(["exec", "exec_", "open", *static], _noDialog))
    return _PythonQtType(base.__name__, (base,), namespace)


class QFileDialog:
    """Gives the answers that a test laid down; PythonQt returns the path alone, PySide6 a pair."""

    answers: ClassVar[list[str]] = []
    """Paths that the user will choose, the next one first; "" is a user who cancels."""
    asked: ClassVar[list[tuple[str, str, str]]] = []
    """Title, folder or file proposed, and filter of each question."""

    @classmethod
    def getOpenFileName(cls, _parent: Any, title: str, directory: str = "", filter: str = "") -> str:
        cls.asked.append((title, directory, filter))
        if not cls.answers:
            _noDialog()
        return cls.answers.pop(0)

    getSaveFileName = getOpenFileName

    @classmethod
    def getExistingDirectory(cls, parent: Any, title: str, directory: str = "") -> str:
        return cls.getOpenFileName(parent, title, directory)


class QSettings:
    """The application's settings, as they come back from their file: everything in it is text."""

    kept: ClassVar[dict[str, str]] = {}

    def contains(self, key: str) -> bool:
        return self._checked(key) in self.kept

    def value(self, key: str, default: Any = None) -> Any:
        return self.kept.get(self._checked(key), default)

    def setValue(self, key: str, value: Any) -> None:
        if type(value) not in (bool, int, float, str):
            message = f"Slicer's settings cannot keep {value!r}."
            raise TypeError(message)
        self.kept[self._checked(key)] = str(value).lower() if isinstance(value, bool) else str(value)

    def remove(self, key: str) -> None:
        self.kept.pop(self._checked(key), None)

    def _checked(self, key: str) -> str:
        if not key or "\\" in key or key.startswith("/"):
            message = f"{key!r} is no key of the settings."
            raise ValueError(message)
        return key


def __getattr__(name: str) -> Any:
    found = [getattr(module, name) for module in (QtWidgets, QtGui, QtCore) if hasattr(module, name)]
    if not found or name in _REFUSED or name.startswith("__"):
        message = f"Slicer's qt module has no {name}."
        raise AttributeError(message)
    value = found[0]
    if inspect.isclass(value) and issubclass(value, QtCore.QObject) and name not in _PLAIN:
        value = adopt(value)
    globals()[name] = value
    return value


class QUiLoader(QtUiTools.QUiLoader):
    """Makes this module's classes; ctk and the MRML widgets add theirs to `widgets`. An unknown class is an error."""

    widgets: ClassVar[dict[str, type]] = {}

    def load(self, file: QtCore.QIODevice, parent: Any = None) -> Any:
        """Load a panel; its connections are made here, because Qt does not know the stand-ins' signals by type."""
        document = ElementTree.fromstring(bytes(file.readAll()))
        for each in document.iter("widget"):
            self._classOf(each.get("class"))  # fails before Qt has built a half of the panel
        connections = document.find("connections")
        if connections is not None:
            document.remove(connections)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(document))
        buffer.open(QtCore.QIODevice.ReadOnly)
        widget = super().load(buffer, parent)
        for connection in connections if connections is not None else ():
            sender, signal, receiver, slot = (connection.findtext(each) for each in _CONNECTION)
            source, target = (_named(widget, name) for name in (sender, receiver))
            getattr(source, signal.partition("(")[0]).connect(getattr(target, slot.partition("(")[0]))
        return widget

    def createWidget(self, className: str, parent: Any = None, name: str = "") -> Any:
        widget = self._classOf(className)(parent)
        widget.setObjectName(name)
        return widget

    def _classOf(self, name: str) -> Any:
        return self.widgets.get(name) or globals().get(name) or __getattr__(name)


def _named(root: Any, name: str) -> Any:
    found = root if root.objectName == name else root.findChild(QtWidgets.QWidget, name)
    if found is None:
        message = f"The panel connects {name}, which is not in it."
        raise AttributeError(message)
    return found


def stored(kind: Any, default: Any, changed: str) -> QtCore.Property:
    """For the stand-ins: a Qt property kept on the instance; the method named `changed` runs after a change."""
    key = f"_stored_{next(_keys)}"

    def write(self: Any, value: Any) -> None:
        if value != self.__dict__.get(key, default):
            self.__dict__[key] = value
            getattr(self, changed)()

    return QtCore.Property(kind, lambda self: self.__dict__.get(key, default), write)


application = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["mrml-host"])
