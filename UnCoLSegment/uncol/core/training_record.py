"""What the card of a model, and the report of a result, say of a training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from uncol.core.errors import ConfigError
from uncol.core.jobs import Structure
from uncol.core.records import from_document
from uncol.core.verdict import Verdict

LONGEST_S = 1e9
"""More than any work takes: 30 years."""


@dataclass(frozen=True)
class TrainingRecord:
    """The record of a training, of which every version writes some and later ones may write more.

    Attributes:
        structures: What the model segments; in reports alone, cards say it elsewhere.
        threads: Threads of the CPU.
        annotated_slices: How many slices of each case were annotated.
        slices: How many slices each case has.
        method: Name of the method; "" where that is not known.
        seed: Of the random numbers.
        versions: Of UnCoL and torch.
        steps: Training steps.
        seconds: How long it took.
        device: What computed.
        data_sha256: Hash of images, labels and structures.
        base_sha256: Hash of the model that it started from, "" for one that was never saved; None for none.
        generalized_teacher: Name of the foundation model; None for none.
        generalized_teacher_license: License of its weights.
        generalized_reliability: Its reliability by structure.
        specialized_reliability: That of the moving average.
        held_out_dice: Dice on slices held out of the first pass, by structure, in [0, 1].
        curve: The learning curve: losses by name, with `step`, `seconds` and `stage`.
        notes: Sentences that the user should read.
        verdict: How it compares with an earlier model; None where there was nothing to compare.
    """

    structures: tuple[Structure, ...] = ()
    threads: int = 1
    annotated_slices: tuple[int, ...] = ()
    slices: tuple[int, ...] = ()
    method: str = ""
    seed: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    steps: int = 0
    seconds: float = 0.0
    device: str = ""
    data_sha256: str = ""
    base_sha256: str | None = ""
    generalized_teacher: str | None = None
    generalized_teacher_license: str | None = None
    generalized_reliability: dict[str, float] | None = None
    specialized_reliability: dict[str, float] | None = None
    held_out_dice: dict[str, float] = field(default_factory=dict)
    curve: tuple[dict[str, float | None], ...] = ()
    notes: tuple[str, ...] = ()
    verdict: Verdict | None = None

    def __post_init__(self) -> None:
        counts = [self.steps, *self.annotated_slices, *self.slices]
        is_possible = min(counts) >= 0 and 0 <= self.seconds <= LONGEST_S
        if not is_possible or not all(0 <= each <= 1 for each in self.held_out_dice.values()):
            message = "The record of a training has steps, slices, seconds or a Dice that cannot be."
            raise ConfigError(message)


@dataclass(frozen=True)
class _Holder:
    """So that messages name the field as it stands in the document."""

    training: TrainingRecord


def training_record(training: Mapping[str, Any], subject: str = "The card") -> TrainingRecord:
    """Read the record of a training; what later versions write in addition is passed over.

    Args:
        training: A JSON object.
        subject: What messages call the document that holds it as `training`.

    Raises:
        ConfigError: If an entry is not what it is called.
    """
    known = {each.name: training[each.name] for each in fields(TrainingRecord) if each.name in training}
    return from_document(_Holder, {"training": known}, subject).training
