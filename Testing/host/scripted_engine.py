"""Stands in for the engine's process in panel tests: says what the test wants, when it wants it, with real files.

It fulfills the interface of `EngineProcess`; everything from there on, logic, files and scene, is real. So are the
messages: requests and events pass through their lines.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from uncol.core.config import Config
from uncol.core.dicom_export import ExportJob, ExportResult
from uncol.core.errors import UncolError
from uncol.core.findings import Finding, Findings
from uncol.core.grey_values import GreyValues
from uncol.core.jobs import Device, FineTuneResult, SegmentResult, Structure
from uncol.core.model_card import ModelCard
from uncol.core.model_folder import CHECKPOINT_FILE
from uncol.core.progress import UNWATCHED
from uncol.core.protocol import (
    PROTOCOL,
    Cancel,
    Event,
    Failed,
    GraphicsCard,
    Greeting,
    Hello,
    Preview,
    Request,
    read_event,
    read_request,
    write_message,
)
from uncol.core.records import from_document, to_document
from uncol.core.round_scores import ComparedSlices, ScoreJob, SliceStack, score_round
from uncol.core.slice_suggestion import score_all_slices
from uncol.core.verdict import Verdict
from uncol.core.volume import Volume
from uncol.core.volume_files import VolumeFile
from uncol.report.places import where_to_look
from UnCoLSegmentLib.Engine.Signal import Signal

MODEL_FILES = ("model.json", "weights.safetensors")


class ScriptedEngine:
    """An engine that waits for the test's word.

    Args:
        folder: Its job folder.
    """

    def __init__(self, folder: Path) -> None:
        self.received, self.ended = Signal(), Signal()
        self.folder = folder
        self.devices: tuple[Device, ...] = ("cpu",)
        self.graphicsCards: tuple[GraphicsCard, ...] = ()
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.greeting: Greeting | None = None
        self.greetingId: int | None = None
        self.isRunning = False
        self._waiting: list[bytes] = []
        self.exports = True
        """Whether an export is carried out at once; else the test says how it ends."""
        self.log = ""

    def start(self) -> None:
        if self.isRunning:
            return
        self.folder.mkdir(exist_ok=True)
        self.isRunning = True
        self.greetingId = self.request(Hello(PROTOCOL))
        self.greeting = Greeting(PROTOCOL, "1.2.3", self.devices, (), self.folder, self.graphicsCards)
        self.answer("hello", self.greeting)

    def request(self, content: Request) -> int:
        line = write_message(len(self.requests) + 1, content)
        assert read_request(line) == (len(self.requests) + 1, content)
        self.requests.append((json.loads(line)["op"], to_document(content)))
        if isinstance(content, ScoreJob):  # there is nothing to script
            self.answer("score", score_round([_readStack(each) for each in content.stacks], content.structures))
        if isinstance(content, ExportJob) and self.exports:
            self.answer("export_dicom", _exported(content))
        return len(self.requests)

    def cancel(self, requestId: int) -> int:
        return self.request(Cancel(requestId))

    def poll(self) -> None:
        waiting, self._waiting = self._waiting, []
        for line in waiting:
            self.received.emit(*read_event(line))

    def stop(self, shutdownTimeout_s: float = 0.0) -> None:
        self.isRunning, self.greeting, self.greetingId = False, None, None

    def die(self, exitCode: int, lastWords: str = "Killed") -> None:
        """End as a killed process does."""
        self.stop()
        self._waiting.clear()
        self.ended.emit(exitCode, lastWords)

    def asked(self, op: str) -> dict[str, Any] | None:
        """Return the fields of the latest request of a kind; None if there was none."""
        return next((fields for name, fields in reversed(self.requests) if name == op), None)

    def say(self, op: str, event: str, **fields: Any) -> None:
        """Say something about the latest request of a kind; the panel hears it the next time it asks."""
        self._waiting.append(json.dumps({"id": self._numberOf(op), "event": event, **fields}).encode())

    def answer(self, op: str, event: Event) -> None:
        """Say the same in the protocol's own words."""
        self._waiting.append(write_message(self._numberOf(op), event))

    def _numberOf(self, op: str) -> int:
        return max(index for index, (name, _) in enumerate(self.requests, 1) if name == op)

    def finishSegment(self, voxels: np.ndarray, uncertainty: np.ndarray, names: Sequence[str], *notes: str) -> None:
        """Answer the latest request to segment with these labels (K, J, I); value 1 is the first name."""
        fields = self.asked("segment")
        report = _report(voxels, names, notes)
        self.answer("segment", _writeResult(Path(fields["out"]), fields["image"], voxels, uncertainty, report))

    def finishFineTune(
        self,
        heldOut: dict[str, float],
        voxels: np.ndarray,
        uncertainty: np.ndarray,
        *notes: str,
        ofProposal: Sequence[str] = (),
        alone: bool = False,
        verdict: Verdict | None = None,
    ) -> None:
        """Answer the latest request to learn with a model that scored like this on held-out slices, and its proposal.

        Args:
            heldOut: Its Dice by structure.
            voxels: What is proposed for every case (K, J, I); value 1 is the first structure that was annotated.
            uncertainty: The map that comes with it.
            notes: What is noted about the training.
            ofProposal: What is noted about the proposal.
            alone: Whether the model made the proposal without the foundation model.
            verdict: What is said of it beside the model that it was to be compared with.
        """
        fields = self.asked("fine_tune")
        names = [each["name"] for each in fields["structures"]]
        writeModel(Path(fields["out"]), names, heldOut, *notes, verdict=verdict)
        report = {**_report(voxels, names, ofProposal), "by_both_teachers": not alone}
        folders = [fields["proposal"], *fields["further_proposals"]]
        proposals = [
            _writeResult(Path(folder), case["image"], voxels, uncertainty, report)
            for folder, case in zip(folders, fields["cases"], strict=True)
        ]
        structures = tuple(Structure(each["value"], each["name"]) for each in fields["structures"])
        self.answer(
            "fine_tune", FineTuneResult(Path(fields["out"]), structures, {}, proposals[0], tuple(proposals[1:]))
        )

    def sayPreview(self, op: str, voxels: np.ndarray, uncertainty: np.ndarray, case: int = 1) -> None:
        """Say what is found so far about the latest request of a kind, in labels (K, J, I) that may stand."""
        fields = self.asked(op)
        folders = [fields["out"]] if op == "segment" else [fields["proposal"], *fields["further_proposals"]]
        folder = Path(folders[case - 1])
        image = readVolume(fields["image"] if op == "segment" else fields["cases"][case - 1]["image"])
        labels, doubts = image.with_voxels(voxels.astype(np.uint8)), image.with_voxels(uncertainty.astype(np.float32))
        files = [
            VolumeFile.write(folder / f"{each}.npy", volume)
            for each, volume in (("so-far", labels), ("doubts", doubts))
        ]
        self.answer(op, Preview(*files, case=case))

    def writePreview(self, voxels: np.ndarray, name: str = "preview-1.npy") -> dict[str, Any]:
        """Write labels (K, J, I) for the latest request to learn; return what an event says of them."""
        fields = self.asked("fine_tune")
        image = readVolume(fields["cases"][0]["image"])
        labels = image.with_voxels(voxels.astype(np.uint8))
        return to_document(VolumeFile.write(Path(fields["proposal"]) / name, labels))


def writeCheckpoint(folder: Path, steps: int = 120) -> None:
    """Write what an unfinished run keeps, as far as anybody but the engine looks at it."""
    folder.mkdir(parents=True, exist_ok=True)
    header = json.dumps({"__metadata__": {"record": json.dumps({"step": steps})}}).encode()
    (folder / CHECKPOINT_FILE).write_bytes(len(header).to_bytes(8, "little") + header)


def readVolume(document: dict[str, Any]) -> Volume:
    """Return the volume that a message names."""
    return from_document(VolumeFile, document, "Volume").read()


def _readStack(stack: SliceStack) -> ComparedSlices:
    uncertainty = None if stack.uncertainty is None else stack.uncertainty.read()
    return ComparedSlices(stack.reference.read(), stack.prediction.read(), uncertainty)


def _exported(job: ExportJob) -> ExportResult | Failed:
    from uncol.pipelines.dicom_export import export_dicom  # not above: few tests want it

    try:
        writers = export_dicom(job, UNWATCHED)
    except UncolError as error:
        return Failed("user", str(error))
    for name, write in writers.items():
        write(job.out / name)
    return ExportResult(*(job.out / name for name in writers))


def _writeResult(
    folder: Path, image: dict[str, Any], voxels: np.ndarray, uncertainty: np.ndarray, report: dict[str, Any]
) -> SegmentResult:
    grid = readVolume(image)
    labels, doubts = grid.with_voxels(voxels.astype(np.uint8)), grid.with_voxels(uncertainty.astype(np.float32))
    structures = tuple(Structure(each["value"], each["name"]) for each in report["structures"])
    look = where_to_look(labels, doubts, structures)
    ml, findings = float(np.prod(labels.spacing_mm)) / 1000, []
    for each, sure, more in zip(structures, look.sure_parts, look.possible_ml, strict=True):
        count = int((voxels == each.value).sum())
        range_ml = sure * count * ml, count * ml + more
        found = Finding(each.name, each.value, count, count * ml, volume_range_ml=range_ml, range_rests_on="map")
        findings.append(found)
    return SegmentResult(
        VolumeFile.write(folder / "segmentation.npy", labels),
        VolumeFile.write(folder / "uncertainty.npy", doubts),
        report,
        score_all_slices(labels, doubts, structures),
        findings=Findings(tuple(findings), look.places),
        places=VolumeFile.write(folder / "places.npy", labels.with_voxels(look.numbers)),
    )


def _report(voxels: np.ndarray, names: Sequence[str], notes: Sequence[str]) -> dict[str, Any]:
    structures = [
        {"value": value, "name": name, "voxels": int((voxels == value).sum())} for value, name in enumerate(names, 1)
    ]
    return {"structures": structures, "notes": list(notes)}


def writeModel(
    folder: Path,
    names: Sequence[str],
    heldOut: dict[str, float],
    *notes: str,
    greyValues: GreyValues = "hounsfield",
    verdict: Verdict | None = None,
) -> None:
    """Write the three files of a model whose student has no weights: the store asks for a whole card."""
    folder.mkdir(parents=True, exist_ok=True)
    training = {
        "steps": 400,
        "seconds": 120.0,
        "specialized_reliability": dict.fromkeys(["background", *names], 0.5),  # no score of this model's
        "held_out_dice": heldOut,
        "curve": [],
        "notes": list(notes),
        "verdict": to_document(verdict),
    }
    structures = tuple(Structure(value, name) for value, name in enumerate(names, 1))
    window = (-160.0, 240.0)
    card = ModelCard(structures, "axial", 1.5, 3.0, window, Config(), training, grey_values=greyValues)
    (folder / "model.json").write_text(json.dumps(card.as_document()))
    (folder / "weights.safetensors").write_bytes(b"\x02\x00\x00\x00\x00\x00\x00\x00{}")
    sums = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}" for name in MODEL_FILES]
    (folder / "SHA256SUMS").write_text("\n".join(sums) + "\n")
