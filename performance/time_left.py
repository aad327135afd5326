"""Measure how honest the time left is: real runs of the command line, and what the bar says at each moment of them.

    python performance/time_left.py
    python performance/time_left.py --image ct.nii.gz --labels full-labels.nii.gz --structure liver=1

Without an image a CT is generated. Each run starts with an empty cache and is carried out by a process of its own, from
its start to its end. A moment counts from a tenth of the run on: the estimate is right where it is within 30 % of
what was really left, or where both are below 10 s, which the bar calls "a few seconds". No estimate is a wrong one.
Needs a quiet machine; with `--keep` the runs are kept and only judged the next time.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from uncol.cli.time_left import SHORT_S, TimeLeft
from uncol.core.jobs import DicomChoice
from uncol.core.progress import Progress
from uncol.demo.phantom import STRUCTURES, make_phantom
from uncol.formats.read import read_volume
from uncol.formats.write import write_volume

FROM_PART, WITHIN, EVERY_S, WATCHED_S = 0.1, 0.3, 0.25, 0.1
GENERATED = ("liver", "right kidney", "aorta")
FIELDS = ("phase", "fraction", "seconds_left", "step", "losses")


@dataclass(frozen=True)
class Run:
    """What a process said, and when: seconds from its start, and the seconds that it took in all."""

    said: list[tuple[float, dict[str, Any]]]
    seconds: float


def main() -> None:
    """Print a row for each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", type=Path, help="an image; with --labels")
    parser.add_argument("--labels", type=Path, help="its full label map")
    parser.add_argument("--structure", action="append", metavar="NAME=VALUE", help="a structure of it; repeatable")
    parser.add_argument("--every", type=int, default=8, help="every how manieth slice is annotated")
    parser.add_argument("--only", nargs="*", metavar="WORD", help="only the runs in whose names one of these is")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where runs are kept and found again")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        image, labels, names = generated(Path(folder)) if chosen.image is None else given(chosen)
        for name, arguments in runs(image, labels, names, chosen.every):
            if chosen.only and not any(each in name for each in chosen.only):
                continue
            with tempfile.TemporaryDirectory() as place:
                found = kept(chosen.keep, f"{image.name.split('.')[0]}-{name}", arguments, Path(place))
            print(f"{name}: {judged(found)}", flush=True)


def generated(folder: Path) -> tuple[Path, Path, dict[int, str]]:
    """Write a CT and its label map; return both, and the structures by their values."""
    phantom, (image, labels) = make_phantom(), (folder / "generated.nii.gz", folder / "labels.nii.gz")
    write_volume(image, phantom.image)
    write_volume(labels, phantom.labels)
    return image, labels, {each.value: each.name for each in STRUCTURES if each.name in GENERATED}


def given(chosen: argparse.Namespace) -> tuple[Path, Path, dict[int, str]]:
    """Return the files that were given, and the structures by their values."""
    pairs = (each.split("=", 1) for each in chosen.structure)
    return chosen.image.absolute(), chosen.labels.absolute(), {int(value): name for name, value in pairs}


def runs(image: Path, labels: Path, names: dict[int, str], every: int) -> Iterator[tuple[str, list[str]]]:
    """Yield what a user would do with an image, by name: the arguments but for the folder of the result."""
    voxels = read_volume(labels, "The label map", DicomChoice()).voxels
    boxes = [text for value, name in names.items() for text in ("--box", box_text(voxels == value, name))]
    structures = [text for value, name in names.items() for text in ("--structure", f"{name}={value}")]
    slices = f"K:{','.join(map(str, range(every // 2, len(voxels), every)))}"
    annotated = ["--annotated-slices", slices, *structures]
    yield "segment, one box", ["segment", str(image), *boxes[:2]]
    if len(names) > 1:
        yield f"segment, {len(names)} boxes", ["segment", str(image), *boxes]
    yield "segment, slices", ["segment", str(image), "--labels", str(labels), *annotated]
    case = ["fine-tune", "--case", str(image), str(labels), *annotated]
    yield "fine-tune, 100 steps", [*case, "--steps", "100"]
    yield "fine-tune, 2 min", [*case, "--minutes", "2"]
    demo = ["demo", "--image", str(image), "--labels", str(labels), *structures, "--every", str(every)]
    yield "demo, 1 min", [*demo, "--minutes", "1"]


def box_text(mask: np.ndarray[Any, Any], name: str) -> str:
    """Return the box of a mask (K, J, I) as the command line wants it."""
    sides = [np.flatnonzero(mask.any(axis)) for axis in ((0, 1), (0, 2), (1, 2))]
    return f"{name}={','.join(str(side[end]) for end in (0, -1) for side in sides)}"


def kept(folder: Path | None, name: str, arguments: list[str], place: Path) -> Run:
    """Return a run that was kept under its name, or carry it out."""
    file = None if folder is None else folder / f"{name.replace(' ', '-').replace(',', '')}.json"
    if file is not None and file.exists():
        return Run(**json.loads(file.read_text()))
    found = carried_out(arguments, place)
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"said": found.said, "seconds": found.seconds}))
    return found


def carried_out(arguments: list[str], place: Path) -> Run:
    """Carry out a command of `uncol` and note what it says."""
    command = [sys.executable, "-m", "uncol", *arguments, "--out", str(place / "out"), "--cache", str(place / "cache")]
    said = []
    with subprocess.Popen([*command, "--json"], stdout=subprocess.PIPE, text=True) as process:
        clock = RunningClock(process.pid)
        assert process.stdout is not None
        for line in process.stdout:
            message = json.loads(line)
            if message["event"] == "progress":
                said.append((clock(), message))
        seconds = clock()
    if process.returncode:
        sys.exit(f"uncol {arguments[0]} ended with {process.returncode}.")
    return Run(said, seconds)


class RunningClock:
    """Seconds in which a process was not stopped from outside, as it is where others measure on the same machine.

    Args:
        process: Its number.
    """

    def __init__(self, process: int) -> None:
        self._state = Path(f"/proc/{process}/stat")
        self._started, self._stopped_s = time.monotonic(), 0.0
        threading.Thread(target=self._watch, daemon=True).start()

    def __call__(self) -> float:
        """Return them."""
        return time.monotonic() - self._started - self._stopped_s

    def _watch(self) -> None:
        with suppress(OSError):  # no Linux, or the process has ended
            while True:
                is_stopped = self._state.read_text().rpartition(")")[2].split()[0] == "T"
                time.sleep(WATCHED_S)
                self._stopped_s += WATCHED_S * is_stopped


def judged(run: Run) -> str:
    """Say in how many of the moments the bar was right, and the largest error."""
    now = 0.0
    left = TimeLeft(lambda: now)
    waiting, right, worst = list(run.said), [], (0.0, "none")
    for moment in np.arange(0.0, run.seconds, EVERY_S).tolist():
        while waiting and waiting[0][0] <= moment:
            now, message = waiting.pop(0)
            left.hear(Progress(**{name: message[name] for name in FIELDS if name in message}))
        if moment < FROM_PART * run.seconds:
            continue
        now = moment
        told, real = left.left(), run.seconds - moment
        right.append(is_right(told, real))
        if not right[-1]:
            error = float("inf") if told is None else abs(told - real) / real
            worst = max(worst, (error, f"{'nothing' if told is None else f'{told:.0f} s'} told, {real:.0f} s left"))
    return f"{run.seconds:.0f} s, right in {np.mean(right):.0%} of the time, worst: {worst[1]}"


def is_right(told: float | None, real: float) -> bool:
    """Whether an estimate is within 30 % of what was left, or both are a few seconds."""
    return told is not None and (abs(told - real) <= WITHIN * real or max(told, real) < SHORT_S)


if __name__ == "__main__":
    main()
