"""A sitting from its name to its tables: resumed, interrupted, and shared with other processes."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from uncol.benchmark.plan import Choice
from uncol.benchmark.runs import RunSpec, RunStore, TrainedRun, Trainer
from uncol.benchmark.session import BenchmarkJob, run_benchmark, work
from uncol.core.errors import CancelledError, DataError
from uncol.core.progress import UNWATCHED, Monitor, Progress

CHOICE = Choice(methods=("supervised", "uncol"), labeled=(2, 4), seeds=1, steps=3)
TEST = ["hippocampus_101", "hippocampus_102"]


def config_of(_benchmark: object, _method: str, seed: int, _steps: int) -> dict[str, Any]:
    return {"seed": seed}


@pytest.fixture
def sitting(phantom_data: Path, tmp_path: Path, train_thresholds: Trainer) -> Callable[..., Any]:
    """Return a function that carries out a sitting on the generated set."""

    def sit(
        carry_out: Callable[..., Any] = run_benchmark,
        report: Callable[[Progress], None] = lambda _progress: None,
        should_stop: Callable[[], bool] = lambda: False,
        **changes: Any,
    ) -> dict[str, Any]:
        job = BenchmarkJob(
            **({"name": "hippocampus", "data": phantom_data, "out": tmp_path, "choice": CHOICE} | changes)
        )
        return carry_out(job, lambda _spec: train_thresholds, config_of, Monitor(report, should_stop))

    return sit


def test_a_sitting_carries_out_its_plan_and_writes_the_tables(sitting: Callable[..., Any], tmp_path: Path) -> None:
    told: list[Progress] = []

    document = sitting(report=told.append)

    assert (document["finished"], document["planned"], document["notes"]) == (4, 4, [])
    assert "| **uncol** | 4 |" in (tmp_path / "results.md").read_text()
    assert [told[0].fraction, told[-1].fraction] == pytest.approx([0, (3 + 0.95) / 4])
    assert told[-1].phase == "3 of 4 runs done; hippocampus: uncol, 4 labeled, seed 0: Scoring the test cases"


def test_a_table_grows_over_several_sittings(sitting: Callable[..., Any], tmp_path: Path) -> None:
    sitting(choice=Choice(("supervised",), (2,), 1, 3))
    sitting(choice=Choice(("uncol",), (2,), 2, 3))

    tables = (tmp_path / "results.md").read_text()
    assert "| supervised | 2 |" in tables
    assert "| **uncol** | 2 |" in tables


def test_a_cancelled_sitting_leaves_the_table_of_what_is_finished(sitting: Callable[..., Any], tmp_path: Path) -> None:
    told: list[Progress] = []

    with pytest.raises(CancelledError):
        sitting(report=told.append, should_stop=lambda: len(told) > 15)  # 8 cases are checked, then 6 parts of a run

    assert len(RunStore(tmp_path).results()) == 1
    assert "| supervised | 2 |" in (tmp_path / "results.md").read_text()
    assert sitting()["finished"] == 4


def test_runs_of_other_processes_are_left_to_them(
    sitting: Callable[..., Any], tmp_path: Path, make_spec: Callable[..., RunSpec]
) -> None:
    with RunStore(tmp_path).claim(make_spec("uncol", labeled=2)):
        document = sitting()

    assert document["notes"] == ["1 run is left to other processes."]


def test_several_runs_of_other_processes_are_counted(
    sitting: Callable[..., Any], tmp_path: Path, make_spec: Callable[..., RunSpec]
) -> None:
    store = RunStore(tmp_path)
    with store.claim(make_spec("uncol", labeled=2)), store.claim(make_spec("supervised", labeled=2)):
        document = sitting()

    assert document["notes"] == ["2 runs are left to other processes."]


def test_one_of_several_processes_writes_no_tables_and_tells_of_its_run_alone(
    sitting: Callable[..., Any], tmp_path: Path
) -> None:
    told: list[Progress] = []

    sitting(carry_out=work, report=told.append)

    assert len(RunStore(tmp_path).results()) == 4
    assert not (tmp_path / "results.md").exists()
    assert told[9].phase == "hippocampus: supervised, 2 labeled, seed 0: Learning"  # 8 cases are checked before
    assert told[9].fraction == pytest.approx(0.3)


@pytest.mark.parametrize("spoiled", ["hippocampus_002", "hippocampus_102"])
def test_a_wrong_label_map_of_a_later_run_or_of_a_test_case_is_told_before_the_first_run(
    sitting: Callable[..., Any], tmp_path: Path, phantom_data: Path, spoiled: str
) -> None:
    told: list[Progress] = []
    data = shutil.copytree(phantom_data, tmp_path / "data")
    (data / "hippocampus" / "labels" / f"{spoiled}.nii.gz").write_bytes(b"damaged")  # 002 is labeled among 4, not 2

    with pytest.raises(DataError, match=f'Label map "{spoiled}.nii.gz" cannot be read'):
        sitting(data=data, out=tmp_path / "out", report=told.append)

    assert {progress.phase for progress in told} == {"hippocampus: checking the cases"}
    assert not (tmp_path / "out").exists()


def test_checking_the_cases_can_be_stopped(sitting: Callable[..., Any]) -> None:
    told: list[Progress] = []

    with pytest.raises(CancelledError, match="The benchmark was cancelled"):
        sitting(report=told.append, should_stop=lambda: len(told) == 3)

    assert [(each.phase, each.fraction) for each in told] == [
        ("hippocampus: checking the cases", number / 8) for number in range(3)
    ]


def test_what_finished_runs_needed_is_not_read_again(
    sitting: Callable[..., Any], tmp_path: Path, phantom_data: Path
) -> None:
    data = shutil.copytree(phantom_data, tmp_path / "data")
    sitting(data=data)
    (data / "hippocampus" / "labels" / "hippocampus_102.nii.gz").write_bytes(b"damaged")

    assert sitting(data=data)["finished"] == 4


@pytest.mark.parametrize("carry_out", [run_benchmark, work])
@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"test": TEST[:1]}, id="fewer test cases"),
        pytest.param({"same_subject_pairs": [TEST]}, id="other subjects"),
    ],
)
def test_runs_on_other_test_cases_are_neither_taken_over_nor_mixed_with_new_ones(
    sitting: Callable[..., Any],
    tmp_path: Path,
    phantom_data: Path,
    write_splits: Callable[..., None],
    carry_out: Callable[..., Any],
    change: dict[str, object],
) -> None:
    sitting(choice=Choice(("supervised",), (2,), 1, 3))
    tables = (tmp_path / "results.md").read_bytes()
    data = shutil.copytree(phantom_data, tmp_path / "data")
    lists = json.loads((data / "hippocampus" / "splits.json").read_text())
    write_splits(data / "hippocampus", **(lists | change))
    message = f'"{tmp_path}" holds runs on other test cases than those of today, such as "hippocampus-supervised-2-'

    with pytest.raises(DataError, match=re.escape(message)):
        sitting(carry_out=carry_out, data=data)

    assert len(RunStore(tmp_path).results()) == 1
    assert (tmp_path / "results.md").read_bytes() == tables


def test_tables_that_cannot_be_written_do_not_hide_what_went_wrong_first(phantom_data: Path, tmp_path: Path) -> None:
    def damage_a_result_and_fail(*_: object) -> TrainedRun:
        (tmp_path / "runs").mkdir()
        (tmp_path / "runs" / "some-run.json").write_text("{")
        message = "The image is not usable."
        raise DataError(message)

    job = BenchmarkJob("hippocampus", phantom_data, tmp_path, CHOICE)

    with pytest.raises(DataError, match="The image is not usable") as caught:
        run_benchmark(job, lambda _spec: damage_a_result_and_fail, config_of, UNWATCHED)

    assert str(caught.value) == "The image is not usable."
    (note,) = caught.value.__notes__
    assert note.startswith("The tables could not be written either: DataError(")


def test_wrong_data_leave_no_folder_behind(sitting: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="The splits are missing"):
        sitting(data=tmp_path / "elsewhere", out=tmp_path / "out")

    assert not (tmp_path / "out").exists()
