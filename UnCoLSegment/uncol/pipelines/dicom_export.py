"""A result as DICOM: of a segmentation that was just made, and of a proposal that the panel has kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.sr.coding import Code

from uncol import __version__
from uncol.core.dicom_export import DICOM_FILES, CodedTerm, Concept, ExportedStructure, ExportJob
from uncol.core.errors import DataError, GeometryError
from uncol.core.progress import Monitor, Progress
from uncol.core.volume import Volume
from uncol.data.dicom_images import dicom_series
from uncol.formats.dicom_results import Maker, Segment, dicom_results, write_dicom
from uncol.formats.dicom_source import Source
from uncol.formats.dicom_terms import Term
from uncol.formats.grid import turned
from uncol.pipelines.history import facts_of, identity_of, line_of

_LONGEST_MEANING = 64  # of a DICOM long string (LO)
Writers = dict[str, Callable[[Path], object]]
"""By the name of a file, what writes it."""


def as_dicom(
    source: Source,
    labels: Sequence[NDArray[np.uint8]],
    uncertainty: NDArray[np.float32],
    structures: Sequence[ExportedStructure],
) -> Writers:
    """Return what writes labels and their uncertainty as DICOM.

    Args:
        source: The DICOM images.
        labels: Label maps (K, J, I) on their grid; structures that overlap are in different ones.
        uncertainty: Normalized entropy (K, J, I) on their grid.
        structures: The structures, each with who made it.

    Raises:
        DataError: If the headers of the images do not allow it.
    """
    segments = [
        Segment(each, _maker([each.origin]), each.color, None if each.term is None else _term(each.term))
        for each in structures
    ]
    made = dicom_results(source, labels, uncertainty, segments, _maker([each.origin for each in structures]))
    return {name: partial(write_dicom, each) for name, each in zip(DICOM_FILES, made, strict=True)}


def export_dicom(job: ExportJob, monitor: Monitor) -> Writers:
    """Return what writes a kept result as DICOM.

    Raises:
        DataError: If an input is missing or damaged, or the headers of the images do not allow it.
        GeometryError: If the result is not on the voxels of the images.
    """
    monitor.report(Progress("Reading the DICOM series", 0.0))
    volumes = [each.read() for each in (*job.labels, job.uncertainty)]
    _check(volumes[:-1], volumes[-1], job.structures)
    grid, source = dicom_series(job.images, volumes[-1])
    monitor.step("Writing DICOM", 0.5)

    def on_images(volume: Volume) -> NDArray[Any]:
        voxels = turned(volume, grid.ijk_to_ras, grid.shape_kji)
        assert voxels is not None  # as for the first of them, on the same grid
        return voxels

    *labels, uncertainty = map(on_images, volumes)
    return as_dicom(source, labels, uncertainty.astype(np.float32), job.structures)


def _check(labels: Sequence[Volume], uncertainty: Volume, structures: Sequence[ExportedStructure]) -> None:
    known, again = {0, *(each.value for each in structures)}, "Segment the volume again, then export."
    if not all(each.shares_grid_with(uncertainty) for each in labels):
        message = f"Labels and uncertainty do not lie on one grid. {again}"
        raise GeometryError(message)
    for each in labels:
        if each.voxels.dtype != np.uint8 or not known.issuperset(value for k in each.voxels for value in np.unique(k)):
            message = f"The labels hold values that no structure has. {again}"
            raise DataError(message)
    if not 0 <= uncertainty.voxels.min() <= uncertainty.voxels.max() <= 1:  # also where one is no number
        message = f"The uncertainty map holds values outside 0 to 1. {again}"
        raise DataError(message)


def _maker(origins: Sequence[Mapping[str, Any]]) -> Maker:
    """Return who made something; of several, the first with a model goes first, which is found again by its hash."""
    first = max(origins, key=lambda each: "model_sha256" in each)
    version = first.get("uncol", "unknown") if len(origins) == 1 else __version__
    return Maker(str(version), identity_of(first), line_of(*origins), facts_of(first))


def _term(term: CodedTerm) -> Term:
    modifier = None if term.modifier is None else _code(term.modifier)
    return Term(_code(term.category), _code(term.kind), modifier)


def _code(concept: Concept) -> Code:
    return Code(concept.value, concept.scheme, concept.meaning[:_LONGEST_MEANING])
