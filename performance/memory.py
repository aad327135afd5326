"""Measure the memory of whole-volume inference, and of segmenting from slices, for 78 and 1000 slices of 512 x 512.

    python performance/memory.py
    python performance/memory.py slices

Each size runs in a process of its own. What is printed is the peak of the process less what it held before the
segmentation began (among it the image) and less the two result volumes: what streaming needs on top.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from uncol.core.config import Config
from uncol.core.jobs import Structure
from uncol.core.model_card import ModelCard
from uncol.core.volume import UNKNOWN_LABEL, Volume
from uncol.foundation.embeddings import EmbeddingCache
from uncol.inference.few_slices import FewSlices
from uncol.inference.result import Segmentation
from uncol.inference.student import segment_with_model
from uncol.models.build import build_student
from uncol.models.card import Model

SLICE_COUNTS = (78, 1000)
EVERY = 8
"""From slices: every how manieth is annotated."""
ROWS = COLUMNS = 512
LIVER = Structure(1, "liver")


def main() -> None:
    """Measure both sizes, or one when its number of slices is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=list(SEGMENT), default="student")
    parser.add_argument("--slices", type=int)
    chosen = parser.parse_args()
    if chosen.slices:
        measure(chosen.what, chosen.slices)
        return
    for slice_count in SLICE_COUNTS:
        subprocess.run([sys.executable, __file__, chosen.what, "--slices", str(slice_count)], check=True)


def with_student(image: Volume) -> Callable[[], Segmentation]:
    """Return what segments with an untrained student."""
    card = ModelCard((LIVER,), "axial", 0.73 * 512 / 192, 2.0, (-160.0, 240.0), Config())
    model = Model(card, build_student(card).eval())
    return lambda: segment_with_model(image, model, torch.device("cpu"))


def from_slices(image: Volume) -> Callable[[], Segmentation]:
    """Return what segments from slices in which a disk is annotated, by registration, with displacements on disk."""
    voxels = np.full(image.shape_kji, UNKNOWN_LABEL, dtype=np.uint8)
    rows, columns = np.indices((ROWS, COLUMNS))
    voxels[::EVERY] = np.hypot(rows - ROWS / 2, columns - COLUMNS / 3) < ROWS / 6
    labels = image.with_voxels(voxels)

    def segment() -> Segmentation:
        with tempfile.TemporaryDirectory() as folder:
            cache = EmbeddingCache(Path(folder))
            return FewSlices(image, labels, [LIVER], cache, plane="axial").by_registration()

    return segment


SEGMENT = {"student": with_student, "slices": from_slices}


def measure(what: str, slice_count: int) -> None:
    """Segment a volume of noise and print what it took."""
    voxels = np.random.default_rng(0).integers(-1000, 1000, (slice_count, ROWS, COLUMNS), dtype=np.int16)
    image = Volume(voxels, np.diag([-0.73, -0.73, 2.0, 1.0]))
    segment = SEGMENT[what](image)
    before_mib = resident_mib()
    started = time.monotonic()
    segment()
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
