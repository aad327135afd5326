"""How long a worker takes from its start to its greeting: two checkouts side by side, one run after the other in turn.

    python performance/greeting.py OLD_CHECKOUT [NEW_CHECKOUT]

Both run with this Python. A checkout that has `uncol/worker/__main__.py` is started as `-m uncol.worker` and greeted in
the version of its messages, an earlier one as `-m uncol worker` and in version 1. NEW_CHECKOUT is this one if left out.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

RUNS = 7
WARM_UP_RUNS = 1
"""The first run of each reads the packages from the disk; it does not count."""


def protocol_of(packages: Path) -> int:
    """Return the version of the messages that a checkout speaks."""
    found = re.search(r"^PROTOCOL = (\d+)$", (packages / "uncol" / "core" / "protocol.py").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


def seconds_to_greeting(checkout: Path) -> float:
    """Start a worker, greet it, and end it once it has answered."""
    packages = checkout / "UnCoLSegment"
    is_new = (packages / "uncol" / "worker" / "__main__.py").is_file()
    module, protocol = (["uncol.worker"], protocol_of(packages)) if is_new else (["uncol", "worker"], 1)
    environment = {**os.environ, "PYTHONPATH": str(packages), "OMP_WAIT_POLICY": "passive", "PYTHONUTF8": "1"}
    with tempfile.TemporaryDirectory() as folder:
        options = [part for name in ("models", "cache", "jobs") for part in (f"--{name}", f"{folder}/{name}")]
        began = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, "-m", *module, *options],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as worker:
            assert worker.stdin is not None
            assert worker.stdout is not None
            worker.stdin.write(json.dumps({"id": 1, "op": "hello", "protocol": protocol}).encode() + b"\n")
            worker.stdin.flush()
            answer = next(line for line in worker.stdout if line.startswith(b"{"))
            seconds = time.perf_counter() - began
            assert b"job_folder" in answer, answer
            worker.kill()
    return seconds


def main() -> None:
    """Measure and print."""
    old, *rest = map(Path, sys.argv[1:])
    checkouts = {"old": old, "new": rest[0] if rest else Path(__file__).resolve().parents[1]}
    seconds: dict[str, list[float]] = {name: [] for name in checkouts}
    for run in range(WARM_UP_RUNS + RUNS):
        for name, checkout in checkouts.items():
            took = seconds_to_greeting(checkout)
            if run >= WARM_UP_RUNS:
                seconds[name].append(took)
    for name, each in seconds.items():
        print(f"{name}: least {min(each):.2f} s, median {median(each):.2f} s of {len(each)} runs")
    print(f"new / old: {median(seconds['new']) / median(seconds['old']):.2f} of the medians")


if __name__ == "__main__":
    main()
