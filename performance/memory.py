"""Measure the memory of whole-volume inference for 78 and for 780 slices of 512 x 512.

    python performance/memory.py

Each size runs in a process of its own. What is printed is the peak of the process less what it held before the
segmentation began (among it the image) and less the two result volumes: what streaming needs on top.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time

import numpy as np
import torch

from uncol.core.config import Config
from uncol.core.jobs import Structure
from uncol.core.model_card import ModelCard
from uncol.core.volume import Volume
from uncol.inference.student import segment_with_model
from uncol.models.build import build_student
from uncol.models.card import Model

SLICE_COUNTS = (78, 780)
ROWS = COLUMNS = 512


def main() -> None:
    """Measure both sizes, or one when its number of slices is given."""
    if len(sys.argv) > 1:
        measure(int(sys.argv[1]))
        return
    for slice_count in SLICE_COUNTS:
        subprocess.run([sys.executable, __file__, str(slice_count)], check=True)


def measure(slice_count: int) -> None:
    """Segment a volume of noise with an untrained student and print what it took."""
    voxels = np.random.default_rng(0).integers(-1000, 1000, (slice_count, ROWS, COLUMNS), dtype=np.int16)
    image = Volume(voxels, np.diag([-0.73, -0.73, 2.0, 1.0]))
    card = ModelCard((Structure(1, "liver"),), "axial", 0.73 * 512 / 192, 2.0, (-160.0, 240.0), Config())
    model = Model(card, build_student(card).eval())
    before_mib = resident_mib()
    started = time.monotonic()
    segment_with_model(image, model, torch.device("cpu"))
    seconds = time.monotonic() - started
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    results_mib = voxels.size * (np.uint8().nbytes + np.float32().nbytes) / 2**20
    print(
        f"{slice_count} slices: {peak_mib - before_mib - results_mib:.0f} MiB beyond the volumes "
        f"(peak {peak_mib:.0f} MiB, before {before_mib:.0f}, results {results_mib:.0f}), {seconds:.1f} s"
    )


def resident_mib() -> float:
    """Return the memory that this process holds now (Linux)."""
    with open("/proc/self/statm") as file:  # noqa: PTH123  # a kernel file, read whole
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


if __name__ == "__main__":
    main()
