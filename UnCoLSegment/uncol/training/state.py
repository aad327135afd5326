"""The state of one fine-tuning run: what it is made of, how it is saved, how it goes on exactly."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from uncol.core.ablations import FROZEN_EMA, TEACHER_TRAIN_MODE
from uncol.core.config import BudgetConfig
from uncol.core.errors import CheckpointError
from uncol.core.methods import METHODS
from uncol.core.progress import Monitor, Progress
from uncol.core.volume import UNKNOWN_LABEL
from uncol.evaluation.metrics import dice
from uncol.inference.predict import memory_format, predict
from uncol.models.checkpoints import (
    Model,
    ModelCard,
    has_checkpoint,
    load_checkpoint,
    remove_checkpoint,
    save_checkpoint,
    save_model,
)
from uncol.models.devices import with_memory_fallback
from uncol.training.asking import SpecializedSlices
from uncol.training.budget import BudgetClock
from uncol.training.learning_curve import LearningCurve
from uncol.training.losses import class_weights
from uncol.training.prompting_rounds import TeacherTurns
from uncol.training.record import by_name, with_training
from uncol.training.resume import (
    load_modules,
    load_optimizer,
    load_random,
    module_tensors,
    optimizer_tensors,
    part_of,
    random_tensors,
)
from uncol.training.setup import FineTuneSetup, card_for, frame_cases, helpers_for, student_for
from uncol.training.specialized_teacher import make_specialized_teacher
from uncol.training.teacher_features import TeacherFeatures
from uncol.training.teacher_setup import features_for, opinions_for

_CURVE_POINTS = 100
_REPORT_INTERVAL_S = 0.5


class Run:
    """One run in progress; `training.train.fine_tune` tells it what to do when."""

    def __init__(self, setup: FineTuneSetup, out: Path, monitor: Monitor) -> None:
        self.setup, self.config, self.device, self.out = setup, setup.config, setup.device, out
        self._told = monitor
        self.monitor = Monitor(self._report, monitor.should_stop, self._save_before_cancel)
        self.method = METHODS[setup.config.method]
        self.memory_format = memory_format(setup.config.student.dims)
        self.budget = _budget_of(setup)
        self.clock = BudgetClock(self.budget)
        self.notes: list[str] = []
        self.has_begun = False
        self.step = 0
        self.stage = 1
        self.batch_size = self.config.optimizer.batch_size
        self.specialized_reliability = torch.ones(len(setup.structures) + 1)
        self.held_out_dice: dict[str, float] = {}
        self._curve = LearningCurve()
        self.losses: dict[str, float] = {}
        self._last_report = self._last_checkpoint = time.monotonic()

        self._say("Preparing slices")
        self.card = card_for(setup)
        self.stacks, self.pool = frame_cases(setup, self.card)
        if not self.pool.unlabeled:
            self.budget = replace(self.budget, stage1_part=1.0)
            self.clock = BudgetClock(self.budget, self.clock.elapsed_s)
        if not self.pool.unlabeled or not self.method.scores_teachers:
            self.pool.release_held_out()
        self._first_weights = class_weights(self.pool.voxel_counts, self.config.losses.class_weight_cap).to(self.device)

        torch.manual_seed(self.config.seed)
        self.generator = torch.Generator().manual_seed(self.config.seed)
        student = student_for(setup, self.card)
        self.student: nn.Module = student.to(self.device).to(memory_format=self.memory_format)
        self.specialized_teacher = make_specialized_teacher(self.student)
        self.specialized_teacher.train(TEACHER_TRAIN_MODE in self.config.ablations)
        self.helpers = helpers_for(setup, student, self.card).to(self.device)
        self.optimizer = torch.optim.AdamW(
            self.trained_parameters(),
            lr=self.config.optimizer.learning_rate,
            weight_decay=self.config.optimizer.weight_decay,
        )
        self.opinions = opinions_for(setup, self.card, self.pool, self.stacks)
        self._turns: TeacherTurns | None = None
        self.features: TeacherFeatures | None = None
        if self.opinions is not None:
            rounds = self.config.teachers.prompt_rounds
            self._turns = TeacherTurns(self.opinions, rounds, self.clock.total_s, self.monitor, self.notes)
            asked = self.opinions.slices
            self.features = features_for(setup, self.card, self.pool, self.stacks, student, asked)

    def trained_parameters(self) -> list[nn.Parameter]:
        """Return the weights of the student and of what learns beside it."""
        return [*self.student.parameters(), *self.helpers.parameters()]

    @property
    def is_over(self) -> bool:
        """Say whether the budget is used up."""
        return self.clock.is_over(self.step)

    @property
    def stage1_is_over(self) -> bool:
        """Say whether stage 1 has used its part and there are unannotated slices to go on with."""
        return bool(self.pool.unlabeled) and self.clock.stage1_is_over(self.step)

    @property
    def fraction(self) -> float:
        """t/T of the whole run, in [0, 1]."""
        return self.clock.fraction(self.step)

    @property
    def stage1_fraction(self) -> float:
        """t/T of stage 1, in [0, 1]."""
        return min(1.0, self.fraction / self.budget.stage1_part) if self.budget.stage1_part else 1.0

    @property
    def stage2_fraction(self) -> float:
        """t/T of stage 2, in [0, 1]."""
        return self.clock.stage2_fraction(self.step)

    @property
    def class_weights(self) -> Tensor:
        """Weight of each class (C,) in the cross-entropy: at first rare classes count more, after stage 1 all alike.

        Weights bring small structures into being, but make every structure too large, and pseudo-labels would hand that
        on (docs/decisions/0014). Without a stage 1 they fade over the whole run.
        """
        faded = self.stage1_fraction if self.budget.stage1_part else self.fraction
        weights: Tensor = self._first_weights ** (1 - faded)
        return weights

    @property
    def prompts_are_due(self) -> bool:
        """Say whether the next round of prompts for the generalized teacher has come."""
        return self.stage > 1 and self._turns is not None and self._turns.are_due(self.stage2_fraction)

    def start_stage2(self) -> None:
        """Leave stage 1: from now on unannotated slices are learned from, too."""
        self._curve.close_point(self.step, self.clock.elapsed_s, self.stage)
        self.specialized_reliability = self._score_specialized_teacher()
        if self._turns is not None:
            self._turns.score_prompts(self._specialized_slices(), self.pool.held_out_slices, self.clock.spare_s)
        self.stage = 2
        self.pool.release_held_out()
        self.clock.start_stage2()

    def _score_specialized_teacher(self) -> Tensor:
        """Return its Dice (C,) on the slices that stage 1 did not see; their mean for a class in none of them.

        Where no slice was held out nobody knows, and it is taken to be as good as the generalized teacher.
        """
        scores: dict[str, list[float]] = {}
        for address in self.pool.held_out:
            truth = self.pool.targets([address])
            found = self.specialized_probabilities_at([address]).argmax(1)
            found[truth == UNKNOWN_LABEL] = 0  # also where the image is padded and the structure seems to go on
            for label, structure in enumerate(self.card.structures, start=1):
                if (truth == label).any():
                    score = dice((found == label).numpy(), (truth == label).numpy())
                    scores.setdefault(structure.name, []).append(score)
        names = [each.name for each in self.card.structures]
        measured = {name: float(np.mean(scores[name])) for name in names if name in scores}
        self.held_out_dice = {name: round(each, 3) for name, each in measured.items()}
        if not measured:
            return torch.ones(self.card.class_count) if self.opinions is None else self.opinions.reliability
        otherwise = float(np.mean(list(measured.values())))
        return torch.tensor([otherwise, *(measured.get(name, otherwise) for name in names)])

    def prompt_generalized_teacher(self) -> None:
        """Ask the generalized teacher about every unannotated slice, with fresh boxes."""
        if self._turns is not None:
            self._turns.prompt(self._specialized_slices(), self.specialized_reliability, self.clock.spare_s)
            if self._turns.rounds_done == 1:
                self.clock.start_stage2()

    def _specialized_slices(self) -> SpecializedSlices:
        return SpecializedSlices(self.specialized_teacher, self.pool, self.stacks, self.device)

    def specialized_probabilities(self, slices: Tensor) -> Tensor:
        """Return the specialized teacher's class probabilities (B, C, ...) for the student's inputs (B, N, ...)."""
        return predict(self.specialized_teacher, slices, self.device)

    def specialized_probabilities_at(self, addresses: Sequence[Any]) -> Tensor:
        """Return the specialized teacher's class probabilities (B, C, ...) by address."""
        return self.specialized_probabilities(self.pool.inputs(addresses))

    def within_memory(self, take_step: Callable[[Run], None]) -> None:
        """Take a step; when the device's memory is full, go on with fewer slices, then on the CPU, and note it."""

        def take(device: torch.device, batch_size: int) -> None:
            self.batch_size = batch_size
            self.losses = {}
            if device != self.device:
                self._move_to(device)
            take_step(self)

        with_memory_fallback(take, self.device, self.batch_size, self.notes.append)

    def _move_to(self, device: torch.device) -> None:
        self.device = device
        self.student.to(device)
        self.specialized_teacher.to(device)
        self.helpers.to(device)
        self._first_weights = self._first_weights.to(device)
        # Loading puts the optimizer's state where its parameters are now.
        self.optimizer.load_state_dict(self.optimizer.state_dict())

    def note_losses(self, **losses: Tensor) -> None:
        """Keep losses of this step for the progress and the learning curve."""
        self.losses |= {name: float(loss.detach()) for name, loss in losses.items()}

    def end_step(self) -> None:
        """Count the step, tell the progress, save a checkpoint when it is time, and stop when asked."""
        self.step += 1
        self._curve.add(self.losses)
        if self.fraction * _CURVE_POINTS >= len(self._curve.points) + 1:
            self._curve.close_point(self.step, self.clock.elapsed_s, self.stage)
        if time.monotonic() - self._last_report > _REPORT_INTERVAL_S:
            self._say("Learning from annotated slices" if self.stage == 1 else "Learning from all slices")
        self.monitor.check()
        if time.monotonic() - self._last_checkpoint > self.config.budget.checkpoint_s:
            self.save()

    def _save_before_cancel(self) -> str:
        self.save()
        return f'Fine-tuning was cancelled after {self.step} steps. Add --resume to go on from "{self.out}".'

    def _report(self, progress: Progress) -> None:
        """Tell the progress of a part outside the steps."""
        if time.monotonic() - self._last_report > _REPORT_INTERVAL_S:
            self._say(progress.phase, progress.fraction)

    def save(self) -> None:
        """Write the whole state as one checkpoint."""
        tensors, record = _state_of(self)
        save_checkpoint(self.out, tensors, record)
        self._last_checkpoint = time.monotonic()

    def restore(self) -> None:
        """Take the whole state from the checkpoint in the output folder.

        Raises:
            CheckpointError: If it is damaged or belongs to other images, labels or settings.
        """
        tensors, record = load_checkpoint(self.out)
        _check_belongs(self, record)
        _load_state(self, tensors, record)
        if not self.has_begun:
            self.begin()

    def model(self) -> Model:
        """Return what was learned: the specialized teacher, the student's moving average."""
        result = self.student if FROZEN_EMA in self.config.ablations else self.specialized_teacher
        return Model(_finished_card(self), result.eval().requires_grad_(False))

    def end(self) -> None:
        """Close learning curve and clock: what comes now is no training."""
        self._curve.close_point(self.step, self.clock.elapsed_s, self.stage)
        self.clock.stop()

    def finish(self) -> Model:
        """Save the model."""
        self._say("Saving the model", 1.0)
        model = self.model()
        save_model(model, self.out)
        remove_checkpoint(self.out)
        return model

    def begin(self) -> None:
        """Let the generalized teacher carry annotated slices on, then start counting stage 1."""
        if self._turns is not None:
            self.clock.expected_teacher_s = self._turns.carry_annotated()
        self.clock.start_stage1()
        self.student.train()
        self.has_begun = True

    def _say(self, phase: str, fraction: float | None = None) -> None:
        self._last_report = time.monotonic()
        done = self.fraction if fraction is None else fraction
        self._told.report(Progress(phase, done, self.clock.seconds_left(self.step), self.step, self.losses))


def _budget_of(setup: FineTuneSetup) -> BudgetConfig:
    part = METHODS[setup.config.method].stage1_part
    return setup.config.budget if part is None else replace(setup.config.budget, stage1_part=part)


def begin_run(setup: FineTuneSetup, out: Path, monitor: Monitor) -> Run:
    """Start a run in an output folder without one.

    Raises:
        CheckpointError: If the folder holds an unfinished run.
    """
    if has_checkpoint(out):
        message = f'"{out}" holds an unfinished run. Add --resume to go on, or choose another folder.'
        raise CheckpointError(message)
    run = Run(setup, out, monitor)
    run.begin()
    return run


def resume_run(setup: FineTuneSetup, out: Path, monitor: Monitor) -> Run:
    """Go on with the unfinished run in the output folder."""
    run = Run(setup, out, monitor)
    run.restore()
    return run


def finish_run(run: Run) -> Model:
    """Save the result of a run whose budget is used up."""
    return run.finish()


def _check_belongs(run: Run, record: dict[str, Any]) -> None:
    """Make sure that a checkpoint was written by a run over the same data, by the same method, teacher and student."""
    where, otherwise = f'The checkpoint in "{run.out}"', "Resume with the same one, or start anew in another folder."
    if record["fingerprint"] != run.setup.fingerprint():
        message = (
            f"{where} belongs to other images, annotated slices or structures. "
            "Resume with the same ones, or start anew in another folder."
        )
        raise CheckpointError(message)
    method = record["config"].get("method", run.config.method)
    if method != run.config.method:
        message = f'{where} was written by method "{method}", not by "{run.config.method}". {otherwise}'
        raise CheckpointError(message)
    teacher = _generalized_teacher_of(run)
    former = record.get("generalized_teacher", teacher)
    if former != teacher:
        message = f"{where} was written with foundation model {former or 'none'}, not {teacher or 'none'}. {otherwise}"
        raise CheckpointError(message)
    frame, now = _frame_of(run), run.config.as_document()
    if record.get("frame", frame) != frame:
        message = f"{where} was written with another base model, or with none. {otherwise}"
        raise CheckpointError(message)
    for section in ("student", "data"):
        for name, before in record["config"].get(section, {}).items():
            if now[section].get(name, before) != before:
                message = f"{where} was written with {section}.{name} {before}, not {now[section][name]}. {otherwise}"
                raise CheckpointError(message)


def _generalized_teacher_of(run: Run) -> str | None:
    """Return the name of the foundation model that takes part, if one does."""
    return run.setup.teacher.name if run.opinions is not None and run.setup.teacher else None


def _frame_of(run: Run) -> dict[str, Any]:
    """Return how the student sees images; a base model decides it, otherwise the first image."""
    card = run.card
    return {
        "plane": card.plane,
        "pixel_mm": card.pixel_mm,
        "slice_mm": card.slice_mm,
        "window": list(card.window),
    }


def _finished_card(run: Run) -> ModelCard:
    facts = {
        "steps": run.step,
        "seconds": round(run.clock.elapsed_s, 1),
        "device": run.device.type,
        "data_sha256": run.setup.fingerprint(),
        "generalized_teacher": _generalized_teacher_of(run),
        "generalized_reliability": None if run.opinions is None else by_name(run.card, run.opinions.reliability),
        "specialized_reliability": by_name(run.card, run.specialized_reliability),
        "held_out_dice": run.held_out_dice,
        "curve": run._curve.points,
        "notes": run.notes,
    }
    return with_training(run.card, run.stacks, facts)


def _state_of(run: Run) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors = module_tensors(student=run.student, helpers=run.helpers, specialized=run.specialized_teacher)
    tensors |= optimizer_tensors(run.optimizer) | random_tensors(run.generator, run.device)
    tensors["specialized_reliability"] = run.specialized_reliability
    if run.opinions is not None and run.has_begun:
        tensors |= {f"opinions.{key}": value for key, value in run.opinions.state().items()}
    record = {
        "fingerprint": run.setup.fingerprint(),
        "frame": _frame_of(run),
        "config": run.config.as_document(),
        "generalized_teacher": _generalized_teacher_of(run),
        "has_begun": run.has_begun,
        "step": run.step,
        "stage": run.stage,
        "round": run._turns.rounds_done if run._turns else 0,
        "batch_size": run.batch_size,
        "elapsed_s": run.clock.elapsed_s,
        "stage1_began_s": run.clock.stage1_began_s,
        "stage2_began_s": run.clock.stage2_began_s,
        "expected_teacher_s": run.clock.expected_teacher_s,
        "teacher_s": run._turns.elapsed_s if run._turns else 0.0,
        "curve": {"points": run._curve.points, "sums": run._curve.sums, "count": run._curve.count},
        "held_out_dice": run.held_out_dice,
        "notes": run.notes,
    }
    return tensors, record


def _load_state(run: Run, tensors: dict[str, Tensor], record: dict[str, Any]) -> None:
    load_modules(tensors, student=run.student, helpers=run.helpers, specialized=run.specialized_teacher)
    load_optimizer(tensors, run.optimizer)
    run.has_begun = record["has_begun"]
    run.step, run.stage = record["step"], record["stage"]
    run.batch_size = record["batch_size"]
    run.specialized_reliability = tensors["specialized_reliability"]
    run.held_out_dice = record.get("held_out_dice", {})
    if run.stage > 1:
        run.pool.release_held_out()
    run.notes[:] = record["notes"]
    run._curve = LearningCurve(**record["curve"])
    if run.opinions is not None and run.has_begun:
        run.opinions.load_state(part_of(tensors, "opinions."))
    if run._turns is not None:
        run._turns.go_on(record["round"], record["teacher_s"])
    run.clock = BudgetClock(run.budget, record["elapsed_s"], record["stage1_began_s"], record["stage2_began_s"])
    run.clock.expected_teacher_s = record["expected_teacher_s"]
    run.student.train()
    load_random(tensors, run.generator, run.device)
