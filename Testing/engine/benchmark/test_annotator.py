"""The simulated annotator on a small volume: every arm begins alike, and what was done is not done again."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_benchmark import write_case, write_splits

from uncol.benchmark.annotator import run_annotator
from uncol.benchmark.annotator_rounds import ARMS, FILL, GOAL, REGISTRATION, STRATEGIES, TABLE_FILE, Curve, kept_curves
from uncol.benchmark.jobs import AnnotatorJob
from uncol.benchmark.suites import ANNOTATORS
from uncol.core.errors import CancelledError, ConfigError
from uncol.core.progress import UNWATCHED, Monitor


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One volume of 14 slices, in which two tubes wind."""
    folder = tmp_path_factory.mktemp("data")
    k, j, i = np.indices((14, 24, 26))
    first, second = (np.hypot(j - 8 - side - np.sin(k / 2), i - 13 - np.cos(k / 2)) < 5 for side in (0, 9))
    labels = np.where(first, 1, np.where(second, 2, 0))
    labels[:2] = labels[12:] = 0
    image = np.array([20.0, 60.0, 100.0])[labels] + np.random.default_rng(0).normal(0, 6, labels.shape)
    for name in "ab":
        write_case(folder / "hippocampus", name, image, labels)
    write_splits(folder / "hippocampus", train=["b"], test=["a"], labeled_1=["b"])
    return folder


@pytest.fixture
def simulate(data: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def run(monitor: Monitor = UNWATCHED, **choice: Any) -> dict[str, Any]:
        job = AnnotatorJob("annotator-hippocampus", data, tmp_path / "out", **{"most": 4, **choice})
        return run_annotator(job, lambda: None, None, monitor)

    return run


def curves(tmp_path: Path) -> dict[str, Curve]:
    return {each.arm: each for each in kept_curves(tmp_path / "out")}


def test_every_arm_begins_with_the_same_two_slices_and_adds_one_a_round(simulate, tmp_path: Path) -> None:
    arms = (*STRATEGIES, REGISTRATION)

    told = simulate(arms=arms)

    found = curves(tmp_path)
    assert set(found) == {GOAL, *arms}
    assert told["rounds"] == 1 + 3 * len(arms)
    assert len(found[GOAL].rounds[0].slices) == 7
    for arm in arms:
        first, second, third = found[arm].rounds
        assert (first.slices, first.minutes) == (found["random"].rounds[0].slices, found["random"].rounds[0].minutes)
        assert [len(each.slices) for each in (first, second, third)] == [2, 3, 4]
        assert set(first.slices) < set(second.slices) < set(third.slices)
        assert 0 < first.minutes < second.minutes < third.minutes
        assert 0 < first.dice <= 1
    assert found["even-spacing"].rounds == found[REGISTRATION].rounds  # without the foundation model they are the same
    assert "| expected-gain | registration |" in (tmp_path / "out" / TABLE_FILE).read_text()


def test_it_goes_on_where_it_was_and_comes_to_the_same(simulate, tmp_path: Path) -> None:
    asked: list[int] = []
    simulate(Monitor(should_stop=lambda: asked.append(1) or False), arms=("expected-gain",))
    straight, most = curves(tmp_path)["expected-gain"], 2 * len(asked) // 3
    (tmp_path / "out" / "annotator.json").unlink()
    asked.clear()

    def should_stop() -> bool:
        asked.append(1)
        return len(asked) > most

    with pytest.raises(CancelledError, match="the same command goes on from here"):
        simulate(Monitor(should_stop=should_stop), arms=("expected-gain",))
    begun = curves(tmp_path)
    assert 0 < sum(len(each.rounds) for each in begun.values()) < 4
    simulate(arms=("expected-gain",))

    assert curves(tmp_path)["expected-gain"] == straight


def test_filling_between_slices_is_left_out_with_a_note_where_its_package_is_missing(
    simulate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "itk", None)  # as Python finds a package that is not there

    told = simulate(arms=(FILL,))

    assert set(curves(tmp_path)) == {GOAL}
    assert any("itk-morphologicalcontourinterpolation" in each for each in told["notes"])


@pytest.mark.slow
def test_a_model_is_trained_with_four_slices(simulate, tmp_path: Path) -> None:
    simulate(arms=("even-spacing",), steps=4)

    assert [each.is_trained for each in curves(tmp_path)["even-spacing"].rounds] == [False, False, True]


def test_what_cannot_be_compared_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"Choose from {', '.join(ARMS)}"):
        AnnotatorJob("annotator", data, tmp_path, arms=("active",))
    assert ANNOTATORS["annotator-liver"] == "sparse-slices-liver"
