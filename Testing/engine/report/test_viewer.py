"""The viewer in a real browser: what it shows is what the files hold, every control works, nothing leaves the page."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Opened, browser, opened
from small_results import TURNED, small_results, small_scene

from uncol.core.jobs import Structure
from uncol.report import report
from uncol.report.results import Results
from uncol.report.viewer import NIIVUE, view_page

EVIL = '<img src=x onerror="window.hit=1"> "Lébèr" & <b>'
SHAPE_KJI = (30, 40, 44)


def results_with_a_place() -> Results:
    """Turned results, in which a large part of the first structure is unsure."""
    small = small_results(TURNED)
    labels = np.zeros(SHAPE_KJI, np.uint8)
    labels[6:24, 8:32, 8:24] = 1
    labels[8:20, 12:28, 28:38] = 7
    uncertainty = np.zeros(SHAPE_KJI, np.float32)
    uncertainty[10:16, 14:26, 10:20] = 0.9
    matrix = np.diag([3.0, -2.0, -4.0, 1.0])
    matrix[:3, 3] = (-60, 40, 70)
    grey = np.random.default_rng(1).integers(-200, 300, SHAPE_KJI).astype(np.int16)
    volume = replace(small.reference, voxels=labels, ijk_to_ras=matrix)
    moved = volume.with_voxels(np.roll(labels, 2, axis=2))
    reference = volume.with_voxels(np.where(np.arange(SHAPE_KJI[0])[:, None, None] < 2, np.uint8(9), moved.voxels))
    scores = tuple(replace(small.slices[0], number=number) for number in range(SHAPE_KJI[0]))
    return replace(
        small, image=volume.with_voxels(grey), reference=reference, annotation=volume, slices=scores,
        labels={"interpolation": moved, "first_pass": moved, "fine_tuned": volume},
        uncertainty=volume.with_voxels(uncertainty), structures=(Structure(1, EVIL), Structure(7, "spleen")),
    )  # fmt: skip


@pytest.fixture(scope="module")
def results() -> Results:
    return results_with_a_place()


@pytest.fixture(scope="module")
def page_path(results: Results, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "view.html"
    path.write_text(view_page(small_scene(results)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def view(page_path: Path) -> Iterator[Opened]:
    with browser() as running, opened(running, page_path) as page:
        yield page


def test_niivue_is_the_file_that_is_named() -> None:
    content = files("uncol.report").joinpath("web", "niivue.umd.js").read_bytes()

    assert sha256(content).hexdigest() == NIIVUE["sha256"]
    licence = files("uncol.report").joinpath("web", "LICENSE.niivue.txt").read_text(encoding="utf-8")
    assert "BSD 2-Clause License" in licence
    assert NIIVUE["version"] in licence
    assert "nifti-reader-js" in licence  # one of those that are bundled in it


@pytest.mark.soak
def test_niivue_is_what_its_package_holds(tmp_path: Path) -> None:
    npm, name = shutil.which("npm"), f"{NIIVUE['package']}@{NIIVUE['version']}"
    if npm is None or subprocess.run([npm, "pack", name], cwd=tmp_path, capture_output=True, check=False).returncode:
        pytest.skip("npm is not here, or cannot get the package")
    (packed,) = tmp_path.glob("*.tgz")
    with tarfile.open(packed) as package:
        held = package.extractfile(f"package/{NIIVUE['file']}")
        assert held is not None
        assert sha256(held.read()).hexdigest() == NIIVUE["sha256"]


@pytest.mark.slow
def test_the_page_asks_for_nothing_and_complains_of_nothing(view: Opened, page_path: Path) -> None:
    assert [each for each in view.asked if not each.startswith(("data:", "blob:"))] == [page_path.as_uri()]
    assert view.errors == []


@pytest.mark.slow
def test_a_name_of_others_is_shown_and_never_run(view: Opened) -> None:
    assert view.text("#uv-structures .name >> nth=0") == EVIL
    assert view.page.evaluate("window.hit") is None
    assert view.page.locator("#uv-structures img").count() == 0


@pytest.mark.slow
def test_grey_value_label_and_doubt_under_the_cursor_are_those_of_the_files(view: Opened, results: Results) -> None:
    generator = np.random.default_rng(2)
    matrix = np.array(view.state("view.data.picture.matrix")).reshape(4, 4)
    to_ijk = np.linalg.inv(results.image.ijk_to_ras)
    for _ in range(50):
        voxel = [int(generator.integers(size)) for size in view.state("view.dims")]
        shown = view.state(f"view.at({voxel})")
        assert np.allclose(shown["mm"], (matrix @ [*voxel, 1])[:3])
        i, j, k = np.rint((to_ijk @ [*shown["mm"], 1])[:3]).astype(int)
        assert shown["grey"] == results.image.voxels[k, j, i]
        assert shown["label"] == results.labels["fine_tuned"].voxels[k, j, i]
        assert shown["doubt"] == pytest.approx(results.uncertainty.voxels[k, j, i], abs=0.002)


@pytest.mark.slow
def test_the_place_to_look_at_is_opened_first_and_n_goes_round(view: Opened, results: Results) -> None:
    (place,) = view.state("view.data.places")
    k = place["slice"]

    assert 10 <= k < 16
    assert results.uncertainty.voxels[k].max() == pytest.approx(0.9)
    view.page.evaluate("window.uncolView.goTo([0, 0, 0])")
    view.page.keyboard.press("n")
    assert view.state("view.voxel") == place["at"]
    assert f"Axial slice {k} of 30" in view.text("#uv-ruler-text")
    assert place["text"].startswith("may not be")


@pytest.mark.slow
def test_structures_of_the_reference_that_nobody_looked_for_are_no_errors(view: Opened, results: Results) -> None:
    assert 9 in results.reference.voxels
    assert view.state("[...new Set(view.parts.reference)].sort()") == [0, 1, 7]


@pytest.mark.slow
@pytest.mark.parametrize("width", [1400, 800, 390])
@pytest.mark.parametrize("kind", ["report", "view"])
def test_a_page_opens_at_its_top(
    results: Results, view: Opened, page_path: Path, tmp_path: Path, width: int, kind: str
) -> None:
    path = page_path
    if kind == "report":
        path = tmp_path / "report.html"
        path.write_text(report.write(results, small_scene(results)), encoding="utf-8")
    with opened(view.page.context.browser, path, viewport={"width": width, "height": 850}) as page:
        page.page.wait_for_timeout(300)
        assert page.page.evaluate("scrollY") == 0
        assert page.page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.slow
def test_every_plane_says_which_side_is_where(view: Opened) -> None:
    said = view.page.evaluate(
        """() => {
      const view = window.uncolView, written = [];
      const pen = new Proxy(view.ink.getContext("2d"), {
        get: (own, name) => (name === "fillText" ? (text, x, y) => written.push([text, x, y])
          : typeof own[name] === "function" ? own[name].bind(own) : own[name]),
        set: (own, name, value) => { own[name] = value; return true; },
      });
      return view.tiles().map((tile) => {
        written.length = 0;
        view.paintSides(pen, tile, 1);
        const by = (n, end) => [...written].sort((a, b) => end * (a[n] - b[n]))[0][0];
        return [tile.plane, by(1, 1), by(1, -1), by(2, 1), by(2, -1)];
      });
    }"""
    )

    # by NiiVue's slice type: left, right, top, bottom; the patient's right on the left
    assert sorted(said) == [[0, "R", "L", "A", "P"], [1, "R", "L", "S", "I"], [2, "P", "A", "S", "I"]]


@pytest.mark.slow
def test_every_place_is_shown_small(view: Opened) -> None:
    places = view.state("view.data.places.length")

    assert places > 0
    drawn = "[...document.querySelectorAll('#uv-places canvas')].map((each) => each.width * each.height)"
    assert view.state(drawn) == [44 * 40] * places


@pytest.mark.slow
def test_the_next_slices_are_shown_small_as_they_lie_and_opened_by_a_click(view: Opened) -> None:
    suggested = view.state("view.data.ruler.next")
    assert suggested
    assert "1 slice from" not in suggested[0]["text"]

    view.page.locator("#uv-next button").first.click()

    assert f"Axial slice {suggested[0]['slice']} of 30" in view.text("#uv-ruler-text")
    low, high = view.state("[view.image.cal_min, view.image.cal_max]")
    width, height, _depth = view.state("view.dims")
    z = view.state("view.voxel")[2]
    generator = np.random.default_rng(3)
    for _ in range(30):
        x, y = (int(generator.integers(size)) for size in (width, height))
        shown = view.state(f"view.at([{x}, {y}, {z}])")
        at = f"{width - 1 - x}, {height - 1 - y}"  # the patient's right on the left, the front above
        pixel = view.page.evaluate(
            f"[...document.querySelector('#uv-next canvas').getContext('2d').getImageData({at}, 1, 1).data]"
        )
        if not shown["label"]:
            grey = np.clip(255 * (shown["grey"] - low) / (high - low), 0, 255)
            assert pixel[:3] == pytest.approx([grey] * 3, abs=1)
        assert pixel[3] == 255


@pytest.mark.slow
def test_the_keys_do_what_the_help_says(view: Opened) -> None:
    press = view.page.keyboard.press
    look = "view.look."
    for wanted in ("heat", "off", "regions"):
        press("u")
        assert view.state(f"{look}doubt") == wanted
    press("s")
    assert view.state(f"{look}fill") is False
    press("s")
    press("e")
    assert view.state(f"{look}errors") is True
    press("e")
    view.page.keyboard.down("c")
    assert (view.state(f"{look}compare"), view.text("#uv-banner")) == ("reference", "Reference")
    view.page.keyboard.up("c")
    assert view.state(f"{look}compare") is None
    view.page.keyboard.down("h")
    assert view.state(f"{look}hidden") is True
    view.page.keyboard.up("h")
    before = view.state("view.voxel")
    press("ArrowUp")
    assert [b - a for a, b in zip(before, view.state("view.voxel"), strict=True)] == [0, 0, 1]
    press("2")
    assert view.state("view.layout") == "axial"
    press("1")


@pytest.mark.slow
def test_a_key_typed_into_a_comment_is_a_letter(view: Opened) -> None:
    view.page.fill("#uv-comment", "")
    view.page.focus("#uv-comment")
    view.page.keyboard.type("sun")

    assert view.page.input_value("#uv-comment") == "sun"
    assert view.state("view.look.fill") is True
    view.page.fill("#uv-comment", "")


@pytest.mark.slow
def test_the_verdict_is_saved_as_json(view: Opened, tmp_path: Path) -> None:
    view.page.click("#uv-save")
    assert "Choose one" in view.text("#uv-saved")
    view.page.click("[data-verdict='needs correction']")
    view.page.fill("#uv-comment", 'Größe "falsch"')
    with view.page.expect_download() as waiting:
        view.page.click("#uv-save")
    waiting.value.save_as(tmp_path / "verdict.json")

    verdict: dict[str, Any] = json.loads((tmp_path / "verdict.json").read_text(encoding="utf-8"))
    assert (verdict["verdict"], verdict["comment"]) == ("needs correction", 'Größe "falsch"')
    assert verdict["image_sha256"] == "ab" * 32
    assert verdict["files"] == {"segmentation.nii.gz": "cd" * 32}
    assert [each["number"] for each in verdict["places"]] == [1]
    assert waiting.value.suggested_filename == "verdict.json"


@pytest.mark.slow
def test_a_surface_comes_out_as_stl_in_the_patients_place(view: Opened, results: Results, tmp_path: Path) -> None:
    with view.page.expect_download(predicate=lambda each: each.suggested_filename == "spleen.stl") as waiting:
        view.page.click("#uv-stl")
    waiting.value.save_as(tmp_path / "spleen.stl")

    content = (tmp_path / "spleen.stl").read_bytes()
    (count,) = struct.unpack("<I", content[80:84])
    kind = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("nothing", "<u2")])
    triangles = np.frombuffer(content[84:], dtype=kind, count=count)["corners"].astype(float)
    volume_mm3 = np.einsum("ni,ni->n", triangles[:, 0], np.cross(triangles[:, 1], triangles[:, 2])).sum() / 6
    voxels = np.argwhere(results.labels["fine_tuned"].voxels == 7)[:, ::-1]
    centers = voxels @ results.image.ijk_to_ras[:3, :3].T + results.image.ijk_to_ras[:3, 3]
    assert abs(volume_mm3) == pytest.approx(len(voxels) * 24, rel=0.1)
    assert triangles.reshape(-1, 3).mean(axis=0) == pytest.approx(centers.mean(axis=0) * [-1, -1, 1], abs=1.5)
    assert volume_mm3 > 0  # its triangles look outwards


@pytest.mark.slow
def test_the_picture_is_a_png_with_the_planes_in_it(view: Opened, tmp_path: Path) -> None:
    with view.page.expect_download() as waiting:
        view.page.click("#uv-png")
    waiting.value.save_as(tmp_path / "view.png")

    content = (tmp_path / "view.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    assert waiting.value.suggested_filename.startswith("view-slice-")
    assert len(content) > 20_000  # a black one has a few kilobytes


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_every_text_stands_out_from_its_background(view: Opened, scheme: str) -> None:
    view.page.emulate_media(color_scheme=scheme)
    view.page.wait_for_selector(f"#uv[data-theme={scheme}]", state="attached")

    contrasts = view.contrasts()

    assert len(contrasts) > 30
    assert "uv-window" in " ".join(contrasts), "labels over the pictures count, too"
    assert {text: contrast for text, contrast in contrasts.items() if contrast < 4.5} == {}


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_every_text_of_a_report_stands_out(view: Opened, results: Results, tmp_path: Path, scheme: str) -> None:
    path = tmp_path / "report.html"
    path.write_text(report.write(results, small_scene(results), "uncol demo"), encoding="utf-8")
    with opened(view.page.context.browser, path, color_scheme=scheme) as page:
        page.page.evaluate("() => document.querySelectorAll('details').forEach((each) => (each.open = true))")
        contrasts = page.contrasts()

    assert len(contrasts) > 120
    assert {text: contrast for text, contrast in contrasts.items() if contrast < 4.5} == {}


_CUT = """() => [...document.querySelectorAll("#uv *")]
  .filter((each) => each.checkVisibility() && each.scrollWidth > each.clientWidth + 1)
  .filter((each) => ["hidden", "clip"].includes(getComputedStyle(each).overflowX) && each.textContent.trim())
  .map((each) => each.className || each.id)"""
"""Elements whose text is cut off."""


@pytest.mark.slow
@pytest.mark.parametrize("width", [1400, 1020, 800, 390])
def test_the_page_fits_its_window(view: Opened, width: int) -> None:
    view.page.set_viewport_size({"width": width, "height": 900})

    assert view.page.evaluate("document.documentElement.scrollWidth") <= width
    stage = view.page.locator("#uv-pictures").bounding_box()
    assert stage["width"] > 0.6 * width or width > 1000
    assert stage["height"] > 350
    assert view.page.evaluate(_CUT) == []
    view.page.set_viewport_size({"width": 1400, "height": 900})
