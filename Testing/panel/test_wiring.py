"""The .ui file, the parameter node and the code name the same things. Only XML and syntax trees: no Qt, no scene."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest

MODULE_FOLDER = Path(__file__).resolve().parents[2] / "UnCoLSegment"
LIBRARY = MODULE_FOLDER / "UnCoLSegmentLib"
SOURCES = sorted(LIBRARY.rglob("[A-Z]*.py"))
SCREENSHOTS = MODULE_FOLDER.parent / "Resources" / "Screenshots"
MANUAL = (MODULE_FOLDER.parent / "docs" / "slicer.md").read_text(encoding="utf-8")
MOST_BYTES = 150_000
PANEL = ElementTree.parse(MODULE_FOLDER / "Resources" / "UI" / "UnCoLSegment.ui").getroot()
WIDGETS = {widget.get("name"): widget for widget in PANEL.iter("widget")}

KNOWN_CLASSES = {
    "QCheckBox",
    "QComboBox",
    "QFrame",
    "QLabel",
    "QLineEdit",
    "QProgressBar",
    "QPushButton",
    "QScrollArea",
    "QTableWidget",
    "QToolButton",
    "QWidget",
    "ctkCollapsibleButton",
    "ctkSliderWidget",
    "qMRMLNodeComboBox",
    "qMRMLSegmentEditorWidget",
    "qMRMLWidget",
}
SILENT_CLASSES = {"QFrame", "QLabel", "QProgressBar", "QScrollArea", "QWidget", "qMRMLWidget"}
SELECTOR_CLASSES = {"qMRMLNodeComboBox", "qMRMLSegmentEditorWidget"}
FIELDS_WITHOUT_TEXT = {
    "QComboBox",
    "QLineEdit",
    "QTableWidget",
    "ctkSliderWidget",
    "qMRMLNodeComboBox",
    "qMRMLSegmentEditorWidget",
}


def test_every_class_in_the_panel_is_known() -> None:
    assert {widget.get("class") for widget in WIDGETS.values()} <= KNOWN_CLASSES


def test_every_class_that_is_not_qts_is_declared_with_its_header() -> None:
    declared = {each.findtext("class"): each.findtext("header") for each in PANEL.iter("customwidget")}

    used = {widget.get("class") for widget in WIDGETS.values() if not widget.get("class", "").startswith("Q")}
    assert declared == {name: f"{name}.h" for name in used}


def test_every_parameter_named_in_the_panel_is_a_parameter() -> None:
    named = [text for widget in WIDGETS.values() if (text := _property(widget, "SlicerParameterName"))]

    assert named
    assert set(named) <= _parameters()
    assert max(Counter(named).values()) == 1


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_every_widget_that_the_code_names_exists(path: Path) -> None:
    assert _widgetsNamedBelow(_treeOf(path)) <= set(WIDGETS)


def test_every_control_does_something() -> None:
    used: set[str] = set().union(*(_widgetsNamedBelow(_treeOf(path)) for path in SOURCES))
    controls = {
        name
        for name, widget in WIDGETS.items()
        if widget.get("class") not in SILENT_CLASSES | {"ctkCollapsibleButton"}
        and not _property(widget, "SlicerParameterName")
    }

    assert controls <= used


def test_every_selector_gets_the_scene() -> None:
    connected = {
        connection.findtext("receiver")
        for connection in PANEL.iter("connection")
        if connection.findtext("signal") == "mrmlSceneChanged(vtkMRMLScene*)"
        and connection.findtext("slot") == "setMRMLScene(vtkMRMLScene*)"
    }

    assert connected == {name for name, widget in WIDGETS.items() if widget.get("class") in SELECTOR_CLASSES}


def test_every_control_is_reached_with_the_tab_key_in_the_order_of_the_panel() -> None:
    stops = [stop.text for stop in PANEL.iter("tabstop")]

    assert stops == [name for name, widget in WIDGETS.items() if widget.get("class") not in SILENT_CLASSES]


def test_a_screen_reader_has_a_name_for_every_control() -> None:
    nameless = [
        name
        for name, widget in WIDGETS.items()
        if widget.get("class") in FIELDS_WITHOUT_TEXT and not _property(widget, "accessibleName")
    ]

    assert nameless == []


def test_every_control_explains_itself_in_a_tool_tip_or_gets_one_from_its_section() -> None:
    enabled = _widgetsGivenToEnable()
    mute = [
        name
        for name, widget in WIDGETS.items()
        if widget.get("class") not in SILENT_CLASSES | {"qMRMLSegmentEditorWidget"}  # its buttons have their own
        and not _property(widget, "toolTip")
        and name not in enabled
    ]

    assert mute == []


def test_no_two_mnemonics_of_different_controls_are_the_same() -> None:
    letters: dict[str, list[str]] = {}
    for name, widget in WIDGETS.items():
        if found := re.search("&(.)", _property(widget, "text")):
            letters.setdefault(found[1].lower(), []).append(name)

    assert {letter: names for letter, names in letters.items() if len(names) > 1} == {}
    assert not set(letters) & set("fevh"), "File, Edit, View and Help are Slicer's own"


def test_every_mnemonic_of_a_label_leads_to_a_control() -> None:
    for name, widget in WIDGETS.items():
        if widget.get("class") == "QLabel" and "&" in _property(widget, "text"):
            assert _property(widget, "buddy") in WIDGETS, name


def test_no_widget_has_a_style_of_its_own() -> None:
    assert [name for name, widget in WIDGETS.items() if _property(widget, "styleSheet")] == []
    assert not any("setStyleSheet" in path.read_text(encoding="utf-8") for path in SOURCES)


def test_the_panel_says_what_it_is_not_for() -> None:
    assert _property(WIDGETS["researchUseLabel"], "text") == "Research use only. Not a medical device."


def test_every_control_in_the_manual_is_called_as_in_the_panel() -> None:
    steps = " ".join(MANUAL.partition("## Use it, step by step")[2].partition("\n## ")[0].split())
    inItalics = set(re.findall(r"(?<![*\w])[*]([A-Z][^*]+)[*](?![*\w])", steps))
    texts = {re.sub(r" [(].*[)]$", "", _property(widget, "text").replace("&", "")) for widget in WIDGETS.values()}

    assert "Fine-tune" in inItalics
    assert inItalics - texts == {"Segment Editor"}  # a module of Slicer


def test_every_message_in_the_manual_exists() -> None:
    table = MANUAL.partition("| it says | do |")[2].partition("\n\n")[0]
    cells = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ") and "---" not in line]
    sources = "".join(path.read_text(encoding="utf-8") for path in MODULE_FOLDER.rglob("*.py"))

    said = [cell.split('"')[1].removeprefix("... ") if '"' in cell else cell for cell in cells]
    assert said
    assert [each for each in said if each not in sources] == []


def test_the_repository_has_a_small_picture_of_every_state() -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*_*.py"))
    photographed = set(re.findall(r"""(?:photograph|with_name)\("([a-z0-9-]+)(?:[.]png)?"\)""", tests))
    pictures = {path.stem: path.stat().st_size for path in SCREENSHOTS.glob("*.png")}

    assert photographed
    assert set(pictures) == photographed
    assert {name: size for name, size in pictures.items() if size > MOST_BYTES} == {}


def _property(widget: ElementTree.Element, name: str) -> str:
    for each in widget.findall("property"):
        if each.get("name") == name:
            return "".join(each.itertext()).strip()
    return ""


def _parameters() -> set[str]:
    tree = _treeOf(LIBRARY / "ParameterNode.py")
    wrapped = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "ParameterNode")
    return {node.target.id for node in wrapped.body if isinstance(node, ast.AnnAssign)}  # type: ignore[union-attr]


def _treeOf(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _widgetsNamedBelow(tree: ast.AST) -> set[str]:
    """Return X of every `ui.X` and `self.ui.X`."""
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and "ui" in (getattr(node.value, "attr", ""), getattr(node.value, "id", ""))
    }


def _widgetsGivenToEnable() -> set[str]:
    """Return the widgets that stand in the same function as a call of `enable`."""
    found = set()
    for path in (LIBRARY / "Panel").glob("*.py"):
        for function in ast.walk(_treeOf(path)):
            if isinstance(function, ast.FunctionDef) and _calls(function, "enable"):
                found |= _widgetsNamedBelow(function)
    return found


def _calls(function: ast.FunctionDef, name: str) -> bool:
    return any(getattr(each.func, "id", "") == name for each in _callsIn(function))


def _callsIn(tree: ast.AST) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
