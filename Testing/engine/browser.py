"""Pages in headless Chromium with WebGL in software; every request that leaves a page is blocked and counted."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

READY, PLANES = "#uv[data-state=ready]", "#uv:is([data-state=planes], [data-state=ready])"
_START_MS = 120_000
"""Software WebGL on a machine that others use, too."""
_ARGUMENTS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


_CONTRASTS = """() => {
  const channel = (value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * channel(r / 255) + 0.7152 * channel(g / 255) + 0.0722 * channel(b / 255);
  const parse = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
  const paper = (element) => {
    if (!element) return [255, 255, 255];
    const [r, g, b, a = 1] = parse(getComputedStyle(element).backgroundColor);
    if (a === 1) return [r, g, b];
    const below = element.matches(".uv-pictures *") ? [255, 255, 255] : paper(element.parentElement);
    return [r, g, b].map((each, n) => a * each + (1 - a) * below[n]);
  };
  const own = (element) => [...element.childNodes].some((each) => each.nodeType === 3 && each.textContent.trim());
  return [...document.querySelectorAll("body *")]
    .filter((each) => own(each) && each.checkVisibility() && !["SCRIPT", "STYLE"].includes(each.tagName))
    .map((each) => {
      const look = getComputedStyle(each), ink = each.closest("svg") ? look.fill : look.color;
      const [a, b] = [light(parse(ink)), light(paper(each))].sort((x, y) => y - x);
      const name = `${each.tagName}#${each.id}.${each.getAttribute("class")} ${each.textContent.trim().slice(0, 30)}`;
      return [name, (a + 0.05) / (b + 0.05)];
    });
}"""


class Opened:
    """A page that was opened: Playwright's page, and what it asked for and complained about."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.asked: list[str] = []
        self.errors: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)

    def state(self, expression: str) -> Any:
        """Return what an expression on the viewer says, `view` is it."""
        return self.page.evaluate(f"(() => {{ const view = window.uncolView; return {expression}; }})()")

    def contrasts(self) -> dict[str, float]:
        """Return the contrast of every text with what it stands on, by element; over pictures with the worst, white."""
        return {f"{number} {text}": contrast for number, (text, contrast) in enumerate(self.page.evaluate(_CONTRASTS))}

    def text(self, selector: str) -> str:
        """Return what stands in an element."""
        return str(self.page.inner_text(selector))


@contextmanager
def browser() -> Iterator[Any]:
    """Lend a browser; without one the test is skipped, and says so."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("there is no Chromium; on Debian: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=_ARGUMENTS)
        yield running
        running.close()


@contextmanager
def opened(running: Any, address: Path | str, *, until: str = READY, **look: Any) -> Iterator[Opened]:
    """Open a file or an address and wait for the viewer; what it asks of anybody else is blocked."""
    context = running.new_context(accept_downloads=True, **{"viewport": {"width": 1400, "height": 900}, **look})
    context.set_default_timeout(_START_MS)
    own = address.absolute().as_uri() if isinstance(address, Path) else address
    context.route(lambda url: not url.startswith((own, "data:", "blob:")), lambda route: route.abort())
    page = Opened(context.new_page())
    page.page.goto(own)
    page.page.wait_for_selector(until, state="attached")
    yield page
    context.close()
