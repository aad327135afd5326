"""A worker that hears whatever comes, and does not grow: thousands of lines that no panel sends, and many jobs."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from nasty_lines import nasty_lines
from worker_child import Child, box_fields, file_fields, fine_tune_fields, needs_posix

pytestmark = needs_posix

LINE_COUNTS = [pytest.param(300, id="300 lines"), pytest.param(10_000, id="10,000 lines", marks=pytest.mark.soak)]


@pytest.mark.parametrize("count", LINE_COUNTS)
def test_any_line_costs_its_request_at_most(
    start: Callable[..., Child], tell: Callable[[str], None], count: int
) -> None:
    child = start()
    job = child.new_job()
    ends: Counter[str] = Counter()

    for line in nasty_lines(job, count, seed=count):
        child.send_line(line)
        end = child.end_of_any()
        ends[f"{end['event']} {end.get('kind', '')}".strip()] += 1
        assert end.get("kind") != "bug", (line[:2000], end)

    tell(f"{count} lines of a worker: {dict(ends)}; deaf 0, tracebacks 0")
    assert sum(ends.values()) == count
    assert ends["error user"] > count / 2
    assert child.ask("segment", **box_fields(child.new_job()))["event"] == "segment_result"
    assert child.ask("shutdown")["event"] == "shutdown_result"
    assert child.wait() == 0


@pytest.mark.soak
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_thirty_jobs_take_no_more_memory_and_files_than_five(
    start: Callable[..., Child], tell: Callable[[str], None]
) -> None:
    child = start()
    process = Path(f"/proc/{child.process.pid}")
    mib, descriptors = [], []

    for number in range(30):
        job = child.new_job()
        if number % 5 == 1:
            end = child.ask("fine_tune", **fine_tune_fields(job, f"m-{number}", steps=4))
        else:
            end = child.ask("segment", **box_fields(job))
        assert end["event"].endswith("_result"), end
        mib.append(int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20)
        descriptors.append(len([*(process / "fd").iterdir()]))

    tell(f"30 jobs in one worker: {min(mib[5:])} to {max(mib[5:])} MiB, {max(descriptors[5:])} open files")
    assert max(mib[20:]) < max(mib[5:15]) + 60
    assert max(descriptors[20:]) <= max(descriptors[5:15])


def test_links_in_a_circle_are_refused(shared: Child) -> None:
    job = shared.new_job()
    (job / "loop").symlink_to("loop")
    image = file_fields("image")

    answers = [
        shared.ask("segment", **(box_fields(job) | {"image": image | {"file": "loop"}})),
        shared.ask("segment", out=job.name, image=image, model=str(job / "loop" / "m")),
    ]

    for answer in answers:
        assert (answer["kind"], "leads nowhere" in answer["message"]) == ("user", True)
