"""What one run gave in numbers and words, whatever made it: what terminal, report and viewer tell is read from here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from uncol.core.errors import ConfigError
from uncol.core.findings import Finding, findings_in
from uncol.core.jobs import AnnotatedSlices
from uncol.core.model_card import verdict_in
from uncol.core.next_slices import NextSlices
from uncol.core.promise import StructureCalibration
from uncol.core.records import from_document
from uncol.core.training_record import LONGEST_S, training_record

HELD_OUT_FROM = 10
"""Annotated slices from which a fine-tuning holds one out, the first and the last counted (`data.holdout`)."""

_LEAST_SHARE = 0.005
"""A source that counted less than this is not named."""


@dataclass(frozen=True)
class Outcome:
    """What one run gave.

    Attributes:
        findings: The structures.
        training: Record of the training of the model that was used or made; empty without one.
        model: Name of the model; "" without one.
        foundation_model: Name of the foundation model that segmented; "" where none did.
        annotated: Slices that were annotated in the image.
        device: What computed.
        seconds: How long segmenting took; None where that is not known.
        size_ijk: Voxels of the image along I, J and K; None where no image was segmented.
        spacing_mm: Distances between them.
        image_sha256: Hash of the image's voxels and geometry; "" if unknown.
        notes: Sentences that the user should read.
        version: Of UnCoL.
        files: SHA-256 of the result's files by name.
        next_slices: Which slices to annotate next; None where that is not known.
        calibration: What confidence was brought in line with, by structure; empty where that was not tried.
        sources: By structure and source, how much that counted where several were fused, as a part of 1.
        versions: Of what the result was computed with, by name.
        model_sha256: Hash of the model's weights; "" without a model.
        weights_license: That of the foundation model's weights; "" where none had a part in it.
    """

    findings: tuple[Finding, ...]
    training: dict[str, Any] = field(default_factory=dict)
    model: str = ""
    foundation_model: str = ""
    annotated: tuple[AnnotatedSlices, ...] = ()
    device: str = ""
    seconds: float | None = None
    size_ijk: tuple[int, int, int] | None = None
    spacing_mm: tuple[float, float, float] | None = None
    image_sha256: str = ""
    notes: tuple[str, ...] = ()
    version: str = ""
    files: dict[str, str] = field(default_factory=dict)
    next_slices: NextSlices | None = None
    calibration: tuple[StructureCalibration, ...] = ()
    sources: dict[str, dict[str, float]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    model_sha256: str = ""
    weights_license: str = ""

    def __post_init__(self) -> None:
        if self.seconds is not None and not 0 <= self.seconds <= LONGEST_S:
            message = "report.json tells of a time that cannot be. Segment the image again."
            raise ConfigError(message)

    @classmethod
    def of_segmentation(cls, report: Mapping[str, Any]) -> Outcome:
        """Read what a result's `report.json` says.

        Raises:
            ConfigError: If it is none of ours.
        """
        image, training, made_by = (_object(report, name) for name in ("image", "training", "foundation_model"))
        record = training_record(training, "report.json")
        found = findings_in(report)
        document = {
            "findings": [],
            "training": training,
            "model": report.get("model", ""),
            "foundation_model": made_by.get("name", ""),
            "annotated": report.get("annotated_slices", []),
            "device": report.get("device", ""),
            "seconds": report.get("seconds"),
            "size_ijk": image.get("size_ijk"),
            "spacing_mm": image.get("spacing_mm"),
            "image_sha256": image.get("sha256", ""),
            "notes": report.get("notes", []),
            "version": report.get("uncol", ""),
            "files": report.get("files", {}),
            "calibration": report.get("calibration", []),
            "sources": report.get("sources", {}),
            "versions": report.get("versions", {}),
            "model_sha256": report.get("model_sha256", ""),
            "weights_license": made_by.get("license", ""),
        }
        outcome = from_document(cls, document, "report.json")
        notes = (*outcome.notes, *record.notes)
        return replace(outcome, findings=found.structures, next_slices=found.next_slices, notes=notes)

    @classmethod
    def of_training(cls, told: Mapping[str, Any], model: str) -> Outcome:
        """Read what a fine-tuning tells, its own structures and notes."""
        findings = tuple(Finding(each["name"], each["value"]) for each in told["structures"])
        return cls(findings, dict(told), model, device=told["device"], notes=tuple(told["notes"]),
                   version=told["versions"]["uncol"])  # fmt: skip

    @property
    def held_out_dice(self) -> Mapping[str, float]:
        """Dice of the model on slices held out of its first pass, by structure; empty where nothing was held out."""
        return self.training.get("held_out_dice") or {}

    @property
    def why_no_dice(self) -> str:
        """Why there is no Dice on held-out slices; "" where there is."""
        if self.held_out_dice:
            return ""
        if not self.training:
            return "Dice was not measured: nothing was learned, and no reference is given."
        count = sum(self.training.get("annotated_slices") or [0])
        if count < HELD_OUT_FROM:
            return f"Dice was not measured: that needs about {HELD_OUT_FROM} annotated slices, there were {count}."
        return "Dice was not measured: nothing could be held out."

    @property
    def verdict_text(self) -> str:
        """How the model compares with an earlier one; "" where there was nothing to compare."""
        verdict = verdict_in(self.training)
        return "" if verdict is None else verdict.sentence

    @property
    def made_by(self) -> str:
        """Who segmented, in a few words."""
        model = f"model {self.model}" if self.model else ""
        if self.model.casefold() == "model":  # as the demo calls it
            model = "the fine-tuned model"
        if not self.sources:
            return model or self.foundation_model or "registration alone"
        names = {"foundation model": self.foundation_model, "student": model}
        means = {
            source: sum(each.get(source, 0.0) for each in self.sources.values()) / len(self.sources)
            for source in dict.fromkeys(source for each in self.sources.values() for source in each)
        }
        told = [f"{names.get(source) or source} ({mean:.0%})" for source, mean in means.items() if mean >= _LEAST_SHARE]
        return " and ".join(filter(None, [", ".join(told[:-1]), *told[-1:]])) or "registration alone"


def duration_text(seconds: float) -> str:
    """Return a time as a person says it."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def subtitle(outcome: Outcome) -> str:
    """Say in a line what was segmented by whom."""
    size = "" if outcome.size_ijk is None else " x ".join(map(str, outcome.size_ijk))
    spacing = "" if outcome.spacing_mm is None else " x ".join(f"{each:.3g}" for each in outcome.spacing_mm)
    voxels = f"{size} voxels of {spacing} mm" if size else ""
    return " · ".join(sentences(voxels, outcome.made_by, outcome.device.upper()))


def trust(outcome: Outcome) -> str:
    """Say in a sentence or two how far the result was checked."""
    dice = outcome.held_out_dice
    foreseen = ", ".join(f"{each.name} {each.predicted_text}" for each in outcome.findings if each.predicted_text)
    if dice:
        told = ", ".join(f"{name} {value:.3f}" for name, value in dice.items())
        checked = f"Dice of the model on annotated slices that it had not learned from: {told}."
    elif foreseen:
        checked = f"Dice foreseen where nobody annotated, by annotated slices that were left out in turn: {foreseen}."
    else:
        checked = outcome.why_no_dice
    is_of_image = any(each.voxels is not None for each in outcome.findings)
    doubt = "Doubt says where the result is unsure, not whether it is right." if is_of_image else ""
    return " ".join(sentences(checked, outcome.verdict_text, doubt))


def facts(outcome: Outcome) -> dict[str, str]:
    """Return what a researcher wants to know of the run, by name."""
    training = outcome.training
    rows = {
        "Made by": outcome.made_by,
        "Method": str(training.get("method", "")),
        "Steps": str(training.get("steps", "")),
        "Seed": str(training.get("seed", "")),
        "Foundation teacher": str(training.get("generalized_teacher") or ""),
        "Device": outcome.device.upper(),
        "Time to segment": "" if outcome.seconds is None else f"{outcome.seconds:.1f} s",
        "Image SHA-256": outcome.image_sha256,
        "Model SHA-256": outcome.model_sha256,
        "Licence of the foundation model's weights": outcome.weights_license,
        "UnCoL": outcome.version,
        **{name: text for name, text in outcome.versions.items() if name != "uncol"},
    }
    return {name: text for name, text in rows.items() if text}


def _object(report: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = report.get(name) or {}
    if not isinstance(found, Mapping):
        message = f'report.json, field "{name}" is no JSON object. Segment the image again.'
        raise ConfigError(message)
    return found


def sentences(*texts: str | Sequence[str]) -> list[str]:
    """Return the texts that say something, each once."""
    flat = [each for text in texts for each in ([text] if isinstance(text, str) else text)]
    return [each for each in dict.fromkeys(flat) if each]
