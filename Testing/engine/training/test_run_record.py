"""Checkpoints of a stranger, and trainings whose numbers are not finite any more: one sentence, and nothing is lost."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from doubles import ThresholdTeacher
from given import StopAfter, a_ball, a_setup, annotated_in
from hostile_files import DEEP, STRANGE_FILES
from hypothesis import strategies
from mutated import counted, mutated
from safetensors.torch import save_file
from small_models import tree
from torch import Tensor

from uncol.core.config import BudgetConfig, OptimizerConfig
from uncol.core.errors import CancelledError, CheckpointError, NotFiniteError
from uncol.core.model_folder import CHECKPOINT_FILE
from uncol.core.progress import Monitor
from uncol.core.unfinished import unfinished_in
from uncol.models.card import Model
from uncol.models.checkpoints import load_checkpoint
from uncol.training.resume import restore
from uncol.training.setup import prepared
from uncol.training.state import FineTuneSetup, TrainingState
from uncol.training.train import fine_tune

LONGEST_S = 10.0
STOPPED_AT = 60
"""How often it is asked before: then it is in stage 2, one step has been taken, and the sources have been fused."""
NAN = float("nan")
Contents = tuple[dict[str, Tensor], dict[str, Any]]


def the_setup(**choices: Any) -> FineTuneSetup:
    return a_setup(
        [annotated_in(a_ball())], teacher=ThresholdTeacher(16), channels=2, steps=20, stage1_part=0.9, **choices
    )


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Contents:
    """Tensors and record of a checkpoint from stage 2."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.raises(CancelledError):
        fine_tune(the_setup(), folder, Monitor(should_stop=StopAfter(STOPPED_AT)))
    tensors, record = load_checkpoint(folder)
    assert (record["stage"], record["round"]) == (2, 1)
    return tensors, record


@pytest.fixture(scope="module")
def state() -> TrainingState:
    """A training before its first step; what is refused may leave it half changed, and is refused all the same."""
    return prepared(the_setup())


def write(folder: Path, tensors: dict[str, Tensor], record: Any) -> None:
    text = record if isinstance(record, str) else json.dumps(record)
    save_file({name: each.contiguous() for name, each in tensors.items()}, folder / CHECKPOINT_FILE, {"record": text})


@contextmanager
def refused() -> Iterator[None]:
    began = time.monotonic()
    with pytest.raises(CheckpointError) as told:
        yield
    assert time.monotonic() - began < LONGEST_S
    assert "\n" not in str(told.value)
    assert str(told.value).endswith(".")


RECORDS: dict[str, Any] = {
    **{f"{name} {value}"[:40]: {name: value} for name in ("step", "round", "batch_size")
       for value in (-1, NAN, 10**400, 1.5, "1", None, [], True, 10**12)},
    **{f"{name} {value}"[:40]: {name: value} for name in ("elapsed_s", "teacher_s", "stage2_began_s")
       for value in (-1, NAN, float("inf"), "1", [], 1e300)},
    **{f"stage {value}": {"stage": value} for value in (0, 3, "1", None, 1.0, True)},
    **{f"has_begun {value}": {"has_begun": value} for value in (1, "yes", None)},
    **{f"curve {value}": {"curve": value} for value in (
        None, [], {"points": 3}, {"points": [[]]}, {"count": -1}, {"count": NAN}, {"sums": {"a": "b"}},
        {"points": [{"step": NAN}]}, {"new": 1})},
    **{f"notes {value}": {"notes": value} for value in (None, "x", [1], {"a": 1})},
    **{f"held_out_dice {value}": {"held_out_dice": value} for value in ([], {"a": "b"}, {"a": NAN})},
    **{f"config {value}"[:40]: {"config": value} for value in (None, [], 5)},
    **{f"fingerprint {value}": {"fingerprint": value} for value in (None, 5, "other")},
    **{f"frame {value}": {"frame": value} for value in (None, [], {})},
    "another teacher": {"generalized_teacher": "other"}, "a field more": {"added": 1},
    "more steps than it wants": {"step": 10**9 - 1}, "a batch of 10^9": {"batch_size": 10**9},
}  # fmt: skip
TEXTS: dict[str, str] = {
    "nothing": "", "list": "[]", "number": "1", "deep": DEEP.decode(), "NaN": "NaN", "cut off": '{"step": 1',
    "5000 digits": '{"step": ' + "1" * 5000 + "}", "half a character": '{"fingerprint": "\\ud800"}',
}  # fmt: skip


def a_weight(tensors: dict[str, Tensor], prefix: str) -> str:
    return next(name for name in sorted(tensors) if name.startswith(prefix) and tensors[name].ndim > 1)


def with_number(prefix: str, number: float) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    def change(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        name = a_weight(tensors, prefix)
        broken = tensors[name].clone()
        broken.flatten()[0] = number
        return {name: broken}

    return change


def with_shape(prefix: str, *shape: int) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda tensors: {a_weight(tensors, prefix): torch.zeros(shape)}


CHANGES: dict[str, Callable[[dict[str, Tensor]], dict[str, Tensor | None]]] = {
    **{f"{prefix} {number}": with_number(prefix, number)  # type: ignore[dict-item]
       for prefix in ("student.", "specialized.", "optimizer.") for number in (NAN, float("inf"))},
    **{f"{prefix} another shape": with_shape(prefix, 3, 1) for prefix in ("student.", "specialized.", "optimizer.")},  # type: ignore[dict-item]
    "double": lambda tensors: {each: tensors[each].double() + 1e300 for each in [a_weight(tensors, "student.")]},
    "a weight less": lambda tensors: {a_weight(tensors, "student."): None},
    "a weight more": lambda _: {"student.new": torch.zeros(1)},
    "a parameter more": lambda _: {"optimizer.9999.step": torch.zeros(())},
    "a parameter of another name": lambda _: {"optimizer.x.step": torch.zeros(())},
    "another memory": lambda _: {"optimizer.0.momentum": torch.zeros(())},
    "half a memory": lambda _: {"optimizer.0.exp_avg": None},
    "no randomness": lambda _: {"random.torch": None},
    "short randomness": lambda _: {"random.torch": torch.zeros(3, dtype=torch.uint8)},
    "randomness of another type": lambda _: {"random.sampling": torch.zeros(5056)},
    "randomness of zeros": lambda _: {"random.sampling": torch.zeros(5056, dtype=torch.uint8)},
    "no reliability": lambda _: {"specialized_reliability": None},
    **{f"reliability {value}": lambda _, value=value: {"specialized_reliability": torch.tensor(value)}  # type: ignore[misc]
       for value in ([NAN, 1.0], [2.0, 1.0], [-1.0, 1.0], [1.0], 1.0)},
    "nothing found": lambda _: {"found": None},
    "found too well": lambda _: {"found": torch.tensor([0.5, 1.5])},
    **{f"near {value}": lambda tensors, value=value: {"opinions.near": torch.full_like(tensors["opinions.near"], value)}  # type: ignore[misc]
       for value in (NAN, 2.0, -1.0)},
    "no opinions": lambda _: {"opinions.far": None},
    "opinions of another shape": lambda _: {"opinions.far": torch.zeros(3)},
    "nothing decided": lambda _: {"opinions.0.decided": torch.zeros(2, dtype=torch.bool)},
    "places far off": lambda _: {"opinions.0.places": torch.full((1, 7), 2**30, dtype=torch.int32)},
    "places as one row": lambda _: {"opinions.0.places": torch.zeros(5, dtype=torch.int32)},
    "no values": lambda _: {"opinions.0.values": torch.zeros(0, dtype=torch.uint8)},
}  # fmt: skip


class TestCheckpoints:
    @pytest.mark.parametrize("change", [pytest.param(each, id=name) for name, each in RECORDS.items()])
    def test_a_record_without_meaning_is_refused(
        self, good: Contents, state: TrainingState, tmp_path: Path, change: dict[str, Any]
    ) -> None:
        write(tmp_path, good[0], good[1] | change)
        self.is_refused_and_stays(state, tmp_path)

    @pytest.mark.parametrize("name", ["fingerprint", "config", "step", "stage", "notes", "curve", "elapsed_s"])
    def test_a_record_that_lacks_something_is_refused(
        self, good: Contents, state: TrainingState, tmp_path: Path, name: str
    ) -> None:
        write(tmp_path, good[0], {key: value for key, value in good[1].items() if key != name})
        self.is_refused_and_stays(state, tmp_path)

    @pytest.mark.parametrize("text", [pytest.param(each, id=name) for name, each in TEXTS.items()])
    def test_a_text_that_is_no_record_is_refused(
        self, good: Contents, state: TrainingState, tmp_path: Path, text: str
    ) -> None:
        write(tmp_path, good[0], text)
        self.is_refused_and_stays(state, tmp_path)

    @pytest.mark.parametrize("change", [pytest.param(each, id=name) for name, each in CHANGES.items()])
    def test_tensors_that_do_not_fit_or_are_not_finite_are_refused(
        self,
        good: Contents,
        state: TrainingState,
        tmp_path: Path,
        change: Callable[[dict[str, Tensor]], dict[str, Tensor | None]],
    ) -> None:
        tensors = good[0] | change(good[0])
        write(tmp_path, {name: each for name, each in tensors.items() if each is not None}, good[1])
        self.is_refused_and_stays(state, tmp_path)

    @staticmethod
    def is_refused_and_stays(state: TrainingState, folder: Path) -> None:
        before = tree(folder)

        with refused():
            restore(state, folder)

        assert tree(folder) == before
        assert unfinished_in(folder) is not None  # the list of runs goes on

    @pytest.mark.parametrize("make", [pytest.param(each, id=name) for name, each in STRANGE_FILES.items()])
    def test_what_is_no_regular_file_is_not_waited_for(self, tmp_path: Path, make: Callable[[Path], None]) -> None:
        make(tmp_path / CHECKPOINT_FILE)

        with refused():
            load_checkpoint(tmp_path)
        unfinished_in(tmp_path)

    def test_the_checkpoint_that_was_changed_is_good(self, good: Contents, tmp_path: Path) -> None:
        write(tmp_path, *good)

        assert fine_tune(the_setup(), tmp_path, resume=True).card.training["steps"] == 20

    @pytest.mark.skipif(os.name != "posix", reason="Windows knows no modes")
    def test_only_its_user_may_read_it(self, tmp_path: Path) -> None:
        with pytest.raises(CancelledError):
            fine_tune(the_setup(), tmp_path, Monitor(should_stop=StopAfter(STOPPED_AT)))

        assert oct((tmp_path / CHECKPOINT_FILE).stat().st_mode & 0o777) == "0o600"

    @pytest.mark.parametrize("count", [40, pytest.param(10_000, marks=pytest.mark.soak)])
    def test_mutated_records_resume_or_are_refused(
        self, tell: Callable[[str], None], good: Contents, state: TrainingState, tmp_path: Path, count: int
    ) -> None:
        tensors, record = good
        value = strategies.none() | strategies.booleans() | strategies.integers() | strategies.floats()
        value |= strategies.text(max_size=4) | strategies.lists(strategies.integers(), max_size=3)

        def resume(changed: tuple[str, Any]) -> None:
            write(tmp_path, tensors, record | dict([changed]))
            restore(state, tmp_path)
            assert 0 <= state.step <= 20

        inputs = strategies.tuples(strategies.sampled_from(sorted(record)), value)
        tell(f"mutated records of checkpoints: {counted(count, inputs, resume, CheckpointError)}")

    @pytest.mark.parametrize("count", [20, pytest.param(10_000, marks=pytest.mark.soak)])
    def test_mutated_files_resume_or_are_refused(
        self, tell: Callable[[str], None], good: Contents, state: TrainingState, tmp_path: Path, count: int
    ) -> None:
        write(tmp_path, *good)
        path = tmp_path / CHECKPOINT_FILE

        def resume(content: bytes) -> None:
            path.write_bytes(content)
            restore(state, tmp_path)

        tell(f"mutated checkpoints: {counted(count, mutated(path.read_bytes()), resume, CheckpointError)}")


class TestNotFinite:
    WILD = OptimizerConfig(learning_rate=1e30, batch_size=2)

    def wild(self, setup: FineTuneSetup) -> FineTuneSetup:
        budget = BudgetConfig(steps=50, minutes=None)
        return replace(setup, config=replace(setup.config, optimizer=self.WILD, budget=budget))

    def test_a_training_that_diverges_ends_with_a_sentence_and_makes_no_model(self, tmp_path: Path) -> None:
        sentence = r"^Training went wrong after \d+ steps: .* is no finite number any more\. What was saved before"

        with pytest.raises(NotFiniteError, match=sentence):
            fine_tune(self.wild(the_setup()), tmp_path)

        assert {each.name for each in tmp_path.iterdir()} <= {CHECKPOINT_FILE}

    def test_the_last_good_checkpoint_stays(self, good: Contents, tmp_path: Path) -> None:
        write(tmp_path, *good)
        before = tree(tmp_path)

        with pytest.raises(NotFiniteError):
            fine_tune(self.wild(the_setup()), tmp_path, resume=True)

        assert tree(tmp_path) == before
        assert fine_tune(the_setup(), tmp_path, resume=True).card.training["steps"] == 20

    def test_a_base_that_is_not_finite_is_no_start(self, tmp_path: Path) -> None:
        base = fine_tune(the_setup(), tmp_path / "base")
        weights = {name: torch.full_like(each, NAN) for name, each in base.student.state_dict().items()}
        base.student.load_state_dict(weights)

        with pytest.raises(NotFiniteError, match=r"Training went wrong after 0 steps"):
            fine_tune(replace(the_setup(), base=Model(base.card, base.student)), tmp_path / "model")

        assert not (tmp_path / "model" / CHECKPOINT_FILE).exists()
