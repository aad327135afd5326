"""What distance costs is drawn where it was measured, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable

from uncol.benchmark.comparison import compare
from uncol.benchmark.distance_plot import distance_png
from uncol.benchmark.runs import RunResult
from uncol.benchmark.suites import BENCHMARKS

MakeResult = Callable[..., RunResult]
NAME = "sparse-slices-liver"


def test_every_label_count_with_measured_distances_has_a_plot(make_result: MakeResult) -> None:
    measured = [
        make_result(method, {"a": 0.5}, labeled=count, benchmark=NAME, dice_by_distance=((3.0, 0.8), (6.0, 0.7)))
        for method in ("shape-interpolation", "uncol")
        for count in (4, 16)
    ]
    of_before = make_result("uncol", {"a": 0.5}, labeled=8, benchmark=NAME)
    (comparison,) = compare([*measured, of_before], BENCHMARKS[NAME])
    (without_8,) = compare(measured, BENCHMARKS[NAME])

    drawn = distance_png(comparison)

    assert drawn.startswith(b"\x89PNG\r\n\x1a\n")
    assert drawn == distance_png(without_8)


def test_without_distances_there_is_no_picture(make_result: MakeResult) -> None:
    (comparison,) = compare([make_result("uncol", {"a": 0.5})], BENCHMARKS["hippocampus"])

    assert distance_png(comparison) is None
