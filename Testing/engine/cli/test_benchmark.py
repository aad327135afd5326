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
import SimpleITK as sitk  # noqa: N813

from uncol.benchmark.plan import Choice, plan_runs
from uncol.benchmark.runs import RunResult, RunStore
from uncol.benchmark.settings import config_document
from uncol.benchmark.splits import splits_of
from uncol.benchmark.suites import find_benchmarks
from uncol.cli import main as cli
from uncol.cli.benchmark import worker_command
from uncol.foundation.loading import LITE_MEDSAM

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
        pytest.param(
            ("sparse-slices", "--labeled", "4", "--labeled", ","), '--labeled "," names nothing.', id="no count"
        ),
        pytest.param(("sparse-slices", "--methods", " ,"), '--methods " ," names nothing. Name at', id="no method"),
        pytest.param(
            ("sparse-slices", "--methods", "shape-interpolation", "--labeled", "16"),
            'No annotated slice holds "spleen" (label 1) with 1 slice in 16. Choose a smaller --labeled.',
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
    small_set: Callable[[Path], Path],
    make_result: Callable[..., RunResult],
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
    choice = Choice(("frozen-teacher",), (4,), seeds=1, foundation="SAM", weights_sha256=sha256)
    options = ("--methods", "frozen-teacher", "--labeled", "4", "--seeds", "1", "--foundation-model", "SAM")

    with ExitStack() as other_processes:
        for benchmark in find_benchmarks("sparse-slices"):
            (spec,) = plan_runs(benchmark, splits_of(benchmark, slices_data), choice, config_document)
            other_processes.enter_context(RunStore(tmp_path / "out").claim(spec))
        code, _, err = uncol(
            "sparse-slices", "--data", slices_data, "--out", tmp_path / "out", *options, "--foundation-weights", weights
        )

    assert code == 0
    assert "2 runs are left to other processes." in err
