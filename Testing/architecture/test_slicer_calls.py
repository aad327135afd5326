"""Calls of Slicer that look right and do something else, so that our code must not make them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

LIBRARY = Path(__file__).resolve().parents[2] / "UnCoLSegment" / "UnCoLSegmentLib"
SOURCES = sorted(LIBRARY.rglob("*.py"))


def forbidden_in(tree: ast.AST) -> Iterator[str]:
    """Say what is wrong with each such call."""
    for function in ast.walk(tree):
        if isinstance(function, ast.Call) and name_of(function) == "StartPlaceMode":
            yield "StartPlaceMode places point lists only: set the interaction node's mode instead"
        if isinstance(function, ast.Compare) and any(
            name_of(each) == "GetOrientation" for each in [function.left, *function.comparators]
        ):
            yield 'GetOrientation() is "Reformat" for any view that is not exactly at a preset: compare normals'
        if isinstance(function, ast.FunctionDef) and asks_for_views(function) and not asks_for_layout(function):
            yield "views of other layouts stay in the scene: ask IsMappedInLayout()"


def name_of(node: ast.AST) -> str:
    """Return the name of the function that is called; "" if this is no call."""
    return getattr(node.func, "attr", getattr(node.func, "id", "")) if isinstance(node, ast.Call) else ""


def asks_for_views(function: ast.FunctionDef) -> bool:
    texts = [each.value for each in ast.walk(function) if isinstance(each, ast.Constant)]
    return "vtkMRMLSliceNode" in texts


def asks_for_layout(function: ast.FunctionDef) -> bool:
    return any(name_of(each) == "IsMappedInLayout" for each in ast.walk(function))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_call_of_slicer_that_does_something_else_than_it_says(path: Path) -> None:
    assert list(forbidden_in(ast.parse(path.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize(
    "source",
    [
        "def draw(): slicer.modules.markups.logic().StartPlaceMode(False)",
        'def find(): return [each for each in nodes if each.GetOrientation() == "Axial"]',
        'def find(): return slicer.util.getNodesByClass("vtkMRMLSliceNode")[0]',
    ],
)
def test_each_of_them_is_found(source: str) -> None:
    assert len(list(forbidden_in(ast.parse(source)))) == 1


def test_views_of_the_layout_may_be_asked_for() -> None:
    source = 'def find(): return [each for each in nodesOf("vtkMRMLSliceNode") if each.IsMappedInLayout()]'

    assert list(forbidden_in(ast.parse(source))) == []
