"""What a job gives: a segmentation with a report about it, and how both are written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from uncol import __version__
from uncol.core.jobs import Structure
from uncol.core.model_folder import DISCLAIMER
from uncol.core.records import to_document
from uncol.core.volume import Volume
from uncol.data.io import (
    content_hash,
    write_results,
)
from uncol.inference.result import Segmentation, label_statistics
from uncol.models.card import Model

Document = dict[str, Any]
"""A JSON object."""


@dataclass(frozen=True)
class Segmented:
    """A segmentation, and what there is to tell of it."""

    segmentation: Segmentation
    report: Document

    def write(self, out: Path) -> None:
        """Write labels, uncertainty, further maps and report into a folder, all of them or nothing.

        Raises:
            OutputError: If that is not possible.
        """
        write_results(
            out,
            {
                "segmentation.nii.gz": self.segmentation.labels,
                "uncertainty.nii.gz": self.segmentation.uncertainty,
                **{f"uncertainty-{name}.nii.gz": each for name, each in self.segmentation.maps.items()},
            },
            {},
            self.report,
        )


def reported(image: Volume, result: Segmentation, source: Document, device: torch.device, seconds: float) -> Segmented:
    """Return a segmentation with its report: size, volumes, uncertainty, sources, and `source`, who made it."""
    voxel_ml = float(np.prod(image.spacing_mm)) / 1000
    counts, mean_uncertainties = label_statistics(result)
    structures = [
        {
            **_structure(each),
            "voxels": int(counts[each.value]),
            "volume_ml": round(float(counts[each.value]) * voxel_ml, 3),
            "mean_uncertainty": _number(mean_uncertainties[each.value]),
        }
        for each in result.structures
    ]
    report = {
        "uncol": __version__,
        "intended_use": DISCLAIMER,
        "image": {
            "sha256": content_hash(image),
            "size_ijk": list(reversed(image.shape_kji)),
            "spacing_mm": [round(each, 6) for each in image.spacing_mm],
        },
        **source,
        "structures": structures,
        **_expectations(result),
        **({"sources": {name: dict(each) for name, each in result.sources.items()}} if result.sources else {}),
        "device": device.type,
        "seconds": round(seconds, 2),
        "notes": list(result.notes),
    }
    return Segmented(result, report)


def _expectations(result: Segmentation) -> Document:
    """Return what the confidence rests on, what is promised and which slices to annotate next, where that is known."""
    if not result.calibration:
        return {}
    return {
        "calibration": to_document(result.calibration),
        "promises": to_document(result.promises),
        "next_slices": to_document(result.next_slices),
    }


def summary(model: Model) -> Document:
    """Return what there is to tell of a model's training; the learning curve stands in its card."""
    training = {key: value for key, value in model.card.training.items() if key != "curve"}
    return {"structures": [_structure(each) for each in model.card.structures], **training}


def _structure(structure: Structure) -> Document:
    return {"name": structure.name, "value": structure.value}


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 5)
