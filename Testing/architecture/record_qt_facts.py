"""Records properties, methods and signals of Qt, CTK and MRML widget classes in qt_facts.json. Names only, no code.

Run it when a class or a version of Slicer is added, with git clones of `Slicer/Slicer`, `commontk/CTK` and
`MeVisLab/pythonqt`, and a Python that has PyQt5 (Qt 5.15; PySide6, Qt 6, is in the project's own environment):

    python Testing/architecture/record_qt_facts.py SLICER_CLONE CTK_CLONE PYTHONQT_CLONE PYTHON_WITH_PYQT5

What a class of CTK or Slicer shows in Python are its properties, slots, signals, invokable methods and what a
"decorator" of PythonQt adds; of Qt's classes it is what PythonQt's generated wrappers name.
"""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from record_slicer_facts import SLICER_REVISIONS

FACTS = Path(__file__).with_name("qt_facts.json")
CTK_REVISIONS = {
    "5.10": "dd4caeae7e979cf441e44ee85d3b0780120d113d",
    "5.12": "5056664a20a3d0a393bb6d91f040525581e0dcdf",
    "5.13": "5056664a20a3d0a393bb6d91f040525581e0dcdf",
}
"""As SuperBuild/External_CTK.cmake of each version says."""
PYTHONQT_REVISIONS = {"5.10": "v3.6.1", "5.12": "v4.1.0", "5.13": "v4.1.0"}
"""As CTK's CMakeExternals/PythonQt.cmake says, without the patches that are kept elsewhere."""
WRAPPERS, WRAPPERS_REVISION = "generated_cpp_515", "v3.6.1"
QT = {"Qt 5.15": "PyQt5", "Qt 6": "PySide6"}
"""Slicer 5.10 is built with Qt 5.15, later ones with Qt 5.15 or 6.8: a member must be in both."""

QT_CLASSES = (
    "QAbstractButton QAbstractItemModel QAbstractItemView QAbstractProxyModel QAbstractScrollArea QAbstractSlider "
    "QAbstractSpinBox QAction QApplication QBoxLayout QCheckBox QClipboard QColor QComboBox QCoreApplication "
    "QDesktopServices QDialog QDoubleSpinBox QEvent QFileDialog QFont QFontMetrics QFormLayout QFrame QGridLayout "
    "QGroupBox QGuiApplication QHBoxLayout QHeaderView QIcon QInputEvent QItemSelectionModel QKeyEvent QKeySequence "
    "QLabel QLayout QLineEdit QListView QListWidget QListWidgetItem QMainWindow QMenu QMessageBox QMouseEvent QObject "
    "QPaintDevice QPaintEvent QPainter QPalette QPen QPixmap QPlainTextEdit QProgressBar QPushButton QRadioButton "
    "QRect QScrollArea QSettings QShortcut QSizePolicy QSlider QSortFilterProxyModel QSpinBox QStackedWidget "
    "QStandardPaths QStatusBar QStyle QTabWidget QTableView QTableWidget QTableWidgetItem QTextBrowser QTextEdit "
    "QTimer QToolButton QUrl QVBoxLayout QWidget"
)
_MRML, _SEGMENTATIONS = "Libs/MRML/Widgets", "Modules/Loadable/Segmentations/Widgets"
_EFFECTS = "Modules/Loadable/Segmentations/EditorEffects"
SLICER_HEADERS = {
    "Base/QTCore": "qSlicerAbstractCoreModule qSlicerAbstractModuleFactoryManager qSlicerCoreApplication "
    "qSlicerModuleFactoryManager qSlicerModuleManager",
    "Base/QTGUI": "qSlicerAbstractModule qSlicerAbstractModuleWidget qSlicerApplication qSlicerLayoutManager "
    "qSlicerLoadableModule qSlicerScriptedLoadableModule qSlicerScriptedLoadableModuleWidget qSlicerWidget",
    _MRML: "qMRMLAbstractViewWidget qMRMLLayoutManager qMRMLNodeComboBox qMRMLPlotWidget qMRMLSortFilterProxyModel "
    "qMRMLWidget",
    _SEGMENTATIONS: "qMRMLSegmentEditorWidget qMRMLSegmentationShow3DButton qMRMLSegmentsTableView",
    _EFFECTS: "qSlicerSegmentEditorEffectFactory",
    "Modules/Loadable/Markups/Widgets": "qSlicerMarkupsPlaceWidget",
}
SLICER_DECORATORS = [
    "Base/QTCore/qSlicerBaseQTCorePythonQtDecorators.h",
    "Base/QTGUI/qSlicerBaseQTGUIPythonQtDecorators.h",
    f"{_EFFECTS}/qSlicerSegmentationsEditorEffectsPythonQtDecorators.h",
]
CTK_HEADERS = {
    "Libs/DICOM/Core": "ctkDICOMDatabase",
    "Libs/Widgets": "ctkCollapsibleButton ctkComboBox ctkDoubleSpinBox ctkLayoutFactory ctkLayoutManager "
    "ctkMenuButton ctkMessageBox ctkPathLineEdit ctkSliderWidget",
}
CTK_DECORATORS = ["Libs/Core/ctkCorePythonQtDecorators.h", "Libs/Widgets/ctkWidgetsPythonQtDecorators.h"]

Found = dict[str, dict[tuple[str, str], set[str]]]
"""{class: {(kind, member): versions}}."""

_SECTION = re.compile(r"\s*((?:public|protected|private|Q_SIGNALS|signals)\b(?:\s+(?:Q_SLOTS|slots))?)\s*:(?!:)")
_PROPERTY = re.compile(r"Q_PROPERTY\s*\(((?:[^()]|\([^()]*\))*)\)\s*;?")
_MACRO = re.compile(r"\b(?:Q_OBJECT|QVTK_OBJECT|Q_GADGET)\b|\b(?:Q_ENUMS?|Q_FLAGS?|Q_ENUM|Q_FLAG)\s*\([^)]*\)\s*;?")
_SIGNAL = 1
"""QMetaMethod::Signal."""
_BUILT_IN = {"int", "long", "short", "char", "double", "float", "bool", "unsigned", "const"}


def main(slicer: Path, ctk: Path, pythonqt: Path, qt5: str) -> None:
    """Write the facts of every version."""
    found: Found = defaultdict(lambda: defaultdict(set))
    bases = {"QObject": "PythonQt", "PythonQt": ""}
    for version in SLICER_REVISIONS:
        _record(slicer, SLICER_REVISIONS[version], version, SLICER_HEADERS, SLICER_DECORATORS, found, bases)
        _record(ctk, CTK_REVISIONS[version], version, CTK_HEADERS, CTK_DECORATORS, found, bases)
        _record_pythonqt(pythonqt, PYTHONQT_REVISIONS[version], version, found)
    for name, binding in QT.items():
        python = sys.executable if binding == "PySide6" else qt5
        told = subprocess.run([python, __file__, "--describe", binding], capture_output=True, text=True, check=True)
        for class_name, (base, members) in json.loads(told.stdout).items():
            bases.setdefault(class_name, base)
            for kind, member in members:
                found[class_name][kind, member].add(name)
    for class_name, member in _wrapped_methods(pythonqt):
        found[class_name]["methods", member].add("Qt 5.15")
    _write(found, bases, {"Slicer/Slicer": slicer, "commontk/CTK": ctk, "MeVisLab/pythonqt": pythonqt})


def _record(
    clone: Path,
    revision: str,
    version: str,
    headers: dict[str, str],
    decorators: list[str],
    found: Found,
    bases: dict[str, str],
) -> None:
    for folder, names in headers.items():
        for name in names.split():
            source = _without_comments(_git(clone, f"{revision}:{folder}/{name}.h"))
            base, body = _class_in(source, name)
            bases[name] = base
            for kind, member in _members(body):
                found[name][kind, member].add(version)
    for path in decorators:
        source = _without_comments(_git(clone, f"{revision}:{path}"))
        for name, member in _decorated(source):
            if name in bases:
                found[name]["methods", member].add(version)


def _record_pythonqt(clone: Path, revision: str, version: str, found: Found) -> None:
    _, body = _class_in(
        _without_comments(_git(clone, f"{revision}:src/PythonQtStdDecorators.h")), "PythonQtStdDecorators"
    )
    table = _git(clone, f"{revision}:src/PythonQtInstanceWrapper.cpp").partition("PythonQtInstanceWrapper_methods[]")[2]
    own = re.findall(r'{\s*"(\w+)"', table.partition("};")[0])
    added = [name for kind, name in _members(body) if kind == "methods" and not name.startswith("static_")]
    for member in [*own, *added]:
        found["PythonQt"]["methods", member].add(version)


def _git(clone: Path, what: str) -> str:
    return subprocess.run(["git", "-C", clone, "show", what], capture_output=True, text=True, check=True).stdout


def _without_comments(source: str) -> str:
    return re.sub(r"//[^\n]*|/\*.*?\*/|^\s*#[^\n]*", "", source, flags=re.DOTALL | re.MULTILINE)


def _class_in(source: str, name: str) -> tuple[str, str]:
    """Return the first base of a class and what stands between its braces."""
    head = re.search(rf"\bclass\s+(?:\w+\s+)?{name}\s*:\s*public\s+(\w+)[^{{;]*{{", source)
    assert head is not None, f"no class {name}"
    return head[1], source[head.end() : _closing(source, head.end())]


def _closing(text: str, start: int) -> int:
    depth = 1
    for position in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[position], 0)
        if depth == 0:
            return position
    return len(text)


def _members(body: str) -> Iterator[tuple[str, str]]:
    """Find what Python sees of a class: properties, slots, invokable methods, signals."""
    for declared in _PROPERTY.findall(body):
        kind = "properties" if "WRITE" in declared.split() else "read-only"
        yield kind, re.split(r"\s|[*&]", declared.partition(" READ ")[0].strip())[-1]
    section = "private"
    for statement in _statements(_MACRO.sub("", _PROPERTY.sub("", body))):
        while label := _SECTION.match(statement):
            section, statement = label[1], statement[label.end() :]  # noqa: PLW2901
        function = re.match(r"(?P<before>[\w\s:*&<>,]*?[\s*&>])(?P<name>\w+)\s*\(", statement)
        if function is None or re.match(r"\s*(?:typedef|using|friend|enum|explicit|static\s)", statement):
            continue
        if section in ("signals", "Q_SIGNALS"):
            for signature in _signatures(statement[function.end() :]):
                yield "signals", f"{function['name']}({signature})"
        elif ("slots" in section.lower() and section.startswith("public")) or (
            "Q_INVOKABLE" in function["before"] and section.startswith("public")
        ):
            yield "methods", function["name"]


def _statements(body: str) -> Iterator[str]:
    start = position = 0
    while position < len(body):
        if body[position] in "{;":
            yield body[start:position].lstrip(";")
            position = start = _closing(body, position + 1) if body[position] == "{" else position
            start += 1
        position += 1


def _signatures(arguments: str) -> Iterator[str]:
    """Return the normalized types of a signal's arguments; once more without each that has a default value."""
    depth, parts = 1, [""]
    for character in arguments:
        depth += {"(": 1, "<": 1, ")": -1, ">": -1}.get(character, 0)
        if depth == 0:
            break
        if character == "," and depth == 1:
            parts.append("")
        else:
            parts[-1] += character
    types = [_normalized(part.partition("=")[0]) for part in parts if part.strip()]
    optional = sum("=" in part for part in parts)
    for count in range(len(types) - optional, len(types) + 1):
        yield ",".join(types[:count])


def _normalized(declared: str) -> str:
    text = re.sub(r"\s+", " ", declared).strip()
    named = re.fullmatch(r"(?P<type>.*?[\s*&>])(?P<name>\w+)", text)
    if named and named["name"] not in _BUILT_IN and named["type"].strip() not in ("const", "unsigned"):
        text = named["type"].strip()
    text = re.sub(r"\s*([*&<>,])\s*", r"\1", text)
    by_value = re.fullmatch(r"const ([^*&]+)&?", text)
    return by_value[1] if by_value else text


def _decorated(source: str) -> Iterator[tuple[str, str]]:
    """Find what a decorator adds: `static_CLASS_name(...)`, or `name(CLASS* self, ...)`."""
    _, body = _class_in(source, r"\w+PythonQtDecorators")
    for statement in _statements(body):
        function = re.search(r"\b(\w+)\s*\(\s*(?:(?:const\s+)?(\w+)\s*\*)?", statement)
        if function is None:
            continue
        static = re.fullmatch(r"static_([a-zA-Z]+)_(\w+)", function[1])
        if static:
            yield static[1], static[2]
        elif function[2] and function[2].startswith(("q", "ctk")) and not function[1].startswith(("new_", "delete_")):
            yield function[2], function[1]


def _wrapped_methods(clone: Path) -> Iterator[tuple[str, str]]:
    listed = subprocess.run(
        ["git", "-C", clone, "ls-tree", "-r", "--name-only", WRAPPERS_REVISION, WRAPPERS],
        capture_output=True,
        text=True,
        check=True,
    )
    for path in listed.stdout.split():
        if re.search(r"_qt_(?:core|gui)\w*/\w+[.]h$", path):
            source = _git(clone, f"{WRAPPERS_REVISION}:{path}")
            for name, body in re.findall(
                r"^class PythonQtWrapper_(\w+) .*?^{(.*?)^};", source, re.DOTALL | re.MULTILINE
            ):
                if name in QT_CLASSES.split():
                    own = re.findall(rf"\b(\w+)\((?:const )?{name}\*\s+theWrappedObject", body)
                    static = re.findall(rf"\bstatic_{name}_(\w+)\(", body)
                    yield from ((name, each) for each in {*own, *static} if not each.startswith(("py_q_", "__")))


def describe(binding: str) -> dict[str, tuple[str, list[tuple[str, str]]]]:
    """Return base and members of Qt's classes as a Python binding of Qt knows them."""
    modules = [importlib.import_module(f"{binding}.{each}") for each in ("QtWidgets", "QtGui", "QtCore")]
    told = {}
    for name in QT_CLASSES.split():
        found = next(getattr(each, name) for each in modules if hasattr(each, name))
        base = next((each for each in found.__mro__[1:] if each.__name__.startswith("Q")), object)
        members = set(_meta_members(getattr(found, "staticMetaObject", None)))
        if binding == "PySide6":  # of Qt 5, PythonQt's wrappers tell
            signals = {member.partition("(")[0] for kind, member in members if kind == "signals"}
            own = set(dir(found)) - set(dir(base)) - signals
            members |= {("methods", each) for each in own if each[0].islower() and callable(getattr(found, each))}
        told[name] = base.__name__, sorted(members)
    return told


def _meta_members(meta: Any) -> Iterator[tuple[str, str]]:
    for index in range(meta.propertyOffset(), meta.propertyCount()) if meta else ():
        each = meta.property(index)
        yield "properties" if each.isWritable() else "read-only", each.name()
    for index in range(meta.methodOffset(), meta.methodCount()) if meta else ():
        method = meta.method(index)
        signature, kind = bytes(method.methodSignature()).decode(), method.methodType()
        if getattr(kind, "value", kind) == _SIGNAL:
            yield "signals", signature
        elif not signature.startswith("_q_"):  # Qt's own business
            yield "methods", signature.partition("(")[0]


def _write(found: Found, bases: dict[str, str], clones: dict[str, Path]) -> None:
    revisions = {
        "Slicer/Slicer": SLICER_REVISIONS,
        "commontk/CTK": CTK_REVISIONS,
        "MeVisLab/pythonqt": {**PYTHONQT_REVISIONS, "Qt 5.15": WRAPPERS_REVISION},
    }
    commits = {
        repository: {
            version: {"revision": revision, "commit": _commit(clones[repository], revision)}
            for version, revision in ofVersion.items()
        }
        for repository, ofVersion in revisions.items()
    }
    sources = {**commits, "bindings": {"Qt 5.15": "PyQt5 5.15", "Qt 6": "PySide6 6.11.3"}}
    lines = [
        f"  {json.dumps(name)}: {json.dumps(_facts_of(found[name], bases.get(name, '')))}" for name in sorted(bases)
    ]
    text = f'{{\n "sources": {json.dumps(sources)},\n "classes": {{\n' + ",\n".join(lines) + "\n }\n}\n"
    FACTS.write_text(text, encoding="utf-8")


def _commit(clone: Path, revision: str) -> str:
    command = ["git", "-C", clone, "rev-parse", f"{revision}^{{commit}}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _facts_of(members: dict[tuple[str, str], set[str]], base: str) -> dict[str, Any]:
    """Return {"base": ..., versions: {kind: members}}; what is in fewer versions than the rest stands by itself."""
    grouped: dict[str, dict[str, list[str]]] = {}
    for (kind, member), versions in sorted(members.items()):
        grouped.setdefault(", ".join(sorted(versions)), {}).setdefault(kind, []).append(member)
    return {"base": base, "in": grouped}


if __name__ == "__main__":
    if sys.argv[1] == "--describe":
        sys.stdout.write(json.dumps(describe(sys.argv[2])))
    else:
        main(*map(Path, sys.argv[1:4]), sys.argv[4])
