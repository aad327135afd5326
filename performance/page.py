"""How large the page of a result is, how long it takes to make, and when it can be used in a browser without a GPU.

    python performance/page.py RESULT IMAGE [REFERENCE]

RESULT is a folder that `uncol segment` wrote of IMAGE. The browser is Chromium with WebGL in software, by Playwright;
where there is none, only the first two numbers are given. Seconds in the browser count from its start to read the file
until the planes answer, and until 3D stands, too; the load of the machine is told beside them.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from uncol.data.io import read_image
from uncol.pipelines.results import view_of
from uncol.pipelines.view import ViewJob, scene_of, write_view
from uncol.report.picture import Picture
from uncol.report.report import write_run
from uncol.report.viewer import view_page

RUNS = 3
ARGUMENTS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


def main(result: Path, image: Path, reference: Path | None = None) -> None:
    """Print the numbers of one result."""
    job = ViewJob(result, image, reference)
    scene = scene_of(job)
    volume = read_image(image)
    started, used = time.perf_counter(), time.process_time()
    Picture.of(volume, scene.labels, view_of(volume, scene.outcome.annotated))
    page = write_run(scene.title, scene.outcome, scene)
    seconds, used = time.perf_counter() - started, time.process_time() - used
    print(f"report.html: {len(page) / 1e6:.1f} MB, {seconds:.1f} s to make, {used:.1f} s of one core")
    print(f"view.html: {len(view_page(scene)) / 1e6:.1f} MB")
    found = shutil.which("chromium")
    if found is None:
        print("There is no Chromium.")
        return
    with tempfile.TemporaryDirectory() as folder:
        written = write_view(job, Path(folder))
        times = [seconds_in_browser(found, written) for _ in range(RUNS)]
    planes, surfaces = (median(each) for each in zip(*times, strict=True))
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    print(f"in the browser: planes after {planes:.1f} s, 3D after {surfaces:.1f} s; {load:.1f} programs for each core")


def seconds_in_browser(chromium: str, page: Path) -> tuple[float, float]:
    """Return when the planes of a page answer, and when 3D stands."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        tab = browser.new_page(viewport={"width": 1400, "height": 900})
        tab.goto(page.absolute().as_uri(), wait_until="commit")
        seconds = []
        for state in ("planes", "ready"):
            wanted = f"#uv:is([data-state={state}], [data-state=ready])"
            tab.wait_for_selector(wanted, state="attached", timeout=600_000)
            seconds.append(tab.evaluate("performance.now()") / 1000)
        browser.close()
    return seconds[0], seconds[1]


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
