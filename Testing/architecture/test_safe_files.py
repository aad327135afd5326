"""Model files are data, not programs: the product reads and writes no pickle. And it reaches no other machine,
but for the scheduler of a Dask cluster that the user names. Files of others are regular ones of a limited size.

What joblib passes between our own processes while they run, or to the workers of a Dask cluster that the user names, is
pickled, too, but in no file. Only the names for that may be imported from joblib, and never what reads or writes files.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PRODUCT_FOLDER = Path(__file__).resolve().parents[2] / "UnCoLSegment"
PICKLING_PACKAGES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve"}
PROCESS_NAMES = {"DaskDistributedBackend", "Parallel", "TerminatedWorkerError", "delayed", "get_reusable_executor",
                 "parallel_config"}  # fmt: skip
"""What may be imported by name from joblib."""
NETWORK_PACKAGES = {"aiohttp", "asyncio", "dask", "distributed", "fsspec", "ftplib", "http", "httpx", "huggingface_hub",
                    "requests", "smtplib", "socket", "socketserver", "ssl", "telnetlib", "urllib", "urllib3",
                    "webbrowser", "xmlrpc"}  # fmt: skip

ON_THIS_MACHINE = {"uncol/cli/serving.py": {"http"}, "uncol/cli/view.py": {"webbrowser"}}
"""What answers on the loopback address when it is asked to, and what opens a page there or a file."""
WHERE_THE_USER_SAYS = {"uncol/pipelines/side_by_side.py": {"distributed"}}
"""What goes to the workers of a cluster whose scheduler the user names with --dask."""


def unsafe_places(source: str) -> list[str]:
    """Return `LINE: what` for each use of pickle that is found in a source text."""
    nodes = list(ast.walk(ast.parse(source)))
    found = [
        *((node.lineno, what) for node in nodes if isinstance(node, ast.Import) for what in _unsafe_import(node)),
        *((node.lineno, what) for node in nodes if isinstance(node, ast.ImportFrom) for what in _unsafe_from(node)),
        *((node.lineno, what) for node in nodes if isinstance(node, ast.Call) for what in _unsafe_call(node)),
    ]
    return [f"{line}: {what}" for line, what in sorted(found)]


def _unsafe_import(node: ast.Import) -> Iterator[str]:
    yield from (f"imports {alias.name}" for alias in node.names if _is_pickling(alias.name))


def _unsafe_from(node: ast.ImportFrom) -> Iterator[str]:
    module = node.module or ""
    if module.partition(".")[0] == "joblib":
        yield from (f"imports joblib's {each.name}" for each in node.names if each.name not in PROCESS_NAMES)
    elif _is_pickling(module):
        yield f"imports from {module}"
    if node.module == "torch":
        yield from (f"imports torch.{alias.name} by name" for alias in node.names if alias.name in ("load", "save"))


def _unsafe_call(node: ast.Call) -> Iterator[str]:
    called = ast.unparse(node.func)
    keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
    if called == "torch.load" and keywords.get("weights_only") != "True":
        yield "torch.load without weights_only=True"
    if called == "torch.save":
        yield "torch.save writes a pickle"
    if keywords.get("allow_pickle", "False") != "False":
        yield "allow_pickle"


def _is_pickling(module: str) -> bool:
    return module.partition(".")[0] in PICKLING_PACKAGES


SOURCES = sorted(PRODUCT_FOLDER.rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=[path.relative_to(PRODUCT_FOLDER).as_posix() for path in SOURCES])
def test_source_file_uses_no_pickle(path: Path) -> None:
    assert unsafe_places(path.read_text(encoding="utf-8")) == []


def network_packages(source: str) -> set[str]:
    """Return what is imported in a source text to reach other machines."""
    nodes = list(ast.walk(ast.parse(source)))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in names} & NETWORK_PACKAGES


@pytest.mark.parametrize("path", SOURCES, ids=[path.relative_to(PRODUCT_FOLDER).as_posix() for path in SOURCES])
def test_source_file_reaches_no_other_machine(path: Path) -> None:
    allowed = (ON_THIS_MACHINE | WHERE_THE_USER_SAYS).get(path.relative_to(PRODUCT_FOLDER).as_posix(), set())
    assert network_packages(path.read_text(encoding="utf-8")) == allowed


def test_the_check_finds_what_reaches_other_machines() -> None:
    assert network_packages("import os, urllib.request\nfrom socket import socket") == {"urllib", "socket"}
    assert network_packages("def f():\n    from dask.distributed import Client") == {"dask"}


OPENED_WITHOUT_LIMIT = {
    "uncol/core/files.py",  # what all others read by
    "uncol/core/model_zip.py",  # members of a zip, counted while they are unpacked
    "uncol/benchmark/processes.py",  # what processes of one run tell each other
    "uncol/benchmark/runner.py", "uncol/cli/examination.py", "uncol/worker/process.py",  # what Linux tells of itself
    "uncol/report/viewer.py", "UnCoLSegmentLib/Dependencies.py",  # our own texts
}  # fmt: skip


def unlimited_reads(source: str) -> list[int]:
    """Return the lines in which a file is opened for reading, or read whole, whatever it is and however large."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return sorted(node.lineno for node in calls if _reads_any_file(node))


def _reads_any_file(node: ast.Call) -> bool:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name != "open":
        return name in {"read_text", "read_bytes"}
    owner = ast.unparse(node.func).removesuffix("open").rstrip(".")
    modes = [each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str)]
    return owner not in {"os", "webbrowser"} and not any(set(mode) & set("wxa") for mode in modes[-1:])


@pytest.mark.parametrize("path", SOURCES, ids=[path.relative_to(PRODUCT_FOLDER).as_posix() for path in SOURCES])
def test_source_file_opens_regular_files_of_limited_size_only(path: Path) -> None:
    found = unlimited_reads(path.read_text(encoding="utf-8"))
    assert bool(found) == (path.relative_to(PRODUCT_FOLDER).as_posix() in OPENED_WITHOUT_LIMIT), found


@pytest.mark.parametrize(
    ("source", "is_found"),
    [
        ("path.open('rb')", True), ("open(path)", True), ("path.open()", True), ("gzip.open(path, 'rb')", True),
        ("path.read_text()", True), ("path.read_bytes()", True), ("path.open('xb')", False), ("path.open('w')", False),
        ("with opened(path) as found: pass", False), ("read_limited(path, 5)", False), ("os.open(path, 0)", False),
    ],
)  # fmt: skip
def test_the_check_finds_what_is_read_without_limit(source: str, is_found: bool) -> None:
    assert bool(unlimited_reads(source)) is is_found


def test_there_are_source_files_to_check() -> None:
    assert PRODUCT_FOLDER / "uncol" / "core" / "volume.py" in SOURCES


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param("import pickle", ["1: imports pickle"], id="import"),
        pytest.param("import numpy, dill as d", ["1: imports dill"], id="import under another name"),
        pytest.param("from pickle import loads", ["1: imports from pickle"], id="import of a function"),
        pytest.param("import joblib", ["1: imports joblib"], id="all of joblib"),
        pytest.param("from joblib import Parallel, load", ["1: imports joblib's load"], id="files of joblib"),
        pytest.param(
            "from joblib.externals import cloudpickle", ["1: imports joblib's cloudpickle"], id="inside joblib"
        ),
        pytest.param("from joblib import Parallel, delayed", [], id="processes of joblib"),
        pytest.param("from torch import load", ["1: imports torch.load by name"], id="torch.load by name"),
        pytest.param("\ntorch.load(f)", ["2: torch.load without weights_only=True"], id="torch.load"),
        pytest.param(
            "torch.load(f, weights_only=flag)", ["1: torch.load without weights_only=True"], id="torch.load by flag"
        ),
        pytest.param("torch.load(f, weights_only=True)", [], id="safe torch.load"),
        pytest.param("torch.save(a, f)", ["1: torch.save writes a pickle"], id="torch.save"),
        pytest.param("np.load(f, allow_pickle=True)", ["1: allow_pickle"], id="numpy with pickle"),
        pytest.param("np.load(f, allow_pickle=False)", [], id="numpy without pickle"),
        pytest.param("'import pickle'  # torch.load(f)", [], id="only in words"),
    ],
)
def test_the_check_finds_unsafe_uses(source: str, expected: list[str]) -> None:
    assert unsafe_places(source) == expected
