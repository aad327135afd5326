"""How the state of a training is kept as one checkpoint, and goes on from it exactly."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from uncol import __version__
from uncol.core.errors import CheckpointError, ConfigError, NotFiniteError
from uncol.core.printable import printable, printable_document
from uncol.core.progress import Monitor, Progress
from uncol.core.records import to_document
from uncol.core.verdict import not_compared
from uncol.models.checkpoints import check_finite, has_checkpoint, load_checkpoint, save_checkpoint
from uncol.training.finite import went_wrong
from uncol.training.run_record import RunRecord, read_record
from uncol.training.setup import prepared
from uncol.training.state import FineTuneSetup, LearningCurve, TrainingState

_REPORT_INTERVAL_S = 0.5
_SHAPED = {"step": False, "exp_avg": True, "exp_avg_sq": True}
"""What AdamW remembers of a parameter, and whether it has its shape."""
_DICE = ("specialized_reliability", "found")
"""What a training keeps by class; the second is missing in version 0.1."""
_UNFIT = (ConfigError, NotFiniteError, LookupError, TypeError, ValueError, RuntimeError, AttributeError, OverflowError)
"""What comes of a checkpoint that says nonsense."""


def begun(setup: FineTuneSetup, folder: Path, monitor: Monitor, *, resume: bool) -> TrainingState:
    """Return the state of a new training, or of the unfinished one in the folder.

    Raises:
        CheckpointError: If the folder holds an unfinished training that is not to be resumed, or none that can be.
    """
    if not resume and has_checkpoint(folder):
        message = f'"{folder}" holds an unfinished run. Add --resume to go on, or choose another folder.'
        raise CheckpointError(message)
    monitor.report(Progress("Preparing slices", 0.0))
    state = prepared(setup)
    if resume:
        restore(state, folder)
        state.student.train()
    return state


def save(state: TrainingState, folder: Path) -> None:
    """Write the whole state as one checkpoint.

    Raises:
        NotFiniteError: If what was learned is not finite; the checkpoint before is kept.
        OutputError: If it cannot be written; likewise.
    """
    tensors = _learned(state)
    try:
        check_finite(tensors)
    except NotFiniteError as error:
        raise went_wrong(state.step, f'"{error}"') from error
    tensors |= random_tensors(state.sampler.generator, state.device)
    tensors |= {name: getattr(state, name) for name in _DICE}
    if state.generalized_teacher is not None and state.has_begun:
        tensors |= {f"opinions.{key}": value for key, value in state.generalized_teacher.state().items()}
    if state.sources is not None:
        tensors |= {f"sources.{key}": value for key, value in state.sources.state().items()}
    record = {
        "uncol": __version__,
        "fingerprint": state.setup.fingerprint(),
        "frame": frame_of(state),
        "windows": windows_of(state),
        "config": state.config.as_document(),
        "generalized_teacher": state.teacher_name,
        "has_begun": state.has_begun,
        "is_scored": state.is_scored,
        "step": state.step,
        "stage": state.stage,
        "round": state.prompting.rounds_done if state.prompting else 0,
        "teacher_s": state.prompting.elapsed_s if state.prompting else 0.0,
        "batch_size": state.batch_size,
        **state.budget.state(),
        "curve": {"points": state.curve.points, "sums": state.curve.sums, "count": state.curve.count},
        "held_out_dice": state.held_out_dice,
        "verdict": to_document(state.verdict),
        "models_before": models_before(state.setup),
        "notes": state.notes,
    }
    save_checkpoint(folder, tensors, record)
    state.saved_at_s = time.monotonic()


def restore(state: TrainingState, folder: Path) -> None:
    """Take the whole state from the checkpoint in a folder.

    Raises:
        CheckpointError: If it is missing, damaged or belongs to other images, labels or settings.
    """
    tensors, document = load_checkpoint(folder)
    try:
        record = read_record(printable_document(document))
        check_belongs(state, record, folder)
        _take_over(state, tensors, record)
        check_finite(_learned(state))
    except _UNFIT as error:
        made_by = str(document.get("uncol", "before") if isinstance(document, dict) else "nobody")
        reason = printable(str(error).partition("\n")[0], keep="")[:200].rstrip(".:")
        message = (
            f'The checkpoint in "{folder}" cannot be used ({reason}): it is damaged, or of UnCoL '
            f"{printable(made_by)[:20]}, and this is {__version__}. Start anew in another folder."
        )
        raise CheckpointError(message) from error


def _take_over(state: TrainingState, tensors: dict[str, Tensor], record: RunRecord) -> None:
    load_modules(tensors, student=state.student, helpers=state.helpers, specialized=state.specialized_teacher)
    load_optimizer(tensors, state.optimizer)
    for name in ("has_begun", "step", "stage", "batch_size"):
        setattr(state, name, getattr(record, name))
    _take_over_dice(state, tensors, _DICE[:1] if record.is_scored is None else _DICE)
    state.held_out_dice, state.verdict = dict(record.held_out_dice), record.verdict
    if ([*record.models_before] or [None, None])[1] != models_before(state.setup)[1]:
        # What is held out depends on it: some of what would be now may have been learned from already.
        state.pool.release_held_out()
        state.verdict = not_compared("it was not the one named when this training began")
    state.is_scored = state.stage > 1 if record.is_scored is None else record.is_scored
    if state.is_scored:
        state.pool.release_held_out()
    state.notes[:] = record.notes
    state.curve = LearningCurve([*record.curve.points], dict(record.curve.sums), record.curve.count)
    if state.generalized_teacher is not None and state.has_begun:
        state.generalized_teacher.load_state(part_of(tensors, "opinions."))
    if state.sources is not None:
        state.sources.load_state(part_of(tensors, "sources."))
    if state.prompting is not None:
        state.prompting.go_on(record.round, record.teacher_s)
    state.budget = state.budget.goes_on(**{name: getattr(record, name) for name in state.budget.state()})
    load_random(tensors, state.sampler.generator, state.device)


def _take_over_dice(state: TrainingState, tensors: dict[str, Tensor], names: Sequence[str]) -> None:
    for name in names:
        dice, own = tensors[name], getattr(state, name)
        if dice.shape != own.shape or not bool(((dice >= 0) & (dice <= 1)).all()):
            message = f"{name} is not the Dice of each class"
            raise ValueError(message)
        setattr(state, name, dice.to(own.device))


def _learned(state: TrainingState) -> dict[str, Tensor]:
    modules = module_tensors(student=state.student, helpers=state.helpers, specialized=state.specialized_teacher)
    return modules | optimizer_tensors(state.optimizer)


def watching(state: TrainingState, folder: Path, monitor: Monitor) -> Monitor:
    """Return a monitor that tells step, losses and time left, too, now and then, and saves before a cancel."""
    told_s = time.monotonic()

    def report(progress: Progress) -> None:
        nonlocal told_s
        if time.monotonic() - told_s > _REPORT_INTERVAL_S:
            told_s = time.monotonic()
            if not state.has_begun and state.prompting is not None:
                pixels = state.batch_size * math.prod(state.pool.slice_size)
                state.budget.expected_step_s = state.prompting.foreseen_step_s(pixels)
            left = state.budget.seconds_left(state.step)
            if left is not None:  # what is done between the steps comes on top of these, or ends after the budget
                between = progress.seconds_left or 0.0
                left = left + between if state.budget.total_s is None else max(left, between)
            monitor.report(replace(progress, seconds_left=left, step=state.step, losses=state.losses))

    def save_first() -> str:
        save(state, folder)
        return f'Fine-tuning was cancelled after {state.step} steps. Add --resume to go on from "{folder}".'

    return replace(monitor, report=report, before_cancel=save_first)


def check_belongs(state: TrainingState, record: RunRecord, folder: Path) -> None:
    """Make sure that a checkpoint was written over the same data, by the same method, teacher and student.

    Raises:
        CheckpointError: If it was not.
    """
    otherwise = "Resume with the same one, or start anew in another folder."
    where = f'The checkpoint in "{folder}"'
    if record.fingerprint != state.setup.fingerprint():
        message = (
            f"{where} belongs to other images, annotated slices or structures. "
            "Resume with the same ones, or start anew in another folder."
        )
        raise CheckpointError(message)
    wrong = _differences(state, record)
    if wrong:
        message = f"{where} was written {wrong[0][:300]}. {otherwise}"
        raise CheckpointError(message)


def _differences(state: TrainingState, record: RunRecord) -> list[str]:
    """Return in what the run of a checkpoint differs from this one."""
    now, before = state.config.as_document(), record.sections()
    wrong = []
    method, teacher = record.config.get("method", now["method"]), record.generalized_teacher
    if method != now["method"]:
        wrong.append(f'by method "{method}", not by "{now["method"]}"')
    if teacher != state.teacher_name:
        wrong.append(f"with foundation model {teacher or 'none'}, not {state.teacher_name or 'none'}")
    frame, windows = frame_of(state), windows_of(state)
    has_other_base = bool(record.models_before) and record.models_before[0] != models_before(state.setup)[0]
    if has_other_base or {**record.frame, "window": None} != {**frame, "window": None}:
        wrong.append("with another base model, or with none")
    wrong += [
        f"with {section}.{name} {value}, not {now[section][name]}"
        for section in ("student", "data")
        for name, value in before.get(section, {}).items()
        if now[section].get(name, value) != value
    ]
    if _windows_before(record, len(windows)) != windows:
        wrong.append("with images scaled to other grey values, by another version or from another base model")
    if record.batch_size > state.batch_size:
        wrong.append(f"with optimizer.batch_size {record.batch_size}, not {state.batch_size}")
    return wrong


def _windows_before(record: RunRecord, case_count: int) -> list[Any]:
    return [list(each) for each in record.windows] or [record.frame.get("window")] * case_count


def models_before(setup: FineTuneSetup) -> list[str | None]:
    """Return what the base and the earlier model are recognized by, hashes of the records of their trainings."""
    records = [
        None if each is None else json.dumps(each.card.training, sort_keys=True) for each in (setup.base, setup.earlier)
    ]
    return [each and hashlib.sha256(each.encode()).hexdigest() for each in records]


def frame_of(state: TrainingState) -> dict[str, Any]:
    """Return how the student sees images; a base model decides it, otherwise the first image."""
    card = state.card
    return {"plane": card.plane, "pixel_mm": card.pixel_mm, "slice_mm": card.slice_mm, "window": list(card.window)}


def windows_of(state: TrainingState) -> list[list[float]]:
    """Return the grey values that became 0 and 1 in each case."""
    return [list(each.window) for each in state.framed]


def module_tensors(**modules: nn.Module) -> dict[str, Tensor]:
    """Return the weights of modules, each under its name."""
    return {f"{name}.{key}": value for name, module in modules.items() for key, value in module.state_dict().items()}


def load_modules(tensors: Mapping[str, Tensor], **modules: nn.Module) -> None:
    """Take over what `module_tensors` returned."""
    for name, module in modules.items():
        module.load_state_dict(part_of(tensors, f"{name}."))


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return what an optimizer remembers of each parameter."""
    states = optimizer.state_dict()["state"]
    return {f"optimizer.{index}.{key}": value for index, state in states.items() for key, value in state.items()}


def load_optimizer(tensors: Mapping[str, Tensor], optimizer: torch.optim.Optimizer) -> None:
    """Take over what `optimizer_tensors` returned; rates and other settings stay."""
    states: dict[int, dict[str, Tensor]] = {}
    parameters = [each for group in optimizer.param_groups for each in group["params"]]
    for key, value in part_of(tensors, "optimizer.").items():
        index, _, name = key.partition(".")
        if name not in _SHAPED or value.shape != (parameters[int(index)].shape if _SHAPED[name] else ()):
            message = f"optimizer.{key} has shape {tuple(value.shape)}"
            raise ValueError(message)
        states.setdefault(int(index), {})[name] = value
    if any(len(each) != len(_SHAPED) for each in states.values()):
        message = "the optimizer's state is incomplete"
        raise ValueError(message)
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})


def random_tensors(generator: torch.Generator, device: torch.device) -> dict[str, Tensor]:
    """Return the state of the run's own generator, of torch's, and of the GPU's."""
    tensors = {"random.sampling": generator.get_state(), "random.torch": torch.get_rng_state()}
    if device.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state(device)
    return tensors


def load_random(tensors: Mapping[str, Tensor], generator: torch.Generator, device: torch.device) -> None:
    """Take over what `random_tensors` returned."""
    generator.set_state(tensors["random.sampling"])
    torch.set_rng_state(tensors["random.torch"])
    if "random.cuda" in tensors and device.type == "cuda":
        torch.cuda.set_rng_state(tensors["random.cuda"], device)


def part_of(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with a prefix, without it."""
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
