"""The panel uses only what Qt, CTK and Slicer's widgets have in each version: properties, methods and signals."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
import recorded

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "UnCoLSegment"
SOURCES = [MODULE / "UnCoLSegment.py", *sorted((MODULE / "UnCoLSegmentLib").rglob("*.py"))]
PANEL = ElementTree.parse(MODULE / "Resources" / "UI" / "UnCoLSegment.ui").getroot()
WIDGETS = {each.get("name", ""): each.get("class", "") for each in PANEL.iter("widget")}
FACTS = json.loads((ROOT / "Testing" / "architecture" / "qt_facts.json").read_text(encoding="utf-8"))

KNOWN_OBJECTS = {
    "slicer.app": "qSlicerApplication",
    "slicer.dicomDatabase": "ctkDICOMDatabase",
    "self._moduleWidget.parent": "qSlicerScriptedLoadableModuleWidget",
}
KNOWN_PARENTS = {
    "ScriptedLoadableModule": "qSlicerScriptedLoadableModule",
    "ScriptedLoadableModuleWidget": "qSlicerScriptedLoadableModuleWidget",
}
"""What `self.parent` is in a class that inherits from one of these."""
RETURNED = {
    "horizontalHeader": "QHeaderView",
    "verticalHeader": "QHeaderView",
    "item": "QTableWidgetItem",
    "layoutManager": "qSlicerLayoutManager",
    "moduleManager": "qSlicerModuleManager",
    "sortFilterProxyModel": "qMRMLSortFilterProxyModel",
    "style": "QStyle",
}
"""The classes of what some methods return."""
SET_BY_UIC = {"buddy", "spacing", "leftMargin", "topMargin", "rightMargin", "bottomMargin"}
"""What a .ui file sets in another way than as a property."""

Types = dict[str, frozenset[str]]


def path_id(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


class Uses:
    """Finds what a source uses of objects whose class can be told: widgets of the panel, and what the code makes.

    An object is known by its name in the .ui file, by the annotation of a parameter, or by how it is made. PythonQt
    refuses named arguments (`PythonQtSlot.cpp`).
    """

    def __init__(self, source: str, widgets: dict[str, str]) -> None:
        self._widgets, self._tree = widgets, ast.parse(source)
        self._types: Types = {}

    def problems(self) -> list[str]:
        """Return `LINE: what` for everything that some version does not have."""
        found = set(self._unknown_classes())
        for owner in [self._tree, *(node for node in self._tree.body if isinstance(node, ast.ClassDef))]:
            attributes = self._attributes_of(owner)
            for function in _functions_in(owner):
                self._types = {**attributes, **_annotated(function)}
                self._learn(function)
                found |= set(self._misused(function))
        return [f"{line}: {what}" for line, what in sorted(found)]

    def _unknown_classes(self) -> Iterator[tuple[int, str]]:
        for node in ast.walk(self._tree):
            name = _class_named(node)
            if name and name != "Qt" and not recorded.isRecorded(name):
                yield node.lineno, f"{name}: record its facts first"  # type: ignore[attr-defined]
            if isinstance(node, ast.Attribute) and _class_named(node.value):
                yield from self._misused_class(node)

    def _misused_class(self, node: ast.Attribute) -> Iterator[tuple[int, str]]:
        """Find static methods that are not there; enumerators stand right below their class, as in PythonQt."""
        name = _class_named(node.value)
        is_enumerator = node.attr[0].isupper()
        if recorded.isRecorded(name) and not is_enumerator and node.attr not in recorded.membersOf(name).methods:
            yield node.lineno, f"{name} has no {node.attr}"

    def _attributes_of(self, owner: ast.AST) -> Types:
        bases = [ast.unparse(each) for each in getattr(owner, "bases", ())]
        attributes = {name: frozenset({kind}) for name, kind in KNOWN_OBJECTS.items()}
        parents = frozenset(KNOWN_PARENTS[base] for base in bases if base in KNOWN_PARENTS)
        attributes |= {"self.parent": parents} if parents else {}
        for function in _functions_in(owner) if isinstance(owner, ast.ClassDef) else ():
            self._types = {**attributes, **_annotated(function)}
            self._learn(function)
            attributes |= {name: kinds for name, kinds in self._types.items() if name.startswith("self.")}
        return attributes

    def _learn(self, function: ast.AST) -> None:
        """Follow assignments and loops; a name that is given things of several classes is all of them."""
        for node in ast.walk(function):
            for target, value in _assigned(node):
                if kinds := self._kinds_of(value):
                    name = ast.unparse(target)
                    self._types[name] = self._types.get(name, frozenset()) | kinds
            if isinstance(node, ast.For):
                self._learn_loop(node)

    def _learn_loop(self, node: ast.For) -> None:
        each = self._types.get(f"each of {ast.unparse(node.iter)}")
        if each and isinstance(node.target, ast.Tuple):
            self._types[ast.unparse(node.target.elts[0])] = each
        elif isinstance(node.iter, ast.Tuple) and isinstance(node.target, ast.Name):
            kinds = [self._kinds_of(element) for element in node.iter.elts]
            if all(kinds):
                self._types[node.target.id] = frozenset().union(*kinds)

    def _kinds_of(self, node: ast.AST) -> frozenset[str]:
        """Return the classes that an expression may have; none if that cannot be told."""
        text = ast.unparse(node)
        if text in self._types:
            return self._types[text]
        if isinstance(node, ast.Attribute) and text.removeprefix("self.").removeprefix("_").startswith("ui."):
            kind = self._widgets.get(node.attr) if text.count(".") == 1 + text.startswith("self.") else None
            return frozenset({kind} if kind else ())
        if isinstance(node, ast.Call):
            return self._kinds_of_call(node)
        return frozenset()

    def _kinds_of_call(self, node: ast.Call) -> frozenset[str]:
        if name := _class_named(node.func):
            return frozenset({name})
        if isinstance(node.func, ast.Name) and node.func.id == "getattr" and len(node.args) == 2:
            ending = re.search(r"\w*(?=['\"]$)", ast.unparse(node.args[1]))
            names = self._widgets if ending and ending[0] and "ui" in ast.unparse(node.args[0]) else ()
            return frozenset(self._widgets[name] for name in names if ending and name.endswith(ending[0]))
        if isinstance(node.func, ast.Attribute) and node.func.attr == "instance" and _class_named(node.func.value):
            return frozenset({_class_named(node.func.value)})  # a singleton
        if isinstance(node.func, ast.Attribute) and self._kinds_of(node.func.value):
            return frozenset({RETURNED[node.func.attr]} if node.func.attr in RETURNED else ())
        return frozenset()

    def _misused(self, function: ast.AST) -> Iterator[tuple[int, str]]:
        calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
        called = {id(node.func) for node in calls}
        for node in (each for each in ast.walk(function) if isinstance(each, ast.Attribute)):
            is_store = isinstance(node.ctx, ast.Store)
            for kind in self._kinds_of(node.value):
                if reason := why_not(kind, node.attr, is_store=is_store, is_called=id(node) in called):
                    yield node.lineno, reason
        for node in calls:
            yield from self._misconnected(node)
            if node.keywords and isinstance(node.func, ast.Attribute):
                kinds = self._kinds_of(node.func.value) or {_class_named(node.func.value)} - {""}
                yield from ((node.lineno, f"{kind}.{node.func.attr} takes no named arguments") for kind in kinds)

    def _misconnected(self, node: ast.Call) -> Iterator[tuple[int, str]]:
        if not (isinstance(node.func, ast.Attribute) and node.func.attr in ("connect", "disconnect") and node.args):
            return
        signal = node.args[0].value if isinstance(node.args[0], ast.Constant) else None
        for kind in self._kinds_of(node.func.value) if signal else ():
            if recorded.isRecorded(kind) and signal not in recorded.membersOf(kind).signals:
                yield node.lineno, f"{kind} has no signal {signal}"


def why_not(kind: str, member: str, is_store: bool, is_called: bool) -> str:
    """Return why a member cannot be used so; "" if it can."""
    if not recorded.isRecorded(kind):
        return f"{kind}: record its facts first"
    members = recorded.membersOf(kind)
    if member in members.properties | members.readOnly:
        if is_called:
            return f"{kind}.{member} is a property and cannot be called"
        return f"{kind}.{member} cannot be set" if is_store and member in members.readOnly else ""
    signals = {each.partition("(")[0] for each in members.signals}
    if member not in members.methods | signals:
        return f"{kind} has no {member}"
    return f"{kind}.{member} is no property" if is_store else ""


def _class_named(node: ast.AST) -> str:
    """Return X of `qt.X`, `ctk.X` and `slicer.qX`."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        is_slicers = node.value.id == "slicer" and re.match(r"q(?:MRML|Slicer)[A-Z]", node.attr)
        return node.attr if node.value.id in ("qt", "ctk") or is_slicers else ""
    return ""


def _functions_in(owner: ast.AST) -> list[ast.FunctionDef]:
    return [node for node in getattr(owner, "body", ()) if isinstance(node, ast.FunctionDef)]


def _annotated(function: ast.FunctionDef) -> Types:
    """Return the classes of parameters with a Qt class as annotation; of `*pairs: tuple[qt.X, ...]`, those of each."""
    arguments = function.args
    found = {}
    for each in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]:
        text = ast.unparse(each.annotation) if each.annotation else "["
        names = frozenset(filter(None, map(_class_named, ast.walk(each.annotation or each))))
        if names and "[" not in text:  # of a container, the class of what is in it would say nothing
            found[each.arg] = names
    if arguments.vararg and isinstance(arguments.vararg.annotation, ast.Subscript):
        inner = arguments.vararg.annotation.slice
        first = _class_named(inner.elts[0]) if isinstance(inner, ast.Tuple) else ""
        found |= {f"each of {arguments.vararg.arg}": frozenset({first})} if first else {}
    return found


def _assigned(node: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
    for target in node.targets if isinstance(node, ast.Assign) else ():
        if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
            yield from zip(target.elts, node.value.elts, strict=False)
        else:
            yield target, node.value


@pytest.mark.parametrize("path", SOURCES, ids=path_id)
def test_the_code_uses_what_its_widgets_have(path: Path) -> None:
    assert Uses(path.read_text(encoding="utf-8"), WIDGETS).problems() == []


SMALL_PANEL = {"startButton": "QPushButton", "bar": "QProgressBar", "table": "QTableWidget", "box": "qMRMLNodeComboBox"}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ui.startButton.connect('clicked(int)', f)", "2: QPushButton has no signal clicked(int)"),
        ("self.ui.box.connect('currentNodeChanged(vtkMRMLNode)', f)", "2: qMRMLNodeComboBox has no signal currentNode"),
        ("ui.startButton.enabled()", "2: QPushButton.enabled is a property and cannot be called"),
        ("ui.startButton.click = 1", "2: QPushButton.click is no property"),
        ("ui.startButton.pressd()", "2: QPushButton has no pressd"),
        ("ui.box.nodeAddedByUserAction.connect(f)", "2: qMRMLNodeComboBox has no nodeAddedByUserAction"),  # not in 5.10
        ("ui.table.rowCount()", "2: QTableWidget.rowCount is a property and cannot be called"),
        ("ui.box.sortFilterProxyModel().hidden = 1", "2: qMRMLSortFilterProxyModel has no hidden"),
        ("timer = qt.QTimer()\n    timer.connect('timeout(int)', f)", "3: QTimer has no signal timeout(int)"),
        ("slicer.app.testingEnabld()", "2: qSlicerApplication has no testingEnabld"),
        ("slicer.app.slicerHome = ''", "2: qSlicerApplication.slicerHome cannot be set"),
        ("given.setTxt('')", "2: QLabel has no setTxt"),
        ("getattr(ui, f'{name}Button').setTxt('')", "2: QPushButton has no setTxt"),
        ("for each in (ui.startButton, ui.bar):\n        each.value = 1", "3: QPushButton has no value"),
        ("slicer.app.moduleManager().connect('gone()', f)", "2: qSlicerModuleManager has no signal gone()"),
        ("slicer.qMRMLWidget.instance().show()", "2: qMRMLWidget has no instance"),
        ("ui.bar.setRange(0, maximum=0)", "2: QProgressBar.setRange takes no named arguments"),
        ("qt.QFileDialog.getOpenFileName(ui.bar, caption='')", "2: QFileDialog.getOpenFileName takes no named"),
        ("x = qt.QPusButton()", "2: QPusButton: record its facts first"),
        ("qt.QFileDialog.getOpenFileNam()", "2: QFileDialog has no getOpenFileNam"),
    ],
)
def test_a_wrong_use_is_found(line: str, expected: str) -> None:
    [problem] = Uses(f"def f(self, ui, name, given: qt.QLabel | None):\n    {line}", SMALL_PANEL).problems()

    assert problem.startswith(expected)


@pytest.mark.parametrize(
    "line",
    [
        "ui.startButton.connect('clicked(bool)', f)",
        "ui.startButton.text = 'Start'",
        "ui.bar.setRange(0, 0)",
        "self.ui.box.setCurrentNode(None)",
        "ui.table.item(0, 0).setText('')",
        "timer = qt.QTimer()\n    timer.start()",
        "given.setText(str(ui.table.rowCount))",
        "slicer.app.testingEnabled()",
        "x = qt.Qt.UserRole | qt.QStyle.SP_MessageBoxWarning",
    ],
)
def test_a_right_use_is_no_problem(line: str) -> None:
    assert Uses(f"def f(self, ui, name, given: qt.QLabel | None):\n    {line}", SMALL_PANEL).problems() == []


@pytest.mark.parametrize("kind", sorted(set(WIDGETS.values())))
def test_every_property_in_the_panel_is_one_of_its_class(kind: str) -> None:
    members = recorded.membersOf(kind)
    named = {
        each.get("name")
        for widget in PANEL.iter("widget")
        if widget.get("class") == kind
        for each in widget.findall("property")
        if each.get("stdset") != "0"  # an own one, which any class takes
    }

    assert named - SET_BY_UIC <= members.properties


def test_every_connection_in_the_panel_is_between_members() -> None:
    wrong = [
        ElementTree.tostring(each, encoding="unicode")
        for each in PANEL.iter("connection")
        if each.findtext("signal") not in recorded.membersOf(WIDGETS[each.findtext("sender", "")]).signals
        or each.findtext("slot", "").partition("(")[0]
        not in recorded.membersOf(WIDGETS[each.findtext("receiver", "")]).methods
    ]

    assert wrong == []


def test_the_facts_say_where_they_come_from() -> None:
    told = {
        version for each in FACTS["classes"].values() for versions in each["in"] for version in versions.split(", ")
    }

    assert told == {*recorded.VERSIONS, "Qt 5.15", "Qt 6"}
    for repository in ("Slicer/Slicer", "commontk/CTK", "MeVisLab/pythonqt"):
        assert set(FACTS["sources"][repository]) >= set(recorded.VERSIONS)
        assert all(len(each["commit"]) == 40 for each in FACTS["sources"][repository].values())


def test_every_class_has_its_base_in_the_facts() -> None:
    bases = {each["base"] for each in FACTS["classes"].values()}

    assert bases - set(FACTS["classes"]) == {"", "object"}
