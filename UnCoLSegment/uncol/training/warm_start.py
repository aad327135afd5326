"""How a student starts from a base model: what both know is carried over, then the student thaws part by part.

Source:
    Gradual unfreezing, and lower rates for lower layers: Howard & Ruder, "Universal Language Model Fine-tuning for Text
    Classification", ACL 2018, layer by layer and in whole epochs there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from uncol.core.jobs import Structure
from uncol.core.model_card import ModelCard
from uncol.models.card import Model
from uncol.models.parts import Part, class_axes


@dataclass(frozen=True)
class Thaw:
    """When a part of the student begins to learn and when it has its whole rate, in parts of stage 1, and that rate."""

    begins: float
    ends: float
    rate: float


THAW: dict[Part, Thaw] = {
    "head": Thaw(0.0, 0.0, 1.0),
    "decoder": Thaw(0.05, 0.15, 0.5),
    "encoder": Thaw(0.15, 0.25, 0.25),
}
"""The rates are parts of the student's. With the whole rate structures were forgotten (docs/decisions/0023)."""


def share_of_rate(part: Part, fraction: float, *, keeps: bool) -> float:
    """Return the share of the learning rate that a part of the student gets at t/T of stage 1.

    It rises as `3 x^2 - 2 x^3`, with x from 0 to 1 between the two times of the part's `Thaw`.

    Args:
        part: Part of the student.
        fraction: t/T of stage 1, in [0, 1].
        keeps: Whether the base knows a structure that is to be learned; if it does not, there is nothing to forget, and
            every part comes to the whole rate.

    Returns:
        In [0, 1].
    """
    thaw = THAW[part]
    rate = thaw.rate if keeps else 1.0
    if fraction >= thaw.ends:
        return rate
    x = max(0.0, (fraction - thaw.begins) / (thaw.ends - thaw.begins))
    return rate * x * x * (3 - 2 * x)


def knows_some(base: Model, structures: Sequence[Structure]) -> bool:
    """Say whether a base model knows one of some structures, by their names."""
    return not {each.name for each in base.card.structures}.isdisjoint(each.name for each in structures)


def carry_over(base: Model, student: nn.Module, card: ModelCard) -> None:
    """Give a student the weights of a base model where they fit, those of its head by the structures' names.

    What both know is scored as the base does; what is new keeps the weights that it was built with.

    Args:
        base: The model to start from.
        student: The student of `card`, changed in place.
        card: What the student is to learn.
    """
    known = {each.name: channel for channel, each in enumerate(base.card.structures, start=1)}
    theirs = [0, *(known.get(each.name) for each in card.structures)]
    weights, axes = student.state_dict(), class_axes(card)
    for name, given in base.student.state_dict().items():
        counted = axes.get(name, [])
        if name not in weights or _sides(given, counted) != _sides(weights[name], counted):
            continue
        tensor = given.to(weights[name].device)
        for axis in reversed(counted):  # inputs, which new classes do not reach, before outputs
            built = weights[name] if axis == counted[0] else None
            tensor = _in_order(tensor, axis, theirs, base.card.class_count, built)
        weights[name] = tensor
    student.load_state_dict(weights)


def _sides(tensor: Tensor, counted: Sequence[int]) -> list[int | None]:
    """Return the sides of a tensor; those that count classes may differ."""
    return [None if axis in counted else side for axis, side in enumerate(tensor.shape)]


def _in_order(
    tensor: Tensor, axis: int, theirs: Sequence[int | None], class_count: int, built: Tensor | None
) -> Tensor:
    """Return a base model's tensor whose classes along an axis are those of the student, in its order.

    Args:
        tensor: Weights of the base.
        axis: Which axis counts classes, several times where there are several heads.
        theirs: The base's class for each of the student's; None where it has none.
        class_count: Classes of the base.
        built: The student's own weights, for classes that the base does not have; None gives these 0.
    """
    by_head = tensor.unflatten(axis, (-1, class_count)).movedim(axis + 1, 0)
    ordered = by_head[[each or 0 for each in theirs]]
    new = [each is None for each in theirs]
    if any(new):
        own = None if built is None else built.unflatten(axis, (-1, len(theirs))).movedim(axis + 1, 0)
        ordered[new] = 0 if own is None else own[new]
    return ordered.movedim(0, axis + 1).flatten(axis, axis + 1)
