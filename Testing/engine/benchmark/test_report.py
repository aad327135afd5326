"""What stands in the output folder: all runs, pictures, and tables with every number where it belongs."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from small_benchmark import make_result

from uncol.benchmark.comparison import Interval, compare
from uncol.benchmark.report import markdown, publish, verdict
from uncol.benchmark.runs import RunResult, RunStore
from uncol.benchmark.scores import PartScore, UncertaintyScore
from uncol.benchmark.suites import BENCHMARKS


def section_of(results: list[RunResult], benchmark: str = "hippocampus") -> list[str]:
    (comparison,) = compare(results, BENCHMARKS[benchmark])
    return markdown(comparison).splitlines()


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [(0.01, 0.02, "better"), (-0.02, -0.01, "worse"), (-0.01, 0.01, "tie"), (0.0, 0.01, "tie"), (-0.01, 0.0, "tie")],
)
def test_only_an_interval_without_0_tells_methods_apart(low: float, high: float, word: str) -> None:
    assert verdict(Interval((low + high) / 2, low, high)) == word


def test_a_single_value_is_called_one_however_large() -> None:
    assert verdict(Interval(0.5, -math.inf, math.inf)) == "one value"


def test_every_number_stands_in_its_column() -> None:
    ours, theirs = (dict.fromkeys("ab", dice) for dice in ((0.5, 0.75), (0.25, 0.5)))

    lines = section_of([make_result("uncol", ours), make_result("bcp", theirs, hd95_mm=None)])

    assert lines[0] == "## hippocampus, 1500 steps"
    assert lines[2:6] == [
        "| method | labeled | Dice [95 %] | anterior | posterior | HD95 (mm) | UnCoL minus this [95 %] | UnCoL is | "
        "seeds | steps | seconds |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| bcp | 8 | 0.375 [0.375, 0.375] | 0.250 | 0.500 | undefined (4 of 4) | +0.250 [+0.250, +0.250] | better | "
        "1 | 1500 | 60 |",
        "| **uncol** | 8 | 0.625 [0.625, 0.625] | 0.500 | 0.750 | 2.00 | - | - | 1 | 1500 | 60 |",
    ]


def test_what_uncertainty_is_worth_stands_in_a_table_of_its_own_once_for_each_method_and_count() -> None:
    doubts = {"uncol": UncertaintyScore("a", 0.75, 0.125), "supervised-all": UncertaintyScore("a", None, 0.25)}
    results = [make_result("uncol", {"a": 0.5}, labeled=count, uncertainty=(doubts["uncol"],)) for count in (4, 8)]
    results.append(make_result("supervised-all", {"a": 1.0}, labeled=160, uncertainty=(doubts["supervised-all"],)))
    results.append(make_result("bcp", {"a": 0.5}))

    lines = section_of(results)

    start = lines.index("| method | labeled | AUROC of errors | calibration error |")
    assert lines[start - 2].startswith("Uncertainty within 5 mm of a boundary")
    assert lines[start + 1 :] == [
        "| --- | ---: | ---: | ---: |",
        "| **uncol** | 4 | 0.750 | 0.125 |",
        "| supervised-all | all 160 | undefined | 0.250 |",
        "| **uncol** | 8 | 0.750 | 0.125 |",
    ]


def test_our_proposal_stands_beside_that_of_a_supervised_student_and_its_best_source() -> None:
    dice = {"registration": 0.5, "frozen-teacher": 0.625, "uncol": 0.25, "supervised-proposal": 0.75}
    of_each = {(method, 8): value for method, value in (dice | {"uncol-proposal": 0.875}).items()}
    of_each |= {("registration", 16): 0.75, ("uncol-proposal", 16): 0.5, ("uncol-proposal", 4): 0.5}
    results = [
        make_result(method, {"a": (value,)}, labeled=count, seed=seed, benchmark="sparse-slices-liver")
        for (method, count), value in of_each.items()
        for seed in (0, 1)
    ]

    lines = section_of(results, "sparse-slices-liver")

    start = next(place for place, line in enumerate(lines) if line.startswith("| annotated | ours |"))
    assert lines[start].split(" | ")[2:] == [
        "ours with a supervised student",
        "difference [95 %]",
        "stage 2 is",
        "best source",
        "ours minus best source",
        "never worse than its best source - 0.003 |",
    ]
    assert lines[start + 2 : start + 5] == [
        "| 1 in 4 | 0.500 [0.500, 0.500] | not run | - | - | - | - | unknown without registration, frozen-teacher, "
        "uncol |",
        "| 1 in 8 | 0.875 [0.875, 0.875] | 0.750 [0.750, 0.750] | +0.125 [+0.125, +0.125] | better | "
        "frozen-teacher 0.625 | +0.250 | yes |",
        "| 1 in 16 | 0.500 [0.500, 0.500] | not run | - | - | registration 0.750 | -0.250 | **no** |",
    ]


def test_where_errors_lie_stands_in_a_table_of_its_own() -> None:
    result = make_result("uncol", {"a": (0.5,)}, benchmark="sparse-slices-liver")
    (score,) = result.scores  # of 10 voxels
    parts = replace(score, inside=PartScore(0.75, 2), beyond=PartScore(None, 3))

    lines = section_of([replace(result, scores=(parts,))], "sparse-slices-liver")

    start = lines.index("| method | annotated | all | liver |")
    assert lines[start - 2].startswith("Between the annotated slices that show a structure (inside), and in all others")
    assert lines[start + 2] == "| **uncol** | 1 in 8 | 0.750; 20 + 30 % | 0.750; 20 + 30 % |"


@pytest.mark.parametrize("benchmark", ["la2018", "sparse-slices-la"])
def test_a_crop_that_knows_the_answer_is_named_in_every_row(benchmark: str) -> None:
    results = [make_result(method, {"a": (0.5,)}, benchmark=benchmark) for method in ("supervised", "uncol")]

    lines = section_of(results, benchmark)

    assert [line.split(" | ")[0] for line in lines[4:6]] == [
        "| supervised (*oracle crop*)",
        "| **uncol** (*oracle crop*)",
    ]
    assert any(line.startswith("- *Oracle crop*: images were cropped") for line in lines)


def test_how_slices_are_chosen_is_told_where_it_is_not_every_nth_alone() -> None:
    names = ("sparse-slices-acdc", "sparse-slices-liver-ends", "sparse-slices-liver")
    results = {name: make_result("uncol", {"a": (0.5,) * 3}, labeled=3, benchmark=name) for name in names}

    sections = {name: section_of([result], name) for name, result in results.items()}

    assert sections["sparse-slices-acdc"][4].startswith("| **uncol** | 3 |")
    assert [sum("annotated besides" in line or "evenly" in line for line in sections[name]) for name in names] == [
        1,
        1,
        0,
    ]


def test_without_scores_of_the_uncertainty_there_is_no_table_of_it() -> None:
    assert "AUROC" not in "\n".join(section_of([make_result("uncol", {"a": 0.5})]))


def test_wins_ties_and_losses_are_told_in_one_sentence() -> None:
    values = {"uncol": 0.5, "supervised": 0.25, "mean-teacher": 0.5, "bcp": 0.75, "supervised-all": 0.625}
    labeled = {"supervised-all": 160}

    text = "\n".join(
        section_of([make_result(m, {"a": v, "b": v}, labeled=labeled.get(m, 8)) for m, v in values.items()])
    )

    assert (
        "With 8 labeled, UnCoL is better than supervised; not told apart from mean-teacher; "
        "worse than bcp, supervised-all." in text
    )
    assert "With 8 labeled, UnCoL reaches 80.0 % of the mean Dice of supervised-all." in text
    assert "| supervised-all | all 160 |" in text


def test_a_tie_counts_only_beside_full_supervision_that_has_converged() -> None:
    flat = [{"step": step, "stage": 1, "supervised": 0.1} for step in range(100, 1501, 100)]
    tied = [make_result(method, {"a": 0.5, "b": 0.75}) for method in ("supervised", "uncol")]
    bound = make_result("supervised-all", {"a": 0.875, "b": 0.875}, labeled=160)

    without, falling, converged = (
        section_of([*tied, *more]) for more in ([], [bound], [replace(bound, record=bound.record | {"curve": flat})])
    )

    assert [lines[4].split(" | ")[7] for lines in (without, falling, converged)] == [
        "tie, not counted",
        "tie, not counted",
        "tie",
    ]
    assert any("was not run: nobody knows" in line for line in without)
    assert any("has not converged: no tie counts." in line for line in falling)
    assert any("has converged: ties count." in line for line in converged)


def test_without_uncol_nothing_is_said_about_it() -> None:
    assert "UnCoL is better" not in "\n".join(section_of([make_result("bcp", {"a": 0.5})])).partition("\n\n")[2]


def test_a_set_without_spacing_has_no_column_of_distances() -> None:
    lines = section_of([make_result("uncol", {"a": (0.5, 0.5, 0.5)}, labeled=3, benchmark="acdc")], "acdc")

    assert "HD95" not in lines[2]
    assert "- There are no distances: the spacing of these files is not known." in lines


@pytest.mark.parametrize(("benchmark", "told"), [("sparse-slices-body", True), ("sparse-slices-liver", False)])
def test_references_that_a_model_made_are_told(benchmark: str, told: bool) -> None:
    scores = (0.5,) * len(BENCHMARKS[benchmark].structures)

    lines = section_of([make_result("uncol", {"a": scores}, benchmark=benchmark)], benchmark)

    assert any(line.startswith("- A model made the references, not people") for line in lines) == told


def test_annotated_slices_are_told_as_one_in_so_many() -> None:
    result = make_result("uncol", {"chaos_ct_liver": (0.5,)}, benchmark="sparse-slices-liver")

    lines = section_of([result], "sparse-slices-liver")

    assert lines[2].startswith("| method | annotated |")
    assert lines[4].startswith("| **uncol** | 1 in 8 |")
    assert (
        "- With one subject, intervals show the spread of the seeds alone; with one seed, too, there is none." in lines
    )


def test_one_subject_with_one_seed_has_no_interval_and_counts_as_no_tie() -> None:
    ours = make_result("uncol", {"a": (0.75,)}, benchmark="sparse-slices-liver")
    theirs = make_result("supervised", {"a": (0.5,)}, benchmark="sparse-slices-liver")

    lines = section_of([ours, theirs], "sparse-slices-liver")

    assert lines[4].split(" | ")[2:7] == ["0.500", "0.500", "2.00", "+0.250", "one value"]
    assert not any("UnCoL is" in line for line in lines[6:])


def test_runs_left_out_and_machines_are_named() -> None:
    older = make_result("uncol", {"a": 0.5}, rate=1, finished="2025-01-01")

    lines = section_of([older, make_result("uncol", {"a": 0.5}, rate=2)])

    assert lines[-1] == "- Machine: A processor, 1 thread."
    assert "- Left out: 1 run with older settings." in lines


PNG = b"\x89PNG\r\n\x1a\n"


def test_nothing_is_written_before_a_run_is_finished(tmp_path: Path) -> None:
    assert publish(RunStore(tmp_path), tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_slices_have_a_picture_of_what_distance_costs(tmp_path: Path) -> None:
    store, name = RunStore(tmp_path), "sparse-slices-liver"
    store.save(make_result("uncol", {"a": 0.75}, benchmark=name, dice_by_distance=((3.0, 0.8), (6.0, 0.7))))

    publish(store, tmp_path)

    assert (tmp_path / f"{name}-1500-steps-distance.png").read_bytes().startswith(PNG)
    assert f"]({name}-1500-steps-distance.png)" in (tmp_path / "results.md").read_text()


def test_runs_tables_and_pictures_of_all_benchmarks_are_written(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    results = [make_result("bcp", {"a": 0.5}), make_result("uncol", {"a": 0.75}, benchmark="la2018")]
    for result in results:
        store.save(result)

    files = publish(store, tmp_path)

    assert [path.name for path in files] == [
        "results.json",
        "results.md",
        "hippocampus-1500-steps-dice.png",
        "hippocampus-1500-steps-learning.png",
        "la2018-1500-steps-dice.png",
        "la2018-1500-steps-learning.png",
    ]
    assert all(path.read_bytes().startswith(PNG) for path in files[2:])
    written = json.loads(files[0].read_text())
    assert [RunResult.from_document(each) for each in written] == results
    tables = files[1].read_text()
    assert tables.index("## hippocampus, 1500 steps") < tables.index("## la2018, 1500 steps")
    assert "![la2018-1500-steps-dice](la2018-1500-steps-dice.png)" in tables
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(("last", "outcome"), [(1.0, "tie"), (0.5, "tie, not counted")])
def test_folds_stand_in_one_table_that_says_so_and_ties_count_when_all_of_them_have_converged(
    last: float, outcome: str
) -> None:
    def of_fold(number: int, method: str, dice: float, loss: float = 1.0) -> RunResult:
        labeled = 12 if method == "supervised-all" else 4
        result = make_result(method, {f"p{number}": dice}, labeled=labeled, benchmark=f"la2018-fold{number}")
        points = [{"step": step, "supervised": loss if step > 90 else 1.0} for step in range(1, 101)]
        return replace(result, record={**result.record, "curve": points})

    folds = [
        *(of_fold(1, each, dice) for each, dice in (("uncol", 0.75), ("bcp", 0.5), ("supervised-all", 0.875))),
        *(of_fold(2, each, dice, last) for each, dice in (("uncol", 0.5), ("bcp", 0.75), ("supervised-all", 0.875))),
    ]

    lines = section_of(folds, "la2018-fold1")

    assert lines[0] == "## la2018-folds, 1500 steps"
    assert [line.split(" | ")[6] for line in lines if line.startswith("| bcp (*oracle crop*) | 4 |")] == [outcome]
    assert "- Every subject is tested once, by the training of its fold, which has not seen it." in lines
    assert any("has converged: ties count" in line for line in lines) == (outcome == "tie")


def test_runs_of_folds_are_published_in_one_table(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    for number in (1, 2):
        store.save(make_result("uncol", {f"p{number}": 0.5}, labeled=4, benchmark=f"la2018-fold{number}"))

    publish(store, tmp_path)

    text = (tmp_path / "results.md").read_text()
    assert text.count("## la2018-folds, 1500 steps") == text.count("## ") == 1
