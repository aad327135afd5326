"""Where a result comes from: who made it, from which slices, how good that was, in which versions."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from uncol import __version__
from uncol.core.dicom_export import TOLD_OF_TRAINING
from uncol.core.jobs import AnnotatedSlices
from uncol.core.model_folder import DISCLAIMER
from uncol.core.volume import Plane, Volume, view_slices
from uncol.data.annotations import complete_slices
from uncol.models.card import Model

_PACKAGES = ("monai", "numpy", "scipy", "SimpleITK", "pydicom")
_SHOWN_DIGITS = 12
"""So many of a hash are in a line for people; `uncol models show` finds a model by them."""
_LONGEST_LINE = 64  # of a DICOM long string (LO)
_TOLD = ("model", "model_sha256", "by_both_teachers", "annotated_slices", "boxes")
"""What DICOM results repeat of a report as it is."""


def made_with(model: Model, folder: Path) -> dict[str, Any]:
    """Return what a report says of the model that made a result: its name, hash and training."""
    return {"model": folder.name, "model_sha256": model.sha256, "training": summary(model)}


def summary(model: Model) -> dict[str, Any]:
    """Return what there is to tell of a model's training; the learning curve stands in its card."""
    training = {key: value for key, value in model.card.training.items() if key != "curve"}
    return {"structures": [{"name": each.name, "value": each.value} for each in model.card.structures], **training}


def slices_used(labels: Volume, plane: Plane) -> dict[str, Any]:
    """Return what a report says of the annotated slices that a segmentation was made from, counted as in the file."""
    view = view_slices(labels, plane)
    stack = view.stack_from(labels.voxels)
    indices = tuple(sorted(view.file_index(each, len(stack)) for each in complete_slices(stack)))
    return {"annotated_slices": [str(AnnotatedSlices(view.slice_axis, indices))] if indices else []}


def versions() -> dict[str, str]:
    """Return the versions of what a result was computed with."""
    found = {"uncol": __version__, "python": platform.python_version(), "torch": str(torch.__version__)}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # its files are there, but not what says how it came there
            found[name] = "unknown"
    return found


def identity_of(report: Mapping[str, Any]) -> str:
    """Return what made a result, in at most 64 letters: a model's SHA-256, else its name, or the foundation model's.

    Without a model and with no foundation model it is "registration", and "unknown" where nothing is said.
    """
    model = report.get("model_sha256") or report.get("model")
    foundation = (report.get("foundation_model") or {}).get("name", "registration")
    return str(model or (foundation if "foundation_model" in report else "unknown"))[:_LONGEST_LINE]


def line_of(*reports: Mapping[str, Any]) -> str:
    """Return one line for people, of at most 64 letters, about all that had a part in a result."""
    made_by = ", ".join(dict.fromkeys(map(_who, reports)))
    return f"{DISCLAIMER.split('. ')[0]}. UnCoL {__version__}, {made_by}"[:_LONGEST_LINE]


def _who(report: Mapping[str, Any]) -> str:
    sha256 = report.get("model_sha256")
    return f"model {sha256[:_SHOWN_DIGITS]}" if sha256 else identity_of(report)


def facts_of(report: Mapping[str, Any]) -> dict[str, str]:
    """Return all that DICOM results say of their origin, by name."""
    training = report.get("training", {})
    foundation = report.get("foundation_model") or {}
    facts = {
        **{name: report.get(name) for name in _TOLD},
        **{f"foundation_model_{name}": value for name, value in foundation.items()},
        **{f"training_{name}": training.get(name) for name in TOLD_OF_TRAINING},
        **{f"version_{name}": value for name, value in report.get("versions", {}).items()},
        "intended_use": DISCLAIMER,
    }
    return {name: str(value) for name, value in facts.items() if value not in (None, {}, [])}
