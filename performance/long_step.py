"""CPU seconds of a training step of each set of `uncol benchmark converged`, with torch's layers and with ours.

    OMP_NUM_THREADS=1 python performance/long_step.py

Images are random, in the sizes of the sets. Both students take their steps in turns within one process, and time is
that of its one thread, so that other work on the machine meets both alike.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import torch
from torch import nn

from uncol.benchmark.suites import BENCHMARKS, config_document
from uncol.core.config import Config
from uncol.core.freed_memory import keep_freed_memory
from uncol.core.progress import UNWATCHED
from uncol.core.volume import Volume
from uncol.data.cases import LabeledCase
from uncol.foundation.embeddings import EmbeddingCache
from uncol.models.cpu_layers import ChannelNorm, CpuDropout
from uncol.training.setup import prepared
from uncol.training.state import FineTuneSetup, TrainingState
from uncol.training.train import begin, learn, start_stage2

ROUNDS, STEPS = 5, 2000
SETS = {
    "acdc-heart": ((10, 128, 128), (1.0, 1.0, 1.0)),
    "la2018-fold1": ((88, 142, 190), (0.625, 0.625, 0.625)),
    "hippocampus": ((36, 50, 35), (1.0, 1.0, 1.0)),
}
"""Voxels (K, J, I) and spacing (I, J, K) in mm."""
METHODS = ("supervised", "mean-teacher", "bcp", "uncol-without-generalized")
"""UnCoL with the foundation model takes a little longer: its predictions are looked up."""


def main() -> None:
    """Print a row for each set and method: the median of the steps before and after, and their ratio."""
    torch.set_num_threads(1)
    keep_freed_memory()
    print(f"torch {torch.__version__}")
    print("| set | method | torch's layers (s) | ours (s) | |\n| --- | --- | ---: | ---: | ---: |")
    for name in SETS:
        for method in METHODS:
            before, after = (state_of(name, method) for _ in range(2))
            use_torch_layers(before.student)
            use_torch_layers(before.specialized_teacher)
            times: tuple[list[float], list[float]] = ([], [])
            for _ in range(1 + ROUNDS):
                for state, taken in zip((before, after), times, strict=True):
                    taken.append(timed(state))
            one, two = (statistics.median(each[1:]) for each in times)
            print(f"| {name} | {method} | {one:.3f} | {two:.3f} | {one / two:.2f} x |", flush=True)


def state_of(name: str, method: str) -> TrainingState:
    """Return a training in the stage that learns from unannotated images, or in the only one."""
    benchmark, (shape, spacing) = BENCHMARKS[name], SETS[name]
    generator, grid = np.random.default_rng(0), np.diag([*spacing, 1.0])
    images = [Volume(generator.random(shape, dtype=np.float32), grid) for _ in range(4)]
    labels = [each.with_voxels((each.voxels * (1 + len(benchmark.structures))).astype(np.uint8)) for each in images[:2]]
    config = Config.from_document(config_document(benchmark, method, 0, STEPS))
    state = prepared(
        FineTuneSetup(
            cases=[LabeledCase(*pair) for pair in zip(images, labels, strict=False)],
            unlabeled=images[2:],
            structures=benchmark.learned_structures,
            plane="axial",
            config=config,
            device=torch.device("cpu"),
            teacher=None,
            cache=EmbeddingCache(None),
        )
    )
    begin(state, UNWATCHED)
    if state.recipe.method.stage1_part != 1.0:
        start_stage2(state, UNWATCHED)
    return state


def use_torch_layers(network: nn.Module) -> None:
    """Put the norm and the dropout of before into a network: group norm in 2D, instance norm in 3D."""
    is_volume = any(isinstance(each, nn.Conv3d) for each in network.modules())
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, ChannelNorm):
                count = child.num_channels
                norm = nn.InstanceNorm3d(count, affine=True) if is_volume else nn.GroupNorm(count, count)
                norm.load_state_dict(child.state_dict())
                setattr(module, name, norm)
            elif isinstance(child, CpuDropout):
                setattr(module, name, nn.Dropout(child.p).train(child.training))


def timed(state: TrainingState) -> float:
    """Return the CPU time of a step, in s."""
    started = time.process_time()
    learn(state)
    return time.process_time() - started


if __name__ == "__main__":
    main()
