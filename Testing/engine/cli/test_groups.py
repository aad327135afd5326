"""The help: grouped, with an example for every command, of which each names options that there are."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from given import a_ball
from small_benchmark import phantom_case, write_case, write_splits

from uncol import __version__
from uncol.cli.groups import EXAMPLES
from uncol.cli.main import app
from uncol.data.io import write_results

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
        assert not re.search("<[a-z]+>", out), "a type says nothing to a user"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the examples name: a CT with a kidney, its labels, and a benchmark's data."""
    here = tmp_path_factory.mktemp("here")
    kidney = a_ball(shape_kji=(40, 180, 210), center_kji=(33, 115, 150), radius_mm=28, slice_mm=5)
    labels = kidney.labels.with_voxels(np.minimum(kidney.labels.voxels, 1))
    write_results(here, {"ct.nii.gz": kidney.image, "labels.nii.gz": labels}, {})
    for seed in range(9):
        write_case(here / "DATA" / "hippocampus", f"{seed}", *phantom_case(seed))
    names = [str(seed) for seed in range(9)]
    write_splits(here / "DATA" / "hippocampus", train=names[:8], test=names[8:], labeled_8=names[:8])
    return here


_SHORTER = {
    "demo": "--minutes 0.05",
    "fine-tune": "--steps 3",
    "benchmark": "--steps 2 --seeds 1 --methods supervised",
}
"""What is added to an example that takes long."""
_LONG = {"demo": pytest.mark.soak, "segment": pytest.mark.slow, "fine-tune": pytest.mark.slow}
_IN_ORDER = ("doctor", "segment", "view", "evaluate", "fine-tune", "models", "benchmark", "demo")
"""An example may need the result of one before it."""


@pytest.mark.parametrize("name", [pytest.param(each, marks=_LONG.get(each, ())) for each in _IN_ORDER])
def test_an_example_does_what_it_says(
    uncol: Callable[..., Any], here: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.chdir(here)
    program, *arguments = shlex.split(f"{EXAMPLES[name]} {_SHORTER.get(name, '')}")

    code, _, err = uncol(*arguments)

    assert program == "uncol"
    assert code == 0, err
    assert set(_IN_ORDER) == set(EXAMPLES)
    assert bool(opened) == (name == "view")
    for folder in re.findall(r"-o (\S+)", EXAMPLES[name]):
        assert (here / folder / "report.html").is_file()


def test_the_version_is_told(uncol: Callable[..., Any]):
    assert uncol("--version")[:2] == (0, f"uncol {__version__}\n")
