"""Measure how soon something is seen after *Segment from slices*: seconds of registration alone, in a warm process.

    python performance/first_result.py --data ../shared/data --threads 2

For each volume: until the first slices are handed out, until the whole volume is there, and the whole volume again
after one more slice was annotated (a correction), with the displacements that are kept. Needs a quiet machine.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from uncol.core.jobs import Structure
from uncol.core.volume import UNKNOWN_LABEL, Volume
from uncol.data.io import read_image, read_labels
from uncol.foundation.embeddings import EmbeddingCache
from uncol.inference.few_slices import FewSlices

ORGANS = (
    Structure(1, "spleen"),
    Structure(2, "right kidney"),
    Structure(3, "left kidney"),
    Structure(5, "liver"),
    Structure(6, "stomach"),
    Structure(52, "aorta"),
)
TASKS = {
    "six organs": ("totalseg_ct/{}/ts_body3mm.nii.gz", ORGANS),
    "CHAOS liver": ("chaos_ct/{}/chaos_ct_liver.nii.gz", (Structure(1, "liver"),)),
}


def main() -> None:
    """Print a row for each volume."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--every", type=int, default=8, help="every how manieth slice is annotated")
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    for name, (file, structures) in TASKS.items():
        image = read_image(chosen.data / file.format("images"))
        reference = read_labels(chosen.data / file.format("labels"), image, "the reference")
        with tempfile.TemporaryDirectory() as folder:
            cache = EmbeddingCache(Path(folder))
            first_s, whole_s = seconds(image, annotated(reference, chosen.every), structures, cache)
            _, again_s = seconds(image, annotated(reference, chosen.every, more=3), structures, cache)
        print(
            f"{name}, {image.shape_kji}, 1 slice in {chosen.every}, {chosen.threads} threads: first slices "
            f"{first_s:.1f} s, volume {whole_s:.1f} s, after a correction {again_s:.1f} s"
        )


def annotated(reference: Volume, every: int, more: int | None = None) -> Volume:
    """Return the annotated slices of a reference (K, J, I), and one more."""
    voxels = np.full_like(reference.voxels, UNKNOWN_LABEL)
    voxels[::every] = reference.voxels[::every]
    if more is not None:
        voxels[more] = reference.voxels[more]
    return reference.with_voxels(voxels)


def seconds(
    image: Volume, labels: Volume, structures: tuple[Structure, ...], cache: EmbeddingCache
) -> tuple[float, float]:
    """Return how long it took until the first slices were there, and the volume."""
    shown: list[float] = []
    started = time.monotonic()
    slices = FewSlices(image, labels, structures, cache, plane="axial")
    slices.by_registration(lambda *_: shown.append(time.monotonic() - started), calibrates=False)
    whole = time.monotonic() - started
    return (shown or [whole])[0], whole


if __name__ == "__main__":
    main()
