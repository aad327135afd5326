"""Measure a cohort: how long 40 images take in one process and in two, one after the other in one run.

    python performance/cohort.py
    python performance/cohort.py --images 10000 --side 16 --processes 2

Images are noise of --side pixels and --slices slices, the model is one of random weights, of the usual size: only time
and memory count. Both times include starting the command; "caller" is the most memory that the process of the command
had itself. A quiet machine with two cores or more is needed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from uncol.core.config import Config
from uncol.core.jobs import Structure
from uncol.core.model_card import ModelCard
from uncol.core.volume import Volume
from uncol.data.io import write_results
from uncol.models.build import build_student
from uncol.models.card import Model
from uncol.models.checkpoints import save_model

CALLER = (
    "import resource, sys; sys.argv = ['uncol', *sys.argv[1:]]\n"
    "from uncol.cli.main import main\n"
    "try:\n    main()\n"
    "finally:\n    print('caller', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
)


def main() -> None:
    """Make the images, segment them with each number of processes, and print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--slices", type=int, default=24)
    parser.add_argument("--processes", type=int, action="append", help="repeatable; default: 1 and 2")
    chosen = parser.parse_args()

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.manual_seed(0)
        card = ModelCard((Structure(1, "structure"),), "axial", 1.0, 3.0, (-160.0, 240.0), Config(), {})
        save_model(Model(card, build_student(card)), folder / "model")
        draw = np.random.default_rng(0)
        shape = (chosen.slices, chosen.side, chosen.side)
        for number in range(chosen.images):
            voxels = draw.integers(-1000, 400, shape).astype(np.int16)
            image = Volume(voxels, np.diag([-1.0, -1.0, 3.0, 1.0]))
            write_results(folder / "images", {f"{number:05}.nrrd": image}, {})
        print("processes      s   caller MiB   factor")
        first_s = None
        for count in chosen.processes or [1, 2]:
            seconds, mib = measured(folder, count)
            first_s = seconds if first_s is None else first_s
            print(f"{count:9} {seconds:6.1f} {mib:12.0f} {first_s / seconds:8.2f}")


def measured(folder: Path, count: int) -> tuple[float, float]:
    """Return the seconds of a cohort in so many processes, each with one thread, and the caller's memory in MiB."""
    options = ["segment", str(folder / "images"), "--cohort", "--model", str(folder / "model"), "--device", "cpu"]
    options += ["--jobs", str(count), "--out", str(folder / f"results-{count}")]
    began = time.monotonic()
    command = ["env", "OMP_NUM_THREADS=1", sys.executable, "-c", CALLER, *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    kib = int(done.stdout.split()[-1])
    return time.monotonic() - began, kib / (1024 if sys.platform == "linux" else 1024**2)


if __name__ == "__main__":
    main()
