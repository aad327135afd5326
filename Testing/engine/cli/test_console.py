"""Ctrl-C and a request to end: the command says so, ends with 130 and leaves what can be resumed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from given import a_larger_ball

from uncol.cli.console import loading, on_signals
from uncol.data.io import write_results


def _full_pipe() -> tuple[int, int]:
    """Return both ends of a pipe into which nothing more fits: who writes to it waits."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, b"x")
    except BlockingIOError:
        os.set_blocking(writer, True)
    return reader, writer


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for another process")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "terminate"])
def test_a_command_that_asks_nobody_whether_to_stop_ends_at_once(folder: Path, number: int):
    # The segmentation holds 255, so that a warning tells when the command is at work; its result waits for the pipe.
    case = a_larger_ball()
    unknown = case.labels.with_voxels(np.where(case.labels.voxels == 3, 255, 0).astype(np.uint8))
    write_results(folder, {"unknown-ball.nrrd": unknown}, {})
    reader, writer = _full_pipe()
    command = [sys.executable, "-m", "uncol", "evaluate", "--prediction", "unknown-ball.nrrd"]
    with subprocess.Popen(
        [*command, "--reference", "labels.nii.gz"], cwd=folder, stdout=writer, stderr=subprocess.PIPE, text=True
    ) as running:
        os.close(writer)
        assert running.stderr is not None
        assert running.stderr.readline().startswith("WARNING")
        running.send_signal(number)
        assert running.stderr.readline() == "The command was cancelled.\n"
        with os.fdopen(reader, "rb") as result:  # what is left to write has to find room
            result.read()
        assert running.wait(timeout=30) == 130


def test_letters_that_stdout_does_not_know_are_replaced(folder: Path):
    command = [sys.executable, "-m", "uncol", "evaluate", "--prediction", "labels.nii.gz", "--reference"]
    ended = subprocess.run(
        [*command, "labels.nii.gz", "--structure", "\N{CJK UNIFIED IDEOGRAPH-809D} Größe=3"],
        cwd=folder,
        env=os.environ | {"PYTHONIOENCODING": "cp1252:strict", "PYTHONUTF8": "0"},
        capture_output=True,
        check=False,
    )

    assert (ended.returncode, ended.stderr) == (0, b"")
    assert "? Größe".encode("cp1252") in ended.stdout
    assert b"1.000" in ended.stdout


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


def test_an_interrupt_that_a_package_swallows_while_it_loads_is_answered_after_it() -> None:
    class StopNow(BaseException):
        pass

    def interrupt(_number: int, _frame: object) -> None:
        raise StopNow

    def load() -> None:
        with loading(), suppress(BaseException):
            signal.raise_signal(signal.SIGINT)

    with on_signals(interrupt), pytest.raises(StopNow):
        load()


def test_an_interrupt_before_the_command_listens_is_one_sentence() -> None:
    program = (
        "import signal, sys, uncol.__main__ as start; "
        "sys.addaudithook(lambda event, args: signal.raise_signal(signal.SIGINT)"
        " if event == 'import' and args[0] == 'uncol.cli' else None); start.main()"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (ended.returncode, ended.stderr) == (130, "The command was cancelled.\n")
