"""Tests of errors: what a library says when the memory is full is told from what it says of other faults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  # the abbreviation of SimpleITK's own documentation
import torch

from uncol.core.errors import says_memory_is_full

MORE_THAN_AN_ADDRESS_SPACE = 2**49


@pytest.mark.parametrize("allocate", [torch.empty, np.empty, bytearray], ids=["torch", "numpy", "python"])
def test_memory_that_is_really_full_is_told(allocate: Callable[[int], Any]) -> None:
    with pytest.raises((MemoryError, RuntimeError)) as caught:
        allocate(MORE_THAN_AN_ADDRESS_SPACE)

    assert says_memory_is_full(caught.value)


def test_other_faults_are_not_taken_for_a_full_memory() -> None:
    with pytest.raises(RuntimeError) as caught:
        sitk.ReadImage("nowhere.nii.gz")

    assert not says_memory_is_full(caught.value)
