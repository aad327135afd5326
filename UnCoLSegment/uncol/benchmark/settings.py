"""The configuration of every benchmark: one student, one budget and one set of augmentations for all methods."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from uncol.benchmark.suites import Benchmark
from uncol.core.config import BudgetConfig, Config, DataConfig, OptimizerConfig, StudentConfig, TeacherConfig
from uncol.core.methods import METHODS

_SCALED_WINDOW = (0.0, 1.0)
"""Volumes of MR are scaled by themselves before (`cases.scale_by_itself`)."""
_DROPOUT = 0.1
"""UA-MT reads the moving average's doubt from passes with dropout, so every method's student has some."""

_BOTH_STAGES_ALIKE = BudgetConfig(stage1_part=0.5)
"""As in the paper."""

_HIPPOCAMPUS = Config(
    budget=_BOTH_STAGES_ALIKE,
    data=DataConfig(window=_SCALED_WINDOW, voxel_mm=1.0, patch_vox=(32, 48, 32), mirror=True),
    student=StudentConfig(dims=3, dropout=_DROPOUT),
    optimizer=OptimizerConfig(batch_size=2),
    teachers=TeacherConfig(most_slices_asked=300),
)
"""Whole volumes. Left and right ones are mixed and nobody knows which is which: mirroring changes nothing."""

_ACDC = Config(
    budget=_BOTH_STAGES_ALIKE,
    data=DataConfig(window=_SCALED_WINDOW, max_side_vox=128, neighbor_count=3, rotation_deg=90.0),
    student=StudentConfig(dims=2, dropout=_DROPOUT),
    teachers=TeacherConfig(most_slices_asked=240),
)
"""The orientation of these images is lost and differs: some lie on their side (seen in training images without labels).
Slices of at most 128 pixels: on one thread of a CPU a step of two slices takes 0.07 to 0.14 s
(benchmarks/training_step.py)."""

_LA2018 = Config(
    budget=_BOTH_STAGES_ALIKE,
    data=DataConfig(window=_SCALED_WINDOW, voxel_mm=1.25, patch_vox=(48, 80, 96)),
    student=StudentConfig(dims=3, dropout=_DROPOUT),
    optimizer=OptimizerConfig(batch_size=2),
    teachers=TeacherConfig(most_slices_asked=400),
)

_CONFIGS = {"hippocampus": _HIPPOCAMPUS, "acdc": _ACDC, "la2018": _LA2018}


def config_document(benchmark: Benchmark, method: str, seed: int, steps: int) -> dict[str, Any]:
    """Return the effective configuration of a run as a JSON object; single slices are learned as in the product."""
    if method not in METHODS:
        return {"seed": seed}
    config = _CONFIGS.get(benchmark.name, Config())
    budget = replace(config.budget, minutes=None, steps=steps)
    return replace(config, method=method, seed=seed, budget=budget).as_document()
