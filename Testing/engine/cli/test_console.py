"""Ctrl-C and a request to end: the command says so, ends with 130 and leaves what can be resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


def _open_for_writing(pipe: Path) -> int:
    """Return a named pipe, open, as soon as another process has opened it for reading."""
    for _ in range(600):
        try:
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            time.sleep(0.1)
    return pytest.fail("nobody read the pipe for a minute")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for another process")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "terminate"])
def test_a_command_that_asks_nobody_whether_to_stop_ends_at_once(folder: Path, tmp_path: Path, number: int):
    pipe = tmp_path / "endless.nii.gz"
    os.mkfifo(pipe)
    running = subprocess.Popen(
        [sys.executable, "-m", "uncol", "evaluate", "--prediction", "labels.nii.gz", "--reference", str(pipe)],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
    )
    writer = _open_for_writing(pipe)
    running.send_signal(number)
    _, err = running.communicate(timeout=30)
    os.close(writer)

    assert running.returncode == 130
    assert err == "The command was cancelled.\n"


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for another process")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "terminate"])
def test_a_cancelled_fine_tuning_leaves_a_checkpoint_that_goes_on(folder: Path, tmp_path: Path, number: int):
    out = tmp_path / "model"
    command = [sys.executable, "-m", "uncol", "fine-tune", "--case", "ct.nii.gz", "labels.nii.gz"]
    options = ["--annotated-slices", "K:0,6,11", "--steps", "100000", "--config", "small.json", "--out", str(out)]
    running = subprocess.Popen(
        [*command, *options, "--json"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert running.stdout is not None
    for line in running.stdout:
        if json.loads(line).get("step", 0) >= 5:
            break
    asked = time.monotonic()
    running.send_signal(number)
    _, err = running.communicate(timeout=60)

    assert running.returncode == 130
    assert "Add --resume" in err
    assert time.monotonic() - asked < 10
    assert [each.name for each in out.iterdir()] == ["checkpoint.safetensors"]
