"""What the demo works on: a volume, a box round each structure, and a simulated annotator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uncol.core.errors import ConfigError, DataError
from uncol.core.jobs import AnnotatedSlices, Box, Device, Report, ShouldStop, Structure
from uncol.core.volume import UNKNOWN_LABEL, SliceView, Volume
from uncol.data.annotations import keep_annotated
from uncol.data.io import read_image, read_labels
from uncol.data.shape_interpolation import complete_slices
from uncol.demo.phantom import make_phantom
from uncol.demo.sample_data import CT_ABDOMEN, SampleSource, fetch_public_ct
from uncol.report.story import ReferenceKind

_FEWEST = 2
"""With every slice annotated, nothing would be left to learn without labels or to score."""
_PHANTOM_SHAPE_KJI, _PHANTOM_SPACING_MM = (49, 128, 128), (2.5, 2.5, 5.0)
"""A generated image that two cores learn in minutes; with one slice in 8, the first and the last are annotated."""


@dataclass(frozen=True)
class DemoJob:
    """Run the whole story on one volume.

    Attributes:
        out: Folder for the report, the volumes and the model.
        image: The user's own image, together with `labels`; None takes another one.
        labels: Its full label map.
        structures: Names of the label values in `labels`; empty calls them "label-N".
        every: One slice in so many is annotated.
        minutes: Time for fine-tuning.
        download: Fetch a public CT after asking; else an image is generated.
        device: Where to compute.
        boxes: One box per structure, for the public CT only.

    Raises:
        ConfigError: If the choices contradict each other.
    """

    out: Path
    image: Path | None = None
    labels: Path | None = None
    structures: tuple[Structure, ...] = ()
    every: int = 8
    minutes: float = 3.0
    download: bool = False
    device: Device = "auto"
    boxes: tuple[Box, ...] = ()

    def __post_init__(self) -> None:
        names = [box.structure for box in self.boxes]
        contradictions = {
            "Give --image and --labels together: the label map plays the annotator. Or leave out both.": (
                (self.image is None) != (self.labels is None)
            ),
            "Leave out --download, or --image and --labels: the demo works on one image.": (
                self.download and self.image is not None
            ),
            "--structure names the values of --labels. Give both or neither.": (
                bool(self.structures) and self.labels is None
            ),
            "--box is for the public CT of --download. Elsewhere boxes are drawn round the reference: leave it out.": (
                bool(self.boxes) and not self.download
            ),
            "Give one --box per structure, each with another name.": len(set(names)) < len(names),
            f"--every must be at least {_FEWEST}, got {self.every}: some slices must stay without annotation.": (
                self.every < _FEWEST
            ),
            f"--minutes must be above 0, got {self.minutes}.": not self.minutes > 0,
        }
        for message, is_wrong in contradictions.items():
            if is_wrong:
                raise ConfigError(message)


@dataclass(frozen=True)
class DemoCase:
    """One volume with what is known of it.

    Attributes:
        image: The volume.
        structures: What to segment.
        boxes: A box round each structure, in the same order.
        reference: Full label map on the image's grid; None if nobody knows what is right.
        reference_kind: Who made the reference.
        source: Where the image comes from, in words.
        terms: What may be done with the image and with pictures of it; empty if it is the user's or generated.
        notes: Sentences that the user should read.
    """

    image: Volume
    structures: tuple[Structure, ...]
    boxes: tuple[Box, ...]
    reference: Volume | None
    reference_kind: ReferenceKind
    source: str
    terms: str = ""
    notes: tuple[str, ...] = ()


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


def find_case(
    job: DemoJob,
    confirm: Callable[[str], bool],
    report: Report,
    should_stop: ShouldStop,
    source: SampleSource = CT_ABDOMEN,
) -> DemoCase:
    """Return the user's own volume, the public CT, or a generated one.

    Args:
        job: What was asked for.
        confirm: Asked before anything is downloaded.
        report: Told about a download.
        should_stop: Asked during a download.
        source: The public CT.

    Raises:
        ConfigError: If the public CT was fetched and no box says what to segment.
        UncolError: If a file cannot be used, or the download was declined or is not the known file.
    """
    if job.image is not None and job.labels is not None:
        return _own_case(job.image, job.labels, job.structures)
    if not job.download:
        return _generated_case(())
    try:
        path = fetch_public_ct(job.out, confirm, report, source=source, should_stop=should_stop)
    except DataError as error:
        if error.__cause__ is None:  # the network works, but what came is not the known file
            raise
        instead = " The demo went on with a generated image" + (", without your boxes." if job.boxes else ".")
        return _generated_case((str(error) + instead,))
    return _public_case(path, job.boxes, source)


def what_the_annotator_copies(case: DemoCase, first_pass: Volume) -> Volume:
    """Return the full label map that the simulated annotator copies: the reference, or else the first pass.

    Raises:
        DataError: If there is no reference and the first pass is empty.
    """
    if case.reference is not None:
        return case.reference
    if not first_pass.voxels.any():
        message = "The first pass found nothing. Draw the boxes tighter."
        raise DataError(message)
    return first_pass


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


def box_round(structure: Structure, labels: Volume) -> Box:
    """Return the tightest box round a structure, as a user would draw it."""
    where = np.argwhere(labels.voxels == structure.value)
    (k0, j0, i0), (k1, j1, i1) = where.min(axis=0).tolist(), where.max(axis=0).tolist()
    return Box(structure.name, (i0, j0, k0), (i1, j1, k1))


def _own_case(image_path: Path, labels_path: Path, wanted: tuple[Structure, ...]) -> DemoCase:
    image = read_image(image_path)
    reference = read_labels(labels_path, image, image_path.name)
    present = sorted(set(np.unique(reference.voxels).tolist()) - {0, UNKNOWN_LABEL})
    missing = [each for each in wanted if each.value not in present]
    if missing or not present:
        what = f'no voxel of "{missing[0].name}" (label {missing[0].value})' if missing else "no structure"
        found = ", ".join(map(str, present)) or "background only"
        message = (
            f'Label map "{labels_path.name}" holds {what}; labels there: {found}. Correct --structure or the file.'
        )
        raise DataError(message)
    structures = wanted or tuple(Structure(value, f"label-{value}") for value in present)
    boxes = tuple(box_round(each, reference) for each in structures)
    source = f"your image, {_size_text(image)}"  # no file name: it is often the patient's
    return DemoCase(image, structures, boxes, reference, "given", source)


def _generated_case(notes: tuple[str, ...]) -> DemoCase:
    phantom = make_phantom(_PHANTOM_SHAPE_KJI, _PHANTOM_SPACING_MM)
    boxes = tuple(box_round(each, phantom.labels) for each in phantom.structures)
    source = f"a generated abdominal CT, {_size_text(phantom.image)}"
    return DemoCase(phantom.image, phantom.structures, boxes, phantom.labels, "generated", source, notes=notes)


def _public_case(path: Path, boxes: tuple[Box, ...], origin: SampleSource) -> DemoCase:
    image = read_image(path)
    if not boxes:
        last_i, last_j, last_k = (size - 1 for size in reversed(image.shape_kji))
        message = (
            f'The public CT has no reference, so a box has to say what to segment. Open "{path}", find the structure, '
            'and give one box for each, in voxel indices with both ends included: --box "NAME=I0,J0,K0,I1,J1,K1" '
            f"(I from 0 to {last_i}, J from 0 to {last_j}, K from 0 to {last_k})."
        )
        raise ConfigError(message)
    structures = tuple(Structure(value, box.structure) for value, box in enumerate(boxes, start=1))
    source = f"{origin.name}, {_size_text(image)}"
    note = (
        "The public CT has no reference. The simulated annotator copied the first pass of the foundation model, "
        "so nothing here says how accurate the result is."
    )
    return DemoCase(image, structures, boxes, None, "none", source, origin.licence, (note,))


def _size_text(image: Volume) -> str:
    size = " x ".join(str(count) for count in reversed(image.shape_kji))
    spacing = " x ".join(f"{length:.3g}" for length in image.spacing_mm)
    return f"{size} voxels of {spacing} mm"
