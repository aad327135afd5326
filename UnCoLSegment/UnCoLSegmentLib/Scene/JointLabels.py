"""Several annotated volumes as cases of one training: the same values for the same structures, nothing claimed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from slicer.i18n import tr as _

from uncol.core.errors import DataError
from uncol.core.jobs import Structure
from uncol.core.volume import UNKNOWN_LABEL
from UnCoLSegmentLib.Scene.Bridge import MOST_STRUCTURES
from UnCoLSegmentLib.Scene.RunData import RunInputs


@dataclass(frozen=True)
class JointInputs:
    """What a training from several volumes needs.

    Attributes:
        cases: The volumes with their labels, which have the same values everywhere.
        structures: What the values mean: the structures of all.
        notes: What the user should know.
    """

    cases: tuple[RunInputs, ...]
    structures: tuple[Structure, ...]
    notes: tuple[str, ...]


def joined(cases: Sequence[RunInputs], names: Sequence[str]) -> JointInputs:
    """Give structures of the same name the same value in all cases.

    Where a case shows a structure in no finished slice, nobody has said where it is: there only what is painted is
    known, and the rest of the slice is unknown instead of background.

    Args:
        cases: Annotated volumes.
        names: What to call them.

    Raises:
        DataError: If two cases spell a structure differently, as it would be learned as two, or there are too many.
    """
    values: dict[str, int] = {}
    spelled: dict[str, tuple[str, str]] = {}
    for case, name in zip(cases, names, strict=True):
        before = dict(spelled)  # within one case names that differ in little are structures of their own
        for each in case.structures:
            key = " ".join(each.name.casefold().split())
            spelled.setdefault(key, (each.name, name))
            if key in before and each.name not in values:
                first, where = before[key]
                text = _(
                    'A structure is called "{first}" in "{where}" and "{second}" in "{here}". Give both segments the '
                    "same name, or leave one of the volumes out."
                )
                raise DataError(text.format(first=first, where=where, second=each.name, here=name))
            values.setdefault(each.name, len(values) + 1)
    if len(values) > MOST_STRUCTURES:
        text = _("The volumes have {count} structures in all; at most {most} can be learned. Leave one of them out.")
        raise DataError(text.format(count=len(values), most=MOST_STRUCTURES))
    structures = tuple(Structure(value, name) for name, value in values.items())
    mapped, notes = [], []
    for case, name in zip(cases, names, strict=True):
        table = np.zeros(UNKNOWN_LABEL + 1, dtype=np.uint8)
        table[UNKNOWN_LABEL] = UNKNOWN_LABEL
        for each in case.structures:
            table[each.value] = values[each.name]
        missing = [each.name for each in structures if each.name not in {own.name for own in case.structures}]
        if missing:
            table[0] = UNKNOWN_LABEL
            text = _(
                'No finished slice of "{volume}" shows {names}, so only what is painted there was learned from, and '
                "not where nothing is."
            )
            notes.append(text.format(volume=name, names=", ".join(missing)))
        assert case.labels is not None  # nothing is learned without annotated slices
        mapped.append(replace(case, labels=case.labels.mapped(table), structures=structures))
    return JointInputs(tuple(mapped), structures, tuple(notes))
