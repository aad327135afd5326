"""What a person sees on the terminal, what a program reads from it, and what Ctrl-C does."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from threading import Event
from types import FrameType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TaskProgressColumn, TextColumn
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from uncol.cli.time_left import TimeLeft, left_text
from uncol.core.printable import printable
from uncol.core.progress import Monitor, Progress

_PLAIN_INTERVAL_S = 5.0
"""Time between two lines of progress where there is no terminal."""

_BAR_WIDTH = 30
_LOSSES = {"supervised": "annotated", "pseudo_label": "other slices"}
"""What losses are called on the screen; others keep their names."""
_DIGITS = {"dice": 3, "hd95_mm": 2, "asd_mm": 2}

errors = Console(stderr=True, highlight=False)
"""Errors, notes and progress go to stderr; stdout belongs to results."""


def accept_any_name() -> None:
    """Let stdout write what its code page does not know as question marks, instead of ending the command.

    A redirected console on Windows has a code page of a few hundred letters; stderr writes such letters as escapes.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def say(sentence: str) -> None:
    """Tell the user one sentence, as it is but for control characters, which a file of others may bring in."""
    errors.print(printable(sentence, keep="\n\t"), markup=False, soft_wrap=not errors.is_terminal)


def print_json(document: dict[str, Any]) -> None:
    """Write one JSON object as one line to stdout."""
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def print_result(document: dict[str, Any], *, as_json: bool) -> bool:
    """Write what a command ends with as JSON where that is wanted; else a person is still to be told."""
    if as_json:
        print_json({"event": "result", **document})
    return as_json


class ProgressDisplay:
    """Shows progress as a bar on a terminal, as JSON lines for programs, as plain lines elsewhere."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._bar: Bar | None = None
        self._time = TimeLeft()
        self._last_line = 0.0
        self._last_phase = ""

    def __enter__(self) -> Self:
        if not self._as_json and errors.is_terminal:
            self._bar = Bar(
                TextColumn("{task.description}"), BarColumn(_BAR_WIDTH), TaskProgressColumn(),
                _Note(self._time), console=errors, transient=True,
            )  # fmt: skip
            self._bar.start()
            self._task = self._bar.add_task("Starting", total=1.0, progress=Progress("Starting", 0.0))
        return self

    def __exit__(self, *_error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, progress: Progress) -> None:
        """Show one report of progress."""
        if self._as_json:
            print_json(progress.as_message())
            return
        self._time.hear(progress)
        if self._bar is not None:
            self._bar.update(self._task, description=progress.phase, completed=self._time.done, progress=progress)
        elif progress.phase != self._last_phase or time.monotonic() - self._last_line > _PLAIN_INTERVAL_S:
            self._last_phase, self._last_line = progress.phase, time.monotonic()
            say(f"{progress.phase}  {self._time.done:4.0%}  {_note(progress, self._time.left())}".rstrip())


class _Note(ProgressColumn):
    """The time left, which counts down, and what is told of a training."""

    def __init__(self, time_left: TimeLeft) -> None:
        super().__init__()
        self._time = time_left

    def render(self, task: Task) -> Text:
        """Return what stands beside the bar now."""
        return Text(_note(task.fields["progress"], self._time.left()))


@contextmanager
def monitored(*, as_json: bool) -> Iterator[Monitor]:
    """Show the progress of work that is told, on Ctrl-C, to stop at its next safe point instead of ending at once."""
    stop = Event()
    with ProgressDisplay(as_json=as_json) as display, on_signals(lambda _number, _frame: stop.set()):
        yield Monitor(display, stop.is_set)


@contextmanager
def on_signals(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Let a handler answer Ctrl-C and SIGTERM while the body runs."""
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


@contextmanager
def loading() -> Iterator[None]:
    """Let packages be imported in the body: Ctrl-C ends that also where one of them swallows what is raised."""
    came: list[tuple[int, FrameType | None]] = []
    answer = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: FrameType | None) -> None:
        came.append((number, frame))
        if callable(answer):
            answer(number, frame)

    try:
        with on_signals(note):
            yield
    finally:
        if came and callable(answer):
            answer(*came[-1])


def print_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """Print a table to stdout."""
    table = Table(title=printable(title), title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*map(printable, row))
    Console(highlight=False, markup=False).print(table)


def print_evaluation(document: dict[str, Any]) -> None:
    """Print an evaluation, a JSON object of `pipelines.evaluate.run_evaluate`, as tables to stdout."""
    scores = [*document["structures"], {"name": "mean", **{name: document[f"mean_{name}"] for name in _DIGITS}}]
    rows = [[each["name"], *(_number(each[name], digits) for name, digits in _DIGITS.items())] for each in scores]
    print_table("Segmentation against reference", ["structure", "Dice", "HD95 (mm)", "ASD (mm)"], rows)
    if document["uncertainty"] is not None:
        _print_uncertainty(document["uncertainty"])
    for each in [*document.get("promises", []), *document.get("next_patient", [])]:
        Console(highlight=False, markup=False).print(printable(each["sentence"]))


def _print_uncertainty(scores: dict[str, Any]) -> None:
    detection, slices = scores["detection"], scores["slices"]
    errors, band = f"of errors within {detection['within_mm']:g} mm", f"within {scores['band_mm']:g} mm"
    whole_error = scores["expected_calibration_error_whole_image"]
    lines = [
        ("auroc", f"AUROC {errors} of a boundary", detection["auroc"]),
        ("auprc", f"AUPRC {errors}", detection["auprc"]),
        ("overlap", f"uncertainty-error overlap {errors[10:]}", detection["overlap"]),
        ("calibration_error", f"calibration error (ECE) {band} of a boundary", scores["expected_calibration_error"]),
        ("calibration_error_whole_image", "calibration error (ECE), whole image", whole_error),
        ("top_slices", "errors in the 20 % of slices with the most expected", slices["top"]),
        ("slice_correlation", "rank correlation of expected and real slice Dice", slices["correlation"]),
    ]
    rows = []
    for name, what, value in lines:
        low, high = scores["intervals"].get(name, (None, None))
        between = "" if low is None else f"{low:.3f} to {high:.3f}"
        rows.append([what, scores["words"].get(name, _number(value, 3)), between])
    title = f"Uncertainty, in {slices['count']} slices with a structure"
    print_table(title, ["", "value", scores["words"].get("intervals", "95 % interval over slices")], rows)


def _note(progress: Progress, left: float | None) -> str:
    parts = [] if left is None else [left_text(left)]
    if progress.seconds_left is not None:  # what is told after training still names its last step
        parts += [f"step {progress.step}"] if progress.step else []
        losses = [f"{_LOSSES.get(name, name.replace('_', ' '))} {value:.3f}" for name, value in progress.losses.items()]
        parts += [f"loss: {', '.join(losses)}"] if losses else []
    return "  ".join(parts)


def _number(value: float | None, digits: int) -> str:
    return "undefined" if value is None else f"{value:.{digits}f}"
