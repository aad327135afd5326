"""A run is named by what decides about its outcome; plans are complete; results are there whole or not at all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_benchmark import make_result, make_spec

from uncol.benchmark.cases import CaseReader
from uncol.benchmark.jobs import Choice
from uncol.benchmark.runs import RunResult, RunSpec, RunStore, plan_runs
from uncol.benchmark.scores import UncertaintyScore
from uncol.benchmark.splits import Splits, splits_of
from uncol.benchmark.suites import BENCHMARKS, Benchmark, config_document
from uncol.core.errors import ConfigError, DataError


def test_runs_that_differ_in_anything_but_the_device_have_different_names() -> None:
    specs = [
        make_spec(),
        make_spec("bcp"),
        make_spec(labeled=4),
        make_spec(seed=1),
        make_spec(steps=4),
        make_spec(learning_rate=0.1),
    ]

    assert len({spec.key for spec in specs}) == len(specs)
    assert make_spec().key == make_spec().key
    assert make_spec().key.startswith("hippocampus-uncol-2-seed0-3steps-")


def test_settings_that_came_later_leave_the_names_of_finished_runs_as_they_are() -> None:
    spec = RunSpec(
        benchmark="hippocampus",
        method="supervised",
        labeled=8,
        seed=0,
        steps=1200,
        config=config_document(BENCHMARKS["hippocampus"], "supervised", 0, 1200),
    )
    turned = replace(spec, config=spec.config | {"data": spec.config["data"] | {"rotation_deg": 90.0}})

    assert spec.key == "hippocampus-supervised-8-seed0-1200steps-51c9eb56"  # as in benchmarks/results
    assert turned.key != spec.key


@pytest.mark.parametrize(
    ("benchmark", "method", "hash_of_before"),
    [
        pytest.param("hippocampus", "uncol", "8c44aea2", id="whole cases"),
        pytest.param("sparse-slices-body", "supervised", "b9c2b6d1", id="no registration"),
        pytest.param("sparse-slices-body", "frozen-teacher", "01389f22", id="no training"),
        pytest.param("sparse-slices-body", "uncol-paper", "ac0b19b2", id="UnCoL of before"),
    ],
)
def test_registration_names_the_runs_anew_in_which_slices_are_carried(
    benchmark: str, method: str, hash_of_before: str
) -> None:
    chosen = BENCHMARKS[benchmark]
    steps = 1200 if benchmark == "hippocampus" else 800
    spec = RunSpec(benchmark, method, 8, 0, steps, config_document(chosen, method, 0, steps))
    without = spec.config | {"teachers": spec.config["teachers"] | {"registration": False}}
    carrying = replace(spec, benchmark="sparse-slices-body", method="uncol-proposal")

    assert spec.settings_hash == hash_of_before  # as in benchmarks/results
    assert replace(carrying, config=without).settings_hash != carrying.settings_hash != hash_of_before


def test_seeds_of_one_configuration_share_their_settings() -> None:
    assert make_spec(seed=0).settings_hash == make_spec(seed=1).settings_hash
    assert make_spec().settings_hash != make_spec(learning_rate=0.1).settings_hash


def test_a_result_comes_back_from_its_file_as_it_was(tmp_path: Path) -> None:
    result, store = make_result("uncol", {"a": (0.5, 0.75)}, hd95_mm=None), RunStore(tmp_path)
    assert not store.is_finished(result.spec)

    store.save(result)

    assert store.is_finished(result.spec)
    assert store.results() == [result]


def test_a_result_of_before_there_was_a_choice_of_foundation_models_is_one_of_lite_medsam() -> None:
    document = make_result("uncol", {"a": 0.5}).as_document()
    del document["foundation"]

    assert RunResult.from_document(document).spec.foundation == "LiteMedSAM"


def test_a_result_says_which_weights_it_was_made_with_and_earlier_ones_say_none() -> None:
    result = make_result("uncol", {"a": 0.5})
    with_weights = replace(result, spec=replace(result.spec, foundation="SAM", weights_sha256="abc"))
    earlier = result.as_document()
    del earlier["weights_sha256"]

    assert RunResult.from_document(with_weights.as_document()) == with_weights
    assert RunResult.from_document(earlier) == result


def test_a_result_keeps_what_was_measured_beside_dice_and_earlier_ones_have_none_of_it() -> None:
    doubts = (UncertaintyScore("a", 0.75, None),)
    result = make_result("uncol", {"a": 0.5}, dice_by_distance=((3.0, 0.75), (6.0, 0.5)), uncertainty=doubts)
    earlier = make_result("uncol", {"a": 0.5}).as_document()
    del earlier["uncertainty"]
    for score in earlier["scores"]:
        del score["dice_by_distance"]

    assert RunResult.from_document(json.loads(json.dumps(result.as_document()))) == result
    assert RunResult.from_document(earlier) == make_result("uncol", {"a": 0.5})


def test_what_a_run_needed_to_go_on_is_removed_when_its_result_stands(tmp_path: Path) -> None:
    result, store = make_result("uncol", {"a": 0.5}), RunStore(tmp_path)
    (store.working_folder(result.spec) / "checkpoint").write_text("half")

    store.save(result)

    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [f"{result.spec.key}.json"]


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 1}', json.dumps({"scores": [{"dice": 1}]})])
def test_a_damaged_result_is_named_with_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "some-run.json").write_text(text)

    with pytest.raises(DataError, match=r'some-run.json" is not the result of a run \(.*\). Delete it to repeat'):
        RunStore(tmp_path).results()


ACDC, LA = BENCHMARKS["acdc"], BENCHMARKS["la2018"]
SPLITS = Splits(
    train=tuple(f"p{number}" for number in range(30)),
    test=("t",),
    labeled={count: tuple(f"p{number}" for number in range(count)) for count in (1, 3, 6)},
    case_ids={},
)


LA_SPLITS = replace(SPLITS, train=SPLITS.train[:12], labeled={count: SPLITS.train[:count] for count in (2, 4)})


def planned(benchmark: Benchmark = ACDC, splits: Splits = SPLITS, **choice: Any) -> list[tuple[str, int, int]]:
    return [(each.method, each.labeled, each.seed) for each in plan_runs(benchmark, splits, Choice(**choice))]


def test_all_methods_come_first_at_the_count_where_all_are_compared_then_the_bounds_at_the_others() -> None:
    runs = planned(LA, LA_SPLITS, seeds=1)

    assert [labeled for _, labeled, _ in runs] == [4] * 9 + [12] + [2, 2]
    assert [method for method, _, _ in runs[-2:]] == ["supervised", "uncol"]
    assert runs[9] == ("supervised-all", 12, 0)


def test_seeds_are_those_of_the_benchmark_unless_the_user_says_how_many() -> None:
    fold = BENCHMARKS["la2018-fold2"]

    assert {seed for _, _, seed in planned(fold, LA_SPLITS)} == {0}
    assert {seed for _, _, seed in planned(fold, LA_SPLITS, seeds=2)} == {0, 1}
    assert {seed for _, _, seed in planned(LA, LA_SPLITS)} == {0, 1, 2}


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
    (run,) = plan_runs(ACDC, SPLITS, Choice(("bcp",), (3,), 1, 7, "cpu"))

    assert run == RunSpec("acdc", "bcp", 3, 0, 7, config_document(ACDC, "bcp", 0, 7), "cpu")


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
    usual, other = (plan_runs(LA, LA_SPLITS, Choice(seeds=1, foundation=each)) for each in ("LiteMedSAM", "SAM"))

    different = {one.method for one, two in zip(usual, other, strict=True) if one.key != two.key}
    assert different == {
        "frozen-teacher",
        "uncol",
        "uncol-without-specialized",
        "uncol-without-gating",
    }


def test_other_weights_make_other_runs_of_the_methods_that_ask_them() -> None:
    choices = [Choice(seeds=1, foundation="SAM", weights_sha256=each) for each in "ab"]
    one, other = (plan_runs(LA, LA_SPLITS, each) for each in choices)

    same = [former.method for former, latter in zip(one, other, strict=True) if former.key == latter.key]
    assert {former.weights_sha256 for former in one if former.method not in same} == {"a"}
    assert {former.method for former in one} - set(same) == {
        "frozen-teacher",
        "uncol",
        "uncol-without-specialized",
        "uncol-without-gating",
    }


def test_the_plan_fits_the_generated_set(reader: CaseReader) -> None:
    choice = Choice(methods=("uncol",), labeled=(2,), seeds=1, steps=3)

    assert plan_runs(reader.benchmark, reader.splits, choice) == [
        replace(make_spec(), config=config_document(reader.benchmark, "uncol", 0, 3))
    ]


COMMITTED = sorted((Path(__file__).resolve().parents[3] / "benchmarks" / "results").glob("*/runs"))


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda folder: folder.parent.name)
def test_results_of_earlier_versions_are_read_and_keep_their_names(folder: Path) -> None:
    results = RunStore(folder.parent).results()

    assert [result.spec.key for result in results] == [path.stem for path in sorted(folder.glob("*.json"))]
    assert len(results) > 5
    assert {each.spec.method for each in results} <= {
        name for each in results for name in BENCHMARKS[each.spec.benchmark].methods
    }
    assert all(  # UnCoL on annotated slices registers; what was called so before is the paper's
        "registration" in each.spec.config["teachers"]
        for each in results
        if each.spec.method in ("uncol", "uncol-proposal") and each.spec.benchmark.startswith("sparse-slices")
    )


def test_what_was_filled_without_training_before_is_not_filled_again() -> None:
    benchmark = BENCHMARKS["sparse-slices-body"]
    splits = splits_of(benchmark, Path())

    plan = plan_runs(benchmark, splits, Choice(methods=("shape-interpolation",), labeled=(8,), seeds=1))

    assert [spec.key for spec in plan] == ["sparse-slices-body-shape-interpolation-8-seed0-800steps-44136fa3"]
