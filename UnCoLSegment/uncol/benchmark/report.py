"""Writes what has been shown so far: all runs in one file, pictures, and tables with losses as plain as wins."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from uncol.benchmark.comparison import Comparison, Interval, PartMeans, Row, compare, mean_part
from uncol.benchmark.convergence import Convergence, convergence_of
from uncol.benchmark.plots import dice_png, distance_png, fullest_count, learning_png
from uncol.benchmark.proposals import TOLERANCE, Proposal, proposal_of
from uncol.benchmark.runs import RunStore
from uncol.benchmark.suites import BENCHMARKS, SUPERVISED_ALL, SUPERVISED_PROPOSAL, UNCOL, UNCOL_PROPOSAL, Benchmark
from uncol.core.error_detection import BAND_MM
from uncol.data.io import write_results

RESULTS_FILE, TABLES_FILE = "results.json", "results.md"
_OF_A_MODEL = "A model made the references, not people: scores say how far a method agrees with that model."
_SPREAD_EVENLY = "Annotated slices are spread evenly from the first to the last of the image, whatever they show."
_ENDS = "The first and the last slice of every structure are annotated besides."
_ORACLE_CROP = "*Oracle crop*: images were cropped with the help of their references, which tells where to look."
_FOLDS = "Every subject is tested once, by the training of its fold, which has not seen it."
_BETTER, _TIED, _WORSE, _UNDECIDED = "better", "tie", "worse", "one value"
_NOT_COUNTED = "tie, not counted"


def publish(store: RunStore, out: Path) -> list[Path]:
    """Write results, tables and pictures of all finished runs; return the files, none without a finished run.

    Raises:
        DataError: If the file of a finished run is damaged.
        OutputError: If something could not be written.
    """
    results = store.results()
    tabled = {benchmark.table: benchmark for benchmark in BENCHMARKS.values()}
    comparisons = [each for benchmark in tabled.values() for each in compare(results, benchmark)]
    if not comparisons:
        return []
    pictures: dict[str, bytes] = {}
    tables = ["# Results", ""]
    for comparison in comparisons:
        drawn = _pictures(comparison)
        pictures |= drawn
        tables.append(markdown(comparison) + "".join(f"\n![{name.removesuffix('.png')}]({name})\n" for name in drawn))
    lines = ",\n".join(json.dumps(result.as_document()) for result in results)
    files: dict[str, str | bytes] = {RESULTS_FILE: f"[\n{lines}\n]\n", TABLES_FILE: "\n".join(tables), **pictures}
    write_results(out, {}, files)
    return [out / name for name in files]


def _pictures(comparison: Comparison) -> dict[str, bytes]:
    name = f"{comparison.benchmark.table}-{comparison.steps}-steps"
    pictures = {
        "dice": dice_png(comparison),
        "distance": distance_png(comparison),
        "learning": learning_png(comparison, fullest_count(comparison)),
    }
    return {f"{name}-{what}.png": png for what, png in pictures.items() if png is not None}


def verdict(advantage: Interval) -> str:
    """Say whether what comes first in a difference is better or worse; an interval that holds 0 tells nothing apart.

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
    rows = [row for rows in comparison.groups.values() for row in rows]
    convergence = _convergence(comparison)
    ties_count = convergence is None or convergence.is_reached
    table = _table([_cells(row, benchmark, ties_count=ties_count) for row in rows])
    heading = f"## {benchmark.table}, {comparison.steps} steps"
    more = (*_proposal_table(comparison), *_parts_table(rows, benchmark), *_uncertainty_table(rows, benchmark))
    return "\n".join([heading, "", *table, "", *_notes(comparison), *more, ""])


def _table(rows: Sequence[dict[str, str]]) -> list[str]:
    """Return rows, which are cells by their headers, as lines of Markdown."""
    lines = [[*rows[0]], ["---", *["---:"] * (len(rows[0]) - 1)], *([*row.values()] for row in rows)]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def _name_cells(row: Row, benchmark: Benchmark) -> dict[str, str]:
    is_all, name = row.method == SUPERVISED_ALL, f"**{row.method}**" if row.method == UNCOL else row.method
    return {
        "method": f"{name} (*oracle crop*)" if benchmark.oracle_crop else name,
        "labeled" if benchmark.supervision == "cases" else "annotated": (
            f"all {row.labeled}" if is_all else benchmark.short_label_text(row.labeled)
        ),
    }


def _convergence(comparison: Comparison) -> Convergence | None:
    """Return what is known of full supervision; None where it is not compared."""
    credible = comparison.benchmark.credible_dice
    rows = [row for rows in comparison.groups.values() for row in rows]
    return None if credible is None else convergence_of(rows, credible)


def _cells(row: Row, benchmark: Benchmark, *, ties_count: bool) -> dict[str, str]:
    advantage = row.advantage
    outcome = "-" if advantage is None else verdict(advantage)
    return {
        **_name_cells(row, benchmark),
        "Dice [95 %]": _interval(row.dice),
        **{each.name: f"{row.dice_by_structure[each.name]:.3f}" for each in benchmark.structures},
        **({"HD95 (mm)": _distance(row)} if benchmark.spacing_known else {}),
        "UnCoL minus this [95 %]": "-" if advantage is None else _interval(advantage, sign="+"),
        "UnCoL is": outcome if ties_count or outcome != _TIED else _NOT_COUNTED,
        "seeds": str(len(row.seeds)),
        "steps": str(row.training_steps),
        "seconds": f"{row.seconds:.0f}",
    }


def _proposal_table(comparison: Comparison) -> list[str]:
    """Return our proposal beside that of a supervised student and beside its best source; nothing without any."""
    found = [each for rows in comparison.groups.values() if (each := proposal_of(rows)) is not None]
    if not found:
        return []
    meaning = (
        f"What is proposed for the annotated volume: *ours* ({UNCOL_PROPOSAL}) and *ours with a supervised student* "
        f"({SUPERVISED_PROPOSAL}: no stage 2); and whether ours is never worse than its best source - {TOLERANCE} "
        "(mean Dice over seeds)."
    )
    return ["", meaning, "", *_table([_proposal_cells(each, comparison.benchmark) for each in found])]


def _proposal_cells(proposal: Proposal, benchmark: Benchmark) -> dict[str, str]:
    ours, supervised, difference, best = proposal.ours, proposal.supervised, proposal.difference, proposal.best
    outcome = {True: "yes", False: "**no**", None: f"unknown without {', '.join(proposal.missing)}"}
    return {
        "annotated": benchmark.short_label_text(proposal.labeled),
        "ours": _interval(ours.dice),
        "ours with a supervised student": "not run" if supervised is None else _interval(supervised.dice),
        "difference [95 %]": "-" if difference is None else _interval(difference, sign="+"),
        "stage 2 is": "-" if difference is None else verdict(difference),
        "best source": "-" if best is None else f"{best.method} {best.dice.mean:.3f}",
        "ours minus best source": "-" if best is None else f"{ours.dice.mean - best.dice.mean:+.3f}",
        f"never worse than its best source - {TOLERANCE}": outcome[proposal.is_never_worse],
    }


def _parts_table(rows: Sequence[Row], benchmark: Benchmark) -> list[str]:
    """Return where the errors lie, for each structure; nothing where that was not scored."""
    found = [row for row in rows if row.inside]
    if not found:
        return []
    cells = [
        {
            **_name_cells(row, benchmark),
            "all": _part_cell(mean_part(row.inside), mean_part(row.beyond)),
            **({name: _part_cell(row.inside[name], row.beyond[name]) for name in row.inside}),
        }
        for row in found
    ]
    meaning = (
        "Between the annotated slices that show a structure (inside), and in all others that nobody annotated "
        "(beyond): Dice inside; wrong voxels inside + beyond, in parts of all its scored voxels."
    )
    return ["", meaning, "", *_table(cells)]


def _part_cell(inside: PartMeans, beyond: PartMeans) -> str:
    return f"{_part(inside.dice)}; {100 * inside.wrong:.0f} + {100 * beyond.wrong:.0f} %"


def _uncertainty_table(rows: Sequence[Row], benchmark: Benchmark) -> list[str]:
    """Return what the uncertainty of each method is worth; nothing where no method's was scored."""
    found = {(row.method, row.labeled): row for row in rows if row.has_uncertainty}
    if not found:
        return []
    cells = [
        {
            **_name_cells(row, benchmark),
            "AUROC of errors": _part(row.auroc),
            "calibration error": _part(row.calibration_error),
        }
        for row in found.values()
    ]
    meaning = (
        f"Uncertainty within {BAND_MM:g} mm of a boundary: how well it finds wrong voxels (AUROC, 0.5 is chance), and "
        "how far confidence is from accuracy (expected calibration error, 0 is best)."
    )
    return ["", meaning, "", *_table(cells)]


def _notes(comparison: Comparison) -> list[str]:
    benchmark = comparison.benchmark
    subjects = "the slices that nobody annotated" if benchmark.supervision == "slices" else "the test set"
    tested = f"{_counted(comparison.image_count, 'image')} of {_counted(comparison.subject_count, 'subject')}"
    notes = [
        f"Dice is the mean over structures, {tested} and seeds, on {subjects}; intervals are 95 % bootstrap intervals "
        "over subjects and seeds, differences are paired by subject and seed."
    ]
    convergence = _convergence(comparison)
    notes += [] if convergence is None else [convergence.sentence]
    for count, rows in comparison.groups.items():
        notes += _outcome(f"With {benchmark.label_text(count)}, UnCoL", rows)
    one_subject = "With one subject, intervals show the spread of the seeds alone; with one seed, too, there is none."
    distances = "HD95 is the mean where it is defined; in brackets: how often it is not, because a mask is empty."
    notes += [
        text
        for is_so, text in (
            (not benchmark.drawn_by_people, _OF_A_MODEL),
            (benchmark.annotation == "n spread evenly", _SPREAD_EVENLY),
            (benchmark.ends_annotated, _ENDS),
            (benchmark.oracle_crop, _ORACLE_CROP),
            (benchmark.fold > 0, _FOLDS),
            (comparison.subject_count == 1, one_subject),
            (benchmark.spacing_known, distances),
            (not benchmark.spacing_known, "There are no distances: the spacing of these files is not known."),
        )
        if is_so
    ]
    if comparison.left_out:
        notes.append(f"Left out: {_counted(comparison.left_out, 'run')} with older settings.")
    notes.append(f"Machine: {'; '.join(comparison.machines)}.")
    return [f"- {note}" for note in notes]


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _outcome(uncol: str, rows: Sequence[Row]) -> list[str]:
    """Return what follows from the differences at one label count, and from the upper bound; nothing without both."""
    verdicts = {row.method: verdict(row.advantage) for row in rows if row.advantage is not None}
    words = {_BETTER: "better than", _TIED: "not told apart from", _WORSE: "worse than"}
    found = {text: [name for name, each in verdicts.items() if each == outcome] for outcome, text in words.items()}
    parts = [f"{text} {', '.join(names)}" for text, names in found.items() if names]
    sentences = [f"{uncol} is {'; '.join(parts)}."] if parts else []
    means = {row.method: row.dice.mean for row in rows}
    if UNCOL in means and means.get(SUPERVISED_ALL):
        share = 100 * (means[UNCOL] / means[SUPERVISED_ALL])
        sentences.append(f"{uncol} reaches {share:.1f} % of the mean Dice of {SUPERVISED_ALL}.")
    return sentences


def _distance(row: Row) -> str:
    mean = "undefined" if row.hd95_mm is None else f"{row.hd95_mm:.2f}"
    return f"{mean} ({row.undefined_distances} of {row.distances})" if row.undefined_distances else mean


def _part(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _interval(interval: Interval, sign: str = "") -> str:
    mean = f"{interval.mean:{sign}.3f}"
    return f"{mean} [{interval.low:{sign}.3f}, {interval.high:{sign}.3f}]" if interval.is_bounded else mean
