"""The rounds of the simulated annotator, as they are kept, and the table of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from uncol.core.errors import ConfigError
from uncol.core.files import atomic_write, read_limited
from uncol.core.records import from_document, to_document
from uncol.core.strict_json import read_json

ROUNDS_FILE, TABLE_FILE = "annotator.json", "annotator.md"
_LARGEST_FILE_BYTES = 256 << 20
STRATEGIES = ("expected-gain", "even-spacing", "random")
REGISTRATION, FILL = "registration", "fill-between-slices"
ARMS = (*STRATEGIES, REGISTRATION, FILL)
"""What is compared; the last two choose slices by even spacing."""
GOAL = "every-second"
"""What the others are to come close to: a proposal from every second slice."""
PART_TO_REACH = 0.98
_MINUTES, _COUNTS = (0.5, 1.0, 2.0, 4.0), (2, 4, 6, 8, 10, 12, 16)


@dataclass(frozen=True)
class Round:
    """What was known after a round.

    Attributes:
        slices: The annotated slices.
        minutes: The annotator's time for them.
        dice: Mean Dice over the structures on all others.
        is_trained: Whether a model was trained for it.
    """

    slices: tuple[int, ...]
    minutes: float
    dice: float
    is_trained: bool = False


@dataclass(frozen=True)
class Curve:
    """The rounds of one volume and one way to choose slices.

    Attributes:
        volume: Which one.
        arm: One of `ARMS`, or `every-second`: the Dice to reach.
        tool: What proposes.
        steps: Training steps with 4, 8 and 16 slices.
        seed: Of what is drawn, and of training.
        rounds: What was known after each of them.
    """

    volume: str
    arm: str
    tool: str
    steps: int = 0
    seed: int = 0
    rounds: tuple[Round, ...] = ()


@dataclass(frozen=True)
class Curves:
    """All of them, as the file holds them."""

    curves: tuple[Curve, ...] = ()


def table_of(curves: Sequence[Curve]) -> str:
    """Return what it took of every volume and arm, as Markdown: slices, Dice by slices and by minutes."""
    goals = {each.volume: each.rounds[0].dice for each in curves if each.arm == GOAL}
    shown = [each for each in curves if each.arm != GOAL and each.rounds]
    counts = sorted({len(one.slices) for each in shown for one in each.rounds} & set(_COUNTS))
    head = ["volume", "chosen by", "proposed by", "98 % of every second slice with"]
    head += [*(f"Dice, {each} slices" for each in counts), *(f"{each:g} min" for each in _MINUTES)]
    rows = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for curve in shown:
        wanted = PART_TO_REACH * goals.get(curve.volume, np.inf)
        reached = [len(each.slices) for each in curve.rounds if each.dice >= wanted]
        by_count = {len(each.slices): f"{each.dice:.3f}{'*' * each.is_trained}" for each in curve.rounds}
        first = str(reached[0]) if reached else f"not with {len(curve.rounds[-1].slices)}"
        cells = [curve.volume, curve.arm, curve.tool, first, *(by_count.get(each, "") for each in counts)]
        rows.append("| " + " | ".join([*cells, *(_dice_after(curve.rounds, each) for each in _MINUTES)]) + " |")
    return "\n".join([*rows, "", "Minutes: of the annotator's time, see `benchmark/user_time.py`. *: after training."])


def _dice_after(rounds: Sequence[Round], minutes: float) -> str:
    """Return the Dice that stood after so many minutes of work; nothing before the first round and after the last."""
    if minutes > rounds[-1].minutes:
        return ""
    within = [each.dice for each in rounds if each.minutes <= minutes]
    return f"{within[-1]:.3f}" if within else ""


def with_curve(kept: Sequence[Curve], curve: Curve) -> tuple[Curve, ...]:
    """Return the curves with one more, or with a longer one in the place of the same one."""
    same = replace(curve, rounds=())
    others = [each for each in kept if replace(each, rounds=()) != same]
    return (*others, curve)


def kept_curves(out: Path) -> tuple[Curve, ...]:
    """Return the curves of a folder; none where there are none.

    Raises:
        ConfigError: If they cannot be read.
    """
    path = out / ROUNDS_FILE
    if not path.is_file():
        return ()
    try:
        return from_document(Curves, read_json(read_limited(path, _LARGEST_FILE_BYTES)), path.name).curves
    except (OSError, ValueError, ConfigError) as error:
        message = f'"{path}" cannot be read. Move it away to begin anew, or choose another --out.'
        raise ConfigError(message) from error


def write_text(path: Path, text: str) -> None:
    """Write a text with an end of line, all of it or nothing."""
    with atomic_write(path) as partial:
        partial.write_text(text + "\n", encoding="utf-8")


def write_curves(out: Path, curves: Sequence[Curve]) -> None:
    """Write the curves, all of them or nothing."""
    write_text(out / ROUNDS_FILE, json.dumps(to_document(Curves(tuple(curves))), indent=1))
