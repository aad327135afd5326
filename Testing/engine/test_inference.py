"""A memory of any size: a volume is segmented with the same result, or one sentence says that the memory is full."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable

import pytest
from worker_child import ENGINE_FOLDER

# Segments one volume in forked processes whose memory may grow by 1 to 500 MiB, and compares with what comes without.
SEGMENTER = """
import json, os, resource, sys, traceback
from pathlib import Path

import numpy as np
import torch
from uncol.core.errors import MEMORY_IS_FULL, UncolError, says_memory_is_full
from uncol.core.jobs import Structure
from uncol.core.config import Config, StudentConfig
from uncol.core.volume import Volume
from uncol.inference import student
from uncol.models.build import build_student
from uncol.models.card import Model, ModelCard

torch.set_num_threads(1)
torch.manual_seed(0)
student._SLICES_AT_ONCE["cpu"] = 16
config = Config(student=StudentConfig(channels=(16, 16, 16, 16, 16)))
card = ModelCard((Structure(1, "ball"),), "axial", 1.0, 2.0, (0.0, 100.0), config, is_connected=(False,))
model = Model(card, build_student(card).eval())
voxels = np.random.default_rng(0).integers(0, 100, (16, 160, 160)).astype(np.int16)
image = Volume(voxels, np.diag([-1.0, -1.0, 2.0, 1.0]))

def told(limit_mib=None):
    if limit_mib:
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + (limit_mib << 20), resource.RLIM_INFINITY))
    try:
        found = student.segment_with_model(image, model, torch.device("cpu"))
    except Exception as error:
        if isinstance(error, UncolError) or says_memory_is_full(error):
            return "told", None
        return "traceback " + traceback.format_exc()[-2000:], None
    how = "smaller batches" if any("smaller batches" in note for note in found.notes) else "whole"
    return how, found

_, expected = told()
levels = [1, 5, 10, 22, 37, 46, 67, 100, 130, 200, 300, 500]
for level in levels:
    child = os.fork()
    if child == 0:
        how, found = told(level)
        apart = None
        if found is not None:
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            apart = float(np.abs(found.uncertainty.voxels - expected.uncertainty.voxels).max())
            same = np.isclose(found.labels.voxels, expected.labels.voxels).mean()
            apart = max(apart, 0.0 if same > 0.9999 else 1.0)
        os.write(1, (json.dumps({"mib": level, "how": how, "apart": apart}) + "\\n").encode())
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        print(json.dumps({"mib": level, "how": f"exit code {code}", "apart": None}), flush=True)
"""


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on the memory of a process")
def test_at_twelve_sizes_of_memory_the_result_is_the_same_or_the_user_is_told(tell: Callable[[str], None]) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", SEGMENTER],
        env=os.environ | {"PYTHONPATH": str(ENGINE_FOLDER), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=3600,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr[-2000:]
    levels = [json.loads(line) for line in ended.stdout.splitlines()]
    ways = Counter(each["how"] for each in levels)
    tell(f"12 sizes of memory: {dict(ways)}; tracebacks 0")
    assert len(levels) == 12
    assert set(ways) == {"told", "smaller batches", "whole"}, levels
    assert all(each["apart"] <= 1e-4 for each in levels if each["apart"] is not None), levels
