"""The contract between panel and engine: every message comes back as it was, and the documentation names its fields."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis.strategies import sampled_from
from mutated import counted, mutated

from uncol.core.dicom_export import CodedTerm, Concept, ExportedStructure, ExportJob, ExportResult
from uncol.core.findings import Finding, Findings, Place
from uncol.core.jobs import (
    AnnotatedSlices,
    Box,
    Case,
    DicomChoice,
    FineTuneJob,
    FineTuneResult,
    SegmentJob,
    SegmentResult,
    Structure,
)
from uncol.core.next_slices import NextSlice, NextSlices
from uncol.core.progress import Progress
from uncol.core.protocol import (
    EVENTS,
    PROTOCOL,
    REQUESTS,
    Cancel,
    Cancelled,
    CancelResult,
    Event,
    Failed,
    GraphicsCard,
    Greeting,
    Hello,
    Log,
    MessageError,
    Preview,
    Request,
    Shutdown,
    ShutdownResult,
    read_event,
    read_request,
    write_message,
)
from uncol.core.round_scores import ScoreJob, ScoreResult, SliceStack
from uncol.core.slice_scores import SliceScore
from uncol.core.uncertainty_maps import DISAGREEMENT
from uncol.core.volume_files import VolumeFile

DOCUMENTATION = Path(__file__).resolve().parents[3] / "docs" / "worker.md"
GRID = ((-0.7, 0.0, 0.0, 100 / 3), (0.0, 0.6, 0.8, 1e-9), (0.0, -0.8, 0.6, -0.1), (0.0, 0.0, 0.0, 1.0))
IMAGE, LABELS = VolumeFile(Path("/jobs/a/image.npy"), GRID), VolumeFile(Path("/jobs/a/labels.npy"), GRID)
BOX, SPLEEN = Box("spleen", (1, 2, 3), (4, 5, 6)), Structure(2, "Milz \u00e4")
RESULT = SegmentResult(
    IMAGE,
    LABELS,
    {"structures": [{"value": 2, "mean_uncertainty": None}], "notes": ["A note."]},
    {"K": (SliceScore(7, 1 / 3, ("Milz \u00e4",)), SliceScore(8, 0.0)), "I": ()},
    {DISAGREEMENT: IMAGE},
    Findings(
        (Finding("Milz \u00e4", 2, 7, 0.5, 1 / 3, (0.25, 0.75), (0.9, 0.8, 0.95), "map", 0.925, is_enough=True),),
        (Place(1, (1, 2, 3), (-1.5, 2.0, 1e-9), 0.25, 0.75, "both", "Milz \u00e4", 2),),
        NextSlices("K", (NextSlice(7, 0.01, ("Milz \u00e4",), 3), NextSlice(9, None, (), None))),
        0.25,
    ),
    LABELS,
)

LIVER = Concept("SCT", "10200004", "Liver")
DICOM = DicomChoice(2, allow_incomplete=True)
MESSAGES: list[Any] = [
    Hello(PROTOCOL),
    SegmentJob(IMAGE, Path("a"), model=Path("liver-2")),
    SegmentJob(Path("ct.nrrd"), Path("a"), boxes=(BOX, BOX), device="cpu", dicom=DICOM),
    SegmentJob(
        IMAGE,
        Path("a"),
        labels=LABELS,
        structures=(SPLEEN,),
        annotated_slices=(AnnotatedSlices("K", (1, 2)),),
        maps=(DISAGREEMENT,),
    ),
    FineTuneJob((Case(IMAGE, LABELS),), Path("m"), minutes=2.5, proposal=Path("/jobs/a")),
    FineTuneJob(
        (Case(IMAGE, LABELS), Case(Path("b.nrrd"), Path("c.nrrd"))),
        Path("m"),
        unlabeled=(IMAGE, Path("d.nrrd")),
        annotated_slices=(AnnotatedSlices("J", (40,), case=2),),
        structures=(SPLEEN,),
        steps=20,
        seed=2**63 - 1,
        base=Path("liver"),
        compare_with=Path("liver-2"),
        method="uncol",
        student="3d",
        resume=True,
        proposal=Path("/jobs/a"),
        further_proposals=(Path("/jobs/a/case-2"),),
        maps=(DISAGREEMENT,),
        preview_s=30.0,
        device="mps",
        dicom=DICOM,
    ),
    Cancel(7),
    Cancel("a-7"),
    Shutdown(),
    Progress("Reading the image", 0.0),
    Progress("Learning", 0.5, seconds_left=12.5, step=7, losses={"supervised": 0.25}),
    Preview(LABELS, IMAGE),
    Preview(LABELS, IMAGE, case=2),
    Log("warning", "Something is odd."),
    ScoreJob(Path("/jobs/a"), (SliceStack(LABELS, LABELS, IMAGE), SliceStack(LABELS, LABELS)), (SPLEEN,)),
    ScoreResult({"spleen": 0.5}, 0.75),
    ExportJob(
        Path("/jobs/a"),
        (Path("/dicom/1.dcm"), Path("/dicom/2.dcm")),
        (LABELS, LABELS),
        IMAGE,
        (
            ExportedStructure(2, "Milz \u00e4", (0, 128, 255), CodedTerm(LIVER, LIVER, LIVER), {"model": "a"}),
            ExportedStructure(3, "b"),
        ),
    ),
    ExportResult(Path("/jobs/a/segmentation.dcm"), Path("/jobs/a/uncertainty.dcm")),
    Greeting(
        PROTOCOL,
        "0.2.0",
        ("cuda", "cpu"),
        ("LiteMedSAM",),
        Path("/jobs"),
        graphics_cards=(GraphicsCard("cuda", "NVIDIA RTX A5000", 23.7),),
    ),
    RESULT,
    FineTuneResult(Path("/models/m"), (SPLEEN,), {"steps": 20, "curve": [{"step": 1, "supervised": 0.5}]}, RESULT),
    FineTuneResult(Path("/models/m"), (SPLEEN,), {"steps": 20}, RESULT, (RESULT, RESULT)),
    CancelResult(found=True),
    ShutdownResult(),
    Cancelled("It was cancelled.", resumable=True),
    Failed("bug", "This is a bug.", "Traceback ..."),
]


@pytest.mark.parametrize("count", [100, pytest.param(10_000, marks=pytest.mark.soak)])
@pytest.mark.parametrize("read", [read_request, read_event])
def test_mutated_lines_are_understood_or_refused(
    tell: Callable[[str], None], read: Callable[[bytes], tuple[Any, Any]], count: int
) -> None:
    kinds = (REQUESTS if read is read_request else EVENTS).values()
    lines = [write_message(7, each) for each in MESSAGES if type(each) in kinds]

    def use(line: bytes) -> None:
        number, content = read(line)
        assert read(write_message(number, content))[0] == number

    tell(f"mutated lines, {read.__name__}: {counted(count, sampled_from(lines).flatmap(mutated), use, MessageError)}")


@pytest.mark.parametrize("content", MESSAGES, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("request_id", [7, "a-7"])
def test_a_message_comes_back_as_it_was(content: Request | Event, request_id: int | str) -> None:
    line = write_message(request_id, content)

    read = read_request if isinstance(content, get_args(Request)) else read_event
    assert read(line) == (request_id, content)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1


def test_every_message_and_every_field_is_among_them() -> None:
    assert {type(each) for each in MESSAGES} == {*REQUESTS.values(), *EVENTS.values()}
    assert {*get_args(Request)} == {*REQUESTS.values()}
    for kind in {*REQUESTS.values(), *EVENTS.values()}:
        for field in fields(kind):
            values = [getattr(each, field.name) for each in MESSAGES if type(each) is kind]
            assert any(value not in (None, (), {}, "", field.default) for value in values), (kind, field.name)


def test_an_event_may_be_about_no_request() -> None:
    assert read_event(write_message(None, Log("error", "m"))) == (None, Log("error", "m"))


def test_numbers_that_json_does_not_know_are_left_out() -> None:
    progress = Progress("p", 0.5, losses={"supervised": math.nan, "pseudo_label": 0.5})
    result = SegmentResult(IMAGE, LABELS, {"a": math.inf, "list": [1.0, math.nan]})

    assert read_event(write_message(1, progress))[1].losses == {"pseudo_label": 0.5}
    assert read_event(write_message(1, result))[1].report == {"list": [1.0]}


@pytest.mark.parametrize(
    ("line", "found", "sentence"),
    [
        (b"Downloading: 12%", None, "not JSON"),
        (b"[1, 2]", None, "not a JSON object"),
        (b'{"id": 1}', None, "There is no event null."),
        (b'{"id": 1, "event": ["log"]}', None, "There is no event"),
        (b'{"id": 1, "event": "dance"}', None, 'There is no event "dance".'),
        (b'{"id": 1, "event": "cancel_result"}', 1, 'Event "cancel_result" lacks the field "found".'),
        (b'{"id": 1, "event": "shutdown_result", "x": 1}', 1, 'Event "shutdown_result" has no field "x"'),
    ],
)
def test_other_lines_are_no_events(line: bytes, found: int | None, sentence: str) -> None:
    with pytest.raises(MessageError, match=re.escape(sentence)) as caught:
        read_event(line)

    assert caught.value.id == found


def test_the_documentation_names_every_message_with_exactly_its_fields() -> None:
    text = DOCUMENTATION.read_text(encoding="utf-8")
    documented = {}
    for row in re.findall(r"^\| `.*$", text, re.MULTILINE):
        first, second, *_ = (cell.strip() for cell in row.strip("|").split("|"))
        [name] = re.findall(r"`(\w+)`", first)
        documented[name] = re.findall(r"`(\w+)`", second.partition(":")[0])

    assert documented == {name: [each.name for each in fields(kind)] for name, kind in (REQUESTS | EVENTS).items()}
    assert f"version {PROTOCOL})" in text.splitlines()[0]


def test_the_protocol_needs_no_more_than_numpy() -> None:
    program = "import sys, uncol.core.protocol; print(*sorted({each.partition('.')[0] for each in sys.modules}))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert not {"torch", "SimpleITK", "scipy", "typer"} & {*ended.stdout.split()}
    assert json.loads(write_message(1, Shutdown())) == {"id": 1, "op": "shutdown"}
