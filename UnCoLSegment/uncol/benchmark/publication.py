"""Writes what a comparison has shown so far: all runs in one file, the tables, the pictures."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from uncol.benchmark.comparison import Comparison, compare
from uncol.benchmark.distance_plot import distance_png
from uncol.benchmark.learning_plot import learning_png
from uncol.benchmark.plots import dice_png, fullest_count
from uncol.benchmark.runs import RunResult, RunStore
from uncol.benchmark.suites import BENCHMARKS
from uncol.benchmark.tables import markdown
from uncol.core.errors import OutputError
from uncol.data.io import write_results

RESULTS_FILE, TABLES_FILE = "results.json", "results.md"


def publish(store: RunStore, out: Path) -> list[Path]:
    """Write results, tables and pictures of all finished runs; return the files, none without a finished run.

    Raises:
        DataError: If the file of a finished run is damaged.
        OutputError: If something could not be written.
    """
    results = store.results()
    comparisons = [each for benchmark in BENCHMARKS.values() for each in compare(results, benchmark)]
    if not comparisons:
        return []
    pictures = [_pictures(each) for each in comparisons]
    sections = [markdown(each) + _shown(shown) for each, shown in zip(comparisons, pictures, strict=True)]
    tables = "\n".join(["# Results", "", *sections])
    write_results(out, {}, {RESULTS_FILE: _one_run_a_line(results), TABLES_FILE: tables})
    for name, png in (pair for shown in pictures for pair in shown.items()):
        _write_bytes(out / name, png)
    return [out / name for name in (RESULTS_FILE, TABLES_FILE, *(name for shown in pictures for name in shown))]


def _one_run_a_line(results: Sequence[RunResult]) -> str:
    lines = [json.dumps(result.as_document()) for result in results]
    return "[\n" + ",\n".join(lines) + "\n]\n"


def _pictures(comparison: Comparison) -> dict[str, bytes]:
    name = f"{comparison.benchmark.name}-{comparison.steps}-steps"
    pictures = {
        "dice": dice_png(comparison),
        "distance": distance_png(comparison),
        "learning": learning_png(comparison, fullest_count(comparison)),
    }
    return {f"{name}-{what}.png": png for what, png in pictures.items() if png is not None}


def _shown(names: Iterable[str]) -> str:
    return "".join(f"\n![{name.removesuffix('.png')}]({name})\n" for name in names)


def _write_bytes(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        message = f'"{path}" cannot be written ({error.strerror}). Free some space or choose another folder.'
        raise OutputError(message) from error
