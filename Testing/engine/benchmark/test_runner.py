"""A sitting from its name to its tables: resumed, interrupted, with one progress of the whole."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_benchmark import TEST, make_result, make_spec, phantom_case, train_thresholds, write_case, write_splits

from uncol.benchmark.cases import CaseReader, Cases
from uncol.benchmark.jobs import BenchmarkJob, Choice
from uncol.benchmark.processes import hold
from uncol.benchmark.runner import Overview, carry_out, machine, run_benchmark, versions
from uncol.benchmark.runs import RunSpec, RunStore, plan_runs
from uncol.benchmark.suites import BENCHMARKS
from uncol.benchmark.trainers import TrainedRun, Trainer
from uncol.core.errors import CancelledError, DataError, OutputError
from uncol.core.progress import UNWATCHED, Monitor, Progress

CHOICE = Choice(methods=("supervised", "uncol"), labeled=(2, 4), seeds=1, steps=3)


@pytest.fixture
def sitting(phantom_data: Path, tmp_path: Path) -> Callable[..., Any]:
    """Return a function that carries out a sitting on the generated set."""

    def sit(
        report: Callable[[Progress], None] = lambda _progress: None,
        should_stop: Callable[[], bool] = lambda: False,
        **changes: Any,
    ) -> dict[str, Any]:
        job = BenchmarkJob(
            **({"name": "hippocampus", "data": phantom_data, "out": tmp_path, "choice": CHOICE} | changes)
        )
        return run_benchmark(job, lambda _spec: train_thresholds, Monitor(report, should_stop))

    return sit


def test_a_sitting_carries_out_its_plan_and_writes_the_tables(sitting: Callable[..., Any], tmp_path: Path) -> None:
    told: list[Progress] = []

    document = sitting(report=told.append)

    assert document["finished"] == 4
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
    change: dict[str, object],
) -> None:
    sitting(choice=Choice(("supervised",), (2,), 1, 3))
    tables = (tmp_path / "results.md").read_bytes()
    data = shutil.copytree(phantom_data, tmp_path / "data")
    lists = json.loads((data / "hippocampus" / "splits.json").read_text())
    write_splits(data / "hippocampus", **(lists | change))
    message = f'"{tmp_path}" holds runs on other test cases than those of today, such as "hippocampus-supervised-2-'

    with pytest.raises(DataError, match=re.escape(message)):
        sitting(data=data)

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
        run_benchmark(job, lambda _spec: damage_a_result_and_fail, UNWATCHED)

    assert str(caught.value) == "The image is not usable."
    (note,) = caught.value.__notes__
    assert note.startswith("The tables could not be written either: DataError(")


def test_wrong_data_leave_no_folder_behind(sitting: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="The splits are missing"):
        sitting(data=tmp_path / "elsewhere", out=tmp_path / "out")

    assert not (tmp_path / "out").exists()


def carried_out(
    plan: list[RunSpec], reader: CaseReader, store: RunStore, trainer: Trainer, most: int | None = None
) -> list[Progress]:
    told: list[Progress] = []
    monitor = Monitor(told.append, lambda: most is not None and len(told) >= most)
    for spec in plan:
        carry_out(spec, reader, store, trainer, monitor)
    return told


def test_a_run_is_scored_on_every_test_case_and_says_how_it_was_made(tmp_path: Path, reader: CaseReader) -> None:
    carried_out([make_spec()], reader, RunStore(tmp_path), train_thresholds)

    (result,) = RunStore(tmp_path).results()
    assert [(score.case, score.structure) for score in result.scores[1:3]] == [
        ("hippocampus_101", "posterior"),
        ("hippocampus_102", "anterior"),
    ]
    assert min(score.dice for score in result.scores) > 0.99  # noise of 4 round values that are 40 apart
    assert (result.record["steps"], result.record["seconds"]) == (3, 1.0)
    assert result.versions["numpy"] == np.__version__
    assert result.machine["threads"] >= 1


def test_finished_runs_are_skipped(sitting: Callable[..., Any]) -> None:
    told: list[Progress] = []
    sitting(choice=Choice(("supervised",), (2,), 1, 3))

    sitting(choice=Choice(("supervised", "uncol"), (2,), 1, 3), report=told.append)

    carried_out = [each.phase for each in told if "runs done" in each.phase]
    assert carried_out
    assert all("hippocampus: uncol" in phase for phase in carried_out)


def test_what_the_model_of_a_proposal_is_worth_comes_with_it(tmp_path: Path) -> None:
    data, trained = tmp_path / "data", list[str]()
    image, labels = (np.repeat(voxels, 3, axis=0) for voxels in phantom_case(0))
    write_case(data / "hippocampus", TEST[0], image, labels)
    write_splits(data / "hippocampus", train=["another"], test=TEST[:1], labeled_1=["another"])

    def train(spec: RunSpec, cases: Cases, folder: Path, monitor: Monitor) -> TrainedRun:
        trained.append(spec.method)
        return train_thresholds(spec, cases, folder, monitor)

    beside = ("uncol", "uncol-proposal", "supervised-proposal", "supervised", "shape-interpolation")
    for methods in (("uncol",), beside):
        choice = Choice(methods, (8,), 1, 3)
        job = BenchmarkJob("sparse-slices-hippocampus", data, tmp_path / "out", choice)
        run_benchmark(job, lambda _spec: train, UNWATCHED)

    results = {result.spec.method: result for result in RunStore(tmp_path / "out").results()}
    assert sorted(trained) == ["shape-interpolation", "supervised-proposal", "uncol", "uncol-proposal"]
    assert sorted(results) == sorted(beside)
    assert results["supervised"].spec == plan_of("supervised", data)
    assert results["supervised"].scores == results["supervised-proposal"].scores


def plan_of(method: str, data: Path) -> RunSpec:
    benchmark = BENCHMARKS["sparse-slices-hippocampus"]
    (spec,) = plan_runs(benchmark, CaseReader(benchmark, data).splits, Choice((method,), (8,), 1, 3))
    return spec


def test_a_second_sitting_in_the_same_folder_is_refused(sitting: Callable[..., Any], tmp_path: Path) -> None:
    with hold(tmp_path), pytest.raises(OutputError, match="Another benchmark is writing to"):
        sitting()

    assert sitting()["finished"] == 4


def test_a_stopped_run_goes_on_where_it_was_and_ends_with_the_same_result(tmp_path: Path, reader: CaseReader) -> None:
    interrupted, straight, spec = RunStore(tmp_path / "a"), RunStore(tmp_path / "b"), make_spec(steps=6)

    with pytest.raises(CancelledError, match=r"Finished runs are kept; the same command goes on from here\."):
        carried_out([spec], reader, interrupted, train_thresholds, most=4)  # reading, then three steps
    told = carried_out([spec], reader, interrupted, train_thresholds)
    carried_out([spec], reader, straight, train_thresholds)

    assert sum("Learning" in each.phase for each in told) == 3
    assert interrupted.results()[0].scores == straight.results()[0].scores
    assert interrupted.results()[0].record == straight.results()[0].record


def test_stopping_while_test_cases_are_scored_keeps_what_was_learned(tmp_path: Path, reader: CaseReader) -> None:
    store, spec = RunStore(tmp_path), make_spec()

    with pytest.raises(CancelledError):
        carried_out([spec], reader, store, train_thresholds, most=5)  # reading, three steps, one test case
    told = carried_out([spec], reader, store, train_thresholds)

    assert store.is_finished(spec)
    assert not any("Learning" in each.phase for each in told)


def test_a_failing_run_leaves_finished_ones_alone_and_ends_the_sitting(phantom_data: Path, tmp_path: Path) -> None:
    def fail_for_bcp(spec: RunSpec, *rest: Any) -> Any:
        if spec.method == "bcp":
            message = "The image is not usable."
            raise DataError(message)
        return train_thresholds(spec, *rest)

    choice = Choice(("supervised", "bcp", "uncol"), (2,), 1, 3)

    with pytest.raises(DataError, match="not usable"):
        run_benchmark(
            BenchmarkJob("hippocampus", phantom_data, tmp_path, choice), lambda _spec: fail_for_bcp, UNWATCHED
        )

    assert [result.spec.method for result in RunStore(tmp_path).results()] == ["supervised"]


def test_the_progress_of_a_run_rises_from_0_over_its_training_to_its_last_test_case(
    tmp_path: Path, reader: CaseReader
) -> None:
    told = carried_out([make_spec()], reader, RunStore(tmp_path), train_thresholds)

    # Training is nine tenths: three steps; then two test cases share the last tenth.
    assert [each.fraction for each in told] == pytest.approx([0, 0.3, 0.6, 0.9, 0.9, 0.95])


def test_what_is_said_about_the_machine_does_not_name_it() -> None:
    assert set(machine()) == {"system", "processor", "cores", "threads", "accelerator"}
    assert set(versions()) == {"uncol", "python", "torch", "monai", "numpy"}


def test_finished_runs_and_parts_of_the_others_add_up(tmp_path: Path) -> None:
    results, store, told = [make_result("uncol", {"a": 0.5}, seed=seed) for seed in range(4)], RunStore(tmp_path), []
    overview = Overview([each.spec for each in results], store, told.append)
    first, second, third, _ = (each.spec.key for each in results)

    overview.tell(first, Progress("Learning", 0.5))
    overview.tell(second, Progress("Learning", 0.25, step=7, losses={"supervised": 1.0}))
    store.save(results[0])
    overview.tell(third, Progress("Learning", 0.0))

    # Of four runs: 0.5; 0.5 + 0.25; one finished and 0 + 0.25.
    assert [each.fraction for each in told] == pytest.approx([0.5 / 4, 0.75 / 4, 1.25 / 4])
    assert [each.phase for each in told][1:] == [
        f"0 of 4 runs done; {results[1].spec.title}: Learning",
        f"1 of 4 runs done; {results[2].spec.title}: Learning",
    ]
    assert (told[1].step, told[1].losses) == (7, {"supervised": 1.0})


def test_a_finished_run_counts_once_when_its_process_finds_no_other(tmp_path: Path) -> None:
    results, store, told = [make_result("uncol", {"a": 0.5}, seed=seed) for seed in range(2)], RunStore(tmp_path), []
    overview = Overview([each.spec for each in results], store, told.append)

    overview.tell(results[0].spec.key, Progress("Scoring the test cases", 0.95))
    store.save(results[0])
    overview.tell(results[1].spec.key, Progress("Learning", 0.5))

    assert told[-1].fraction == pytest.approx(1.5 / 2)


def test_the_time_left_is_told_from_what_this_sitting_has_done(tmp_path: Path) -> None:
    results, store, told = [make_result("uncol", {"a": 0.5}, seed=seed) for seed in range(2)], RunStore(tmp_path), []
    store.save(results[0])
    overview = Overview([each.spec for each in results], store, told.append)

    overview.tell(results[1].spec.key, Progress("Learning", 0.0))
    overview.tell(results[1].spec.key, Progress("Learning", 0.5))

    assert told[0].seconds_left is None
    assert told[1].seconds_left is not None
    assert 0 <= told[1].seconds_left < 1
