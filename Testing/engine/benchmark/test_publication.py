"""What stands in the output folder: all runs, the tables, the pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from uncol.benchmark.publication import publish
from uncol.benchmark.runs import RunResult, RunStore

PNG = b"\x89PNG\r\n\x1a\n"


def test_nothing_is_written_before_a_run_is_finished(tmp_path: Path) -> None:
    assert publish(RunStore(tmp_path), tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_slices_have_a_picture_of_what_distance_costs(tmp_path: Path, make_result: Callable[..., RunResult]) -> None:
    store, name = RunStore(tmp_path), "sparse-slices-liver"
    store.save(make_result("uncol", {"a": 0.75}, benchmark=name, dice_by_distance=((3.0, 0.8), (6.0, 0.7))))

    publish(store, tmp_path)

    assert (tmp_path / f"{name}-1500-steps-distance.png").read_bytes().startswith(PNG)
    assert f"]({name}-1500-steps-distance.png)" in (tmp_path / "results.md").read_text()


def test_runs_tables_and_pictures_of_all_benchmarks_are_written(
    tmp_path: Path, make_result: Callable[..., RunResult]
) -> None:
    store = RunStore(tmp_path)
    results = [make_result("bcp", {"a": 0.5}), make_result("uncol", {"a": 0.75}, benchmark="la2018")]
    for result in results:
        store.save(result)

    files = publish(store, tmp_path)

    assert [path.name for path in files] == [
        "results.json",
        "results.md",
        "hippocampus-1500-steps-dice.png",
        "hippocampus-1500-steps-learning.png",
        "la2018-1500-steps-dice.png",
        "la2018-1500-steps-learning.png",
    ]
    assert all(path.read_bytes().startswith(PNG) for path in files[2:])
    written = json.loads(files[0].read_text())
    assert [RunResult.from_document(each) for each in written] == results
    tables = files[1].read_text()
    assert tables.index("## hippocampus, 1500 steps") < tables.index("## la2018, 1500 steps")
    assert "![la2018-1500-steps-dice](la2018-1500-steps-dice.png)" in tables
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
