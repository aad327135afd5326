"""One progress of the whole comparison from the parts of its runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from uncol.benchmark.overview import Overview
from uncol.benchmark.runs import RunResult, RunStore
from uncol.core.progress import Progress


def test_finished_runs_and_parts_of_the_others_add_up(tmp_path: Path, make_result: Callable[..., RunResult]) -> None:
    results, store, told = [make_result("uncol", {"a": 0.5}, seed=seed) for seed in range(4)], RunStore(tmp_path), []
    overview = Overview([each.spec for each in results], store, told.append)
    first, second, third, _ = (each.spec.title for each in results)

    overview.tell(Progress(f"{first}: Learning", 0.5))
    overview.tell(Progress(f"{second}: Learning", 0.25, step=7, losses={"supervised": 1.0}))
    store.save(results[0])
    overview.tell(Progress(f"{third}: Learning", 0.0))

    # Of four runs: 0.5; 0.5 + 0.25; one finished and 0 + 0.25.
    assert [each.fraction for each in told] == pytest.approx([0.5 / 4, 0.75 / 4, 1.25 / 4])
    assert [each.phase for each in told][1:] == [
        f"0 of 4 runs done; {second}: Learning",
        f"1 of 4 runs done; {third}: Learning",
    ]
    assert (told[1].step, told[1].losses) == (7, {"supervised": 1.0})


def test_a_finished_run_counts_once_when_its_process_finds_no_other(
    tmp_path: Path, make_result: Callable[..., RunResult]
) -> None:
    results, store, told = [make_result("uncol", {"a": 0.5}, seed=seed) for seed in range(2)], RunStore(tmp_path), []
    overview = Overview([each.spec for each in results], store, told.append)

    overview.tell(Progress(f"{results[0].spec.title}: Scoring the test cases", 0.95))
    store.save(results[0])
    overview.tell(Progress(f"{results[1].spec.title}: Learning", 0.5))

    assert told[-1].fraction == pytest.approx(1.5 / 2)


def test_the_time_left_is_told_from_what_this_sitting_has_done(
    tmp_path: Path, make_result: Callable[..., RunResult]
) -> None:
    results, store, told = [make_result("uncol", {"a": 0.5}, seed=seed) for seed in range(2)], RunStore(tmp_path), []
    store.save(results[0])
    overview = Overview([each.spec for each in results], store, told.append)

    overview.tell(Progress(f"{results[1].spec.title}: Learning", 0.0))
    overview.tell(Progress(f"{results[1].spec.title}: Learning", 0.5))

    assert told[0].seconds_left is None
    assert told[1].seconds_left is not None
    assert 0 <= told[1].seconds_left < 1
