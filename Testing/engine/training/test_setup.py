"""What a training starts with: the frame of the cases, and what each ablation changes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from doubles import SeeingTeacher
from given import a_setup, begun_state, prompt_now
from torch import Tensor, nn

from uncol.core.config import Config, DataConfig
from uncol.core.errors import ConfigError, DataError
from uncol.core.jobs import Structure
from uncol.core.methods import ABLATIONS, RELEASED
from uncol.core.model_card import ModelCard
from uncol.core.volume import UNKNOWN_LABEL, Volume, view_slices
from uncol.data.cases import LabeledCase, SliceIndex
from uncol.data.patch_dataset import PatchDataset
from uncol.data.slice_dataset import SliceDataset
from uncol.data.windows import own_window
from uncol.inference.student import SliceInputs
from uncol.models.build import build_student
from uncol.models.card import Model
from uncol.training.distillation import distillation_loss
from uncol.training.losses import annotated_loss
from uncol.training.record import model_of
from uncol.training.setup import card_for, frame_cases
from uncol.training.state import FineTuneSetup, TrainingState
from uncol.training.train import fused_pseudo_labels, learn, start_stage2

BALL = Structure(1, "ball")


def setup_of(spacing_ijk: tuple[float, float, float], voxel_mm: float | None = None, **choices: Any) -> FineTuneSetup:
    """One annotated case of 6 slices of 20 x 30 voxels."""
    labels = np.zeros((6, 20, 30), dtype=np.uint8)
    labels[2:4, 8:12, 10:20] = 1
    ijk_to_ras = np.diag([-spacing_ijk[0], -spacing_ijk[1], spacing_ijk[2], 1.0])
    case = LabeledCase(Volume(labels * 100.0, ijk_to_ras), Volume(labels, ijk_to_ras))
    data = DataConfig(patch_vox=(16, 16, 32), voxel_mm=voxel_mm)
    return a_setup([case], structures=(BALL,), data=data, **choices)


@pytest.mark.parametrize(
    ("spacing_ijk", "voxel_mm", "expected"),
    [
        pytest.param((0.5, 0.5, 0.5), None, (0.5, 0.5), id="the image's own"),
        pytest.param((0.5, 0.5, 0.5), 1.25, (1.25, 1.25), id="as wanted"),
        pytest.param((0.5, 0.8, 5.0), None, (5.0, 0.5), id="thick slices stay"),
        pytest.param((0.5, 0.5, 5.0), 2.0, (5.0, 2.0), id="thick slices stay, pixels as wanted"),
    ],
)
def test_the_3d_student_sees_voxels_of_one_spacing(spacing_ijk, voxel_mm, expected: tuple[float, float]):
    card = card_for(setup_of(spacing_ijk, dims=3, voxel_mm=voxel_mm))

    assert (card.slice_mm, card.pixel_mm) == expected


RANDOM = np.random.default_rng(0)


def noisy(*tissues: float, lowest: float) -> np.ndarray:
    """Tissues at random with noise, the last one where the ball of `setup_of` is."""
    drawn = RANDOM.choice(tissues, size=(6, 20, 30))
    drawn[2:4, 8:12, 10:20] = tissues[-1]
    return (drawn + RANDOM.normal(0, 10, drawn.shape)).clip(lowest).astype(np.float32)


CT, PIECE_OF_CT = noisy(-1000, -100, 60, lowest=-1024), noisy(-100, 60, lowest=-1024)
DARK_MR, BRIGHT_MR = noisy(20, 300, 500, lowest=0), noisy(200, 3000, 5000, lowest=0)


def images_setup(*images: np.ndarray, unlabeled: Sequence[np.ndarray] = (), **choices: Any) -> FineTuneSetup:
    """Cases with these grey values, all with a ball in the middle."""
    (case,) = setup_of((1.0, 1.0, 2.0)).cases
    cases = [LabeledCase(case.image.with_voxels(each), case.labels) for each in images]
    others = [case.image.with_voxels(each) for each in unlabeled]
    return replace(setup_of((1.0, 1.0, 2.0), **choices), cases=cases, unlabeled=others)


def with_window(setup: FineTuneSetup, window: tuple[float, float]) -> FineTuneSetup:
    return replace(setup, config=replace(setup.config, data=replace(setup.config.data, window=window)))


def windows(setup: FineTuneSetup) -> list[tuple[float, float]]:
    return [each.window for each in frame_cases(setup, card_for(setup))[0]]


def test_the_window_is_that_of_the_structures_to_be_learned_alone():
    ball_and_bone = np.zeros((6, 20, 30), dtype=np.uint8)
    ball_and_bone[2:4, 8:12, 10:20], ball_and_bone[4:, 8:12, 10:20] = 1, 2
    hu = np.where(ball_and_bone > 0, np.array([0, 100, 1500])[ball_and_bone], CT)
    case = LabeledCase(Volume(hu, np.eye(4)), Volume(ball_and_bone, np.eye(4)))
    setup = replace(setup_of((1.0, 1.0, 2.0)), cases=[case])

    assert card_for(setup).window == (-160, 240)
    assert card_for(replace(setup, structures=(Structure(2, "bone"),))).window == (-160, 1500)


@pytest.mark.parametrize("dims", [2, 3])
def test_every_image_without_hounsfield_units_is_scaled_by_itself(dims: int):
    setup = images_setup(DARK_MR, BRIGHT_MR, unlabeled=[DARK_MR * 4], dims=dims)
    dark, bright, unlabeled = frame_cases(setup, card_for(setup))[0]

    assert card_for(setup).grey_values == "arbitrary"
    assert (
        (dark.window, bright.window)
        == (own_window(DARK_MR), own_window(BRIGHT_MR))
        == (windows(setup)[0], windows(setup)[1])
    )
    assert card_for(setup).window == dark.window
    torch.testing.assert_close(unlabeled.images, dark.images)


def test_every_ct_and_every_image_under_a_window_that_is_named_is_scaled_alike():
    assert windows(images_setup(CT, CT + 20, unlabeled=[CT])) == [(-160, 240)] * 3
    assert windows(with_window(images_setup(DARK_MR, BRIGHT_MR), (0, 900))) == [(0, 900)] * 2


@pytest.mark.parametrize(
    ("setup", "expected"),
    [
        pytest.param(images_setup(CT), "hounsfield", id="CT"),
        pytest.param(images_setup(CT, PIECE_OF_CT, unlabeled=[PIECE_OF_CT]), "hounsfield", id="CT and pieces of CT"),
        pytest.param(images_setup(PIECE_OF_CT, CT), "hounsfield", id="a piece of a CT first"),
        pytest.param(images_setup(PIECE_OF_CT), "arbitrary", id="a piece of a CT alone"),
        pytest.param(images_setup(DARK_MR), "arbitrary", id="MR"),
        pytest.param(with_window(images_setup(DARK_MR), (-160, 240)), "arbitrary", id="MR in a window of CT"),
    ],
)
def test_the_card_tells_whether_the_images_were_ct(setup: FineTuneSetup, expected: str):
    card = card_for(setup)

    assert card.grey_values == expected
    if expected == "hounsfield":
        assert card.window == (-160, 240)


@pytest.mark.parametrize(
    ("setup", "which"),
    [
        pytest.param(images_setup(DARK_MR, CT), "of case 2 are Hounsfield units (CT), those of case 1", id="cases"),
        pytest.param(
            images_setup(CT, unlabeled=[CT, DARK_MR]),
            "of case 1 are Hounsfield units (CT), those of unlabeled image 2",
            id="unlabeled",
        ),
    ],
)
def test_ct_and_images_without_hounsfield_units_are_not_mixed_unless_a_window_is_named(
    setup: FineTuneSetup, which: str
):
    with pytest.raises(DataError, match=re.escape(which) + r" are not, so that no scale serves both\. Train one model"):
        card_for(setup)

    assert card_for(with_window(setup, (-160, 240))).window == (-160, 240)


@pytest.mark.parametrize(
    ("base", "now", "grey_values", "is_told"),
    [
        pytest.param(CT, CT, "hounsfield", False, id="CT from CT"),
        pytest.param(CT, PIECE_OF_CT, "hounsfield", False, id="a piece from CT"),
        pytest.param(DARK_MR, BRIGHT_MR, "arbitrary", False, id="MR from MR"),
        pytest.param(CT, DARK_MR, "arbitrary", True, id="MR from CT"),
        pytest.param(DARK_MR, CT, "hounsfield", True, id="CT from MR"),
    ],
)
def test_a_base_model_of_other_images_is_noted_and_does_not_scale_these(
    base: np.ndarray, now: np.ndarray, grey_values: str, is_told: bool
):
    setup = images_setup(now, base=base_from(images_setup(base)))

    state = begun_state(setup)

    assert state.card.grey_values == grey_values
    assert windows(setup) == [own_window(now) if grey_values == "arbitrary" else (-160, 240)]
    assert ["The base model learned from" in each for each in state.notes] == [True] * is_told


def test_slices_are_drawn_for_a_2d_student_and_patches_for_a_3d_one():
    for dims, kind in ((2, SliceDataset), (3, PatchDataset)):
        setup = setup_of((1.0, 1.0, 2.0), dims=dims)

        assert isinstance(frame_cases(setup, card_for(setup))[1], kind)


def test_a_coarser_student_halves_every_side():
    setup = setup_of((1.0, 1.0, 1.0), dims=3, voxel_mm=2.0)

    stacks, _ = frame_cases(setup, card_for(setup))

    assert stacks[0].images.shape == (3, 10, 15)
    assert stacks[0].labels[1].sum() == 2 * 5  # slices 2 and 3, rows 8 to 12, columns 10 to 20, halved


def base_from(setup: FineTuneSetup) -> Model:
    """The model that a run would begin with."""
    card: ModelCard = card_for(setup)
    return Model(card, build_student(card))


@pytest.mark.parametrize("dims", [2, 3])
def test_a_student_is_used_in_the_plane_in_which_it_was_trained_not_its_base(dims: int):
    base = base_from(setup_of((0.5, 0.8, 3.0), dims=dims))
    setup = setup_of((0.5, 0.8, 3.0), dims=dims, plane="sagittal", base=base)

    card = card_for(setup)

    assert card.plane == frame_cases(setup, card)[0][0].view.plane == "sagittal"
    # Lengths and grey values stay: the base's weights know things of that size.
    assert (card.pixel_mm, card.slice_mm, card.window) == (0.5, 3.0, base.card.window)


def test_a_2d_student_sees_what_it_learned_from_in_a_plane_other_than_its_bases():
    setup = setup_of((0.5, 0.8, 3.0), plane="sagittal", base=base_from(setup_of((0.5, 0.8, 3.0))))
    card, image = card_for(setup), setup.cases[0].image
    pool = frame_cases(setup, card)[1]

    learned = pool.inputs([SliceIndex(0, index) for index in range(30)])
    seen = SliceInputs(image, view_slices(image, card.plane), card).of(range(30))

    # 6 rows of 3 mm and 20 columns of 0.8 mm in pixels of 0.5 mm
    assert seen.shape == (30, 7, 36, 32)
    torch.testing.assert_close(learned[..., :36, :32], seen)


def test_a_base_model_of_other_dimensions_is_refused():
    base = base_from(setup_of((1.0, 1.0, 1.0)))

    with pytest.raises(ConfigError, match=r"The base model's student is 2D, this run's is 3D\. Choose another base"):
        card_for(setup_of((1.0, 1.0, 1.0), dims=3, base=base))


def test_an_unknown_ablation_is_refused_with_the_known_ones():
    with pytest.raises(
        ConfigError, match=r'There is no ablation "no-magic"\. Choose from corrected, released, frozen-'
    ):
        Config(ablations=("frozen-ema", "no-magic"))


def test_a_configuration_is_the_corrected_method_unless_it_names_ablations():
    assert Config().ablations == Config(ablations=("corrected",)).ablations == ()


def test_a_preset_stands_for_all_of_its_ablations():
    released = Config.from_document({"ablations": ["frozen-ema", "released"]})

    assert released.ablations == RELEASED
    assert Config.from_document(released.as_document()) == released


def test_the_released_preset_knows_only_ablations_that_exist():
    assert set(RELEASED) <= set(ABLATIONS)


ROWS, COLUMNS = 16, 32
FAR = SliceIndex(0, 6)
"""An unannotated slice, further from the annotated ones (0 and 2) than they are from each other."""
ELSEWHERE = SliceIndex(1, 0)
"""A slice of a case without annotated slices."""


class Says(nn.Module):
    """A network that gives the structure the same probability everywhere."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.logits = torch.tensor([1 - probability, probability]).log()

    def forward(self, images: Tensor) -> Tensor:
        return self.logits[:, None, None].expand(len(images), 2, *images.shape[2:])


def begin(*ablations: str) -> TrainingState:
    """A run of 8 steps, half of them stage 1, over bright slices that a bright structure fills; two are annotated."""
    bright = Volume(np.ones((8, ROWS, COLUMNS), dtype=np.float32), np.diag([-1.0, -1.0, 2.0, 1.0]))
    labels = np.full(bright.voxels.shape, UNKNOWN_LABEL, dtype=np.uint8)
    labels[[0, 2]] = 1
    setup = a_setup(
        [LabeledCase(bright, bright.with_voxels(labels))],
        unlabeled=[bright],
        structures=(Structure(1, "structure"),),
        teacher=SeeingTeacher(COLUMNS, probability=0.8),
        kind="paper-small",
        steps=8,
        method="uncol-paper",
        data=DataConfig(window=(0.0, 1.0), neighbor_count=1),
        ablations=ablations,
    )
    return begun_state(setup)


def enter_stage2(run: TrainingState, specialized: float, reliability: float = 1.0) -> None:
    """Begin stage 2 with a specialized teacher that gives the structure one probability, and ask the other one."""
    run.step, run.specialized_teacher = 4, Says(specialized)
    start_stage2(run)
    run.specialized_reliability = torch.tensor([1.0, reliability])
    prompt_now(run)


def label_far_from_annotated_slices(run: TrainingState) -> int:
    labels = fused_pseudo_labels(run, [FAR]).unique().tolist()
    assert len(labels) == 1  # everything is the same everywhere
    return labels[0]


def the_student_is_the_result(run: TrainingState) -> bool:
    return model_of(run).student is run.student


def label_by_the_generalized_teacher_alone(run: TrainingState) -> int:
    """What it says with (0.2, 0.8), 0.722 bit; the gate lets pass 0.752 when stage 2 begins."""
    enter_stage2(run, specialized=0.5)
    return label_far_from_annotated_slices(run)


def rate_when_stage_2_begins(run: TrainingState) -> float:
    enter_stage2(run, specialized=0.5)
    learn(run)
    return run.optimizer.param_groups[0]["lr"]


def loss_of_four_known_heads(run: TrainingState) -> float:
    """The loss of stage 1 where the structure is everywhere: three heads are undecided, the Dice head is at 0 and 1."""
    heads = run.student.heads
    nn.init.zeros_(heads.weight)
    heads.bias.data = torch.tensor([0.0, 0, 0, 1, 0, 0, 0, 0])
    everywhere = torch.ones(2, ROWS, COLUMNS, dtype=torch.uint8)
    twice = run.recipe.double_softmax_dice
    image = torch.ones(2, 1, ROWS, COLUMNS)
    loss, _ = annotated_loss(run.student, image, everywhere, run.class_weights, double_softmax_dice=twice)
    return float(loss.detach())


def four_head_loss_with(probability: float) -> float:
    """The same by hand, with the Dice head's probability of the structure; its other class has Dice and IoU 0.

    Cross-entropy ln 2, Dice 2 p / (1 + p), focal (1 - 1/2)^2 ln 2, IoU 1/2.
    """
    dice = 2 * probability / (1 + probability)
    return 1 / 4 * (math.log(2) + (1 - dice / 2) + 1 / 4 * math.log(2) + (1 - 1 / 4))


def the_specialized_teacher_repeats_itself(run: TrainingState) -> bool:
    first, second = (run.specialized_probabilities([FAR]) for _ in range(2))
    return torch.equal(first, second)


def boxes_where_no_mask_shows_anything(run: TrainingState) -> list[list[float]]:
    """The questions about slices of a case without annotated ones, in which the specialized teacher sees nothing."""
    run.step, run.specialized_teacher = 4, Says(0.01)
    start_stage2(run)
    run.generalized_teacher.slices = [ELSEWHERE]
    run.setup.teacher.boxes.clear()
    prompt_now(run)
    return run.setup.teacher.boxes


def distillation_moves_the_aligner(run: TrainingState) -> bool:
    """Whether it does although what the student is told never reaches its prediction."""
    for each in run.student.attention.out.parameters():
        nn.init.zeros_(each)
    distillation_loss(run)["distillation"].backward()
    return any(each.grad is not None and bool(each.grad.any()) for each in run.helpers["aligner"].parameters())


def label_against_a_poor_teacher(run: TrainingState) -> int:
    """The specialized teacher, of Dice 0.1, is all but sure that the structure is not there; the other one hesitates.

    As far as it deserves: 0.1 * 0.99 + 0.9 / 2 = 0.549, 0.993 bit, above the gate of 0.752: the other one decides.
    Taken at its word: 0.081 bit against 0.722, weight 0.655, so that the structure has 0.345 * 0.8 + 0.655 * 0.01.
    """
    enter_stage2(run, specialized=0.01, reliability=0.1)
    return label_far_from_annotated_slices(run)


@dataclass(frozen=True)
class Effect:
    """What a run shows in the corrected method and with an ablation."""

    of: Callable[[TrainingState], object]
    corrected: object
    ablated: object


ONCE = 1 / (1 + math.exp(-1))
TWICE = 1 / (1 + math.exp(-(ONCE - (1 - ONCE))))
EFFECTS = {
    "frozen-ema": Effect(the_student_is_the_result, False, True),
    "softmax-of-probabilities": Effect(label_by_the_generalized_teacher_alone, 1, UNKNOWN_LABEL),
    "adamw-lr-0.01": Effect(rate_when_stage_2_begins, pytest.approx(4e-3 * 0.5**0.9), 0.01),
    "double-softmax-dice": Effect(
        loss_of_four_known_heads, pytest.approx(four_head_loss_with(ONCE)), pytest.approx(four_head_loss_with(TWICE))
    ),
    "teacher-train-mode": Effect(the_specialized_teacher_repeats_itself, True, False),
    "whole-image-box": Effect(boxes_where_no_mask_shows_anything, [], [[0, 0, ROWS, COLUMNS]]),
    "attached-semantic-target": Effect(distillation_moves_the_aligner, False, True),
    "equal-teachers": Effect(label_against_a_poor_teacher, 1, 0),
}


@pytest.mark.parametrize("name", ABLATIONS)
def test_an_ablation_in_the_configuration_changes_what_it_says(name: str):
    effect = EFFECTS[name]

    assert effect.of(begin()) == effect.corrected
    assert effect.of(begin(name)) == effect.ablated
