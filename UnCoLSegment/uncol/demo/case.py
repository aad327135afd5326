"""What the demo works on: a volume, a box round each structure, and a simulated annotator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from uncol.core.errors import DataError
from uncol.core.jobs import AnnotatedSlices, Box, Structure
from uncol.core.volume import UNKNOWN_LABEL, SliceView, Volume
from uncol.data.annotations import complete_slices, keep_annotated
from uncol.data.io import read_image, read_labels
from uncol.demo.job import DemoJob
from uncol.demo.phantom import make_phantom

_GIVEN = "the label map that came with the image; who drew it, and how well, is not known here"
_EXACT = "generated together with the image; exact, but easier than a patient"
_PHANTOM_SHAPE_KJI, _PHANTOM_SPACING_MM = (49, 128, 128), (2.5, 2.5, 5.0)
"""A generated image that two cores learn in minutes; with one slice in 8, the first and the last are annotated."""


@dataclass(frozen=True)
class DemoCase:
    """One volume with what is known of it.

    Attributes:
        image: The volume.
        reference: Full label map on the image's grid.
        structures: What to segment.
        source: What the image is, in words.
        reference_source: Where the reference comes from, in words.
    """

    image: Volume
    reference: Volume
    structures: tuple[Structure, ...]
    source: str
    reference_source: str

    def boxes_of(self, structures: Sequence[Structure]) -> tuple[Box, ...]:
        """Return the tightest box round each of these structures, as a user would draw it."""
        boxes = []
        for structure in structures:
            where_ijk = np.argwhere(self.reference.voxels == structure.value)[:, ::-1]
            (i0, j0, k0), (i1, j1, k1) = where_ijk.min(axis=0).tolist(), where_ijk.max(axis=0).tolist()
            boxes.append(Box(structure.name, (i0, j0, k0), (i1, j1, k1)))
        return tuple(boxes)


@dataclass(frozen=True)
class Annotation:
    """What the simulated annotator drew.

    Attributes:
        slices: The annotated slices, by their number in the file.
        labels: Label map, 255 in every other slice.
        structures: The structures that appear in it.
        notes: Sentences about those that do not.
    """

    slices: AnnotatedSlices
    labels: Volume
    structures: tuple[Structure, ...]
    notes: tuple[str, ...]


def find_case(job: DemoJob) -> DemoCase:
    """Return the user's own volume, or a generated one.

    Raises:
        UncolError: If a file cannot be used.
    """
    if job.image is None or job.labels is None:
        phantom = make_phantom(_PHANTOM_SHAPE_KJI, _PHANTOM_SPACING_MM)
        source = f"a generated abdominal CT, {_size_text(phantom.image)}"
        return DemoCase(phantom.image, phantom.labels, phantom.structures, source, _EXACT)
    image = read_image(job.image, job.dicom)
    reference = read_labels(job.labels, image, job.image.name, job.dicom)
    present = sorted(set(np.unique(reference.voxels).tolist()) - {0, UNKNOWN_LABEL})
    missing = [each for each in job.structures if each.value not in present]
    if missing or not present:
        what = f'no voxel of "{missing[0].name}" (label {missing[0].value})' if missing else "no structure"
        found = ", ".join(map(str, present)) or "background only"
        message = f'Label map "{job.labels.name}" holds {what}; labels there: {found}. Correct --structure or the file.'
        raise DataError(message)
    structures = job.structures or tuple(Structure(value, f"label-{value}") for value in present)
    source = f"your image, {_size_text(image)}"  # no file name: it is often the patient's
    return DemoCase(image, reference, structures, source, _GIVEN)


def annotate(labels: Volume, structures: Sequence[Structure], view: SliceView, every: int) -> Annotation:
    """Copy one slice in `every` from a full label map, as an annotator would draw it; all others become unknown.

    They lie so that the first and the last are equally far from the ends, or at them: beyond them the annotator says
    nothing, and interpolation, which is to be compared fairly, finds nothing.

    Raises:
        DataError: If the label map is not full, or none of the slices holds a structure.
    """
    stack = view.stack_from(labels.voxels)
    complete = {view.file_index(index, len(stack)) for index in complete_slices(stack)}
    numbers = tuple(number for number in range((len(stack) - 1) % every // 2, len(stack), every) if number in complete)
    if not numbers:
        message = (
            f"Every slice that the demo would annotate (one in {every}) holds unknown voxels (255). "
            "The simulated annotator needs a full label map."
        )
        raise DataError(message)
    wanted = [UNKNOWN_LABEL, *(each.value for each in structures)]
    drawn = labels.with_voxels(np.where(np.isin(labels.voxels, wanted), labels.voxels, 0))
    slices = AnnotatedSlices(view.slice_axis, numbers)
    kept = keep_annotated(drawn, [slices], "label map")
    present = set(np.unique(kept.voxels).tolist())
    found = tuple(each for each in structures if each.value in present)
    if not found:
        message = (
            f"No structure lies in any of the {len(numbers)} annotated slices (one slice in {every}). "
            "Annotate more of them: give a smaller --every."
        )
        raise DataError(message)
    notes = tuple(
        f'"{each.name}" lies in none of the annotated slices and was left out. A smaller --every would catch it.'
        for each in structures
        if each not in found
    )
    return Annotation(slices, kept, found, notes)


def _size_text(image: Volume) -> str:
    size = " x ".join(str(count) for count in reversed(image.shape_kji))
    spacing = " x ".join(f"{length:.3g}" for length in image.spacing_mm)
    return f"{size} voxels of {spacing} mm"
