"""What a job gives: a segmentation with a report about it, and how both are written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from uncol.pipelines.history import facts_of, identity_of, line_of, versions

if TYPE_CHECKING:  # loading it takes a while, and most results are no DICOM
    from uncol.formats.dicom_results import Source

DICOM_FILES = ("segmentation.dcm", "uncertainty.dcm")
"""Labels as DICOM SEG, uncertainty as DICOM Parametric Map."""

Document = dict[str, Any]
"""A JSON object."""


@dataclass(frozen=True)
class Segmented:
    """A segmentation, and what there is to tell of it.

    Attributes:
        segmentation: Labels and uncertainty.
        report: A JSON object about both.
        dicom: The DICOM images that it is of, if the result is to become DICOM, too.
    """

    segmentation: Segmentation
    report: Document
    dicom: Source | None = field(default=None, repr=False)

    def write(self, out: Path) -> None:
        """Write labels, uncertainty, further maps and report into a folder, all of them or nothing.

        Raises:
            OutputError: If that is not possible.
            DataError: If the headers of the images do not allow DICOM.
        """
        write_results(
            out,
            {
                "segmentation.nii.gz": self.segmentation.labels,
                "uncertainty.nii.gz": self.segmentation.uncertainty,
                **{f"uncertainty-{name}.nii.gz": each for name, each in self.segmentation.maps.items()},
            },
            self._as_dicom(),
            self.report,
            never_beside=DICOM_FILES,
        )

    def _as_dicom(self) -> dict[str, Callable[[Path], object]]:
        if self.dicom is None:
            return {}
        from uncol.formats.dicom_results import Maker, dicom_results, write_dicom

        maker = Maker(self.report["uncol"], identity_of(self.report), line_of(self.report), facts_of(self.report))
        found = self.segmentation
        made = dicom_results(self.dicom, found.labels, found.uncertainty, found.structures, maker)
        return {name: partial(write_dicom, each) for name, each in zip(DICOM_FILES, made, strict=True)}


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
        "versions": versions(),
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


def _structure(structure: Structure) -> Document:
    return {"name": structure.name, "value": structure.value}


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 5)
