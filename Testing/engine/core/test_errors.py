"""Tests of errors: what a library says when the memory is full is told from what it says of other faults."""

from __future__ import annotations

import errno
import os
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


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("could not create a primitive"),
        RuntimeError("could not create a primitive descriptor for the convolution forward propagation primitive"),
        RuntimeError("could not execute a primitive"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("can't start new thread"),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
    ],
    ids=str,
)
def test_a_full_memory_is_known_by_what_libraries_say(error: Exception) -> None:
    told = ValueError("something else")
    told.__cause__ = error

    assert says_memory_is_full(error)
    assert says_memory_is_full(told)


def test_other_errors_are_no_full_memory() -> None:
    assert not says_memory_is_full(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert not says_memory_is_full(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
