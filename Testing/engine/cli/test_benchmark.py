"""`uncol benchmark` as a person calls it: exit codes, one clear sentence, processes side by side."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from small_benchmark import MACHINE, make_result, small_set, write_case

from uncol.benchmark.jobs import Choice
from uncol.benchmark.runs import RunResult, RunStore, plan_runs
from uncol.benchmark.scores import LabelScore
from uncol.benchmark.splits import splits_of
from uncol.benchmark.suites import find_benchmarks
from uncol.cli import main as cli
from uncol.models.checkpoints import has_checkpoint

Uncol = Callable[..., tuple[int, str, str]]
Spoil = Callable[[Path], object]
"""Damages a benchmark's folder."""


@pytest.fixture
def uncol(monkeypatch: pytest.MonkeyPatch, capfd: Any) -> Uncol:
    """Return a function that runs `cli.main.main`; it gives (exit code, stdout, stderr)."""
    monkeypatch.setattr("signal.signal", lambda *_: None)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["uncol", "benchmark", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capfd.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


@pytest.fixture
def slices_data(tmp_path: Path) -> Path:
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
    assert (result["event"], result["finished"]) == ("result", 2)
    assert result["files"][:2] == ["results.json", "results.md"]
    assert "| shape-interpolation | 1 in 4 |" in (tmp_path / "out" / "results.md").read_text()


@pytest.mark.slow
def test_processes_side_by_side_find_what_one_finds_alone(uncol: Uncol, slices_data: Path, tmp_path: Path) -> None:
    options = ("--data", slices_data, "--methods", "shape-interpolation", "--labeled", "4", "--seeds", "2")

    alone, _, _ = uncol("sparse-slices", *options, "--out", tmp_path / "alone", "--jobs", 1)
    beside, _, err = uncol("sparse-slices", *options, "--out", tmp_path / "beside", "--jobs", 2)

    assert (alone, beside) == (0, 0)
    assert err.endswith(f"Done. The table of 4 runs is in {tmp_path / 'beside' / 'results.md'}\n")
    one, two = (RunStore(tmp_path / name).results() for name in ("alone", "beside"))
    assert [(each.spec, each.scores) for each in one] == [(each.spec, each.scores) for each in two]
    assert {each.machine["threads"] for each in two} == {1}


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no process groups to interrupt")
def test_ctrl_c_stops_all_processes_with_their_checkpoints_saved(tmp_path: Path) -> None:
    data, out = small_set(tmp_path / "data"), tmp_path / "out"
    options = ["--methods", "supervised", "--labeled", "1", "--seeds", "2", "--steps", "100000", "--device", "cpu"]
    command = [sys.executable, "-m", "uncol", "benchmark", "hippocampus", "--data", str(data), "--out", str(out)]
    with subprocess.Popen(
        [*command, *options, "--jobs", "2", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        learning: set[str] = set()
        while len(learning) < 2:
            told = json.loads(process.stdout.readline())
            learning |= {told["phase"]} if told.get("step") else set()
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)

    assert process.returncode == 130
    assert err.splitlines()[-1].startswith("The benchmark was cancelled. Finished runs are kept")
    folders = list((out / "unfinished").iterdir())
    assert len(folders) == 2
    assert all(has_checkpoint(folder) for folder in folders)
    ends = time.monotonic() + 20
    while is_running(process.pid) and time.monotonic() < ends:
        time.sleep(0.1)
    assert not is_running(process.pid)


def is_running(group: int) -> bool:
    """Say whether any process of a group still runs."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(("liver",), 'Benchmark "liver" is unknown', id="benchmark"),
        pytest.param(("acdc",), "The splits are missing", id="splits"),
        pytest.param(("sparse-slices", "--methods", "magic"), 'Method "magic" is unknown', id="method"),
        pytest.param(("sparse-slices", "--labeled", "5"), "no list for 1 slice in 5, only for", id="count"),
        pytest.param(("sparse-slices", "--labeled", "few"), '--labeled "few" is no number', id="no number"),
        pytest.param(
            ("sparse-slices", "--labeled", "4", "--labeled", ","), '--labeled "," names nothing.', id="no count"
        ),
        pytest.param(("sparse-slices", "--methods", " ,"), '--methods " ," names nothing. Name at', id="no method"),
        pytest.param(
            ("sparse-slices", "--methods", "shape-interpolation", "--labeled", "16"),
            'No annotated slice of "ts_body3mm" holds "spleen" (label 1) with 1 slice in 16. Choose another --labeled.',
            id="structure in no annotated slice",
        ),
        pytest.param(
            ("sparse-slices", "--foundation-model", "SAM", "--foundation-weights", "none.pth"),
            'Foundation weights "none.pth" could not be read (No such file or directory). Name an existing file.',
            id="weights",
        ),
        pytest.param(("sparse-slices", "--jobs", "0"), "--jobs must be at least 1, got 0.", id="jobs"),
        pytest.param(("sparse-slices", "--device", "abacus"), 'Device "abacus" is unknown', id="device"),
    ],
)
def test_what_the_user_can_fix_is_one_sentence_and_exit_code_2(
    uncol: Uncol, slices_data: Path, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    # With --json, progress goes to stdout and stderr is there for the sentence alone.
    code, _, err = uncol(*arguments, "--data", slices_data, "--out", tmp_path / "out", "--json")

    assert (code, err.count("\n")) == (2, 1)
    assert message in err


def spoil_labels(case_id: str, labels: np.ndarray) -> Spoil:
    def write(folder: Path) -> None:
        image = sitk.ReadImage(str(folder / "images" / f"{case_id}.nii.gz"))
        spoiled = sitk.GetImageFromArray(labels.astype(np.uint8))
        spoiled.SetSpacing(image.GetSpacing())
        spoiled.SetDirection(image.GetDirection())
        sitk.WriteImage(spoiled, str(folder / "labels" / f"{case_id}.nii.gz"))

    return write


def spoil_image(case_id: str) -> Spoil:
    def write(folder: Path) -> None:
        two_channels = sitk.GetImageFromArray(np.random.default_rng(0).random((2, 3, 4, 2)), isVector=True)
        sitk.WriteImage(two_channels, str(folder / "images" / f"{case_id}.nii.gz"))

    return write


def spoil_splits(**lists: object) -> Spoil:
    def write(folder: Path) -> None:
        path = folder / "splits.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | lists))

    return write


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(
            lambda folder: (folder / "labels" / "b.nii.gz").unlink(), 'Case "b" has no label map', id="no label map"
        ),
        pytest.param(
            spoil_labels("a", np.arange(24).reshape(2, 3, 4) % 2 * 4),
            'Labels of case "a" are not consecutive: they are 0, 4, where 0 to 2 are expected.',
            id="labels",
        ),
        pytest.param(
            spoil_labels("a", np.arange(24).reshape(2, 3, 4) % 2 * 2),
            'Labels are not consecutive: no labeled case holds label 1, "anterior"',
            id="no such label",
        ),
        pytest.param(
            spoil_labels("c", np.arange(24).reshape(2, 3, 4) % 4),
            'Labels of case "c" are not consecutive: they are 0, 1, 2, 3,',
            id="labels of a test case",
        ),
        pytest.param(
            spoil_labels("c", np.arange(36).reshape(3, 3, 4) % 3),
            'Label map "c.nii.gz" has size (4, 3, 3) voxels but image "c" has size (4, 3, 2) voxels.',
            id="grid of a test case",
        ),
        pytest.param(spoil_image("b"), "a single real number is needed", id="channels"),
        pytest.param(spoil_splits(labeled_2=["a"]), "has too few labeled cases: labeled_2 lists 1.", id="few labeled"),
        pytest.param(spoil_splits(test=["c", "c"]), 'lists "c" more than once in "test".', id="tested twice"),
        pytest.param(spoil_splits(test=["b"], train=["a"]), "holds runs on other test cases", id="other test cases"),
    ],
)
def test_data_that_cannot_be_used_are_one_sentence_and_finished_runs_stay_as_they_are(
    uncol: Uncol,
    tmp_path: Path,
    spoil: Spoil,
    message: str,
) -> None:
    RunStore(tmp_path / "out").save(make_result("uncol", {"c": 0.5}))
    (finished,) = (tmp_path / "out" / "runs").iterdir()
    before = finished.read_bytes()
    data = small_set(tmp_path / "data")
    spoil(data / "hippocampus")
    options = ("--methods", "supervised", "--labeled", "1", "--seeds", "1", "--steps", "1", "--device", "cpu", "--json")

    code, _, err = uncol("hippocampus", "--data", data, "--out", tmp_path / "out", *options)

    assert (code, err.count("\n")) == (2, 1)
    assert message in err
    assert list((tmp_path / "out" / "runs").iterdir()) == [finished]
    assert finished.read_bytes() == before


def test_runs_are_named_after_the_content_of_the_weights(uncol: Uncol, slices_data: Path, tmp_path: Path) -> None:
    weights = tmp_path / "weights.pth"
    weights.write_bytes(b"weights")
    sha256 = "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"
    options = ("--methods", "frozen-teacher", "--labeled", "4", "--seeds", "1", "--foundation-model", "SAM")
    choice = Choice(("frozen-teacher",), (4,), seeds=1, foundation="SAM", weights_sha256=sha256)
    for benchmark in find_benchmarks("sparse-slices"):
        splits = splits_of(benchmark, slices_data)
        (spec,) = plan_runs(benchmark, splits, choice)
        scores = tuple(
            LabelScore(case, case, each.name, 0.5, 1.0, 1.0, 1, 1)
            for case in splits.test
            for each in benchmark.structures
        )
        RunStore(tmp_path / "out").save(RunResult(spec, "2026-01-01", {}, MACHINE, {}, scores))

    code, _, _ = uncol(
        "sparse-slices", "--data", slices_data, "--out", tmp_path / "out", *options, "--foundation-weights", weights
    )

    assert code == 0  # both runs are taken as finished: weights that cannot be read are not even loaded
