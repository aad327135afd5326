"""Whether DICOM images form one straight, even stack, and if not, which of them are odd and why."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from uncol.core.errors import GeometryError
from uncol.formats.dicom_frames import Frame, Misfit
from uncol.formats.dicom_tags import tag_name
from uncol.formats.grid import LPS_TO_RAS, regular_grid

_MISPLACED = 0.2  # part of the slice distance; scanners round positions to 0.1 mm, a missing slice gives 1/4 or more
_SAME_PLACE_MM = 1e-3
_COSINE_TOLERANCE = 1e-3
_SPACING_TOLERANCE = 1e-4  # part of the spacing: 5 % of a pixel at the far end of 512
_GAP = 1.5  # times the usual distance
_STRAIGHT = "off an even, straight stack"


def fitting_together(frames: Sequence[Frame]) -> tuple[list[Frame], list[Misfit], list[Misfit]]:
    """Return the images of the size, spacing and orientation that most have; then odd scouts and other odd images."""
    clusters: list[list[Frame]] = []
    for frame in frames:
        home = next((cluster for cluster in clusters if not _difference(frame, cluster[0])), None)
        if home is None:
            clusters.append([frame])
        else:
            home.append(frame)
    main = max(clusters, key=lambda cluster: (sum(not each.is_localizer for each in cluster), len(cluster)))
    scouts: list[Misfit] = []
    odd: list[Misfit] = []
    for cluster in clusters:
        for frame in cluster if cluster is not main else ():
            misfit = Misfit(frame.name, _difference(frame, main[0]), is_frame=frame.pixels.frame_count > 1)
            (scouts if frame.is_localizer and not main[0].is_localizer else odd).append(misfit)
    return main, scouts, odd


def _difference(frame: Frame, other: Frame) -> str:
    """Return in what an image differs from another, empty if in nothing."""
    size, usual = ((each.pixels.columns, each.pixels.rows) for each in (frame, other))
    if size != usual:
        return f"{size[0]} x {size[1]} pixels instead of {usual[0]} x {usual[1]}"
    if any(abs(a - b) > _COSINE_TOLERANCE for a, b in zip(frame.orientation, other.orientation, strict=True)):
        return "another orientation"
    spacings = [*zip(frame.pixel_spacing_mm, other.pixel_spacing_mm, strict=True)]
    if any(abs(a - b) > _SPACING_TOLERANCE * b for a, b in spacings):
        (rows, other_rows), (columns, other_columns) = spacings
        return f"pixels of {columns:g} x {rows:g} mm instead of {other_columns:g} x {other_rows:g} mm"
    return ""


def at_one_place(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Return the images as groups that lie in one place, from the lowest up along the normal of the slices."""
    heights_mm, offsets_mm = _places(frames)
    groups: list[list[Frame]] = []
    last: NDArray[np.float64] | None = None
    for number in np.argsort(heights_mm, kind="stable"):
        place = np.array([heights_mm[number], *offsets_mm[number]])
        if last is not None and np.abs(place - last).max() <= _SAME_PLACE_MM:
            groups[-1].append(frames[number])
        else:
            groups.append([frames[number]])
            last = place
    return groups


def stack_of(frames: Sequence[Frame], subject: str) -> NDArray[np.float64]:
    """Return the matrix (4, 4) from voxel indices to RAS of images in the order of `at_one_place`.

    Raises:
        GeometryError: If they are no straight stack at even distances, or one image without a thickness.
    """
    if len(frames) == 1:
        step_mm = _single_step_mm(frames[0], subject)
    else:
        heights_mm, _ = _places(frames)
        step_mm = float(heights_mm[-1] - heights_mm[0]) / (len(frames) - 1)
        _check_even(frames, step_mm, subject)
    directions, normal = _directions(frames)
    row_mm, column_mm = np.median([each.pixel_spacing_mm for each in frames], axis=0)
    ijk_to_lps = np.eye(4)
    ijk_to_lps[:3, 0] = directions[0] * column_mm
    ijk_to_lps[:3, 1] = directions[1] * row_mm
    ijk_to_lps[:3, 2] = normal * step_mm
    ijk_to_lps[:3, 3] = frames[0].position_mm
    return regular_grid(LPS_TO_RAS @ ijk_to_lps, subject)


def several_phases(group: Sequence[Frame], subject: str) -> GeometryError:
    """Return what is said of images that lie in one place and are not the same."""
    phases = [dict(each.phase) for each in group[:2]]
    telling = [tag_name(name) for name, value in phases[0].items() if phases[1].get(name, value) != value]
    hint = f", which differ in {telling[0]}" if telling else ""
    message = (
        f"{subject} holds {len(group)} different slices in one place ({group[0].name} and {group[1].name}{hint}): "
        "several phases, echoes or reconstructions share the series. Export one of them alone."
    )
    return GeometryError(message)


def _directions(frames: Sequence[Frame]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the directions of I and J (2, 3), and the normal that makes them right-handed, LPS."""
    directions = np.median([each.orientation for each in frames], axis=0).reshape(2, 3)
    directions /= np.linalg.norm(directions, axis=1)[:, None]
    normal = np.cross(directions[0], directions[1])
    return directions, normal / np.linalg.norm(normal)


def _places(frames: Sequence[Frame]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how far up the images lie (S,), and where in the plane of the slices (S, 3), in mm."""
    _, normal = _directions(frames)
    positions_mm = np.array([each.position_mm for each in frames])
    heights_mm = positions_mm @ normal
    return heights_mm, positions_mm - heights_mm[:, None] * normal


def _single_step_mm(frame: Frame, subject: str) -> float:
    if frame.depth_mm is None:
        message = (
            f"{subject} is a single slice that does not say how thick it is: {tag_name('SliceThickness')} is missing. "
            "Export the whole series."
        )
        raise GeometryError(message)
    return frame.depth_mm


def _check_even(frames: Sequence[Frame], step_mm: float, subject: str) -> None:
    heights_mm, offsets_mm = _places(frames)
    uneven_mm = np.abs(heights_mm - heights_mm[0] - step_mm * np.arange(len(frames)))
    aside_mm = np.linalg.norm(offsets_mm - offsets_mm[0], axis=1)
    off_mm = float(np.hypot(uneven_mm, aside_mm).max())
    if off_mm <= _MISPLACED * step_mm:
        return
    cause = _sideways(frames, heights_mm, offsets_mm, step_mm) or _distances(frames, heights_mm)
    message = f"{subject} holds DICOM slices that lie up to {off_mm:.3g} mm {_STRAIGHT}: {cause}"
    raise GeometryError(message)


def _sideways(
    frames: Sequence[Frame], heights_mm: NDArray[np.float64], offsets_mm: NDArray[np.float64], step_mm: float
) -> str | None:
    """Return what is said of slices that do not lie straight above each other."""
    usual_mm = np.median(offsets_mm, axis=0)
    drift = np.polyfit(heights_mm, offsets_mm, 1)[0]
    tilted_mm = np.linalg.norm(offsets_mm - np.outer(heights_mm - np.median(heights_mm), drift) - usual_mm, axis=1)
    aside_mm = np.linalg.norm(offsets_mm - usual_mm, axis=1)
    allowed_mm = _MISPLACED * step_mm
    if max(aside_mm.max(), np.linalg.norm(offsets_mm - offsets_mm[0], axis=1).max()) <= allowed_mm:
        return None
    if tilted_mm.max() <= allowed_mm:
        degrees = np.degrees(np.arctan(np.linalg.norm(drift)))
        return (
            f"the gantry was tilted by {degrees:.2g} degrees. Straighten the volume (3D Slicer does when it loads the "
            "series) and export it as NIfTI or NRRD."
        )
    worst = int(aside_mm.argmax())
    return f"{frames[worst].name} lies {aside_mm[worst]:.3g} mm beside the others. Export one complete, straight stack."


def _distances(frames: Sequence[Frame], heights_mm: NDArray[np.float64]) -> str:
    """Return what is said of slices at uneven distances."""
    distances_mm = np.diff(heights_mm)
    usual_mm = float(np.median(distances_mm))
    gaps = np.flatnonzero(distances_mm > _GAP * usual_mm)
    if 0 < len(gaps) < len(distances_mm) / 2:
        below, above = frames[gaps[0]].name, frames[gaps[0] + 1].name
        missing = int(np.maximum(np.rint(distances_mm[gaps] / usual_mm) - 1, 1).sum())
        slices = "1 slice is" if missing == 1 else f"{missing} slices are"
        return f"{slices} missing, for example between {below} and {above}. Copy or export the complete series."
    return (
        f"their distances are {distances_mm.min():.3g} to {distances_mm.max():.3g} mm, as when several phases share a "
        "series or slices are missing. Export one complete stack."
    )
