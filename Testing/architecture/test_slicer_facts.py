"""Every call of a Slicer function fits the parameters that each version of Slicer has, and so does every stand-in."""

from __future__ import annotations

import ast
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
import recorded

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "UnCoLSegment"
OWN_SOURCES = [MODULE / "UnCoLSegment.py", *sorted((MODULE / "UnCoLSegmentLib").rglob("*.py"))]
TEST_SOURCES = sorted(path for path in (ROOT / "Testing").rglob("*.py") if "engine" not in path.parts)
SOURCES = [*OWN_SOURCES, *TEST_SOURCES, *sorted((ROOT / "performance").glob("*.py"))]
HOST = ROOT / "Testing" / "host"
STAND_INS = {
    **{path: f"slicer.{path.stem}" for path in sorted((HOST / "slicer_additions").glob("*.py"))},
    **{path: name for name in ("SampleData", "PyTorchUtils") if (path := HOST / f"{name}.py").is_file()},
}
"""The module that each stands for."""

FACTS = json.loads((ROOT / "Testing" / "architecture" / "slicer_facts.json").read_text(encoding="utf-8"))
MODULES = tuple(dict.fromkeys(name.partition(" ")[0] for name in FACTS["files"]))
NOT_IN_ALL_VERSIONS = {"slicer.packaging"}
"""Modules that the oldest version lacks; who calls them asks first whether they are there."""
QT_NAMES = frozenset().union(*(recorded.membersOf(each).methods for each in recorded.CLASSES))
NOT_HERE = ("slicer.packaging.", "SampleData.", "PyTorchUtils.")
"""What only the application has: a test that needs it makes it from the facts."""
NAMES = {name.rpartition(".")[2] for name in recorded.FUNCTIONS} - {"__init__"}
WRAPPED = "slicer.parameterNodeWrapper.wrapped."
"""What the decorator adds to a class: its methods are known by their names."""


def path_id(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def own_additions() -> frozenset[str]:
    """Return what the stand-ins for Slicer's modules hold for tests alone."""
    names = set()
    for path, module in STAND_INS.items():
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            targets = node.targets if isinstance(node, ast.Assign) else [node]
            names |= {f"{module}.{getattr(each, 'name', getattr(each, 'id', ''))}" for each in targets}
    return frozenset(names)


class Calls:
    """Finds what a source calls of Slicer and compares it with the facts.

    A function is known by its import. A method whose object is not known is taken for Slicer's if it has the name of
    one and neither Qt nor a source of ours defines that name.
    """

    def __init__(
        self, source: str, own_names: frozenset[str] = frozenset(), additions: frozenset[str] = frozenset()
    ) -> None:
        self.additions = additions
        self.tree = ast.parse(source)
        self.aliases = dict(self._imported())
        self.methods: dict[str, list[str]] = defaultdict(list)
        for name in recorded.FUNCTIONS:
            owner, _, last = name.rpartition(".")
            is_imported = owner in MODULES and owner not in NOT_IN_ALL_VERSIONS
            if not is_imported and last != "__init__" and last not in own_names | QT_NAMES:
                self.methods[last].append(name)

    def problems(self) -> list[str]:
        """Return `LINE: what` for everything that does not fit."""
        found = [*self._in_calls(), *self._in_decorators(), *self._in_overrides(), *self._in_names()]
        return [f"{line}: {what}" for line, what in sorted(set(found))]

    def _imported(self) -> Iterator[tuple[str, str]]:
        for node in ast.walk(self.tree):
            for alias in node.names if isinstance(node, ast.Import | ast.ImportFrom) else ():
                if isinstance(node, ast.ImportFrom):
                    yield alias.asname or alias.name, f"{node.module}.{alias.name}"
                else:
                    yield alias.asname or alias.name.partition(".")[0], alias.asname or alias.name.partition(".")[0]

    def name_of(self, node: ast.AST) -> str | None:
        """Return the full name of what is called; of an object that is made on the spot, its class's."""
        if isinstance(node, ast.Name):
            name = self.aliases.get(node.id)
            return name if name not in self.additions else None
        if isinstance(node, ast.Call):
            name = self.name_of(node.func)
            return name if f"{name}.__init__" in recorded.FUNCTIONS else None
        if isinstance(node, ast.Attribute):
            name = self.name_of(node.value)
            return f"{name}.{node.attr}" if name and f"{name}.{node.attr}" not in self.additions else None
        return None

    def _in_calls(self) -> Iterator[tuple[int, str]]:
        for call in (node for node in ast.walk(self.tree) if isinstance(node, ast.Call)):
            name = self.name_of(call.func)
            if name and is_in_a_recorded_module(name):
                is_of_object = isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Call)
                yield from _misfits(call, [name], has_object=is_of_object)
            elif isinstance(call.func, ast.Attribute) and call.func.attr in self.methods and not name:
                yield from _misfits(call, self.methods[call.func.attr], has_object=True)

    def _in_decorators(self) -> Iterator[tuple[int, str]]:
        for node in ast.walk(self.tree):
            for decorator in getattr(node, "decorator_list", ()):
                name = self.name_of(decorator)
                if name and is_in_a_recorded_module(name):
                    call = ast.Call(decorator, [ast.Constant(None)], [], lineno=decorator.lineno)
                    yield from _misfits(call, [name], has_object=False)

    def _in_overrides(self) -> Iterator[tuple[int, str]]:
        """A method that Slicer calls must take what Slicer hands over."""
        for node in (each for each in ast.walk(self.tree) if isinstance(each, ast.ClassDef)):
            for base in filter(None, map(self.name_of, node.bases)):
                for method in (each for each in node.body if isinstance(each, ast.FunctionDef)):
                    if base.startswith("slicer.util.") and method.name == "__init__":
                        continue  # a mixin, which our own code makes
                    for parameters in recorded.FUNCTIONS.get(f"{base}.{method.name}", {}).values():
                        handed = [each for each in parameters.split(", ") if "*" not in each and not each.endswith("=")]
                        if not _takes(method.args, len(handed)):
                            yield method.lineno, f"{node.name}.{method.name} is called with ({parameters})"

    def _in_names(self) -> Iterator[tuple[int, str]]:
        """Whatever is named of a recorded module must be recorded, also if it is called elsewhere."""
        for node in (each for each in ast.walk(self.tree) if isinstance(each, ast.Attribute)):
            name = self.name_of(node)
            owner = name.rpartition(".")[0] if name else ""
            if name and owner in MODULES and name not in MODULES and not _facts_of(name):
                yield node.lineno, f"{name}: record its facts first"


def is_in_a_recorded_module(name: str) -> bool:
    return any(name.startswith(f"{module}.") for module in MODULES)


def _facts_of(name: str) -> dict[str, str]:
    return recorded.FUNCTIONS.get(name) or recorded.FUNCTIONS.get(f"{name}.__init__") or {}


def _misfits(call: ast.Call, candidates: list[str], has_object: bool) -> Iterator[tuple[int, str]]:
    """Compare a call with the functions that it may mean; it has to fit one of them in all versions."""
    reasons = [_why_not(call, name, has_object) for name in candidates]
    if all(reasons):
        yield call.lineno, str(reasons[0])


def _why_not(call: ast.Call, name: str, has_object: bool) -> str:
    facts = _facts_of(name)
    if not facts:
        return f"{name}: record its facts first"
    known = {version for versions in facts for version in versions.split(", ")}
    module = next(each for each in MODULES if name.startswith(f"{each}."))
    missing = [each for each in recorded.VERSIONS if each not in known]
    if missing and module not in NOT_IN_ALL_VERSIONS and module not in FACTS["unknown"]:
        return f"{name} is not in Slicer {', '.join(missing)}"
    makes_object = name not in recorded.FUNCTIONS
    for versions, parameters in facts.items():
        object_given = ["self"] * (parameters.startswith("self") and (has_object or makes_object))
        if reason := _does_not_bind(call, parameters, object_given):
            return f"{name}({parameters}) in {versions}: {reason}"
    return ""


def _does_not_bind(call: ast.Call, parameters: str, before: list[str]) -> str:
    given = [*before, *(each for each in call.args if not isinstance(each, ast.Starred))]
    named = {each.arg: None for each in call.keywords if each.arg}
    is_open = any(isinstance(each, ast.Starred) for each in call.args) or any(
        each.arg is None for each in call.keywords
    )
    signature = recorded.signatureOf(parameters)
    try:
        (signature.bind_partial if is_open else signature.bind)(*given, **named)
    except TypeError as error:
        return str(error)
    return ""


def _takes(arguments: ast.arguments, count: int) -> bool:
    positional = len(arguments.posonlyargs) + len(arguments.args)
    return positional - len(arguments.defaults) <= count and (arguments.vararg is not None or positional >= count)


ADDITIONS = own_additions()


@pytest.fixture(scope="module")
def own_names() -> frozenset[str]:
    """Every function and method that our own sources define."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in OWN_SOURCES]
    return frozenset(node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("path", SOURCES, ids=path_id)
def test_every_call_of_slicer_fits_each_version(path: Path, own_names: frozenset[str]) -> None:
    runs_in_slicer = path in OWN_SOURCES or ("application" in path.parts and path.name != "conftest.py")

    source = path.read_text(encoding="utf-8")
    assert Calls(source, own_names, frozenset() if runs_in_slicer else ADDITIONS).problems() == []


IMPORTS = "import slicer, slicer.util, SampleData, PyTorchUtils\n"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param(
            "SampleData.SampleDataLogic.registerCustomSampleDataSource(sampleDescription='CT')",
            "unexpected keyword argument 'sampleDescription'",
            id="sample with a description",
        ),
        pytest.param("slicer.util.loadUI()", "missing a required argument: 'path'", id="too few"),
        pytest.param("slicer.util.loadUI(1, 2)", "too many positional arguments", id="too many"),
        pytest.param("slicer.util.launchConsoleProcess([], blocking=False)", "in 5.10: got an unexp", id="only newer"),
        pytest.param("slicer.util.LazyImport('x')", "is not in Slicer 5.10, 5.12", id="not in all"),
        pytest.param("slicer.util.noSuchThing()", "slicer.util.noSuchThing: record its facts", id="unknown"),
        pytest.param("with slicer.util.noSuchThing as x: pass", "record its facts first", id="unknown, not called"),
        pytest.param("PyTorchUtils.PyTorchUtilsLogic().installTorch(version=2)", "argument 'version'", id="method"),
        pytest.param("panel.addObserver(node, event)", "missing a required argument: 'method'", id="by its name"),
        pytest.param("packaging.pip_ensure([], skip=1)", "argument 'skip'", id="module that is looked up"),
        pytest.param("parameters.connectGui(ui, 2)", "too many positional", id="parameter node"),
        pytest.param("slicer.util.VTKObservationMixin.__init__()", "argument: 'self'", id="unbound"),
        pytest.param(
            "class Panel(slicer.util.VTKObservationMixin):\n    def removeObserver(self, node): pass",
            "Panel.removeObserver is called with (self, obj, event, method)",
            id="override",
        ),
    ],
)
def test_a_call_that_does_not_fit_is_found(source: str, expected: str) -> None:
    [problem] = Calls(IMPORTS + source).problems()

    assert expected in problem


@pytest.mark.parametrize(
    "source",
    [
        "slicer.util.loadUI('panel.ui')",
        "slicer.util.errorDisplay(text, detailedText=details)",
        "slicer.util.VTKObservationMixin.__init__(self)",
        "PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=True)",
        "slicer.util.pip_install(*arguments)",
        "slicer.mrmlScene.Clear(False)",
    ],
)
def test_a_call_that_fits_is_no_problem(source: str) -> None:
    assert Calls(IMPORTS + source).problems() == []


def test_the_facts_say_where_they_come_from_and_what_is_not_known() -> None:
    assert set(FACTS["sources"]) == {*recorded.VERSIONS, "PyTorch extension"}
    assert all(len(each["commit"]) == 40 for each in FACTS["sources"].values())
    assert FACTS["unknown"] == {"PyTorchUtils": list(recorded.VERSIONS)}
    told = {version for facts in recorded.FUNCTIONS.values() for versions in facts for version in versions.split(", ")}
    assert told == set(FACTS["sources"])


def fakes_made_by_hand(source: str) -> list[str]:
    """Return `LINE: what` for each stand-in for a recorded function that is not made from the facts."""
    calls = Calls(source)
    return [f"{line}: {what}" for line, what in sorted(_hand_made(calls))]


def _hand_made(calls: Calls) -> Iterator[tuple[int, str]]:
    absent = {name.rpartition(".")[2] for name in recorded.FUNCTIONS if name.startswith(NOT_HERE)} - {"__init__"}
    classes = {name.split(".")[-2] for name in recorded.FUNCTIONS if name.startswith(NOT_HERE[1:])}
    for node in ast.walk(calls.tree):
        if isinstance(node, ast.ClassDef) and node.name in classes:
            yield node.lineno, f"class {node.name}"
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("SimpleNamespace"):
            yield from ((node.lineno, each.arg) for each in node.keywords if each.arg in absent | classes)
        for owner, name, value in _replaced(node):
            is_made_from_facts = isinstance(value, ast.Call) and ast.unparse(value.func).startswith("recorded.")
            if _is_slicers(calls, owner) and name in NAMES and not is_made_from_facts:
                yield node.lineno, name


def _replaced(node: ast.AST) -> Iterator[tuple[ast.AST, str, ast.AST]]:
    """Yield owner, name and new value of `setattr(owner, "name", value)` and `owner.name = value`."""
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("setattr") and len(node.args) == 3:
        owner, name, value = node.args
        yield owner, getattr(name, "value", ""), value
    for target in node.targets if isinstance(node, ast.Assign) else ():
        if isinstance(target, ast.Attribute):
            yield target.value, target.attr, node.value


def _is_slicers(calls: Calls, owner: ast.AST) -> bool:
    text = calls.name_of(owner) or ast.unparse(owner)
    return any(text == each or text.startswith(f"{each}.") or f"'{each}'" in text for each in MODULES)


@pytest.mark.parametrize("path", [path for path in TEST_SOURCES if path not in STAND_INS], ids=path_id)
def test_every_fake_of_a_slicer_function_is_made_from_the_facts(path: Path) -> None:
    assert fakes_made_by_hand(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("SimpleNamespace(registerCustomSampleDataSource=lambda **facts: None)", ["2: registerCustomSampleDataSource"]),
        ("class PyTorchUtilsLogic: pass", ["2: class PyTorchUtilsLogic"]),
        ("monkeypatch.setattr(slicer.util, 'pip_install', install)", ["2: pip_install"]),
        ("monkeypatch.setattr(sys.modules['slicer.packaging'], 'pip_ensure', ensure)", ["2: pip_ensure"]),
        ("slicer.util.pip_install = lambda *a: None", ["2: pip_install"]),
        ("monkeypatch.setattr(slicer.util, 'pip_install', recorded.function('slicer.util.pip_install', f))", []),
        ("monkeypatch.setattr(store, 'pip_install', install)", []),
        ("SimpleNamespace(logic=lambda: logic)", []),
    ],
)
def test_a_fake_made_by_hand_is_found(source: str, expected: list[str]) -> None:
    assert fakes_made_by_hand(IMPORTS + source) == expected


@pytest.mark.parametrize("path", STAND_INS, ids=path_id)
def test_a_stand_in_takes_nothing_that_slicer_does_not_take(path: Path) -> None:
    """It may take less than Slicer; what it takes has Slicer's names, in Slicer's order."""
    wrong = [
        f"{name}({taken}), in Slicer ({facts})"
        for name, node in _defined(ast.parse(path.read_text(encoding="utf-8")), STAND_INS[path])
        for facts in _facts_of(name).values()
        if not _is_part_of(taken := _parameters(node.args), facts)
    ]

    assert wrong == []


def _defined(tree: ast.Module, module: str) -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield f"{module}.{node.name}", node
        elif isinstance(node, ast.ClassDef):
            owner = f"{module}.{node.name}." if node.name != "_Wrapper" else WRAPPED
            yield from ((owner + each.name, each) for each in node.body if isinstance(each, ast.FunctionDef))


def _parameters(arguments: ast.arguments) -> str:
    positional = [each.arg for each in [*arguments.posonlyargs, *arguments.args]]
    required = len(positional) - len(arguments.defaults)
    texts = [name + "=" * (number >= required) for number, name in enumerate(positional)]
    named = [
        each.arg + "=" * (default is not None)
        for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]
    return ", ".join([*texts, *(["*", *named] if named else [])])


def _is_part_of(taken: str, facts: str) -> bool:
    ours, theirs = recorded.signatureOf(taken).parameters, recorded.signatureOf(facts).parameters
    positional = [name for name, each in ours.items() if each.kind is not each.KEYWORD_ONLY]
    required = {name for name, each in theirs.items() if each.default is each.empty and each.kind < each.VAR_KEYWORD}
    is_strict = required <= {name for name, each in ours.items() if each.default is each.empty}
    return is_strict and set(ours) <= set(theirs) and positional == list(theirs)[: len(positional)]
