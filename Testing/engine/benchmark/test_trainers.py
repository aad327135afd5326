"""One run with the real trainer on tiny volumes: predictions on their grids, resumable; and what trains nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from doubles import ThresholdTeacher

from uncol.benchmark.cases import Cases
from uncol.benchmark.runs import RunSpec
from uncol.benchmark.suites import BENCHMARKS, Benchmark
from uncol.benchmark.trainers import (
    TrainedRun,
    fill_slices,
    segment_prompted,
    train,
    train_each,
    trainer_of,
)
from uncol.core.config import BudgetConfig, Config, DataConfig, OptimizerConfig, StudentConfig, TeacherConfig
from uncol.core.errors import CancelledError
from uncol.core.foundation_choice import LITE_MEDSAM, FoundationChoice
from uncol.core.jobs import Structure
from uncol.core.methods import METHODS
from uncol.core.model_card import ModelCard
from uncol.core.progress import UNWATCHED, Monitor
from uncol.core.volume import UNKNOWN_LABEL, Volume
from uncol.data.cases import LabeledCase
from uncol.foundation.embeddings import EmbeddingCache

BALL = Structure(1, "ball")
STEPS = 8


def load_threshold_teacher(_device: torch.device, _choice: FoundationChoice) -> ThresholdTeacher:
    return ThresholdTeacher(32)


def ball_case(seed: int, shape: tuple[int, int, int] = (8, 20, 24)) -> LabeledCase:
    """A bright ball in noise, another one for each seed."""
    random = np.random.default_rng(seed)
    k, j, i = np.indices(shape)
    inside = ((k - 4) * 2.0) ** 2 + (j - random.uniform(8, 12)) ** 2 + (i - random.uniform(9, 15)) ** 2 < 6**2
    grey = np.clip(np.where(inside, 0.8, 0.2) + random.normal(0, 0.05, shape), 0, 1).astype(np.float32)
    ijk_to_ras = np.diag([-1.0, -1.0, 2.0, 1.0])
    return LabeledCase(Volume(grey, ijk_to_ras), Volume(inside.astype(np.uint8), ijk_to_ras))


def cases_of(benchmark: Benchmark) -> Cases:
    return Cases(
        benchmark=benchmark,
        structures=(BALL,),
        labeled={"a": ball_case(0), "b": ball_case(1)},
        unlabeled={"c": ball_case(2, (8, 22, 20)).image},
        test={"d": ball_case(3, (7, 24, 30)).image, "e": ball_case(4).image},
    )


def spec_of(method: str, dims: int, steps: int = STEPS) -> RunSpec:
    config = Config(
        method=method,
        data=DataConfig(window=(0.0, 1.0), patch_vox=(16, 16, 32), neighbor_count=3, max_side_vox=32),
        student=StudentConfig(dims=dims, channels=(4, 4, 4, 4, 4)),
        optimizer=OptimizerConfig(batch_size=2),
        budget=BudgetConfig(minutes=None, steps=steps),
    )
    return RunSpec("tiny", method, 2, 0, steps, config.as_document(), "cpu")


def run(spec: RunSpec, folder: Path, **changes: Any) -> TrainedRun:
    benchmark = BENCHMARKS["hippocampus" if Config.from_document(spec.config).student.dims == 3 else "acdc"]
    arguments = {"load_teacher": load_threshold_teacher, "monitor": UNWATCHED} | changes
    return train(spec, cases_of(benchmark), folder, arguments.pop("monitor"), **arguments)


@pytest.mark.parametrize(("method", "dims"), [("supervised", 3), ("uncol", 2), ("frozen-teacher", 3)])
def test_a_run_gives_a_label_map_on_the_grid_of_every_test_case(tmp_path: Path, method: str, dims: int):
    trained = run(spec_of(method, dims), tmp_path)

    assert trained.record["steps"] == STEPS
    assert trained.record["method"] == method
    found = dict(trained.predictions)
    assert list(found) == ["d", "e"]
    for name, volume in cases_of(BENCHMARKS["acdc"]).test.items():
        prediction = found[name]
        assert prediction.labels.shares_grid_with(volume)
        assert set(np.unique(prediction.labels.voxels)) <= {0, 1}
        if method == "frozen-teacher":  # what it redraws has no uncertainty
            assert prediction.uncertainty is None
        else:
            assert prediction.uncertainty.shares_grid_with(volume)
            assert 0 < prediction.uncertainty.voxels.max() <= 1


def test_a_stopped_run_goes_on_and_ends_as_if_it_had_not_been_stopped(tmp_path: Path):
    straight = dict(run(spec_of("bcp", 3), tmp_path / "straight").predictions)
    answers = iter([False] * 5 + [True])

    with pytest.raises(CancelledError):
        run(spec_of("bcp", 3), tmp_path / "stopped", monitor=Monitor(should_stop=lambda: next(answers)))
    resumed = run(spec_of("bcp", 3), tmp_path / "stopped")

    assert resumed.record["steps"] == STEPS
    for name, prediction in resumed.predictions:
        assert np.array_equal(prediction.labels.voxels, straight[name].labels.voxels)


def test_what_was_trained_to_the_end_is_not_trained_again(tmp_path: Path):
    first = run(spec_of("supervised", 2), tmp_path)

    again = run(spec_of("supervised", 2), tmp_path, monitor=Monitor(should_stop=lambda: True))

    assert again.record == first.record


def test_a_proposal_is_what_both_teachers_say_about_the_annotated_image(tmp_path: Path):
    cases = cases_of(replace(BENCHMARKS["acdc"], spacing_known=True))
    (name, case), *_ = cases.labeled.items()
    sparse = case.labels.voxels.copy()
    sparse[1::2] = UNKNOWN_LABEL
    labeled = LabeledCase(case.image, case.labels.with_voxels(sparse))
    data = replace(cases, labeled={name: labeled}, unlabeled={}, test={name: case.image})
    arguments = (spec_of("uncol-proposal", 2), data, tmp_path, UNWATCHED)

    trained = train(*arguments, load_teacher=load_threshold_teacher)

    ((predicted, prediction),) = trained.predictions
    assert predicted == name
    assert np.array_equal(prediction.labels.voxels[::2], case.labels.voxels[::2])
    assert prediction.uncertainty.voxels[1::2].any()
    assert trained.record["method"] == "uncol-proposal"


def test_slices_without_known_spacing_are_brought_to_one_length(tmp_path: Path):
    # The longest side of a labeled slice has 24 pixels and becomes 32 mm, the longest side that the student may see.
    run(spec_of("supervised", 2), tmp_path)

    card = json.loads((tmp_path / "model.json").read_text(encoding="utf-8"))
    assert card["pixel_mm"] == pytest.approx(32 / 24)
    assert card["slice_mm"] == 2.0


HEART = BENCHMARKS["sparse-slices-acdc"]  # its spacing is not known


def slice_cases(count: int) -> Cases:
    """Volumes of a ball, each with every third slice annotated."""
    cases = {f"volume {number}": ball_case(number) for number in range(count)}
    for name, case in cases.items():
        sparse = np.full_like(case.labels.voxels, UNKNOWN_LABEL)
        sparse[::3] = case.labels.voxels[::3]
        cases[name] = LabeledCase(case.image, case.labels.with_voxels(sparse))
    return Cases(HEART, (BALL,), cases, {}, {name: case.image for name, case in cases.items()})


def train_slices(method: str, cases: Cases, folder: Path, monitor: Monitor = UNWATCHED) -> TrainedRun:
    train_one = partial(train, load_teacher=load_threshold_teacher)
    return train_each(spec_of(method, 2), cases, folder, monitor, train_one=train_one)


@pytest.mark.parametrize("method", ["supervised", "supervised-proposal", "uncol-proposal"])
def test_every_volume_is_learned_by_itself_as_if_there_were_no_other(tmp_path: Path, method: str):
    cases, told = slice_cases(2), []
    alone = replace(cases, labeled={"volume 1": cases.labeled["volume 1"]}, test={"volume 1": cases.test["volume 1"]})

    both = train_slices(method, cases, tmp_path / "both", Monitor(told.append))
    one = dict(train_slices(method, alone, tmp_path / "one").predictions)

    found = dict(both.predictions)
    assert list(found) == ["volume 0", "volume 1"]
    assert np.array_equal(found["volume 1"].labels.voxels, one["volume 1"].labels.voxels)
    assert all(found[name].labels.shares_grid_with(image) for name, image in cases.test.items())
    assert both.record["steps"] == STEPS
    assert {name: each["steps"] for name, each in both.record["volumes"].items()} == dict.fromkeys(found, STEPS)
    steps = [each.step for each in told]
    assert steps == sorted(steps)
    assert steps[0] == 0 < STEPS / 2 <= steps[-1] <= STEPS


@pytest.mark.parametrize("method", ["supervised-proposal", "uncol-proposal"])
def test_the_training_of_a_proposal_is_that_of_its_method_bit_for_bit(tmp_path: Path, method: str):
    cases = slice_cases(2)

    proposing = train_slices(method, cases, tmp_path / "proposing")
    alone = train_slices(METHODS[method].proposal_of, cases, tmp_path / "alone")

    assert proposing.of_model is not None
    assert alone.of_model is None
    for (name, found), (same_name, same) in zip(proposing.of_model, alone.predictions, strict=True):
        assert name == same_name
        assert np.array_equal(found.labels.voxels, same.labels.voxels)
        assert np.array_equal(found.uncertainty.voxels, same.uncertainty.voxels)


def test_a_run_over_volumes_goes_on_with_the_volume_at_which_it_was_stopped(tmp_path: Path):
    cases, told = slice_cases(2), []
    stop = Monitor(told.append, lambda: any("volume 2" in each.phase and each.step > STEPS / 2 for each in told))

    with pytest.raises(CancelledError):
        train_slices("supervised", cases, tmp_path / "stopped", stop)
    resumed = train_slices("supervised", cases, tmp_path / "stopped")
    straight = dict(train_slices("supervised", cases, tmp_path / "straight").predictions)

    for name, prediction in resumed.predictions:
        assert np.array_equal(prediction.labels.voxels, straight[name].labels.voxels)


@pytest.mark.parametrize(
    ("benchmark", "method", "chosen"),
    [
        ("sparse-slices-liver", "shape-interpolation", fill_slices),
        ("sparse-slices-liver", "frozen-teacher", fill_slices),
        ("sparse-slices-liver", "registration", fill_slices),
        ("sparse-slices-liver", "uncol", train_each),
        ("acdc", "frozen-teacher", train),  # its prompts come from a supervised student
    ],
)
def test_methods_without_training_are_those_of_annotated_slices(benchmark: str, method: str, chosen: object) -> None:
    trainer = trainer_of(RunSpec(benchmark, method, 4, 0, 1, {}), None, LITE_MEDSAM)

    assert trainer.func is chosen


def test_every_volume_is_filled_and_it_stops_when_asked(tmp_path: Path) -> None:
    cases, told = slice_cases(3), []
    fill = trainer_of(RunSpec(HEART.name, "shape-interpolation", 3, 0, 1, {}), None, LITE_MEDSAM)

    filled = fill(RunSpec(HEART.name, "shape-interpolation", 3, 0, 1, {}), cases, tmp_path, Monitor(told.append))

    assert [name for name, _ in filled.predictions] == list(cases.labeled)
    assert [each.phase for each in told] == [f"Filling volume {number} of 3" for number in (1, 2, 3)]
    assert filled.record["steps"] == 0
    with pytest.raises(CancelledError):
        fill(
            RunSpec(HEART.name, "shape-interpolation", 3, 0, 1, {}),
            cases,
            tmp_path,
            Monitor(told.append, lambda: len(told) > 4),
        )


CARD = ModelCard(
    structures=(Structure(4, "first"), Structure(7, "second")),
    plane="axial",
    pixel_mm=1.0,
    slice_mm=1.0,
    window=(0.0, 1.0),
    config=Config(teachers=TeacherConfig(box_margin_vox=1.0)),
)
GRID = np.diag([-1.0, -1.0, 1.0, 1.0])  # columns run to the left, rows to the back: as radiologists look at it


def redraw(image: np.ndarray, labels: np.ndarray, *, stop: bool = False) -> np.ndarray:
    volume = Volume(image[None].astype(np.float32), GRID)
    found = Volume(labels[None].astype(np.uint8), GRID)
    return segment_prompted(
        volume, found, CARD, ThresholdTeacher(12), EmbeddingCache(None), Monitor(should_stop=lambda: stop)
    ).voxels[0]


def canvas(*parts: tuple[tuple[slice, slice], int]) -> np.ndarray:
    image = np.zeros((12, 12))
    for part, value in parts:
        image[part] = value
    return image


def test_a_structure_grows_to_what_is_bright_within_the_margin_of_its_box():
    # Found in rows 3 to 5 and columns 3 to 5, bright from 1 to 8: the box with its margin reaches from 2 to 6.
    result = redraw(canvas((np.s_[1:9, 1:9], 1)), canvas((np.s_[3:6, 3:6], 4)))

    assert np.array_equal(result, canvas((np.s_[2:7, 2:7], 4)))


def test_only_the_largest_piece_is_prompted_with():
    labels = canvas((np.s_[1:4, 1:4], 7), (np.s_[9:11, 9:11], 7))

    assert np.array_equal(
        redraw(canvas((np.s_[1:4, 1:4], 1), (np.s_[9:11, 9:11], 1)), labels), canvas((np.s_[1:4, 1:4], 7))
    )


def test_a_piece_of_less_than_eight_pixels_is_not_there():
    assert not redraw(np.ones((12, 12)), canvas((np.s_[3:4, 3:10], 4))).any()


def test_two_structures_keep_their_own_values():
    labels = canvas((np.s_[1:4, 1:4], 4), (np.s_[7:10, 7:10], 7))

    result = redraw(canvas((np.s_[1:4, 1:4], 1), (np.s_[7:10, 7:10], 1)), labels)

    assert np.array_equal(result, labels)


def test_it_stops_when_asked():
    with pytest.raises(CancelledError):
        redraw(np.ones((12, 12)), canvas((np.s_[3:6, 3:6], 4)), stop=True)
