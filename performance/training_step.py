"""Time one training step on the CPU: 2D students with MONAI's instance norm and with the student's own, the 3D student.

    python performance/training_step.py

What is compared runs in turns on the same random images, so that a change of the machine's speed meets both.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from monai.networks.nets import BasicUNet
from torch import Tensor, nn

from uncol.core.config import Config, StudentConfig
from uncol.inference.predict import memory_format
from uncol.models.unet import Student2D, Student3D
from uncol.training.losses import region_loss

ROUNDS = 7
SIDES = (128, 192)
PATCHES = ((32, 48, 32), (48, 96, 96))


def main() -> None:
    """Print the median time of a step for every size, norm and precision."""
    settings = Config()
    batch_size = settings.optimizer.batch_size
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, batch {batch_size}")
    channels, neighbors = settings.student.channels, settings.data.neighbor_count
    for side in SIDES:
        plain = BasicUNet(2, neighbors, 2, (*channels, channels[0]), norm=("instance", {"affine": True}), dropout=0.0)
        students = {"MONAI's norm": plain, "the student's norm": Student2D(settings.student, neighbors, 2)}
        compare(students, torch.rand(batch_size, neighbors, side, side))
    for patch in PATCHES:
        compare({"volumes": Student3D(StudentConfig(dims=3), 2)}, torch.rand(batch_size, 1, *patch))


def compare(students: dict[str, nn.Module], images: Tensor) -> None:
    """Print the median times of every student's steps in both precisions, taken in turns."""
    steps = {
        f"{name}, {str(precision).removeprefix('torch.')}": step_of(student, images, precision)
        for name, student in students.items()
        for precision in (torch.float32, torch.bfloat16)
    }
    for step in steps.values():
        step()  # warm-up
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(ROUNDS):
        for name, step in steps.items():
            times[name].append(timed(step))
    print(" x ".join(map(str, images.shape[2:])))
    for name, seconds in times.items():
        print(f"  {name}: {statistics.median(seconds):.3f} s")


def step_of(student: nn.Module, images: Tensor, precision: torch.dtype) -> Callable[[], None]:
    """Return a function that computes loss and gradients once, convolutions in a precision."""
    layout = memory_format(images.ndim - 2)
    student.to(memory_format=layout).train()
    images = images.to(memory_format=layout)
    labels = torch.randint(0, 2, (len(images), *images.shape[2:]))
    everywhere = torch.ones_like(labels, dtype=torch.bool)

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision is torch.bfloat16):
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
