"""The plan of a comparison: what is run, in which order, and what cannot be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from uncol.benchmark.cases import CaseReader
from uncol.benchmark.plan import Choice, plan_runs
from uncol.benchmark.runs import RunSpec
from uncol.benchmark.splits import Splits
from uncol.benchmark.suites import BENCHMARKS, Benchmark
from uncol.core.errors import ConfigError

ACDC = BENCHMARKS["acdc"]
SPLITS = Splits(
    train=tuple(f"p{number}" for number in range(30)),
    test=("t",),
    labeled={count: tuple(f"p{number}" for number in range(count)) for count in (1, 3, 6)},
    case_ids={},
)


def config_of(benchmark: Benchmark, method: str, seed: int, steps: int) -> dict[str, Any]:
    return {"of": [benchmark.name, method, seed, steps]}


def planned(**choice: Any) -> list[tuple[str, int, int]]:
    return [(each.method, each.labeled, each.seed) for each in plan_runs(ACDC, SPLITS, Choice(**choice), config_of)]


def test_all_methods_come_first_at_the_count_where_all_are_compared_then_the_bounds_at_the_others() -> None:
    runs = planned(seeds=1)

    assert [labeled for _, labeled, _ in runs] == [3] * 9 + [30] + [1, 1] + [6, 6]
    assert [method for method, _, _ in runs[-4:]] == ["supervised", "uncol"] * 2
    assert runs[9] == ("supervised-all", 30, 0)


def test_each_seed_completes_the_table_before_the_next_begins() -> None:
    assert planned(seeds=2, methods=("uncol", "supervised"), labeled=(1, 6)) == [
        ("supervised", 1, 0),
        ("uncol", 1, 0),
        ("supervised", 6, 0),
        ("uncol", 6, 0),
        ("supervised", 1, 1),
        ("uncol", 1, 1),
        ("supervised", 6, 1),
        ("uncol", 6, 1),
    ]


def test_every_run_carries_its_configuration_steps_and_device() -> None:
    (run,) = plan_runs(ACDC, SPLITS, Choice(("bcp",), (3,), 1, 7, "cpu"), config_of)

    assert run == RunSpec("acdc", "bcp", 3, 0, 7, {"of": ["acdc", "bcp", 0, 7]}, "cpu")


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        pytest.param({"methods": ("magic",)}, 'Method "magic" is unknown', id="unknown method"),
        pytest.param({"labeled": (2,)}, "no list for 2 labeled cases, only for 1, 3, 6, 30", id="unknown count"),
        pytest.param({"seeds": 0}, "--seeds must be at least 1, got 0", id="no seed"),
        pytest.param({"steps": 0}, "--steps must be at least 1, got 0", id="no step"),
    ],
)
def test_a_choice_that_cannot_be_run_is_refused(choice: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        planned(**choice)


def test_another_foundation_model_makes_other_runs_of_the_methods_that_ask_it() -> None:
    usual, other = (
        plan_runs(ACDC, SPLITS, Choice(seeds=1, foundation=each), config_of) for each in ("LiteMedSAM", "SAM")
    )

    different = {one.method for one, two in zip(usual, other, strict=True) if one.key != two.key}
    assert different == {
        "frozen-teacher",
        "uncol",
        "uncol-without-specialized",
        "uncol-without-gating",
    }


def test_other_weights_make_other_runs_of_the_methods_that_ask_them() -> None:
    one, other = (
        plan_runs(ACDC, SPLITS, Choice(seeds=1, foundation="SAM", weights_sha256=each), config_of) for each in "ab"
    )

    same = [former.method for former, latter in zip(one, other, strict=True) if former.key == latter.key]
    assert {former.weights_sha256 for former in one if former.method not in same} == {"a"}
    assert {former.method for former in one} - set(same) == {
        "frozen-teacher",
        "uncol",
        "uncol-without-specialized",
        "uncol-without-gating",
    }


def test_the_plan_fits_the_generated_set(reader: CaseReader, make_spec: Callable[..., RunSpec]) -> None:
    choice = Choice(methods=("uncol",), labeled=(2,), seeds=1, steps=3)

    assert plan_runs(reader.benchmark, reader.splits, choice, lambda *_: {"seed": 0}) == [make_spec()]
