"""The benchmarks are what the issue asks for, and every name that is wrong gets one clear sentence."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from uncol.benchmark.suites import BENCHMARKS, METHODS, SUITES, check_methods, config_document, find_benchmarks
from uncol.core.config import Config
from uncol.core.errors import ConfigError
from uncol.core.methods import METHODS as TRAINED_METHODS

VOLUMES, LA = ("hippocampus", "la2018"), BENCHMARKS["la2018"]


@pytest.mark.parametrize("benchmark", BENCHMARKS.values(), ids=BENCHMARKS)
def test_all_methods_are_compared_at_one_of_the_label_counts(benchmark) -> None:
    assert benchmark.must_count in benchmark.labeled_counts


def test_every_benchmark_has_a_name_of_the_command_line_and_slices_have_names_for_many() -> None:
    assert {name for names in SUITES.values() for name in names} == set(BENCHMARKS)
    assert [find_benchmarks(name) for name in BENCHMARKS] == [[each] for each in BENCHMARKS.values()]
    slices = [each for each in BENCHMARKS.values() if each.supervision == "slices"]
    assert find_benchmarks("sparse-slices-all") == [each for each in slices if not each.ends_annotated]
    assert find_benchmarks("sparse-slices-all-ends") == [each for each in slices if each.ends_annotated]
    assert [each.name for each in find_benchmarks("sparse-slices")] == ["sparse-slices-body", "sparse-slices-liver"]


def test_the_student_learns_consecutive_values_whatever_the_files_hold() -> None:
    body = BENCHMARKS["sparse-slices-body"]

    assert [each.value for each in body.structures] == [1, 2, 3, 5, 6, 52]
    assert [each.value for each in body.learned_structures] == [1, 2, 3, 4, 5, 6]
    assert body.learned_structures[-1].name == "aorta"


def test_settings_are_chosen_on_structures_that_nothing_else_is_reported_of() -> None:
    of_one_scan = [each for each in BENCHMARKS.values() if each.volume == "ts_body3mm" and not each.ends_annotated]

    values = [structure.value for benchmark in of_one_scan for structure in benchmark.structures]
    assert [each.name for each in of_one_scan] == [
        "sparse-slices-body",
        "sparse-slices-development",
        "sparse-slices-body-b",
    ]
    assert len(values) == len(set(values)) == 18


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["sparse-slices-body", "sparse-slices-development", "sparse-slices-body-b"])
def test_structures_have_the_values_of_the_list_beside_the_labels(shared_data: Path, name: str) -> None:
    listed = json.loads((shared_data / "totalseg_ct" / "labels.json").read_text())["ts_body3mm"]
    others = {"bladder": "urinary_bladder", "vena cava": "inferior_vena_cava"}

    for structure in BENCHMARKS[name].structures:
        side, _, rest = structure.name.partition(" ")
        plain = f"{rest} {side}" if side in ("left", "right") else structure.name
        assert listed[str(structure.value)] == others.get(plain, plain.replace(" ", "_"))


def test_where_all_are_compared_each_method_is_run_and_elsewhere_the_bounds_and_ours() -> None:
    of_slices = {"uncol-paper", "supervised-proposal", "uncol-proposal"}
    assert LA.default_methods(4) == tuple(method for method in TRAINED_METHODS if method not in of_slices)
    assert LA.default_methods(2) == ("supervised", "uncol", "supervised-all")


def test_until_full_supervision_has_converged_is_worth_it_for_some_methods_on_three_sets() -> None:
    ablations = ("uncol-without-generalized", "uncol-without-specialized")
    long = ("supervised", "mean-teacher", "bcp", *ablations, "uncol", "supervised-all")
    bounds = ("supervised", "uncol", "supervised-all")
    converged = find_benchmarks("converged")

    assert [(each.name, each.steps, each.seeds, each.credible_dice) for each in converged] == [
        ("acdc-heart", 12000, 3, 0.84),
        *((f"la2018-fold{number}", 6000, 1, 0.86) for number in (1, 2, 3, 4)),
        ("hippocampus", 6000, 3, 0.86),
    ]
    one = tuple(method for method in long if method not in ablations)
    methods = {each.table: [each.default_methods(count) for count in each.labeled_counts] for each in converged}
    assert methods == {"acdc-heart": [one, long], "la2018-folds": [bounds, long], "hippocampus": [one, bounds, bounds]}
    assert {each.table: each.labeled_counts for each in converged} == {
        "acdc-heart": (1, 3),
        "la2018-folds": (2, 4),
        "hippocampus": (1, 2, 4),
    }


def test_folds_differ_from_the_set_in_who_is_tested_for_how_long_is_trained_and_how_finely() -> None:
    as_the_set = {"name": "la2018", "fold": 0, "folds_of": "", "steps": 1200, "seeds": 3, "compared": {}}
    as_the_set |= {"config": LA.config}

    folds = find_benchmarks("la2018-folds")

    assert [each.fold for each in folds] == [1, 2, 3, 4]
    assert [replace(each, **as_the_set) for each in folds] == [LA] * 4


def test_a_volume_with_annotated_slices_is_compared_with_interpolation_and_has_no_upper_bound() -> None:
    liver = BENCHMARKS["sparse-slices-liver"]

    assert liver.default_methods(8) == (
        "shape-interpolation",
        "shape-interpolation-ends",
        "morphological-interpolation",
        "registration",
        "frozen-teacher",
        "untrained",
        "supervised",
        "uncol-paper",
        "uncol",
        "supervised-proposal",
        "uncol-proposal",
    )
    assert tuple(method for method in liver.methods if method in liver.default_methods(8)) == liver.default_methods(8)
    assert sorted(liver.methods) == sorted(set(METHODS) - {"supervised-all"})


def test_an_unknown_benchmark_is_named_with_those_that_exist() -> None:
    message = 'Benchmark "liver" is unknown. Choose one of hippocampus, acdc, acdc-heart, la2018, la2018-folds, converg'

    with pytest.raises(ConfigError, match=re.escape(message)):
        find_benchmarks("liver")


@pytest.mark.parametrize(
    ("method", "message"),
    [
        pytest.param("u-net", 'Method "u-net" is unknown. Choose from supervised, mean-teacher', id="unknown"),
        pytest.param("shape-interpolation", 'Method "shape-interpolation" means nothing on "acdc"', id="of slices"),
        pytest.param("supervised-proposal", 'Method "supervised-proposal" means nothing on "acdc"', id="no proposal"),
        pytest.param("uncol-paper", 'Method "uncol-paper" means nothing on "acdc"', id="the same as uncol"),
    ],
)
def test_a_method_that_cannot_be_compared_is_named(method: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        check_methods(("uncol", method), BENCHMARKS["acdc"])


def test_label_counts_are_told_in_the_words_of_the_benchmark() -> None:
    assert BENCHMARKS["acdc"].label_text(3) == "3 labeled"
    assert BENCHMARKS["sparse-slices-liver"].label_text(16) == "1 slice in 16"
    heart = BENCHMARKS["sparse-slices-acdc"]
    assert (heart.label_text(3), heart.short_label_text(3)) == ("3 slices", "3")


@pytest.mark.parametrize("name", ["hippocampus", "acdc", "la2018", "sparse-slices-body"])
@pytest.mark.parametrize("method", TRAINED_METHODS)
def test_every_configuration_is_valid_and_differs_in_the_method_only(name: str, method: str):
    config = Config.from_document(config_document(BENCHMARKS[name], method, 3, 700))
    reference = Config.from_document(config_document(BENCHMARKS[name], "uncol", 3, 700))

    assert config.student.dims == (3 if name in VOLUMES else 2)
    assert (config.seed, config.budget.steps, config.budget.minutes) == (3, 700, None)
    assert replace(config, method="uncol") == reference


def test_what_needs_no_training_has_its_seed_only():
    assert config_document(BENCHMARKS["sparse-slices-body"], "shape-interpolation", 2, 700) == {"seed": 2}
