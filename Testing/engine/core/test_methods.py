"""Every method by name: it is found, it learns what it may see, and its golden run is the same bit for bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from doubles import ThresholdTeacher
from given import BALL, CPU, a_ball, a_setup, annotated_in, assert_bit_equal, begun_state, prompt_now
from numpy.typing import NDArray
from torch import Tensor

from uncol.benchmark.cases import Cases
from uncol.benchmark.runs import RunSpec
from uncol.benchmark.suites import BENCHMARKS
from uncol.benchmark.trainers import train
from uncol.core.config import Config, DataConfig
from uncol.core.errors import CancelledError, CheckpointError, ConfigError
from uncol.core.methods import METHODS, MODEL_METHODS, Stage2Loss, find_method
from uncol.core.progress import UNWATCHED, Monitor
from uncol.core.volume import UNKNOWN_LABEL
from uncol.data.cases import LabeledCase
from uncol.models.checkpoints import load_checkpoint, load_model
from uncol.models.devices import autocast
from uncol.models.paper_student import PaperStudent
from uncol.training.losses import annotated_loss, four_head_loss, known_region
from uncol.training.state import FineTuneSetup, TrainingState
from uncol.training.train import (
    copy_paste_mask,
    draw_pseudo_labeled,
    fine_tune,
    fused_pseudo_labels,
    learn,
    prompt_if_due,
    start_stage2,
)

SLICES, ROWS, COLUMNS = 12, 24, 32


def ball_case(seed: int) -> LabeledCase:
    """A bright ball in noise at another place for each seed, label 3, everything annotated."""
    random = np.random.default_rng(seed)
    return a_ball(random, center_kji=(6, random.uniform(10, 14), random.uniform(12, 20)))


def setup_of(method: str, *, dims: int = 2, **choices: Any) -> FineTuneSetup:
    """Sparse slices for the 2D student; whole volumes and unlabeled ones for the 3D student."""
    return a_setup(
        [annotated_in(ball_case(0))] if dims == 2 else [ball_case(0), ball_case(1)],
        unlabeled=[] if dims == 2 else [ball_case(2).image],
        teacher=ThresholdTeacher(COLUMNS),
        method=method,
        dims=dims,
        data=DataConfig(patch_vox=(16, 16, 32), neighbor_count=3),
        **choices,
    )


def test_an_unknown_method_is_refused_with_the_known_ones():
    with pytest.raises(
        ConfigError, match=r'There is no method "magic"\. Choose one of supervised, mean-teacher, '
    ) as told:
        find_method("magic")

    assert "frozen-teacher" not in str(told.value)  # that one makes no model
    assert str(told.value).endswith(", uncol.")


def test_a_configuration_with_an_unknown_method_is_refused():
    with pytest.raises(ConfigError, match=r'There is no method "magic"'):
        Config.from_document({"method": "magic"})


def test_the_methods_stand_in_the_order_of_the_tables():
    assert list(METHODS) == [
        "supervised",
        "mean-teacher",
        "ua-mt",
        "bcp",
        "frozen-teacher",
        "uncol-without-generalized",
        "uncol-without-specialized",
        "uncol-without-gating",
        "uncol-paper",
        "uncol",
        "supervised-proposal",
        "uncol-proposal",
        "supervised-all",
    ]


@pytest.mark.parametrize("dims", [2, 3], ids=["2D", "3D"])
@pytest.mark.parametrize("method", MODEL_METHODS)
def test_the_golden_run_of_a_method_is_the_same_bit_for_bit(tmp_path: Path, method: str, dims: int):
    torch.set_num_threads(1)

    first, second = (fine_tune(setup_of(method, dims=dims), tmp_path / name) for name in ("first", "second"))

    stages = {None: {1, 2}, 0.0: {2}, 1.0: {1}}[METHODS[method].stage1_part]
    curve = first.card.training["curve"]
    assert {each["stage"] for each in curve} == stages
    assert ("consistency" in curve[-1], "pseudo_label" in curve[-1]) == (
        METHODS[method].stage2_loss is Stage2Loss.CONSISTENCY,
        METHODS[method].stage2_loss is Stage2Loss.PSEUDO_LABELS and 2 in stages,
    )
    assert first.card.training["method"] == method
    assert first.card.training["steps"] == 20
    assert_bit_equal(first, second)


@pytest.mark.parametrize("dims", [2, 3], ids=["2D", "3D"])
@pytest.mark.parametrize("method", ["frozen-teacher", "supervised-all"])
def test_the_golden_run_of_a_benchmarks_own_method_is_the_same_bit_for_bit(tmp_path: Path, method: str, dims: int):
    torch.set_num_threads(1)
    setup = setup_of(method, dims=dims)

    first, second = (predict_in_benchmark(setup, tmp_path / name) for name in ("first", "second"))

    models = [load_model(tmp_path / name) for name in ("first", "second")]
    assert {each["stage"] for each in models[0].card.training["curve"]} == {1}
    assert models[0].card.training["method"] == method
    assert models[0].card.training["steps"] == 20
    assert_bit_equal(*models)
    assert (first == BALL.value).any()
    assert np.array_equal(first, second)


def predict_in_benchmark(setup: FineTuneSetup, folder: Path) -> NDArray[np.uint8]:
    """Train as a benchmark does, and return the labels of a test case."""
    config, cases = setup.config, map(ball_case, (0, 1, 2, 3))
    data = Cases(
        benchmark=BENCHMARKS["acdc" if config.student.dims == 2 else "hippocampus"],
        structures=setup.structures,
        labeled={"a": next(cases), "b": next(cases)},
        unlabeled={"c": next(cases).image},
        test={"d": next(cases).image},
    )
    spec = RunSpec("tiny", config.method, 2, config.seed, 20, config.as_document(), "cpu")
    trained = train(spec, data, folder, UNWATCHED, load_teacher=lambda *_: setup.teacher)
    return dict(trained.predictions)["d"].labels.voxels


def test_a_3d_run_that_was_stopped_and_resumed_equals_one_that_was_not(tmp_path: Path):
    torch.set_num_threads(1)
    straight = fine_tune(setup_of("uncol", dims=3), tmp_path / "straight")
    answers = iter([False] * 31 + [True])

    with pytest.raises(CancelledError, match=r"after 1\d steps"):
        fine_tune(setup_of("uncol", dims=3), tmp_path / "stopped", monitor=Monitor(should_stop=lambda: next(answers)))
    resumed = fine_tune(setup_of("uncol", dims=3), tmp_path / "stopped", resume=True)

    assert_bit_equal(straight, resumed)


def test_the_papers_student_is_trained_by_the_same_loop(tmp_path: Path):
    model = fine_tune(setup_of("uncol", kind="paper-small"), tmp_path / "model")

    assert isinstance(model.student, PaperStudent)
    assert isinstance(load_model(tmp_path / "model").student, PaperStudent)
    first, last = (model.card.training["curve"][index]["supervised"] for index in (0, -1))
    assert last < first


@pytest.mark.parametrize("kind", ["unet", "paper-small"])
def test_a_3d_student_takes_patches_with_one_channel(kind: str):
    run = begun_state(setup_of("supervised", dims=3, kind=kind))

    assert run.student(torch.zeros(2, 1, 16, 16, 32)).shape == (2, 2, 16, 16, 32)


def test_each_head_of_the_papers_student_has_its_own_loss_in_stage_1():
    run = begun_state(setup_of("supervised", kind="paper-small"))
    addresses = run.pool.draw_labeled(2, run.sampler.generator)
    images, labels = run.pool.inputs(addresses), run.pool.targets(addresses)
    run.student.eval()

    loss, _ = annotated_loss(run.student, images, labels, run.class_weights)

    target, known = known_region(labels)
    with autocast(CPU, training=True):
        expected = four_head_loss(run.student.explain(images).head_logits, target, known)
    assert float(loss.detach()) == pytest.approx(float(expected.detach()))


def test_a_run_is_resumed_by_the_method_that_began_it(tmp_path: Path):
    with pytest.raises(CancelledError):
        fine_tune(setup_of("bcp"), tmp_path / "model", monitor=Monitor(should_stop=lambda: True))

    with pytest.raises(CheckpointError, match=r'written by method "bcp", not by "ua-mt"\. Resume with the same one'):
        fine_tune(setup_of("ua-mt"), tmp_path / "model", resume=True)


def test_a_run_is_resumed_with_the_foundation_model_that_began_it(tmp_path: Path):
    setup = setup_of("uncol")
    with pytest.raises(CancelledError):
        fine_tune(setup, tmp_path / "model", monitor=Monitor(should_stop=lambda: True))

    with pytest.raises(CheckpointError, match=r"written with foundation model threshold, not none\. Resume"):
        fine_tune(replace(setup, teacher=None), tmp_path / "model", resume=True)


@pytest.mark.parametrize(
    ("method", "asks"),
    [("supervised", False), ("bcp", False), ("uncol-without-generalized", False), ("uncol", True)],
)
def test_only_methods_with_a_generalized_teacher_ask_it(method: str, asks: bool):
    assert (begun_state(setup_of(method)).generalized_teacher is not None) == asks


@pytest.mark.parametrize("method", ["supervised", "bcp", "mean-teacher"])
def test_methods_that_score_no_teacher_hold_nothing_out(method: str):
    # of each case the inner slices 3 to 9 hold the ball
    cases = [annotated_in(each, range(SLICES - 1)) for each in map(ball_case, (0, 1))]

    assert begun_state(replace(setup_of(method), cases=cases)).pool.held_out == []
    assert begun_state(replace(setup_of("uncol"), cases=cases)).pool.held_out != []


@pytest.mark.parametrize("method", ["uncol-paper", "uncol"])
def test_the_labels_of_every_method_keep_annotated_voxels(method: str):
    run = begun_state(setup_of(method))
    run.step = 10  # half of the budget is stage 1
    start_stage2(run)
    prompt_if_due(run, UNWATCHED)
    addresses = run.pool.draw_labeled(4, run.sampler.generator)

    labels = fused_pseudo_labels(run, addresses)

    known = run.pool.targets(addresses)
    assert torch.equal(labels[known != UNKNOWN_LABEL], known[known != UNKNOWN_LABEL])


def doubting(run: TrainingState) -> TrainingState:
    """Let the specialized teacher be torn between both classes everywhere."""
    for parameter in run.specialized_teacher.parameters():
        parameter.zero_()
    return run


def labels_of_the_middle(run: TrainingState) -> Tensor:
    """What the teachers write into an unannotated slice through the ball."""
    start_stage2(run)
    prompt_now(run)
    address = next(each for each in run.pool.unlabeled if each.index == 5)
    return fused_pseudo_labels(run, [address])[0, :ROWS, :COLUMNS]


def test_without_gating_every_voxel_has_a_label():
    ungated = labels_of_the_middle(doubting(begun_state(setup_of("uncol-without-gating"))))

    assert not (ungated == UNKNOWN_LABEL).any()


def test_a_doubting_specialized_teacher_alone_labels_nothing_at_a_narrow_gate():
    labels = labels_of_the_middle(doubting(begun_state(setup_of("uncol-without-generalized"))))

    assert (labels == UNKNOWN_LABEL).all()


def test_without_the_specialized_teacher_the_generalized_one_alone_finds_the_ball():
    labels = labels_of_the_middle(doubting(begun_state(setup_of("uncol-without-specialized"))))

    truth = torch.from_numpy(ball_case(0).labels.voxels[5] == 3)
    found = labels == 1
    assert float(2 * (found & truth).sum() / (found.sum() + truth.sum())) > 0.9


def test_bcp_has_no_gate_for_a_moving_average_in_doubt():
    runs = [doubting(begun_state(setup_of(method))) for method in ("bcp", "uncol-without-generalized")]
    bcp, gated = (draw_pseudo_labeled(run, run.sampler.affine(2))[1].unique().tolist() for run in runs)

    assert bcp == [0, UNKNOWN_LABEL]  # of two classes alike the first one; unknown is what was moved in from outside
    assert gated == [UNKNOWN_LABEL]


def test_bcp_mixes_in_every_step_of_both_stages():
    run = begun_state(setup_of("bcp"))

    assert not any(copy_paste_mask(run).all() for _ in range(20))
    start_stage2(run)
    assert not any(copy_paste_mask(run).all() for _ in range(20))


def specialized_weights_after(setup: FineTuneSetup, folder: Path, steps: int) -> dict[str, Tensor]:
    """The moving average as the checkpoint of a run holds it that was stopped after some steps."""
    answers = iter([False] * (steps - 1) + [True])
    with pytest.raises(CancelledError):
        fine_tune(setup, folder, monitor=Monitor(should_stop=lambda: next(answers)))
    tensors, _ = load_checkpoint(folder)
    return {name: tensor for name, tensor in tensors.items() if name.startswith("specialized.")}


@pytest.mark.parametrize(("ablations", "moves"), [((), True), (("frozen-ema",), False)], ids=["corrected", "frozen"])
def test_the_moving_average_moves_in_stage_2_unless_it_is_frozen(tmp_path: Path, ablations, moves: bool):
    # Stage 2 begins after 10 of 20 steps.
    earlier = specialized_weights_after(setup_of("bcp", ablations=ablations), tmp_path / "earlier", 11)
    later = specialized_weights_after(setup_of("bcp", ablations=ablations), tmp_path / "later", 13)

    assert any(not torch.equal(tensor, later[name]) for name, tensor in earlier.items()) == moves


def test_softmax_of_probabilities_makes_a_certain_teacher_doubtful():
    # softmax(1, 0) = (0.731, 0.269), entropy 0.840 bit; the gate lets pass up to 0.752 when stage 2 begins.
    setup = setup_of("uncol-without-specialized", ablations=("softmax-of-probabilities",))

    assert (labels_of_the_middle(doubting(begun_state(setup))) == UNKNOWN_LABEL).all()


def test_the_released_rate_starts_at_one_hundredth_and_falls_within_stage_2():
    run = begun_state(setup_of("bcp", ablations=("adamw-lr-0.01",)))
    learn(run)
    assert rate_of(run) == run.config.optimizer.learning_rate

    run.step = 10  # stage 2 is the second half of 20 steps
    start_stage2(run)
    learn(run)
    assert rate_of(run) == 0.01

    run.step = 15
    learn(run)
    assert rate_of(run) == pytest.approx(0.01 * 0.5**0.9)


def rate_of(run: TrainingState) -> float:
    return run.optimizer.param_groups[0]["lr"]
