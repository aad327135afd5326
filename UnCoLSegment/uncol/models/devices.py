"""Which processor does the work, in which precision, and what happens when its memory is full."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from typing import TypeVar

import numpy as np
import torch

from uncol.core.errors import MEMORY_IS_FULL, ConfigError, UncolError, says_memory_is_full
from uncol.core.jobs import Device
from uncol.core.protocol import GraphicsCard

_log = logging.getLogger(__name__)
Result = TypeVar("Result")

_PREFERENCE: tuple[Device, ...] = ("cuda", "mps", "cpu")

_RESERVE_BYTES = 96 << 20
"""Free memory without which a CPU gets no work: where oneDNN (in torch 2.14) finds none for the code that it makes, the
process crashes. With a small student it was seen to do so with up to 67 MiB left."""


def available_devices() -> list[Device]:
    """Return the kinds of device that torch can use here, best first."""
    usable = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return [kind for kind in _PREFERENCE if usable[kind]]


def graphics_cards() -> list[GraphicsCard]:
    """Return name and memory of each usable device other than the CPU, best first; what cannot be told is left out.

    Of an Apple GPU, which shares the computer's memory, it is the part that the system grants it.
    """
    found = []
    with suppress(RuntimeError):  # a driver that does not work is told by the job that needs it
        if torch.cuda.is_available():
            properties = torch.cuda.get_device_properties(0)
            found.append(GraphicsCard("cuda", properties.name, _gib(properties.total_memory)))
        if torch.backends.mps.is_available():
            found.append(GraphicsCard("mps", _apple_chip(), _gib(torch.mps.recommended_max_memory())))
    return found


def _gib(size: int) -> float:
    return round(size / 2**30, 1)


def _apple_chip() -> str:
    command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    return asked.stdout.strip() or "Apple GPU"


def select_device(wanted: Device) -> torch.device:
    """Return the device to work on; `auto` takes the best one there is.

    Raises:
        ConfigError: If the wanted device is not there.
    """
    available = available_devices()
    if wanted == "auto":
        return torch.device(available[0])
    if wanted not in available:
        message = (
            f'Device "{wanted}" is not available here (available: {", ".join(available)}). '
            "Choose --device auto, or run `uncol doctor` to see what is missing."
        )
        raise ConfigError(message)
    return torch.device(wanted)


def reduced_precision(device: torch.device) -> torch.dtype | None:
    """Return the data type in which this device computes faster than in float32, or None.

    bfloat16 keeps float32's range, so training needs no loss scaling. A CPU gets it only with matrix tiles (AMX):
    vector instructions for bfloat16 (AVX-512) are slower than float32 (docs/decisions/0013).
    """
    if device.type == "cpu":
        has_tiles = getattr(torch.cpu, "_is_amx_tile_supported", None)  # torch 2.4 and 2.5 do not know
        return torch.bfloat16 if has_tiles and has_tiles() else None
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else None
    return torch.float16 if device.type == "mps" else None


def autocast(device: torch.device, *, dims: int = 2, training: bool = False) -> AbstractContextManager[object]:
    """Return the context in which networks over slices (2) or volumes (3) run in the device's reduced precision.

    Training leaves out float16 (Apple GPU), where small gradients would vanish, and 3D convolutions in bfloat16 on a
    CPU: torch 2.14 computes some of their weights' gradients from memory that nobody has written.
    """
    dtype = reduced_precision(device)
    unfit = dtype is torch.float16 or (device.type == "cpu" and dims == 3)
    if dtype is None or (training and unfit) or not torch.amp.is_autocast_available(device.type):  # Apple: from 2.5 on
        return nullcontext()
    return torch.autocast(device.type, dtype=dtype)


def with_memory_fallback(
    work: Callable[[torch.device, int], Result], device: torch.device, size: int, say: Callable[[str], None]
) -> Result:
    """Do memory-hungry work; when the device's memory is full, halve its size, then go to the CPU.

    Args:
        work: Called with the device and the size (slices or patches at once) to use.
        device: Where to try first.
        size: How much to try first, at least 1.
        say: Told in one sentence about every step back.

    Raises:
        UncolError: If not even the smallest size fits the CPU's memory.
    """
    while True:
        try:
            return in_smaller_batches(partial(work, device), device, size, say)
        except (MemoryError, RuntimeError) as error:
            if not says_memory_is_full(error):
                raise
            if device.type == "cpu":
                raise UncolError(MEMORY_IS_FULL) from error
        _give_back_memory(device)
        device, size = torch.device("cpu"), 1
        say("The GPU memory is full even for the smallest batch; going on with the CPU, which is slower.")


def in_smaller_batches(
    work: Callable[[int], Result], device: torch.device, size: int, say: Callable[[str], None]
) -> Result:
    """Do memory-hungry work; when the device's memory is full, halve its size.

    Args:
        work: Called with the size (slices or patches at once) to use.
        device: Where it works.
        size: How much to try first, at least 1.
        say: Told in one sentence about every step back.

    Raises:
        MemoryError, RuntimeError: What the work raises, if not even the smallest size fits, or too little is free.
    """
    while True:
        try:
            if device.type == "cpu":
                np.empty(_RESERVE_BYTES, np.uint8)
            return work(size)
        except (MemoryError, RuntimeError) as error:
            if size == 1 or not says_memory_is_full(error):
                raise
        _give_back_memory(device)
        size //= 2
        say(f"The {device.type.upper()} memory is full; going on in smaller batches ({size} at a time).")


def _give_back_memory(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
