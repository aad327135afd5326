"""Time one training step of the default student, with instance norm and with the same norm as group norm.

    python benchmarks/training_step.py

The two run in turns on the same random slices, so that a change of the machine's speed meets both.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from monai.networks.nets import BasicUNet
from torch import nn

from uncol.config import Config
from uncol.devices import autocast
from uncol.losses import region_loss
from uncol.networks.student import Student2D

ROUNDS = 7
CPU = torch.device("cpu")


def main() -> None:
    """Print the median time of a step for both norms at two sizes."""
    settings = Config()
    channels, neighbors = settings.student.channels, settings.data.neighbor_count
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, batch {settings.optimizer.batch_size}")
    for side in (128, 192):
        students: dict[str, nn.Module] = {
            "instance norm": BasicUNet(
                2, neighbors, 2, (*channels, channels[0]), norm=("instance", {"affine": True}), dropout=0.0
            ),
            "group norm": Student2D(settings.student, neighbors, 2),
        }
        steps = {name: step_of(each, settings.optimizer.batch_size, neighbors, side) for name, each in students.items()}
        for step in steps.values():
            step()  # warm-up
        times: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(ROUNDS):
            for name, step in steps.items():
                times[name].append(timed(step))
        print(
            f"{side} x {side}: " + ", ".join(f"{name} {statistics.median(each):.3f} s" for name, each in times.items())
        )


def step_of(student: nn.Module, batch_size: int, neighbors: int, side: int) -> Callable[[], None]:
    """Return a function that computes loss and gradients once."""
    student.to(memory_format=torch.channels_last).train()
    slices = torch.rand(batch_size, neighbors, side, side).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 2, (batch_size, side, side))
    everywhere = torch.ones_like(labels, dtype=torch.bool)

    def step() -> None:
        with autocast(CPU, training=True):
            logits = student(slices)
        region_loss(logits.float(), labels, everywhere, torch.ones(2)).backward()

    return step


def timed(step: Callable[[], None]) -> float:
    """Return how long a function takes, in s."""
    started = time.monotonic()
    step()
    return time.monotonic() - started


if __name__ == "__main__":
    main()
