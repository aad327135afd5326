"""Which annotated slices a model has learned from: a hash of each one's grey values, and nothing else of the images.

A model's score on slices that it has learned from says little, so that two models are compared on others.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uncol.core.errors import ConfigError

_DIGITS = 12
_RECORD = re.compile(rf"([0-9a-f]{{{_DIGITS}}}( [0-9a-f]{{{_DIGITS}}})*)?")
_MOST = 40_000
"""More slices are not recorded: a card has a limited size."""


def slice_hash(grey: NDArray[Any]) -> str:
    """Return what a slice (H, W) is recognized by: 12 digits of a hash of its size and grey values, of any type."""
    values = np.ascontiguousarray(grey, dtype="<f4")
    return hashlib.sha256(repr(values.shape).encode() + values.tobytes()).hexdigest()[:_DIGITS]


def write_hashes(hashes: Iterable[str]) -> str:
    """Return the record that `read_hashes` reads; "" where there are too many to say."""
    different = sorted(set(hashes))
    return " ".join(different) if len(different) <= _MOST else ""


def read_hashes(record: str) -> frozenset[str] | None:
    """Return the hashes in a record; None where it does not say what was learned from.

    Raises:
        ConfigError: If it is no such record.
    """
    if not _RECORD.fullmatch(record):
        message = f'learned_slices must be hashes of {_DIGITS} digits with spaces between, got "{record[:40]}".'
        raise ConfigError(message)
    return frozenset(record.split()) or None
