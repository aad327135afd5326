"""Our proposal beside its sources and beside that of a supervised student: never guessed where one was not run."""

from __future__ import annotations

import pytest
from small_benchmark import make_result

from uncol.benchmark.comparison import Interval, compare
from uncol.benchmark.proposals import Proposal, proposal_of
from uncol.benchmark.suites import BENCHMARKS

NAME = "sparse-slices-liver"
SOURCES = {"registration": 0.75, "frozen-teacher": 0.5, "uncol": 0.625}


def proposed(**dice: float) -> Proposal | None:
    values = {name.replace("_", "-"): (value,) for name, value in dice.items()}
    results = [make_result(method, {"a": value}, benchmark=NAME) for method, value in values.items()]
    (comparison,) = compare(results, BENCHMARKS[NAME])
    return proposal_of(comparison.groups[8])


@pytest.mark.parametrize(
    ("ours", "never_worse"),
    [
        pytest.param(0.875, True, id="better"),
        pytest.param(0.748, True, id="0.002 below registration"),
        pytest.param(0.746, False, id="0.004 below registration"),
    ],
)
def test_the_best_of_three_sources_is_what_counts(ours: float, never_worse: bool) -> None:
    found = proposed(uncol_proposal=ours, **SOURCES, supervised=0.9, untrained=0.9)

    assert (found.labeled, found.best.method, found.missing) == (8, "registration", ())
    assert found.is_never_worse is never_worse


def test_a_source_that_was_not_run_leaves_it_open_and_one_that_is_better_decides() -> None:
    good, bad = (proposed(uncol_proposal=ours, registration=0.75) for ours in (0.875, 0.5))

    assert (good.missing, good.is_never_worse) == (("frozen-teacher", "uncol"), None)
    assert bad.is_never_worse is False
    alone = proposed(uncol_proposal=0.5)
    assert (alone.best, alone.is_never_worse, alone.supervised, alone.difference) == (None, None, None, None)


def test_what_stage_2_adds_is_paired_by_seed() -> None:
    dice = {"uncol-proposal": (0.75, 1.0), "supervised-proposal": (0.625, 0.625)}
    results = [
        make_result(method, {"a": (value,)}, seed=seed, benchmark=NAME)
        for method, values in dice.items()
        for seed, value in enumerate(values)
    ]
    (comparison,) = compare(results, BENCHMARKS[NAME])

    # 0.75 - 0.625 = 0.125 with one seed, 1 - 0.625 = 0.375 with the other.
    assert proposal_of(comparison.groups[8]).difference == Interval(0.25, 0.125, 0.375)


def test_without_our_proposal_nothing_is_said() -> None:
    assert proposed(**SOURCES, supervised_proposal=0.5) is None
