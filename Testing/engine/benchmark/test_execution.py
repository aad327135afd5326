"""Runs are carried out with a real method, skipped when finished, gone on with when stopped, kept when one fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uncol.benchmark.cases import CaseReader
from uncol.benchmark.execution import carry_out, machine, versions
from uncol.benchmark.runs import RunSpec, RunStore, Trainer
from uncol.core.errors import CancelledError, DataError
from uncol.core.progress import Monitor, Progress


class Told:
    """Notes what is told, and says stop after so many times."""

    def __init__(self, most: int | None = None) -> None:
        self.fractions: list[float] = []
        self.phases: list[str] = []
        self._most = most

    def __call__(self, spec: RunSpec, progress: Progress) -> None:
        self.fractions.append(progress.fraction)
        self.phases.append(f"{spec.method}: {progress.phase}")

    def should_stop(self) -> bool:
        return self._most is not None and len(self.fractions) >= self._most


def carried_out(
    plan: list[RunSpec], reader: CaseReader, store: RunStore, trainer: Trainer, told: Told | None = None
) -> Told:
    told = told or Told()
    carry_out(plan, {"hippocampus": reader}, store, lambda _spec: trainer, told, Monitor(should_stop=told.should_stop))
    return told


def test_a_run_is_scored_on_every_test_case_and_says_how_it_was_made(
    tmp_path: Path, reader: CaseReader, make_spec: Callable[..., RunSpec], train_thresholds: Trainer
) -> None:
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


def test_finished_runs_are_skipped(
    tmp_path: Path, reader: CaseReader, make_spec: Callable[..., RunSpec], train_thresholds: Trainer
) -> None:
    store = RunStore(tmp_path)
    carried_out([make_spec()], reader, store, train_thresholds)

    told = carried_out([make_spec(), make_spec("bcp")], reader, store, train_thresholds)

    assert {phase.partition(":")[0] for phase in told.phases} == {"bcp"}


def test_a_run_that_another_process_is_at_is_left_to_it(
    tmp_path: Path, reader: CaseReader, make_spec: Callable[..., RunSpec], train_thresholds: Trainer
) -> None:
    with RunStore(tmp_path).claim(make_spec()):
        carried_out([make_spec(), make_spec("bcp")], reader, RunStore(tmp_path), train_thresholds)

    assert [result.spec.method for result in RunStore(tmp_path).results()] == ["bcp"]


def test_a_stopped_run_goes_on_where_it_was_and_ends_with_the_same_result(
    tmp_path: Path, reader: CaseReader, make_spec: Callable[..., RunSpec], train_thresholds: Trainer
) -> None:
    interrupted, straight, spec = RunStore(tmp_path / "a"), RunStore(tmp_path / "b"), make_spec(steps=6)

    with pytest.raises(CancelledError, match=r"Finished runs are kept; the same command goes on from here\."):
        carried_out([spec], reader, interrupted, train_thresholds, Told(most=4))  # reading, then three steps
    told = carried_out([spec], reader, interrupted, train_thresholds)
    carried_out([spec], reader, straight, train_thresholds)

    assert sum("Learning" in phase for phase in told.phases) == 3
    assert interrupted.results()[0].scores == straight.results()[0].scores
    assert interrupted.results()[0].record == straight.results()[0].record


def test_stopping_while_test_cases_are_scored_keeps_what_was_learned(
    tmp_path: Path, reader: CaseReader, make_spec: Callable[..., RunSpec], train_thresholds: Trainer
) -> None:
    store, spec = RunStore(tmp_path), make_spec()

    with pytest.raises(CancelledError):
        carried_out([spec], reader, store, train_thresholds, Told(most=5))  # reading, three steps, one test case
    told = carried_out([spec], reader, store, train_thresholds)

    assert store.is_finished(spec)
    assert not any("Learning" in phase for phase in told.phases)


def test_a_failing_run_leaves_finished_ones_alone(
    tmp_path: Path, reader: CaseReader, make_spec: Callable[..., RunSpec], train_thresholds: Trainer
) -> None:
    def fail_for_bcp(spec: RunSpec, *rest: Any) -> Any:
        if spec.method == "bcp":
            message = "The image is not usable."
            raise DataError(message)
        return train_thresholds(spec, *rest)

    with pytest.raises(DataError, match="not usable"):
        carried_out([make_spec(), make_spec("bcp")], reader, RunStore(tmp_path), fail_for_bcp)

    assert [result.spec.method for result in RunStore(tmp_path).results()] == ["uncol"]


def test_the_progress_of_a_run_rises_from_0_over_its_training_to_its_last_test_case(
    tmp_path: Path, reader: CaseReader, make_spec: Callable[..., RunSpec], train_thresholds: Trainer
) -> None:
    told = carried_out([make_spec()], reader, RunStore(tmp_path), train_thresholds)

    # Training is nine tenths: three steps; then two test cases share the last tenth.
    assert told.fractions == pytest.approx([0, 0.3, 0.6, 0.9, 0.9, 0.95])


def test_what_is_said_about_the_machine_does_not_name_it() -> None:
    assert set(machine()) == {"system", "processor", "cores", "threads", "accelerator"}
    assert set(versions()) == {"uncol", "python", "torch", "monai", "numpy"}
