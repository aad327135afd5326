"""The comparisons as Markdown, with ties and losses as plain as wins."""

from __future__ import annotations

from collections.abc import Sequence

from uncol.benchmark.comparison import Comparison, Row
from uncol.benchmark.statistics import Interval
from uncol.benchmark.suites import SUPERVISED_ALL, UNCOL, Benchmark
from uncol.core.error_detection import BAND_MM

_BETTER, _TIED, _WORSE, _UNDECIDED = "better", "tie", "worse", "one value"


def verdict(advantage: Interval) -> str:
    """Say whether UnCoL is better or worse than a method; where the interval holds 0, they cannot be told apart.

    A single value has no interval, and nothing follows from it.
    """
    if not advantage.is_bounded:
        return _UNDECIDED
    if advantage.low > 0:
        return _BETTER
    return _WORSE if advantage.high < 0 else _TIED


def markdown(comparison: Comparison) -> str:
    """Return one comparison as a section of Markdown: a heading, the table, and what it says in sentences."""
    benchmark = comparison.benchmark
    header = [
        "method",
        _label_header(benchmark),
        "Dice [95 %]",
        *(each.name for each in benchmark.structures),
        *(["HD95 (mm)"] if benchmark.spacing_known else []),
        "UnCoL minus this [95 %]",
        "UnCoL is",
        "seeds",
        "steps",
        "seconds",
    ]
    lines = [
        f"## {benchmark.name}, {comparison.steps} steps",
        "",
        _line(header),
        _line(["---", *(["---:"] * (len(header) - 1))]),
        *(_line(_cells(row, benchmark)) for rows in comparison.groups.values() for row in rows),
        "",
        *_notes(comparison),
        *_uncertainty_table(comparison),
        "",
    ]
    return "\n".join(lines)


def _uncertainty_table(comparison: Comparison) -> list[str]:
    """Return what the uncertainty of each method is worth; nothing where no method's was scored."""
    benchmark = comparison.benchmark
    found = {
        (row.method, row.labeled): row for rows in comparison.groups.values() for row in rows if row.has_uncertainty
    }
    if not found:
        return []
    return [
        "",
        f"Uncertainty within {BAND_MM:g} mm of a boundary: how well it finds wrong voxels (AUROC, 0.5 is chance), and "
        "how far confidence is from accuracy (expected calibration error, 0 is best).",
        "",
        _line(["method", _label_header(benchmark), "AUROC of errors", "calibration error"]),
        _line(["---", "---:", "---:", "---:"]),
        *(
            _line([_method(row), _labeled(row, benchmark), *map(_part, (row.auroc, row.calibration_error))])
            for row in found.values()
        ),
    ]


def _cells(row: Row, benchmark: Benchmark) -> list[str]:
    advantage = row.advantage
    return [
        _method(row),
        _labeled(row, benchmark),
        _interval(row.dice),
        *(f"{row.dice_by_structure[each.name]:.3f}" for each in benchmark.structures),
        *([_distance(row)] if benchmark.spacing_known else []),
        "-" if advantage is None else _interval(advantage, sign="+"),
        "-" if advantage is None else verdict(advantage),
        str(len(row.seeds)),
        str(row.training_steps),
        f"{row.seconds:.0f}",
    ]


def _method(row: Row) -> str:
    return f"**{row.method}**" if row.method == UNCOL else row.method


def _label_header(benchmark: Benchmark) -> str:
    return "labeled" if benchmark.supervision == "cases" else "annotated"


def _labeled(row: Row, benchmark: Benchmark) -> str:
    if row.method == SUPERVISED_ALL:
        return f"all {row.labeled}"
    return f"{row.labeled}" if benchmark.supervision == "cases" else f"1 in {row.labeled}"


def _notes(comparison: Comparison) -> list[str]:
    benchmark = comparison.benchmark
    subjects = "the slices that nobody annotated" if benchmark.supervision == "slices" else "the test set"
    tested = f"{_counted(comparison.image_count, 'image')} of {_counted(comparison.subject_count, 'subject')}"
    notes = [
        f"Dice is the mean over structures, {tested} and seeds, on {subjects}; intervals are 95 % bootstrap intervals "
        "over subjects and seeds, differences are paired by subject and seed.",
        *(note for count, rows in comparison.groups.items() for note in _outcome(count, rows, benchmark)),
    ]
    if not benchmark.drawn_by_people:
        notes.append("A model made the references, not people: scores say how far a method agrees with that model.")
    if comparison.subject_count == 1:
        notes.append(
            "With one subject, intervals show the spread of the seeds alone; with one seed, too, there is none."
        )
    if benchmark.spacing_known:
        notes.append("HD95 is the mean where it is defined; in brackets: how often it is not, because a mask is empty.")
    else:
        notes.append("There are no distances: the spacing of these files is not known.")
    if comparison.left_out:
        notes.append(f"Left out: {_counted(comparison.left_out, 'run')} with older settings.")
    notes.append(f"Machine: {'; '.join(comparison.machines)}.")
    return [f"- {note}" for note in notes]


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _outcome(count: int, rows: Sequence[Row], benchmark: Benchmark) -> list[str]:
    compared = [row for row in rows if row.advantage is not None]
    where = f"With {benchmark.label_text(count)}"
    parts = []
    for outcome, words in ((_BETTER, "better than"), (_TIED, "not told apart from"), (_WORSE, "worse than")):
        names = [row.method for row in compared if row.advantage is not None and verdict(row.advantage) == outcome]
        if names:
            parts.append(f"{words} {', '.join(names)}")
    share = _share_of_full_supervision(rows)
    return [
        *([f"{where}, UnCoL is {'; '.join(parts)}."] if parts else []),
        *(
            [f"{where}, UnCoL reaches {100 * share:.1f} % of the mean Dice of {SUPERVISED_ALL}."]
            if share is not None
            else []
        ),
    ]


def _share_of_full_supervision(rows: Sequence[Row]) -> float | None:
    means = {row.method: row.dice.mean for row in rows}
    if UNCOL not in means or not means.get(SUPERVISED_ALL):
        return None
    return means[UNCOL] / means[SUPERVISED_ALL]


def _distance(row: Row) -> str:
    mean = "undefined" if row.hd95_mm is None else f"{row.hd95_mm:.2f}"
    return f"{mean} ({row.undefined_distances} of {row.distances})" if row.undefined_distances else mean


def _part(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _interval(interval: Interval, sign: str = "") -> str:
    if not interval.is_bounded:
        return f"{interval.mean:{sign}.3f}"
    return f"{interval.mean:{sign}.3f} [{interval.low:{sign}.3f}, {interval.high:{sign}.3f}]"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
