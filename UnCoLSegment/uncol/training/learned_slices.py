"""Which annotated slices of a training a model before it has learned from, and which the new one will have."""

from __future__ import annotations

from collections.abc import Sequence

from uncol.core.learned_slices import read_hashes, slice_hash, write_hashes
from uncol.core.volume import UNKNOWN_LABEL
from uncol.data.cases import FramedCase, SliceIndex
from uncol.training.state import FineTuneSetup


def seen_slices(setup: FineTuneSetup, framed: Sequence[FramedCase]) -> set[SliceIndex]:
    """Return the annotated slices from which the base or the earlier model has learned, as far as their cards say."""
    models = [each for each in (setup.base, setup.earlier) if each is not None]
    known = frozenset[str]().union(*(read_hashes(each.card.learned_slices) or () for each in models))
    return {address for address, found in _hashes(setup, framed).items() if found in known} if known else set()


def record_learned(setup: FineTuneSetup, framed: Sequence[FramedCase]) -> str:
    """Return for the card of the new model from what its weights have learned, those of its base included.

    "" if the card of the base does not say that.
    """
    before = frozenset[str]() if setup.base is None else read_hashes(setup.base.card.learned_slices)
    return "" if before is None else write_hashes([*before, *_hashes(setup, framed).values()])


def _hashes(setup: FineTuneSetup, framed: Sequence[FramedCase]) -> dict[SliceIndex, str]:
    """Return the hash of every slice in which a voxel is annotated."""
    found: dict[SliceIndex, str] = {}
    for number, (case, stack) in enumerate(zip(setup.cases, framed, strict=False)):  # the unlabeled images come after
        grey = stack.view.stack_from(case.image.voxels)
        annotated = (stack.native_labels != UNKNOWN_LABEL).any((1, 2)).nonzero()[0]
        found |= {SliceIndex(number, int(index)): slice_hash(grey[index]) for index in annotated}
    return found
