"""The plain parameters of these tests are those that the panel keeps in the scene."""

from __future__ import annotations

import ast
from dataclasses import fields
from pathlib import Path

import pytest
from parameters import Device, Parameters, Plane, SegmentFrom

SOURCE = Path(__file__).resolve().parents[2] / "UnCoLSegment" / "UnCoLSegmentLib" / "ParameterNode.py"


def classes() -> dict[str, ast.ClassDef]:
    return {node.name: node for node in ast.parse(SOURCE.read_text()).body if isinstance(node, ast.ClassDef)}


def test_each_parameter_of_the_tests_is_one_of_the_panel() -> None:
    kept = {node.target.id for node in classes()["ParameterNode"].body if isinstance(node, ast.AnnAssign)}

    assert {each.name for each in fields(Parameters)} <= kept


@pytest.mark.parametrize("choices", [SegmentFrom, Device, Plane])
def test_each_choice_of_the_tests_is_one_of_the_panel(choices) -> None:
    body = classes()[choices.__name__].body
    known = {node.targets[0].id: ast.literal_eval(node.value) for node in body if isinstance(node, ast.Assign)}

    assert {each.name: each.value for each in choices}.items() <= known.items()
