"""What is remembered of the slices that a model has learned from: hashes that tell nothing of the images."""

from __future__ import annotations

import numpy as np
import pytest

from uncol.core.errors import ConfigError
from uncol.core.learned_slices import read_hashes, slice_hash, write_hashes

SLICE = np.arange(12).reshape(3, 4)


def test_a_slice_is_recognized_whatever_type_and_order_its_numbers_have() -> None:
    # The first 12 digits of the SHA-256 of "(3, 4)" and the numbers 0 to 11 as little-endian float32.
    expected = slice_hash(SLICE.astype(np.float32))

    assert len(expected) == 12
    assert slice_hash(SLICE.astype(np.int16)) == slice_hash(np.asfortranarray(SLICE)) == expected
    assert slice_hash(SLICE.astype(">f8")) == expected


@pytest.mark.parametrize("other", [SLICE.T, SLICE.reshape(4, 3), SLICE + 1, SLICE[:2]])
def test_another_slice_has_another_hash(other: np.ndarray) -> None:
    assert slice_hash(other) != slice_hash(SLICE)


def test_a_record_is_read_as_it_was_written_and_an_empty_one_says_nothing() -> None:
    hashes = [slice_hash(SLICE), slice_hash(SLICE + 1), slice_hash(SLICE)]

    assert read_hashes(write_hashes(hashes)) == set(hashes)
    assert len(write_hashes(hashes)) == 25
    assert read_hashes("") is None
    assert write_hashes(f"{number:012x}" for number in range(40_001)) == ""


@pytest.mark.parametrize(
    "record", ["abc", "0" * 13, "0" * 12 + "  " + "1" * 12, "G" * 12, " " + "0" * 12, "0" * 12 + "\n"]
)
def test_what_is_no_record_is_refused(record: str) -> None:
    with pytest.raises(ConfigError, match="learned_slices must be hashes of 12 digits with spaces between"):
        read_hashes(record)
