"""Time one training step: the 2D student with instance norm and with group norm, the 3D student in both precisions.

    python benchmarks/training_step.py

What is compared runs in turns on the same random images, so that a change of the machine's speed meets both.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from monai.networks.nets import BasicUNet
from torch import Tensor, nn

from uncol.config import Config, StudentConfig
from uncol.devices import autocast, reduced_precision
from uncol.losses import region_loss
from uncol.networks.student import Student2D, Student3D
from uncol.prediction import memory_format

ROUNDS = 7
CPU = torch.device("cpu")
SIDES = (128, 192)
PATCHES = ((32, 48, 32), (48, 96, 96))


def main() -> None:
    """Print the median time of a step for both norms in 2D and, with bfloat16 instructions, both precisions in 3D."""
    settings = Config()
    batch_size = settings.optimizer.batch_size
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, batch {batch_size}")
    channels, neighbors = settings.student.channels, settings.data.neighbor_count
    for side in SIDES:
        slices = torch.rand(batch_size, neighbors, side, side)
        plain = BasicUNet(2, neighbors, 2, (*channels, channels[0]), norm=("instance", {"affine": True}), dropout=0.0)
        ours = Student2D(settings.student, neighbors, 2)
        compare(
            f"{side} x {side}", {"instance norm": step_of(plain, slices, CPU), "group norm": step_of(ours, slices, CPU)}
        )
    for patch in PATCHES:
        student = Student3D(StudentConfig(dims=3), 2)
        patches = torch.rand(batch_size, 1, *patch)
        steps = {"float32": step_of(student, patches, None)}
        if reduced_precision(CPU) is not None:
            steps["bfloat16"] = step_of(student, patches, CPU)
        compare(" x ".join(map(str, patch)), steps)


def compare(what: str, steps: dict[str, Callable[[], None]]) -> None:
    """Print the median times of steps that are taken in turns."""
    for step in steps.values():
        step()  # warm-up
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(ROUNDS):
        for name, step in steps.items():
            times[name].append(timed(step))
    print(f"{what}: " + ", ".join(f"{name} {statistics.median(each):.3f} s" for name, each in times.items()))


def step_of(student: nn.Module, images: Tensor, reduced_on: torch.device | None) -> Callable[[], None]:
    """Return a function that computes loss and gradients once, in reduced precision where a device is named."""
    layout = memory_format(images.ndim - 2)
    student.to(memory_format=layout).train()
    images = images.to(memory_format=layout)
    labels = torch.randint(0, 2, (len(images), *images.shape[2:]))
    everywhere = torch.ones_like(labels, dtype=torch.bool)

    def step() -> None:
        if reduced_on is None:
            logits = student(images)
        else:
            with autocast(reduced_on):
                logits = student(images)
        region_loss(logits.float(), labels, everywhere, torch.ones(2)).backward()

    return step


def timed(step: Callable[[], None]) -> float:
    """Return how long a function takes, in s."""
    started = time.monotonic()
    step()
    return time.monotonic() - started


if __name__ == "__main__":
    main()
