"""`uncol benchmark` as a person calls it: exit codes, one clear sentence, processes side by side."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uncol import cli
from uncol.benchmark.command import worker_command
from uncol.benchmark.plan import Choice, plan_runs
from uncol.benchmark.protocol import find_benchmarks
from uncol.benchmark.runs import RunStore
from uncol.benchmark.settings import config_document
from uncol.benchmark.splits import splits_of
from uncol.teachers.foundation import LITE_MEDSAM

Uncol = Callable[..., tuple[int, str, str]]


@pytest.fixture
def uncol(monkeypatch: pytest.MonkeyPatch, capfd: Any) -> Uncol:
    """Return a function that runs `cli.main`; it gives (exit code, stdout, stderr)."""
    monkeypatch.setattr("signal.signal", lambda *_: None)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["uncol", "benchmark", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capfd.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def slices_data(tmp_path: Path, write_case: Callable[..., None]) -> Path:
    """Both volumes of sparse-slices, small and generated: six blocks each."""
    labels = np.zeros((10, 12, 18), dtype=np.uint8)
    for place, value in enumerate((1, 2, 3, 5, 6, 52)):
        labels[1:9, 3:9, 3 * place : 3 * place + 2] = value
    image = labels * 10.0 + np.arange(labels.size).reshape(labels.shape) % 3
    write_case(tmp_path / "data" / "totalseg_ct", "ts_body3mm", image, labels)
    write_case(tmp_path / "data" / "chaos_ct", "chaos_ct_liver", image, labels > 3)
    return tmp_path / "data"


def test_a_benchmark_ends_with_its_summary_as_json(uncol: Uncol, slices_data: Path, tmp_path: Path) -> None:
    options = ("--data", slices_data, "--out", tmp_path / "out", "--methods", "shape-interpolation", "--json")

    code, out, _ = uncol("sparse-slices", *options, "--labeled", "4", "--seeds", 1)

    result = json.loads(out.splitlines()[-1])
    assert code == 0
    assert (result["event"], result["finished"], result["planned"]) == ("result", 2, 2)
    assert "| shape-interpolation | 1 in 4 |" in (tmp_path / "out" / "results.md").read_text()


def test_no_table_is_announced_before_a_run_is_finished(uncol: Uncol, slices_data: Path, tmp_path: Path) -> None:
    choice = Choice(("shape-interpolation",), (4,), seeds=1)
    benchmarks = find_benchmarks("sparse-slices")
    plan = [
        spec for each in benchmarks for spec in plan_runs(each, splits_of(each, slices_data), choice, config_document)
    ]
    options = ("--methods", "shape-interpolation", "--labeled", "4", "--seeds", "1")

    with ExitStack() as other_processes:
        for spec in plan:
            other_processes.enter_context(RunStore(tmp_path / "out").claim(spec))
        code, _, err = uncol("sparse-slices", "--data", slices_data, "--out", tmp_path / "out", *options)

    assert code == 0
    assert err.endswith("2 runs are left to other processes.\n0 of 2 runs are finished, so there is no table yet.\n")
    assert not (tmp_path / "out" / "results.md").exists()


def test_a_process_beside_others_makes_the_same_choices_and_writes_no_tables(
    uncol: Uncol, slices_data: Path, tmp_path: Path
) -> None:
    choice = Choice(("shape-interpolation",), (4, 8), seeds=1, steps=7, device="cpu")
    program, module, name, benchmark, *arguments = worker_command(
        "sparse-slices", slices_data, tmp_path / "out", choice, tmp_path / "cache", LITE_MEDSAM
    )

    code, out, _ = uncol(*arguments)

    assert (program, module, name, benchmark) == (sys.executable, "-m", "uncol", "benchmark")
    assert code == 0
    assert all(json.loads(line)["event"] in ("progress", "result") for line in out.splitlines())
    specs = [result.spec for result in RunStore(tmp_path / "out").results()]
    assert [(spec.labeled, spec.seed, spec.steps, spec.device) for spec in specs[:2]] == [
        (4, 0, 7, "cpu"),
        (8, 0, 7, "cpu"),
    ]
    assert len(specs) == 4
    assert not (tmp_path / "out" / "results.md").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(("liver",), 'Benchmark "liver" is unknown', id="benchmark"),
        pytest.param(("acdc",), "The splits are missing", id="splits"),
        pytest.param(("sparse-slices", "--methods", "magic"), 'Method "magic" is unknown', id="method"),
        pytest.param(("sparse-slices", "--labeled", "5"), "no list for 1 slice in 5, only for", id="count"),
        pytest.param(("sparse-slices", "--labeled", "few"), '--labeled "few" is no number', id="no number"),
        pytest.param(("sparse-slices", "--jobs", "0"), "--jobs must be at least 1, got 0.", id="jobs"),
        pytest.param(("sparse-slices", "--device", "abacus"), 'Device "abacus" is unknown', id="device"),
    ],
)
def test_what_the_user_can_fix_is_one_sentence_and_exit_code_2(
    uncol: Uncol, slices_data: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    code, _, err = uncol(*arguments, "--data", slices_data, "--out", tmp_path / "out")

    assert code == 2
    assert message in err
    assert "Traceback" not in err
