"""How long the main thread is kept at most in a complete run: box, proposal, slices, fine-tune, proposal, map.

Runs the panel's logic on Slicer's own MRML (see requirements/mrml.txt) with a real worker, and polls it as the panel's
timer does. Between two polls it waits as Slicer does, with Python's lock held, so that no other thread of the panel
runs. A block is the time inside one call: a click or a poll. A poll comes late when a thread of the run, or another
program, keeps the main thread from going on. What Slicer would draw is not counted.

Also told: how long a suggested slice lets wait for itself after a result, and after a scene was loaded; and how often
an idle panel wakes the application.

    python performance/panel_blocking.py [--data FOLDER] [--out FILE.json] [--steps N] [--size small|large]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
for folder in ("Testing/host", "UnCoLSegment"):
    sys.path.insert(0, str(ROOT / folder))

import slicer.util  # noqa: E402
import stand_ins  # noqa: E402, F401  # makes slicer.i18n importable
from as_slicer_waits import waitAsSlicer  # noqa: E402
from host import Host  # noqa: E402
from parameters import Parameters  # noqa: E402

from UnCoLSegmentLib.Engine.EngineProcess import EngineProcess, engineCommand, engineEnvironment  # noqa: E402
from UnCoLSegmentLib.Logic import Logic  # noqa: E402
from UnCoLSegmentLib.SelfTest import LoopDriver  # noqa: E402

LARGE_KJI = (300, 512, 512)
LARGE_SPACING_MM = (0.7, 0.7, 1.5)
SMOOTH_MS = 100.0
IDLE_S = 10.0


class Clock:
    """Times every call to the logic, by what it is for."""

    def __init__(self) -> None:
        self.longest_ms: dict[str, float] = {}
        self.calls = 0
        self.latest_ms = 0.0
        self._due: float | None = None

    def wait_for(self, logic: Logic) -> None:
        """Wait until the panel's timer would call the logic."""
        wait_ms = logic.pollAfter_ms
        self._due = time.perf_counter() + wait_ms / 1000
        waitAsSlicer(wait_ms)

    def came(self, name: str) -> None:
        """Say that a call came; the timer's is a poll, a click comes when it comes."""
        if self._due is not None and name == "poll":
            self.latest_ms = max(self.latest_ms, (time.perf_counter() - self._due) * 1000)
        self._due = None

    def timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that does what `call` does and notes how long it took."""

        def wrapper(*arguments: Any, **options: Any) -> Any:
            self.came(name)
            began = time.perf_counter()
            try:
                return call(*arguments, **options)
            finally:
                took_ms = (time.perf_counter() - began) * 1000
                self.calls += 1
                self.longest_ms[name] = max(took_ms, self.longest_ms.get(name, 0.0))

        return wrapper


def measure(volume: Any, truth: np.ndarray, steps: int, folder: Path) -> dict[str, Any]:
    """Run the whole loop on a volume; return the longest blocks in ms."""
    environment = engineEnvironment(ROOT / "UnCoLSegment")
    command = engineCommand("--models", str(folder / "models"), "--jobs", str(folder), "--cache", str(folder / "cache"))
    logic, clock = Logic(folder / "models", EngineProcess(command, environment)), Clock()
    began = time.perf_counter()
    watch_logic(clock, logic)
    for name in ("showProposal", "showUncertainty", "forSlices", "forBox", "proposalIn"):
        watch_scene(clock, name)
    parameters = Parameters(inputVolume=volume)
    driver = LoopDriver(logic, parameters, truth, idle=lambda: clock.wait_for(logic), patience_s=3600)
    slices = [int(each) for each in np.quantile(np.flatnonzero(truth.any(axis=(1, 2))), [0.25, 0.5, 0.75])]
    story = driver.tellStory(slices, steps)
    suggested_s = seconds_to_suggestion(logic, parameters, clock)
    wakes = wakes_per_second(logic, clock)
    loaded = Logic(folder / "models", logic.engine)
    watch_logic(clock, loaded)
    suggested_after_loading_s = seconds_to_suggestion(loaded, parameters, clock)
    logic.shutdown()
    return {
        "voxels_ijk": list(reversed(truth.shape)),
        "longest_block_ms": round(max(clock.longest_ms.values()), 1),
        "latest_poll_ms": round(clock.latest_ms, 1),
        "longest_ms": {name: round(value, 1) for name, value in sorted(clock.longest_ms.items())},
        "suggestion_s": {"after a result": round(suggested_s, 2), "in a scene": round(suggested_after_loading_s, 2)},
        "idle_wakes_per_s": round(wakes, 1),
        "calls": clock.calls,
        "seconds": round(time.perf_counter() - began, 1),
        "dice": [round(story.diceOfFirst, 3), round(story.diceOfLast, 3)],
    }


def seconds_to_suggestion(logic: Logic, parameters: Parameters, clock: Clock) -> float:
    """Return how long the user waits for a suggested slice, in s."""
    began = time.perf_counter()
    while logic.suggestSlice(parameters) is None:
        clock.wait_for(logic)
        logic.poll()
    return time.perf_counter() - began


def wakes_per_second(logic: Logic, clock: Clock) -> float:
    """Return how often an idle panel polls, in 1/s."""
    wakes, began = 0, time.perf_counter()
    while (seconds := time.perf_counter() - began) < IDLE_S:
        clock.wait_for(logic)
        logic.poll()
        wakes += 1
    return wakes / seconds


def watch_logic(clock: Clock, logic: Logic) -> None:
    """Time what the panel calls."""
    for name in ("segment", "fineTune", "poll", "suggestSlice", "shutdown"):
        setattr(logic, name, clock.timed(name, getattr(logic, name)))


def watch_scene(clock: Clock, name: str) -> None:
    """Time what a call does to the scene, too: it says where a long block comes from."""
    from UnCoLSegmentLib.Scene.RunScene import RunScene

    original = getattr(RunScene, f"_measured_{name}", None) or getattr(RunScene, name)
    setattr(RunScene, f"_measured_{name}", original)
    setattr(RunScene, name, clock.timed(f"  {name}", original))


def real_ct(folder: Path) -> tuple[Any, np.ndarray]:
    """Load a real CT and where its liver is."""
    volume = slicer.util.loadVolume(str(folder / "images" / "ts_body3mm_sm.nii.gz"))
    labels = slicer.util.loadVolume(str(folder / "labels" / "ts_body3mm_sm.nii.gz"), {"labelmap": True})
    names = json.loads((folder / "labels.json").read_text())["ts_body3mm_sm"]
    liver = next(int(value) for value, name in names.items() if name == "liver")
    return volume, slicer.util.arrayFromVolume(labels) == liver


def large_ct() -> tuple[Any, np.ndarray]:
    """Make a CT of the size of a large clinical one."""
    k, j, i = np.ogrid[tuple(slice(-1, 1, size * 1j) for size in LARGE_KJI)]
    truth = (k / 0.25) ** 2 + ((j - 0.1) / 0.35) ** 2 + ((i + 0.3) / 0.35) ** 2 < 1
    body = np.broadcast_to((j / 0.7) ** 2 + (i / 0.9) ** 2 < 1, LARGE_KJI)
    voxels = np.where(truth, 120, np.where(body, 20, -1000)).astype(np.int16)
    voxels += np.random.default_rng(0).integers(-30, 30, voxels.shape, dtype=np.int16)
    matrix = np.diag([-LARGE_SPACING_MM[0], -LARGE_SPACING_MM[1], LARGE_SPACING_MM[2], 1.0])
    return slicer.util.addVolumeFromArray(voxels, ijkToRAS=matrix, name="Large"), truth


def main() -> None:
    """Print the longest block of each volume."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    default = os.environ.get("UNCOL_TEST_DATA") or str(ROOT.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=Path(default), help="folder with totalseg_ct")
    parser.add_argument("--out", type=Path, help="JSON file for the numbers")
    parser.add_argument("--steps", type=int, default=40, help="of the fine-tune")
    parser.add_argument("--size", choices=["small", "large"], help="only one of the two volumes")
    chosen = parser.parse_args()
    volumes: dict[str, Callable[[], tuple[Any, np.ndarray]]] = {}
    if (chosen.data / "totalseg_ct").is_dir() and chosen.size != "large":
        volumes["totalseg_ct"] = lambda: real_ct(chosen.data / "totalseg_ct")
    if chosen.size != "small":
        volumes["synthetic"] = large_ct
    results = {}
    for name, load in volumes.items():
        with Host(), tempfile.TemporaryDirectory() as folder:
            results[name] = measure(*load(), chosen.steps, Path(folder))
        print(name, json.dumps(results[name], indent=1), flush=True)
        verdict = "smooth" if results[name]["longest_block_ms"] <= SMOOTH_MS else "NOT smooth"
        print(f"{name}: longest block {results[name]['longest_block_ms']} ms ({verdict}; {SMOOTH_MS:.0f} ms allowed)")
    if chosen.out:
        chosen.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
