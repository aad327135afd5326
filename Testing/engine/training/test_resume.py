"""A run's networks, optimizer and randomness go through a checkpoint and come back the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from given import StopAfter, assert_bit_equal
from torch import nn

from uncol.core.errors import CancelledError, CheckpointError
from uncol.core.progress import Monitor
from uncol.data.cases import LabeledCase
from uncol.models.card import Model
from uncol.models.checkpoints import has_checkpoint, load_checkpoint, save_checkpoint
from uncol.training.resume import (
    load_modules,
    load_optimizer,
    load_random,
    module_tensors,
    optimizer_tensors,
    part_of,
    random_tensors,
)
from uncol.training.train import fine_tune

CPU = torch.device("cpu")


def network_after(steps: int) -> tuple[nn.Linear, torch.optim.Optimizer]:
    network = nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    for _ in range(steps):
        step(network, optimizer)
    return network, optimizer


def step(network: nn.Linear, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    network(torch.ones(1, 2)).square().sum().backward()
    optimizer.step()


def test_a_network_and_its_optimizer_go_on_as_if_nothing_had_happened():
    network, optimizer = network_after(3)
    live = module_tensors(student=network) | optimizer_tensors(optimizer)
    tensors = {name: tensor.clone() for name, tensor in live.items()}  # as a checkpoint does
    other, other_optimizer = network_after(1)

    load_modules(tensors, student=other)
    load_optimizer(tensors, other_optimizer)
    for each in ((network, optimizer), (other, other_optimizer)):
        step(*each)

    assert torch.equal(network.weight, other.weight)
    assert torch.equal(network.bias, other.bias)


def test_modules_keep_apart_by_their_names():
    tensors = module_tensors(student=nn.Linear(1, 1), specialized=nn.Linear(1, 1, bias=False))

    assert sorted(tensors) == ["specialized.weight", "student.bias", "student.weight"]
    assert sorted(part_of(tensors, "student.")) == ["bias", "weight"]


def test_random_numbers_go_on_where_they_were():
    generator = torch.Generator().manual_seed(5)
    state = random_tensors(generator, CPU)
    expected = torch.rand(2, generator=generator), torch.rand(2)

    other = torch.Generator()
    load_random(state, other, CPU)

    assert torch.equal(torch.rand(2, generator=other), expected[0])
    assert torch.equal(torch.rand(2), expected[1])


# It is asked whether to stop at 5 annotated slices, 10 steps of stage 1, twice 7 other slices, 10 steps of stage 2.
@pytest.mark.parametrize(
    "stop_at", [3, 9, 20, 35], ids=["at the start", "in stage 1", "while asking the foundation model", "in stage 2"]
)
def test_a_run_that_was_stopped_and_resumed_equals_one_that_was_not(make_setup, tmp_path: Path, stop_at: int):
    straight = fine_tune(make_setup(with_teacher=True), tmp_path / "straight")

    with pytest.raises(CancelledError, match=r"Add --resume to go on"):
        fine_tune(make_setup(with_teacher=True), tmp_path / "stopped", monitor=Monitor(should_stop=StopAfter(stop_at)))
    assert has_checkpoint(tmp_path / "stopped")
    resumed = fine_tune(make_setup(with_teacher=True), tmp_path / "stopped", resume=True)

    assert resumed.card.training["steps"] == 20
    assert_bit_equal(straight, resumed)
    assert not has_checkpoint(tmp_path / "stopped")


def test_resuming_with_other_labels_is_refused(make_setup, tmp_path: Path):
    with pytest.raises(CancelledError):
        fine_tune(make_setup(), tmp_path / "model", monitor=Monitor(should_stop=StopAfter(3)))
    setup = make_setup()
    changed = setup.cases[0].labels.voxels.copy()
    changed[0, 0, 0] = 3
    other = replace(setup, cases=[LabeledCase(setup.cases[0].image, setup.cases[0].labels.with_voxels(changed))])

    with pytest.raises(CheckpointError, match=r"belongs to other images, annotated slices or structures"):
        fine_tune(other, tmp_path / "model", resume=True)


@pytest.mark.parametrize(
    ("section", "name", "value", "sentence"),
    [
        ("student", "channels", (4, 4, 4, 4, 4), r"with student.channels \[8, 8, 8, 8, 8\], not \[4, 4, 4, 4, 4\]"),
        ("data", "neighbor_count", 1, r"with data.neighbor_count 7, not 1"),
    ],
)
def test_resuming_with_another_student_is_refused(
    make_setup, tmp_path: Path, section: str, name: str, value: Any, sentence: str
):
    with pytest.raises(CancelledError):
        fine_tune(make_setup(), tmp_path / "model", monitor=Monitor(should_stop=StopAfter(3)))
    setup = make_setup()
    config = replace(setup.config, **{section: replace(getattr(setup.config, section), **{name: value})})

    with pytest.raises(CheckpointError, match=sentence):
        fine_tune(replace(setup, config=config), tmp_path / "model", resume=True)


def test_resuming_without_the_base_model_is_refused(make_setup, tmp_path: Path):
    base = fine_tune(make_setup(), tmp_path / "base")
    other = Model(replace(base.card, slice_mm=5.0), base.student)
    with pytest.raises(CancelledError):
        fine_tune(replace(make_setup(), base=other), tmp_path / "model", monitor=Monitor(should_stop=StopAfter(3)))

    with pytest.raises(
        CheckpointError,
        match=r"was written with another base model, or with none\. Resume with the same",
    ):
        fine_tune(make_setup(), tmp_path / "model", resume=True)


def written_by_0_1(folder: Path) -> None:
    """Make of a checkpoint what version 0.1 would have written.

    It had one window for all cases, that of the first, and did not know how well classes are found.
    """
    tensors, record = load_checkpoint(folder)
    del record["windows"], record["is_scored"]
    save_checkpoint(folder, {name: tensor.clone() for name, tensor in tensors.items() if name != "found"}, record)


def test_a_run_of_before_goes_on_where_all_images_had_the_window_they_have_now(make_setup, tmp_path: Path):
    with pytest.raises(CancelledError):
        fine_tune(make_setup(), tmp_path / "model", monitor=Monitor(should_stop=StopAfter(3)))
    written_by_0_1(tmp_path / "model")

    assert fine_tune(make_setup(), tmp_path / "model", resume=True).card.training["steps"] == 20


def test_a_run_of_before_in_which_one_image_scaled_the_others_is_refused(make_setup, tmp_path: Path):
    setup = make_setup()
    brighter = setup.cases[0].image.with_voxels(4 * setup.cases[0].image.voxels)
    setup = replace(setup, unlabeled=[brighter])
    with pytest.raises(CancelledError):
        fine_tune(setup, tmp_path / "model", monitor=Monitor(should_stop=StopAfter(3)))
    written_by_0_1(tmp_path / "model")

    with pytest.raises(
        CheckpointError, match=r"with images scaled to other grey values, by another version or from .* "
    ):
        fine_tune(setup, tmp_path / "model", resume=True)


def test_a_new_run_does_not_overwrite_an_unfinished_one(make_setup, tmp_path: Path):
    with pytest.raises(CancelledError):
        fine_tune(make_setup(), tmp_path / "model", monitor=Monitor(should_stop=StopAfter(3)))

    with pytest.raises(CheckpointError, match=r"holds an unfinished run. Add --resume"):
        fine_tune(make_setup(), tmp_path / "model")


def test_there_is_nothing_to_resume_in_an_empty_folder(make_setup, tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"nothing to resume"):
        fine_tune(make_setup(), tmp_path / "empty", resume=True)
