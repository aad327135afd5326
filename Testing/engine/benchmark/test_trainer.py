"""One run of a benchmark with the real trainer on tiny volumes: predictions on their grids, resumable."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from threshold_teacher import ThresholdTeacher

from uncol.benchmark.cases import Cases
from uncol.benchmark.runs import RunSpec, TrainedRun
from uncol.benchmark.settings import config_document
from uncol.benchmark.suites import BENCHMARKS, Benchmark
from uncol.benchmark.trainer import train
from uncol.core.config import BudgetConfig, Config, DataConfig, OptimizerConfig, StudentConfig
from uncol.core.errors import CancelledError
from uncol.core.jobs import Structure
from uncol.core.methods import METHODS
from uncol.core.progress import UNWATCHED, Monitor
from uncol.core.volume import UNKNOWN_LABEL, Volume
from uncol.data.cases import LabeledCase
from uncol.foundation.loading import FoundationModel

BALL = Structure(1, "ball")
STEPS = 8


def load_threshold_teacher(_device: torch.device, _choice: FoundationModel) -> ThresholdTeacher:
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


@pytest.mark.parametrize("name", ["hippocampus", "acdc", "la2018", "sparse-slices-body"])
@pytest.mark.parametrize("method", METHODS)
def test_every_configuration_is_valid_and_differs_in_the_method_only(name: str, method: str):
    config = Config.from_document(config_document(BENCHMARKS[name], method, 3, 700))
    reference = Config.from_document(config_document(BENCHMARKS[name], "uncol", 3, 700))

    assert config.student.dims == BENCHMARKS[name].dims
    assert (config.seed, config.budget.steps, config.budget.minutes) == (3, 700, None)
    assert replace(config, method="uncol") == reference


def test_what_needs_no_training_has_its_seed_only():
    assert config_document(BENCHMARKS["sparse-slices-body"], "shape-interpolation", 2, 700) == {"seed": 2}
