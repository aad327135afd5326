"""The training loop on a tiny volume: it learns, it is repeatable, it is resumable, it keeps its budget."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from given import BALL, CPU, a_setup, annotated_in, assert_bit_equal, begun_state

from uncol.core.config import DataConfig, LossConfig
from uncol.core.jobs import Structure
from uncol.core.progress import UNWATCHED
from uncol.core.volume import UNKNOWN_LABEL, Volume
from uncol.data.cases import FramedCase, LabeledCase, SliceIndex
from uncol.data.slice_dataset import SliceDataset
from uncol.inference.student import segment_with_model
from uncol.models.card import Model
from uncol.models.checkpoints import load_model
from uncol.training.first_pass import end_first_pass
from uncol.training.state import TrainingState
from uncol.training.train import (
    fine_tune,
    optimizer_step,
    stage1_loss,
    stage2_loss,
    start_stage2,
    total,
    train,
    within_memory,
)

ALL_BUT_ONE = (0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11)
"""Annotated slices of which one is held out: eight inner ones hold the ball, 2 to 10 without 5."""


def test_the_student_finds_a_bright_ball_between_annotated_slices(make_setup, ball: LabeledCase, tmp_path: Path):
    model = fine_tune(make_setup(steps=120), tmp_path / "model")

    found = segment_with_model(ball.image, model, CPU).labels.voxels[5] == 3
    truth = ball.labels.voxels[5] == 3
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.9


def test_the_loss_falls_within_twenty_steps(make_setup, tmp_path: Path):
    curve = fine_tune(make_setup(), tmp_path / "model").card.training["curve"]

    assert curve[-1]["supervised"] < 0.8 * curve[0]["supervised"]
    assert [each["stage"] for each in curve] == sorted(each["stage"] for each in curve)
    assert curve[-1]["stage"] == 2


def test_the_same_seed_gives_the_same_model_bit_for_bit_and_another_seed_does_not(make_setup, tmp_path: Path):
    first, second = (fine_tune(make_setup(), tmp_path / name) for name in ("first", "second"))
    other = fine_tune(make_setup(seed=1), tmp_path / "other")

    assert_bit_equal(first, second)
    assert any(
        not torch.equal(tensor, other.student.state_dict()[name]) for name, tensor in first.student.state_dict().items()
    )


def test_what_stands_under_unknown_has_no_influence(make_setup, ball: LabeledCase, tmp_path: Path):
    setup = make_setup()
    wrong_elsewhere = ball.labels.voxels.copy()
    wrong_elsewhere[[1, 2, 4, 5, 7, 8, 10]] = 3
    wrong_case = annotated_in(LabeledCase(ball.image, ball.labels.with_voxels(wrong_elsewhere)))

    right = fine_tune(setup, tmp_path / "right")
    wrong = fine_tune(replace(setup, cases=[wrong_case]), tmp_path / "wrong")

    assert_bit_equal(right, wrong)


def test_the_learning_rate_falls_as_the_polynomial_says(make_setup, tmp_path: Path):
    run = begun_state(make_setup())
    rates = []
    for _ in range(3):
        optimizer_step(run, stage1_loss(run)["supervised"])
        rates.append(run.optimizer.param_groups[0]["lr"])
        run.step += 1

    # 20 steps, half of them stage 1: t/T after n steps of stage 1 is 0.5 n/10 = 0.05 n.
    start = run.config.optimizer.learning_rate
    assert rates == pytest.approx([start, start * 0.95**0.9, start * 0.90**0.9])


class FourSlicesInOrder(SliceDataset):
    """Slices a and b, annotated, and v and u, unannotated: indices 0 to 3, drawn in this order, never at random."""

    def __init__(self, stacks: Sequence[FramedCase]) -> None:
        super().__init__(stacks, class_count=4, neighbor_count=3, multiple=16)
        self._annotated, self._unannotated = iter((0, 1)), iter((2, 3))

    def draw_labeled(self, count: int, generator: torch.Generator) -> list[SliceIndex]:
        return [SliceIndex(0, next(self._annotated)) for _ in range(count)]

    def draw_unlabeled(self, count: int, generator: torch.Generator) -> list[SliceIndex]:
        return [SliceIndex(0, next(self._unannotated)) for _ in range(count)]


class KnowsFourSlices(torch.nn.Module):
    """A network with given class probabilities for each of four slices, wherever a voxel shows one of them.

    Slices 0 and 1 are bright, 2 and 3 dark, so that 3, 2, 1 and 0 of a voxel and its two neighbors are bright.
    """

    def __init__(self, probabilities: list[list[float]]) -> None:
        super().__init__()
        self.logits = torch.tensor(probabilities).log()
        self.received = torch.empty(0)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.received = 3 - (image > 0.5).sum(1)
        return self.logits[self.received].movedim(-1, 1)


CERTAIN = [
    [0.001, 0.997, 0.001, 0.001],
    [0.001, 0.001, 0.997, 0.001],
    [0.001, 0.001, 0.001, 0.997],
    [0.997, 0.001, 0.001, 0.001],
]
"""Class 1 in slice a, 2 in b, 3 in v and 0 in u."""


def run_over_four_slices(folder: Path, student: KnowsFourSlices, **losses: Any) -> TrainingState:
    """A run whose slices show one class each: a and b are annotated with 1 and 2, the teacher finds 3 in v and 0 in u.

    Wherever a slice is moved, one class and one grey value are everywhere in it; what comes in from outside is unknown.
    """
    voxels = np.zeros((4, 16, 32))
    voxels[:2] = 1
    labels = np.full((4, 16, 32), UNKNOWN_LABEL, dtype=np.uint8)
    labels[0], labels[1] = 1, 2
    setup = a_setup(
        [LabeledCase(Volume(voxels.astype(np.float32), np.eye(4)), Volume(labels, np.eye(4)))],
        structures=(Structure(1, "one"), Structure(2, "two"), Structure(3, "three")),
        batch_size=1,
        method="uncol-without-generalized",
        data=DataConfig(window=(0.0, 1.0), neighbor_count=3),
        losses=LossConfig(**losses),
    )
    run = begun_state(setup)
    run.sampler.pool, run.student = FourSlicesInOrder(run.framed), student
    run.specialized_teacher = KnowsFourSlices(CERTAIN)
    run.step = 10  # stage 1 ends, and with it the weights of rare classes
    return run


def assert_mixed(received: torch.Tensor, outside: int, inside: int) -> None:
    """One slice everywhere except in one box of two thirds of both sides (10 of 16, 21 of 32), which shows another."""
    box = received == inside
    assert (box.any(1).sum(), box.any(0).sum(), box.sum()) == (10, 21, 210)
    assert (received[~box] == outside).all()


def test_stage_2_is_half_the_losses_of_both_mixed_slices_pseudo_labels_halved(tmp_path: Path):
    # The student gives label 1 of a the probability 1/2, 2 of b 1/3, 3 of v 1/4 and 0 of u 1/5.
    student = KnowsFourSlices(
        [
            [1 / 4, 1 / 2, 1 / 8, 1 / 8],
            [1 / 2, 1 / 12, 1 / 3, 1 / 12],
            [1 / 2, 1 / 8, 1 / 8, 1 / 4],
            [1 / 5, 3 / 5, 1 / 10, 1 / 10],
        ]
    )
    run = run_over_four_slices(tmp_path, student, copy_paste_probability=(0.0, 1.0))
    start_stage2(run)

    losses = stage2_loss(run)

    # x_l = a M + u (1 - M) and x_u = v M + b (1 - M) with the same M.
    mixed_labeled, mixed_unlabeled = student.received
    assert_mixed(mixed_labeled, outside=0, inside=3)
    assert_mixed(mixed_unlabeled, outside=2, inside=1)
    assert torch.equal(mixed_labeled == 3, mixed_unlabeled == 1)
    # A class that fills its region, with probability p everywhere, has Dice 2 p / (p + 1) and cross-entropy -ln p.
    loss_a, loss_b = (1 - 2 / 3) + math.log(2), (1 - 1 / 2) + math.log(3)
    loss_v, loss_u = (1 - 2 / 5) + math.log(4), (1 - 1 / 3) + math.log(5)
    assert float(losses["supervised"]) == pytest.approx(1 / 2 * (loss_a + loss_b))
    assert float(losses["pseudo_label"]) == pytest.approx(1 / 2 * (loss_u + loss_v))
    assert float(total(run, losses)) == pytest.approx(1 / 2 * (loss_a + 0.5 * loss_u) + 1 / 2 * (0.5 * loss_v + loss_b))


def test_stage_2_without_copy_paste_is_half_the_losses_of_one_slice_of_each_kind(tmp_path: Path):
    student = KnowsFourSlices([[1 / 4, 1 / 2, 1 / 8, 1 / 8], [1 / 4] * 4, [1 / 2, 1 / 8, 1 / 8, 1 / 4], [1 / 4] * 4])
    run = run_over_four_slices(tmp_path, student, copy_paste_probability=(1.0, 0.0))
    start_stage2(run)

    losses = stage2_loss(run)

    assert [each.unique().tolist() for each in student.received] == [[0], [2]]  # a and v, whole
    loss_a, loss_v = (1 - 2 / 3) + math.log(2), (1 - 2 / 5) + math.log(4)
    assert float(total(run, losses)) == pytest.approx(1 / 2 * (1.0 * loss_a + 0.5 * loss_v))


def test_in_stage_1_labels_are_mixed_exactly_as_images_are(tmp_path: Path):
    student = KnowsFourSlices(CERTAIN)
    run = run_over_four_slices(tmp_path, student, copy_paste_probability=(1.0, 0.0))

    loss = stage1_loss(run)["supervised"]

    assert_mixed(student.received[0], outside=0, inside=1)  # x = a M + b (1 - M)
    # The student is right wherever y = y_a M + y_b (1 - M). One voxel of 512 with the other slice's label would cost
    # -ln(0.001) / 512 = 0.0135.
    assert float(loss) < 0.01


@pytest.mark.parametrize("method", ["uncol-without-generalized", "supervised", "mean-teacher"])
def test_rare_classes_count_more_until_they_are_found_but_not_in_a_stage_2_after_a_stage_1(make_setup, method: str):
    setup = make_setup()
    run = begun_state(replace(setup, config=replace(setup.config, method=method)))
    run.rarity = torch.tensor([1.0, 9.0])
    assert run.class_weights.tolist() == [1, 9]
    labels = torch.tensor([[[1, 1, 0, UNKNOWN_LABEL]]], dtype=torch.uint8)
    half = torch.tensor([[[[0.0, 1, 1, 0]], [[1.0, 0, 0, 1]]]])  # background, ball at the first pixel and the unknown

    for _ in range(50):  # Dice of the ball 2 * 1 / (1 + 2), of background 2 * 1 / (2 + 1); 0.8^50 of nothing is left
        run.note_found(half, labels)

    torch.testing.assert_close(run.found, torch.tensor([2 / 3, 2 / 3]), rtol=1e-4, atol=0)
    torch.testing.assert_close(run.class_weights, torch.tensor([1.0, 9 ** (1 / 3)]), rtol=1e-4, atol=0)
    run.stage = 2
    assert (run.class_weights.tolist() == [1, 1]) == (method != "mean-teacher")


def test_a_class_that_is_not_shown_is_found_as_well_as_before(make_setup):
    run = begun_state(make_setup())
    background = torch.zeros(1, 1, 4, dtype=torch.uint8)

    run.note_found(torch.tensor([[[[1.0, 1, 1, 1]], [[0.0, 0, 0, 0]]]]), background)

    torch.testing.assert_close(run.found, torch.tensor([0.2, 0.0]))


@pytest.mark.parametrize("method", ["uncol-without-generalized", "mean-teacher", "bcp"])
def test_a_training_finds_out_what_it_finds(make_setup, tmp_path: Path, method: str):
    setup = make_setup(steps=40)
    run = train(replace(setup, config=replace(setup.config, method=method)), tmp_path)

    assert run.found.min() > 0.3


def test_slices_are_turned_as_far_as_the_configuration_says(make_setup, tmp_path: Path):
    setup = make_setup()
    largest = {}
    for rotation_deg in (0.0, 90.0):
        config = replace(setup.config, data=replace(setup.config.data, rotation_deg=rotation_deg))
        run = begun_state(replace(setup, config=config))
        largest[rotation_deg] = float(run.sampler.affine(50).matrices[:, 0, 1].abs().max())

    assert largest[0.0] == 0
    assert largest[90.0] > 0.5  # its sine, times scale and sides


def test_volumes_of_thick_slices_are_turned_without_shear(make_setup, tmp_path: Path):
    setup = make_setup()
    config = replace(
        setup.config,
        method="supervised",
        student=replace(setup.config.student, dims=3),
        data=replace(setup.config.data, patch_vox=(16, 32, 48), mirror=True),
    )
    run = begun_state(replace(setup, config=config))

    matrices = run.sampler.affine(50).matrices[:, :, :3]

    # 48 columns and 32 rows of 1 mm, 16 slices of 3 mm; a rotation scales every direction in mm alike.
    extent_mm = torch.tensor([48.0, 32.0, 48.0])
    scales = torch.linalg.svdvals(matrices * extent_mm[:, None] / extent_mm[None, :])
    assert (run.card.slice_mm, run.card.pixel_mm) == (3, 1)
    assert float(matrices[:, 2, 1].abs().max()) > 0.1  # some are turned out of their slices
    torch.testing.assert_close(scales, scales[:, :1].expand(-1, 3))


def test_one_inner_annotated_slice_is_held_out_of_the_first_pass_alone(make_setup, tmp_path: Path):
    run = begun_state(make_setup(slices=ALL_BUT_ONE))
    first = {each.index for each in run.pool.draw_labeled(200, run.sampler.generator)}
    end_first_pass(run, UNWATCHED)
    second = {each.index for each in run.pool.draw_labeled(200, run.sampler.generator)}

    assert first == {*ALL_BUT_ONE} - {3}
    assert second == {*ALL_BUT_ONE}


def test_the_specialized_teachers_reliability_is_its_dice_on_the_held_out_slice(make_setup, tmp_path: Path):
    run = begun_state(make_setup(slices=ALL_BUT_ONE))
    (held_out,) = run.pool.held_out
    found = run.specialized_probabilities([held_out]).argmax(1)[0] == 1
    target = run.pool.targets([held_out])[0]
    found, truth = found & (target != UNKNOWN_LABEL), target == 1  # padding is unknown
    end_first_pass(run, UNWATCHED)

    expected = 2 * float((found & truth).sum()) / float(found.sum() + truth.sum())
    assert float(run.specialized_reliability[1]) == pytest.approx(expected)
    assert run.held_out_dice == {"ball": pytest.approx(expected, abs=5e-4)}


def test_what_seems_to_go_on_where_the_image_is_padded_is_no_mistake(make_setup, tmp_path: Path):
    setup = make_setup(slices=ALL_BUT_ONE)
    image, labels = setup.cases[0].image, setup.cases[0].labels
    rows = np.s_[:, :25]  # the ball ends at the last of 25 rows, which are padded to 32
    cut = LabeledCase(*(Volume(each.voxels[rows], each.ijk_to_ras) for each in (image, labels)))
    run = begun_state(replace(setup, cases=[cut]))
    (held_out,) = run.pool.held_out
    truth = run.pool.targets([held_out])
    everywhere = torch.where(truth == 1, 9.0, -9.0)
    everywhere[truth == UNKNOWN_LABEL] = 9.0

    class FindsTheBall(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.stack([-everywhere, everywhere], 1)

    run.specialized_teacher = FindsTheBall()
    end_first_pass(run, UNWATCHED)

    assert (truth == UNKNOWN_LABEL).any()
    assert run.held_out_dice == {"ball": 1.0}


def test_where_nothing_was_held_out_no_dice_is_told(make_setup, tmp_path: Path):
    model = fine_tune(make_setup(with_teacher=True), tmp_path / "model")

    assert model.card.training["specialized_reliability"]["ball"] > 0  # that of the other teacher
    assert model.card.training["held_out_dice"] == {}


@pytest.mark.slow
def test_a_time_budget_is_kept_to_within_ten_percent(make_setup, tmp_path: Path):
    started = time.monotonic()
    fine_tune(make_setup(steps=None, minutes=0.2), tmp_path / "model")

    assert time.monotonic() - started == pytest.approx(12, rel=0.1)


def test_the_saved_model_is_the_returned_one_and_tells_its_story(make_setup, tmp_path: Path):
    returned = fine_tune(make_setup(), tmp_path / "model")
    loaded = load_model(tmp_path / "model")

    assert_bit_equal(returned, loaded)
    assert loaded.card.structures == (BALL,)
    assert loaded.card.is_connected == (True,)
    assert loaded.card.training["steps"] == 20
    assert loaded.card.training["annotated_slices"] == [5]
    assert loaded.card.training["generalized_teacher"] is None


def test_a_base_model_is_where_the_student_starts(make_setup, tmp_path: Path):
    base = fine_tune(make_setup(), tmp_path / "base")

    run = begun_state(replace(make_setup(), base=base))

    assert_bit_equal(base, Model(run.card, run.student))


def test_full_memory_halves_the_batch_and_says_so(make_setup, tmp_path: Path):
    run = begun_state(make_setup())
    tried: list[int] = []

    def step_that_needs_room(run: TrainingState) -> None:
        tried.append(run.batch_size)
        if run.batch_size > 1:
            message = "CUDA out of memory."
            raise torch.OutOfMemoryError(message)

    within_memory(run, step_that_needs_room)
    within_memory(run, step_that_needs_room)

    assert tried == [2, 1, 1]
    assert run.notes == ["The CPU memory is full; going on in smaller batches (1 at a time)."]


@pytest.mark.gpu
def test_training_runs_on_the_gpu(make_setup, tmp_path: Path):
    device = torch.device("cuda" if torch.cuda.is_available() else "mps")
    model = fine_tune(replace(make_setup(steps=30), device=device), tmp_path / "model")

    assert model.card.training["device"] == device.type
