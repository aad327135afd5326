"""A training that is killed at any moment: what was learned can be loaded or gone on with, and nothing is left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from given import a_larger_ball
from worker_child import ENGINE_FOLDER

from uncol.core.errors import CheckpointError
from uncol.core.files import sha256_of
from uncol.core.model_folder import MODEL_FILE, SUMS_FILE, WEIGHTS_FILE
from uncol.core.unfinished import LOCK_FILE
from uncol.data.io import write_results
from uncol.models.checkpoints import has_checkpoint, load_model
from uncol.pipelines.results import PAGE_FILE

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that can be forked"),
]

# Trains, saves and proposes again and again, each time in a forked process that is killed when it is about to touch
# the file system for the n-th time; then it does what a user would do, until there is a model.
TRAINER = """
import itertools, json, os, shutil, signal, sys, time
from pathlib import Path

import torch
from uncol.core.config import BudgetConfig, Config, OptimizerConfig, StudentConfig, TeacherConfig
from uncol.core.errors import UncolError
from uncol.core.jobs import AnnotatedSlices, Case, FineTuneJob
from uncol.core.progress import UNWATCHED
from uncol.models.checkpoints import has_checkpoint
from uncol.pipelines.context import Context
from uncol.pipelines.fine_tune import run_fine_tune

torch.set_num_threads(1)
inputs, earlier, work, count = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
CONFIG = Config(
    student=StudentConfig(channels=(4,) * 5),
    optimizer=OptimizerConfig(batch_size=1),
    budget=BudgetConfig(steps=max(6, count // 8), minutes=None, checkpoint_s=0.001),
    teachers=TeacherConfig(generalized=False),
)
TOUCHES = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.chmod"}

def run(folder, moment=None):
    touched = 0
    def watch(event, arguments):
        nonlocal touched
        if event not in TOUCHES or not str(arguments[0]).startswith(str(folder)):
            return
        touched += 1
        if touched == moment:
            os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(watch)
    case = Case(inputs / "ct.nii.gz", inputs / "labels.nii.gz")
    job = FineTuneJob(
        (case,), folder / "model", annotated_slices=(AnnotatedSlices("K", (0, 3, 6, 9)),), device="cpu",
        resume=has_checkpoint(folder / "model"), proposal=folder / "proposal",
    )
    run_fine_tune(job, CONFIG, Context(UNWATCHED, None))
    return touched

def forked(folder, moment=None):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            os.write(writing, str(run(folder, moment)).encode())
            os._exit(0)
        except UncolError as error:
            os.write(writing, str(error).encode())
            os._exit(2)
    os.close(writing)
    with open(reading) as told:
        said = told.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), said

shutil.copytree(earlier, work / "whole" / "proposal")
code, touches = forked(work / "whole")
print(json.dumps({"whole": code, "touches": touches}), flush=True)
moments = sorted({1 + number * int(touches) // count for number in range(count)})
for moment in moments:
    folder = work / f"killed-{moment}"
    shutil.copytree(earlier, folder / "proposal")
    code, said = forked(folder, moment)
    shutil.copytree(folder, work / f"left-{moment}")
    again, sentence = forked(folder)
    print(json.dumps({"moment": moment, "code": code, "said": said, "again": again, "sentence": sentence}), flush=True)
"""

COUNTS = [pytest.param(20, id="20 kill points"), pytest.param(200, id="200 kill points", marks=pytest.mark.soak)]
MODEL_FILES = {MODEL_FILE, WEIGHTS_FILE, SUMS_FILE, PAGE_FILE}


def run_of(proposal: Path) -> str:
    """Which run the files in a result folder are of; a folder without a report is not whole, and of no run."""
    try:
        report = json.loads((proposal / "report.json").read_text())
    except FileNotFoundError:
        return "not whole"
    name = "earlier" if "earlier" in report else "this"
    sums = {each.name: sha256_of(each) for each in proposal.iterdir() if each.is_file() and each.name != "report.json"}
    return name if sums == report["files"] else "mixed"


def images_in(proposal: Path, earlier: Path) -> set[str]:
    """Which runs the volumes in a result folder are of."""
    names = [each.name for each in proposal.glob("*.nii.gz")]
    return {"earlier" if sha256_of(proposal / name) == sha256_of(earlier / name) else "this" for name in names}


@pytest.mark.parametrize("count", COUNTS)
def test_nothing_is_lost_mixed_or_left_wherever_it_is_killed(
    tell: Callable[[str], None], tmp_path: Path, count: int
) -> None:
    case = a_larger_ball((10, 24, 28))
    inputs, earlier, work = tmp_path / "in", tmp_path / "earlier", tmp_path / "work"
    write_results(inputs, {"ct.nii.gz": case.image, "labels.nii.gz": case.labels}, {})
    volumes = {"segmentation.nii.gz": case.labels, "uncertainty.nii.gz": case.image}
    write_results(earlier, volumes, {}, {"earlier": True})
    work.mkdir()
    environment = os.environ | {"PYTHONPATH": str(ENGINE_FOLDER), "OMP_NUM_THREADS": "1"}

    ended = subprocess.run(
        [sys.executable, "-c", TRAINER, inputs, earlier, work, str(count)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60 * count,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr[-3000:]
    whole, *kills = (json.loads(line) for line in ended.stdout.splitlines())
    assert whole["whole"] == 0, whole
    expected = (work / "whole" / "model" / WEIGHTS_FILE).read_bytes()
    after: Counter[str] = Counter()
    for kill in kills:
        left, folder = work / f"left-{kill['moment']}", work / f"killed-{kill['moment']}"
        assert kill["code"] == -signal.SIGKILL, kill
        after[f"{run_of(left / 'proposal')} result"] += 1
        assert run_of(left / "proposal") != "mixed"
        assert len(images_in(left / "proposal", earlier)) <= 1
        after[what_is_left(left / "model")] += 1
        was_done = run_of(left / "proposal") == "this" and not has_checkpoint(left / "model")
        assert kill["again"] == (2 if was_done else 0), kill
        assert not was_done or "already holds a model" in kill["sentence"]
        assert (folder / "model" / WEIGHTS_FILE).read_bytes() == expected, kill
        files = {each.name for each in (folder / "model").iterdir()}
        assert files - {LOCK_FILE} == MODEL_FILES if was_done else files == MODEL_FILES, kill
        assert run_of(folder / "proposal") == "this", kill
    tell(f"{len(kills)} of {whole['touches']} moments to be killed at: {dict(after)}; losses 0, mixed results 0")
    assert len(kills) == count
    assert set(after) >= {"earlier result", "this result", "nothing learned", "checkpoint", "model"}
    shutil.rmtree(tmp_path)


def what_is_left(folder: Path) -> str:
    try:
        load_model(folder)
    except CheckpointError:
        return "checkpoint" if has_checkpoint(folder) else "nothing learned"
    return "model"


# Trains in forked processes whose memory may grow by so many MiB, and goes on without that limit where something is
# left; the work is small, so that most of what it takes is what libraries need at once.
WITH_LITTLE_MEMORY = """
import json, os, resource, sys, traceback
from pathlib import Path

import torch
from uncol.core.config import BudgetConfig, Config, StudentConfig, TeacherConfig
from uncol.core.errors import UncolError, says_memory_is_full
from uncol.core.jobs import AnnotatedSlices, Case, FineTuneJob
from uncol.core.model_card import check_model
from uncol.core.progress import UNWATCHED
from uncol.models.checkpoints import has_checkpoint
from uncol.pipelines.context import Context
from uncol.pipelines.fine_tune import run_fine_tune

torch.set_num_threads(1)
inputs, work = Path(sys.argv[1]), Path(sys.argv[2])
CONFIG = Config(
    student=StudentConfig(channels=(16,) * 5), budget=BudgetConfig(steps=6, minutes=None, checkpoint_s=0.001),
    teachers=TeacherConfig(generalized=False),
)

def run(out, limit_mib):
    if limit_mib:
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (taken + (limit_mib << 20), resource.RLIM_INFINITY))
    case = Case(inputs / "ct.nii.gz", inputs / "labels.nii.gz")
    job = FineTuneJob(
        (case,), out, annotated_slices=(AnnotatedSlices("K", (0, 3, 6, 9)),), device="cpu", resume=has_checkpoint(out),
    )
    try:
        run_fine_tune(job, CONFIG, Context(UNWATCHED, None))
    except Exception as error:
        if isinstance(error, UncolError) or says_memory_is_full(error):
            return "told"
        return "traceback " + traceback.format_exc()[-2000:]
    check_model(out)
    return "whole"

def forked(out, limit_mib=0):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.write(writing, run(out, limit_mib).encode())
        os._exit(0)
    os.close(writing)
    with open(reading) as told:
        said = told.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return said if code == 0 else f"exit code {code}"

for level in [1, 10, 30, 60, 100, 200, 400, 1500]:
    how, again = forked(work / f"m-{level}", level), "whole"
    if how != "whole":
        again = forked(work / f"m-{level}")
    print(json.dumps({"mib": level, "how": how, "again": again}), flush=True)
"""


@pytest.mark.soak
@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on the memory of a process")
def test_at_eight_sizes_of_memory_a_training_ends_with_a_model_or_a_sentence(
    tell: Callable[[str], None], tmp_path: Path
) -> None:
    case = a_larger_ball()
    write_results(tmp_path / "in", {"ct.nii.gz": case.image, "labels.nii.gz": case.labels}, {})
    ended = subprocess.run(
        [sys.executable, "-c", WITH_LITTLE_MEMORY, str(tmp_path / "in"), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(ENGINE_FOLDER), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=3600,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr[-2000:]
    levels = [json.loads(line) for line in ended.stdout.splitlines()]
    tell(f"8 sizes of memory, learning: {dict(Counter(each['how'] for each in levels))}; tracebacks 0, crashes 0")
    assert len(levels) == 8
    assert {each["how"] for each in levels} == {"told", "whole"}, levels
    assert {each["again"] for each in levels} == {"whole"}, levels
