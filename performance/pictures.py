"""Take the pictures of README.md and docs/user.md from what the demo wrote, in a browser without a screen.

    make demo
    python performance/pictures.py demo-output

They are to be looked at: what a page shows in three sizes, light and dark, is tested elsewhere.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

PICTURES = Path(__file__).resolve().parents[1] / "docs/pictures"
ARGUMENTS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
WIDTH, HEIGHT = 1280, 860
READY = "#uv[data-state=ready]"


def main(demo: Path) -> None:
    """Take all pictures of one demo."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        tab = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="dark")
        tab.goto((demo / "report.html").absolute().as_uri())
        tab.wait_for_selector(READY, state="attached")
        take(tab, "report.png")
        show(tab, "#uv")
        take(tab, "view.png")
        tab.keyboard.press("e")
        take(tab, "errors.png")
        tab.keyboard.press("e")
        show(tab, "#uv-verdict")
        tab.click("#uv-verdict button[data-verdict='needs correction']")
        tab.fill("#uv-comment", "The lower border is too low in two slices.")
        take(tab, "verdict.png", tab.locator(".uv-side"))
        browser.close()


def show(tab: Any, selector: str) -> None:
    """Scroll the page, or the part of it that scrolls, until an element is in its middle."""
    tab.evaluate(
        "selector => document.querySelector(selector).scrollIntoView({block: 'center', behavior: 'instant'})", selector
    )


def take(tab: Any, name: str, part: Any = None) -> None:
    """Write what is to be seen, once it has been drawn."""
    tab.wait_for_timeout(600)
    (part or tab).screenshot(path=PICTURES / name)
    print(PICTURES / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
