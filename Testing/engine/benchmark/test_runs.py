"""A run is named by what decides about its outcome; its result is there whole or not at all, once."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from uncol.benchmark.runs import RunResult, RunSpec, RunStore
from uncol.benchmark.scores import UncertaintyScore
from uncol.benchmark.settings import config_document
from uncol.benchmark.suites import BENCHMARKS
from uncol.core.errors import DataError

MakeSpec = Callable[..., RunSpec]
MakeResult = Callable[..., RunResult]


def test_runs_that_differ_in_anything_but_the_device_have_different_names(make_spec: MakeSpec) -> None:
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


def test_seeds_of_one_configuration_share_their_settings(make_spec: MakeSpec) -> None:
    assert make_spec(seed=0).settings_hash == make_spec(seed=1).settings_hash
    assert make_spec().settings_hash != make_spec(learning_rate=0.1).settings_hash


def test_a_result_comes_back_from_its_file_as_it_was(tmp_path: Path, make_result: MakeResult) -> None:
    result, store = make_result("uncol", {"a": (0.5, 0.75)}, hd95_mm=None), RunStore(tmp_path)
    assert not store.is_finished(result.spec)

    store.save(result)

    assert store.is_finished(result.spec)
    assert store.results() == [result]


def test_a_result_of_before_there_was_a_choice_of_foundation_models_is_one_of_lite_medsam(
    make_result: MakeResult,
) -> None:
    document = make_result("uncol", {"a": 0.5}).as_document()
    del document["foundation"]

    assert RunResult.from_document(document).spec.foundation == "LiteMedSAM"


def test_a_result_says_which_weights_it_was_made_with_and_earlier_ones_say_none(make_result: MakeResult) -> None:
    result = make_result("uncol", {"a": 0.5})
    with_weights = replace(result, spec=replace(result.spec, foundation="SAM", weights_sha256="abc"))
    earlier = result.as_document()
    del earlier["weights_sha256"]

    assert RunResult.from_document(with_weights.as_document()) == with_weights
    assert RunResult.from_document(earlier) == result


def test_a_result_keeps_what_was_measured_beside_dice_and_earlier_ones_have_none_of_it(make_result: MakeResult) -> None:
    doubts = (UncertaintyScore("a", 0.75, None),)
    result = make_result("uncol", {"a": 0.5}, dice_by_distance=((3.0, 0.75), (6.0, 0.5)), uncertainty=doubts)
    earlier = make_result("uncol", {"a": 0.5}).as_document()
    del earlier["uncertainty"]
    for score in earlier["scores"]:
        del score["dice_by_distance"]

    assert RunResult.from_document(json.loads(json.dumps(result.as_document()))) == result
    assert RunResult.from_document(earlier) == make_result("uncol", {"a": 0.5})


def test_what_a_run_needed_to_go_on_is_removed_when_its_result_stands(tmp_path: Path, make_result: MakeResult) -> None:
    result, store = make_result("uncol", {"a": 0.5}), RunStore(tmp_path)
    (store.working_folder(result.spec) / "checkpoint").write_text("half")

    store.save(result)

    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [f"{result.spec.key}.json"]


def test_a_run_is_claimed_by_one_process_and_not_when_it_is_finished(tmp_path: Path, make_result: MakeResult) -> None:
    result, ours, theirs = make_result("uncol", {"a": 0.5}), RunStore(tmp_path), RunStore(tmp_path)

    with ours.claim(result.spec) as we_have_it, theirs.claim(result.spec) as they_have_it:
        assert (we_have_it, they_have_it) == (True, False)
        ours.save(result)
    with theirs.claim(result.spec) as they_have_it:
        assert not they_have_it

    assert list((tmp_path / "locks").iterdir()) == []


def test_a_claimed_run_that_was_not_finished_can_be_claimed_again(tmp_path: Path, make_spec: MakeSpec) -> None:
    store = RunStore(tmp_path)

    for _ in range(2):
        with store.claim(make_spec()) as is_free:
            assert is_free


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 1}', json.dumps({"scores": [{"dice": 1}]})])
def test_a_damaged_result_is_named_with_what_to_do(tmp_path: Path, text: str) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "some-run.json").write_text(text)

    with pytest.raises(DataError, match=r'some-run.json" is not the result of a run \(.*\). Delete it to repeat'):
        RunStore(tmp_path).results()
