"""A base model as a start: the right weights for the right structures, and a student that thaws part by part."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from given import a_setup, annotated_in, begun_state

from uncol.core.config import Config, StudentConfig
from uncol.core.jobs import Structure
from uncol.core.model_card import ModelCard
from uncol.core.volume import Volume
from uncol.data.cases import LabeledCase
from uncol.evaluation.metrics import dice
from uncol.inference.student import segment_with_model
from uncol.models.build import build_student
from uncol.models.card import Model
from uncol.models.parts import part_of
from uncol.training.state import TrainingState
from uncol.training.train import fine_tune, learn
from uncol.training.warm_start import carry_over, share_of_rate

LIVER, SPLEEN, KIDNEY, AORTA = (Structure(value, name) for value, name in zip((5, 1, 2, 9), "lska", strict=True))
KINDS = [("unet", 2), ("unet", 3), ("paper-small", 2), ("paper-small", 3)]


@pytest.mark.parametrize(
    ("part", "fraction", "expected"),
    [
        ("head", 0.0, 1.0),
        ("decoder", 0.05, 0.0),
        ("decoder", 0.075, 0.078125),  # x = 1/4: 0.5 (3/16 - 2/64)
        ("decoder", 0.1, 0.25),
        ("decoder", 0.15, 0.5),
        ("encoder", 0.15, 0.0),
        ("encoder", 0.225, 0.2109375),  # x = 3/4: 0.25 (27/16 - 54/64)
        ("encoder", 1.0, 0.25),
    ],
)
def test_the_head_learns_first_then_the_decoder_then_the_encoder(part, fraction: float, expected: float) -> None:
    assert share_of_rate(part, fraction, keeps=True) == pytest.approx(expected)


def test_where_there_is_nothing_to_forget_every_part_comes_to_the_whole_rate() -> None:
    assert share_of_rate("decoder", 0.1, keeps=False) == pytest.approx(0.5)
    assert share_of_rate("encoder", 0.15, keeps=False) == 0.0
    assert share_of_rate("encoder", 0.25, keeps=False) == share_of_rate("head", 0.0, keeps=False) == 1.0


def card_of(kind: str, dims: int, structures: tuple[Structure, ...]) -> ModelCard:
    config = Config(student=StudentConfig(kind=kind, dims=dims, channels=(4, 4, 8, 8, 8)))
    return ModelCard(structures, "axial", 1.0, 1.0, (0, 1), config)


def a_model(kind: str, dims: int, structures: tuple[Structure, ...], seed: int) -> Model:
    torch.manual_seed(seed)
    card = card_of(kind, dims, structures)
    student = build_student(card)
    for each in student.parameters():  # norms begin with ones, which would hide a mistake
        each.data += 0.3 * torch.randn_like(each)
    return Model(card, student.eval())


def logits(model: Model) -> torch.Tensor:
    dims = model.card.config.student.dims
    sides, channels = ((1, 7, 32, 48) if dims == 2 else (1, 1, 16, 32, 32)), 1
    with torch.no_grad():
        return model.student(torch.rand(sides, generator=torch.Generator().manual_seed(channels)))


@pytest.mark.parametrize(("kind", "dims"), KINDS)
def test_what_both_know_is_scored_as_before_and_what_is_new_by_weights_of_its_own(kind: str, dims: int) -> None:
    base = a_model(kind, dims, (LIVER, SPLEEN), 0)
    student = a_model(kind, dims, (KIDNEY, SPLEEN, AORTA, LIVER), 1)

    carry_over(base, student.student, student.card)

    before, after = logits(base)[0], logits(student)[0]
    torch.testing.assert_close(after[[0, 4, 2]], before, rtol=1e-4, atol=1e-4)
    for new in (1, 3):
        assert all((after[new] - each).abs().max() > 0.1 for each in before)
    assert (after[1] - after[3]).abs().max() > 0.1


@pytest.mark.parametrize(("kind", "dims"), KINDS)
def test_as_many_structures_in_another_order_get_their_own_channels(kind: str, dims: int) -> None:
    base, student = a_model(kind, dims, (LIVER, SPLEEN), 0), a_model(kind, dims, (SPLEEN, LIVER), 1)

    carry_over(base, student.student, student.card)

    torch.testing.assert_close(logits(student)[0, [0, 2, 1]], logits(base)[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("kind", "dims"), [each for each in KINDS if each != ("unet", 3)])  # there classes are inputs
def test_a_structure_that_is_not_wanted_any_more_goes_and_the_others_stay(kind: str, dims: int) -> None:
    base, student = a_model(kind, dims, (LIVER, SPLEEN), 0), a_model(kind, dims, (SPLEEN,), 1)

    carry_over(base, student.student, student.card)

    torch.testing.assert_close(logits(student)[0], logits(base)[0, [0, 2]], rtol=1e-4, atol=1e-4)


def test_a_base_of_another_size_gives_what_fits() -> None:
    base = a_model("unet", 2, (LIVER,), 0)
    card = replace(base.card, config=Config(student=StudentConfig(channels=(4, 4, 8, 8, 16))))
    student = build_student(card)
    own = {name: each.clone() for name, each in student.state_dict().items()}

    carry_over(base, student, card)

    now, given = student.state_dict(), base.student.state_dict()
    for name, each in now.items():
        assert torch.equal(each, given[name] if given[name].shape == each.shape else own[name]), name


def ball_and_cube(seed: int) -> LabeledCase:
    """A bright ball (5) and a brighter cube (1) beside each other, and a dark ball (2) in the lower half."""
    k, j, i = np.indices((16, 32, 48))
    labels = np.zeros(k.shape, dtype=np.uint8)
    labels[((k - 9) * 2) ** 2 + (j - 10) ** 2 + (i - 12) ** 2 < 64] = 5
    labels[(abs(k - 8) < 6) & (abs(j - 20) < 6) & (abs(i - 34) < 6)] = 1
    labels[((k - 4) * 2) ** 2 + (j - 24) ** 2 + (i - 14) ** 2 < 36] = 2
    grey = np.array([20, 170, -70, 0, 0, 100])[labels] + np.random.default_rng(seed).normal(0, 15, labels.shape)
    grid = np.diag([-1.0, -1.0, 2.0, 1.0])
    return LabeledCase(Volume(grey.astype(np.int16), grid), Volume(labels, grid))


def moved(state: TrainingState, before: dict[str, torch.Tensor]) -> set[str]:
    return {part_of(name) for name, each in state.student.named_parameters() if not torch.equal(each, before[name])}


@pytest.mark.parametrize("dims", [2, 3])
def test_only_what_is_thawed_moves(dims: int, tmp_path: Path) -> None:
    case = annotated_in(ball_and_cube(0), (2, 4, 6, 8))
    base = fine_tune(a_setup([case], structures=(LIVER,), dims=dims, steps=1), tmp_path)
    for given, expected in ((base, {"head"}), (None, {"head", "decoder", "encoder"})):
        state = begun_state(a_setup([case], structures=(LIVER, KIDNEY), dims=dims, steps=100, base=given))
        before = {name: each.clone() for name, each in state.student.named_parameters()}

        learn(state)

        assert moved(state, before) == expected
    assert len(state.optimizer.param_groups) >= 3


def test_what_the_base_knows_is_kept_while_a_structure_is_added(tmp_path: Path) -> None:
    """A part of the slices shows the new structure; the others show more of those that the base knows."""
    case = ball_and_cube(0)
    choices: dict[str, Any] = {"channels": 8, "stage1_part": 0.8}
    setup = a_setup([annotated_in(case, range(0, 16, 3))], structures=(LIVER, SPLEEN), steps=240, **choices)
    base = fine_tune(setup, tmp_path / "base")

    setup = a_setup([annotated_in(case, (2, 4, 6, 8))], structures=(LIVER, SPLEEN, KIDNEY), steps=160, **choices)
    after = scores(fine_tune(replace(setup, base=base), tmp_path / "model"), case)

    before = scores(base, case)
    assert min(before.values()) > 0.85
    assert after["l"] > before["l"] - 0.02
    assert after["s"] > before["s"] - 0.02
    assert after["k"] > 0.7


def scores(model: Model, case: LabeledCase) -> dict[str, float]:
    found = segment_with_model(case.image, model, torch.device("cpu")).labels.voxels
    return {each.name: dice(found == each.value, case.labels.voxels == each.value) for each in model.card.structures}
