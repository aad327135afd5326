"""Which voxels count as annotated, and what they say is there."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from uncol.core.errors import DataError
from uncol.core.jobs import AnnotatedSlices, Structure, voxels_in
from uncol.core.volume import ARRAY_AXIS, PLANES, UNKNOWN_LABEL, Plane, Volume, plane_of_axis, view_slices
from uncol.data.cases import LabeledCase

_LOOKED_AT = 64
"""Pixels of a slice that are looked at first."""


def complete_slices(labels: NDArray[np.uint8]) -> list[int]:
    """Return the slices of a stack (S, H, W) in which every voxel is annotated.

    Only slices that are annotated all along their diagonal are looked at whole: a stack may be large, and its slices
    lie scattered in memory.
    """
    rows, columns = (np.linspace(0, side - 1, _LOOKED_AT).round().astype(int) for side in labels.shape[1:])
    candidates = np.flatnonzero((labels[:, rows, columns] != UNKNOWN_LABEL).all(1)).tolist()
    return [index for index in candidates if not (labels[index] == UNKNOWN_LABEL).any()]


def annotated_slices(labels: Volume) -> list[AnnotatedSlices]:
    """Return which slices of a label map are annotated completely, along each voxel index of the file."""
    found = []
    for axis, array_axis in ARRAY_AXIS.items():
        complete = complete_slices(np.moveaxis(labels.voxels, array_axis, 0))
        if complete:
            found.append(AnnotatedSlices(axis, tuple(complete)))
    return found


def keep_annotated(labels: Volume, annotated: Sequence[AnnotatedSlices], name: str) -> Volume:
    """Return the label map with every voxel outside the annotated slices set to 255, unknown.

    Without any `annotated` the label map is returned as it is: its own 255 say what is unknown.

    Raises:
        DataError: If a slice number lies outside the image.
    """
    if not annotated:
        return labels
    known = voxels_in(annotated, labels.shape_kji, f'"{name}"')
    return labels.with_voxels(np.where(known, labels.voxels, UNKNOWN_LABEL).astype(np.uint8))


def annotated_structures(labels: Sequence[Volume], wanted: Sequence[Structure]) -> tuple[Structure, ...]:
    """Return the structures to learn: the wanted ones, or every label value that was annotated.

    Raises:
        DataError: If nothing is annotated, or a wanted structure has no annotated voxel.
    """
    present = {value for each in labels for value in np.unique(each.voxels).tolist()} - {0, UNKNOWN_LABEL}
    if not present:
        message = (
            "No structure is annotated: the annotated slices hold background only, and 255 means unknown. "
            "Annotate the structure in at least one slice, or name slices that hold it."
        )
        raise DataError(message)
    for structure in wanted:
        if structure.value not in present:
            message = (
                f'Structure "{structure.name}" (label {structure.value}) has no voxel in the annotated slices; '
                f"labels there: {', '.join(map(str, sorted(present)))}. Annotate it or leave it out."
            )
            raise DataError(message)
    return tuple(wanted) or tuple(Structure(value, f"label-{value}") for value in sorted(present))


def annotation_plane(cases: Sequence[LabeledCase], annotated: Sequence[AnnotatedSlices]) -> Plane:
    """Return the plane in which most slices are annotated.

    Where slice numbers were given, their axis decides; else the plane with the largest part of complete slices, over
    all cases. Among equals it is the one with more than rows or columns of pixels to look at, then the one across the
    largest spacing. A plane in which every case is a row or a column of pixels comes last, whatever is complete there.
    """
    if annotated:
        most = max(annotated, key=lambda each: len(each.indices))
        return plane_of_axis(cases[0].image, most.axis)
    known = [case.labels.voxels != UNKNOWN_LABEL for case in cases]

    def rank(plane: Plane) -> tuple[bool, float, int, float]:
        views = [view_slices(case.image, plane) for case in cases]
        # Parts and not numbers of slices: a case that is annotated as a whole, or not at all, counts for no plane.
        complete = fmean(each.all(axis=view.order[1:]).mean() for each, view in zip(known, views, strict=True))
        with_area = sum(min(view.stack_from(each).shape[1:]) > 1 for each, view in zip(known, views, strict=True))
        return with_area > 0, complete, with_area, round(fmean(view.spacing_mm[0] for view in views), 3)

    return max(PLANES, key=rank)
