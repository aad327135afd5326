"""Take the pictures of README.md and docs/user.md from what the demo wrote, in a browser without a screen.

    make demo
    python performance/pictures.py demo-output
    python performance/pictures.py demo-output --sizes FOLDER

With `--sizes` the documents keep theirs: the whole report goes into a folder, at 1400, 800 and 390 px, light and dark,
cut into screens. All of them are to be looked at; what numbers can tell of a page is tested elsewhere.
"""

from __future__ import annotations

import argparse
import shutil
from itertools import product
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

PICTURES = Path(__file__).resolve().parents[1] / "docs/pictures"
ARGUMENTS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
WIDTH, HEIGHT = 1280, 860
SIZES = ((1400, 900), (800, 1100), (390, 844))
READY = "#uv[data-state=ready]"


def main() -> None:
    """Take all pictures of one demo."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path, help="what the demo wrote, or another folder with a report")
    parser.add_argument("--sizes", type=Path, metavar="FOLDER", help="where the report goes in all sizes and colors")
    chosen = parser.parse_args()
    report = chosen.demo / "report.html"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        if chosen.sizes is None:
            of_documents(browser, report)
        else:
            in_all_sizes(browser, report, chosen.sizes)
        browser.close()


def of_documents(browser: Any, report: Path) -> None:
    """Take the pictures of README.md and docs/user.md."""
    tab = opened(browser, report, WIDTH, HEIGHT, "dark")
    take(tab, PICTURES / "report.png")
    show(tab, "#uv")
    take(tab, PICTURES / "view.png")
    tab.keyboard.press("e")
    take(tab, PICTURES / "errors.png")
    tab.keyboard.press("e")
    show(tab, "#uv-verdict")
    tab.click("#uv-verdict button[data-verdict='needs correction']")
    tab.fill("#uv-comment", "The lower border is too low in two slices.")
    take(tab, PICTURES / "verdict.png", tab.locator(".uv-side"))


def in_all_sizes(browser: Any, report: Path, folder: Path) -> None:
    """Picture a report from top to bottom in every size, light and dark."""
    folder.mkdir(parents=True, exist_ok=True)
    for (width, height), color in product(SIZES, ("light", "dark")):
        tab = opened(browser, report, width, height, color)
        screens = -(-int(tab.evaluate("document.documentElement.scrollHeight")) // height)
        for number in range(screens):
            tab.evaluate(f"window.scrollTo({{top: {number * height}, behavior: 'instant'}})")
            take(tab, folder / f"{width}-{color}-{number:02}.png")
        tab.close()


def opened(browser: Any, report: Path, width: int, height: int, color: str) -> Any:
    """Return a tab with the report, once its viewer is ready."""
    tab = browser.new_page(viewport={"width": width, "height": height}, color_scheme=color)
    tab.goto(report.absolute().as_uri())
    tab.wait_for_selector(READY, state="attached", timeout=120_000)
    return tab


def show(tab: Any, selector: str) -> None:
    """Scroll the page, or the part of it that scrolls, until an element is in its middle."""
    tab.evaluate(
        "selector => document.querySelector(selector).scrollIntoView({block: 'center', behavior: 'instant'})", selector
    )


def take(tab: Any, file: Path, part: Any = None) -> None:
    """Write what is to be seen, once it has been drawn."""
    tab.wait_for_timeout(600)
    (part or tab).screenshot(path=file)
    print(file)


if __name__ == "__main__":
    main()
