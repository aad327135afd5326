"""The help: grouped, with an example for every command, of which each names options that there are."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from typing import Any

import pytest
import typer

from uncol import __version__
from uncol.cli.groups import EXAMPLES
from uncol.cli.main import app
from uncol.cli.options import join_cases

COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def test_the_help_has_three_groups_in_the_order_of_a_new_user(uncol: Callable[..., Any]):
    code, out, _ = uncol("--help")

    assert code == 0
    groups = re.findall(r"(Start here|Segment|Measure) ─", out)
    assert groups == ["Start here", "Segment", "Measure"]
    names = [each for each in re.findall(r"^│ ([a-z-]+) ", out, re.MULTILINE) if each in EXAMPLES]
    assert names == ["demo", "doctor", "segment", "fine-tune", "view", "models", "evaluate", "benchmark"]
    assert "worker" not in out


def test_every_command_has_an_example(uncol: Callable[..., Any]):
    assert set(COMMANDS) == set(EXAMPLES)
    for name in EXAMPLES:
        code, out, _ = uncol(name, "--help")
        assert code == 0
        assert " ".join(EXAMPLES[name].split())[:60] in " ".join(out.replace("│", " ").split())
        assert "<bool>" not in out.replace("--help", "").split("Options")[0]


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_understood(name: str):
    program, *arguments = shlex.split(EXAMPLES[name])
    command, *rest = join_cases(arguments)

    assert (program, command) == ("uncol", name)
    context = COMMANDS[name].make_context(name, rest, resilient_parsing=False) if name != "models" else None
    assert context is None or not context.args


def test_the_version_is_told(uncol: Callable[..., Any]):
    assert uncol("--version")[:2] == (0, f"uncol {__version__}\n")
