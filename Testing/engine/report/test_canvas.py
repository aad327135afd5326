from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import uncol
from uncol.report import canvas


def test_a_figure_becomes_a_png_of_its_size() -> None:
    figure = canvas.make_figure(2.0, 1.0)
    canvas.dress(figure.subplots(), "title", "x", "y")

    png = canvas.png_of(figure)

    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    # width and height stand behind the signature (8), the chunk's length (4) and its name "IHDR" (4): 2 x 1 in, 120 dpi
    assert (int.from_bytes(png[16:20]), int.from_bytes(png[20:24])) == (240, 120)
    assert canvas.png_of(figure) == png


def test_a_running_mean_continues_the_ends() -> None:
    # a window of 3 of 4 values: (0 + 0 + 3) / 3, (0 + 3 + 6) / 3, (3 + 6 + 9) / 3, (6 + 9 + 9) / 3
    assert canvas.running_mean([0, 3, 6, 9], 0.75).tolist() == pytest.approx([1, 3, 6, 8])
    assert canvas.running_mean([2.0, 5.0], 0.04).tolist() == [2.0, 5.0]


MODULES = [path.stem for path in (Path(uncol.__file__).parent / "report").glob("[a-z]*.py")]


def test_nothing_in_the_report_loads_a_plotting_library_when_it_is_imported() -> None:
    program = f"import sys, importlib\nfor name in {MODULES}: importlib.import_module('uncol.report.' + name)\n"
    program += "sys.exit('matplotlib' in sys.modules)"

    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(uncol.__file__).parents[1])


def test_drawing_leaves_matplotlibs_global_state_alone() -> None:
    program = "import sys\nfrom uncol.report import canvas\nfigure = canvas.make_figure(2.0, 1.0)\n"
    program += "canvas.dress(figure.subplots(), '', '', '')\ncanvas.png_of(figure)\n"
    program += "sys.exit('matplotlib.pyplot' in sys.modules)"

    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(uncol.__file__).parents[1])
