"""The methods that train nothing: each fills one volume whose slices are annotated in part.

What `FILL_SLICES` does is told of in `method_names.WITHOUT_TRAINING`: both hold the same methods.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from uncol.benchmark.method_names import FROZEN_TEACHER, REGISTRATION
from uncol.benchmark.prediction import Prediction
from uncol.core.errors import ConfigError
from uncol.core.jobs import Structure
from uncol.core.progress import Monitor
from uncol.core.volume import SliceView, plane_of_axis, view_slices
from uncol.data.annotations import complete_slices
from uncol.data.cases import LabeledCase, class_indices
from uncol.data.shape_interpolation import interpolate_shapes
from uncol.data.windows import choose_window
from uncol.foundation.embeddings import EmbeddingCache
from uncol.foundation.label_propagation import PropagatedLabels
from uncol.foundation.promptable import PromptableModel
from uncol.foundation.prompting import SlicePredictor
from uncol.inference.few_slices import segment_from_labels
from uncol.inference.result import SegmentationBuilder, with_background

_MORPHOLOGICAL = "itk-morphologicalcontourinterpolation"
_CONTOUR_MARGIN_PIXELS = 1.0
"""How far the box of an interpolated contour reaches beyond it, in a frame of 256 pixels."""


@dataclass(frozen=True)
class SliceTask:
    """One volume to fill, and what may be used for it.

    Attributes:
        case: The image, and the label map of its annotated slices (255: unknown).
        structures: What to segment.
        load_teacher: Gives the foundation model, loaded once.
        cache: Where its embeddings are kept.
        monitor: Asked again and again whether to stop.
    """

    case: LabeledCase
    structures: tuple[Structure, ...]
    load_teacher: Callable[[], PromptableModel]
    cache: EmbeddingCache
    monitor: Monitor

    @property
    def view(self) -> SliceView:
        """The slices of the volume, which a benchmark counts along K."""
        return view_slices(self.case.image, plane_of_axis(self.case.image, "K"))


FillSlices = Callable[[SliceTask], Prediction]


def interpolate(task: SliceTask) -> Prediction:
    """Interpolate the annotated contours between slices, without looking at the image."""
    return Prediction(interpolate_shapes(task.case.labels, task.structures, task.view))


def interpolate_and_repeat(task: SliceTask) -> Prediction:
    """Interpolate, and repeat the first and the last annotated slice up to the ends of the image."""
    filled = interpolate(task).labels.voxels.copy()
    stack, annotated = task.view.stack_from(filled), complete_slices(task.view.stack_from(task.case.labels.voxels))
    stack[: annotated[0]], stack[annotated[-1] :] = stack[annotated[0]], stack[annotated[-1]]
    return Prediction(task.case.labels.with_voxels(filled))


def interpolate_morphologically(task: SliceTask) -> Prediction:
    """Interpolate contours with ITK's morphological contour interpolation, as *Fill between slices* of 3D Slicer.

    A structure is interpolated between any two annotated slices next to each other that show it, and nowhere else.

    Source:
        Zukic et al., "ND morphological contour interpolation", Insight Journal, 2016, hdl.handle.net/10380/3563.

    Raises:
        ConfigError: If the package is missing.
    """
    try:
        import itk  # large, and needed by nothing else

        interpolator = itk.MorphologicalContourInterpolator
    except (ImportError, AttributeError) as error:
        message = (
            f'"morphological-interpolation" needs the Python package "{_MORPHOLOGICAL}", which is not installed. '
            f"Install it with `pip install {_MORPHOLOGICAL}`, or leave the method out with --methods."
        )
        raise ConfigError(message) from error
    threads = itk.MultiThreaderBase  # with several, ITK 5.4.7 found the same and aborted the process at its end
    threads.SetGlobalDefaultNumberOfThreads(1)
    threads.SetGlobalMaximumNumberOfThreads(1)
    labels, filled = task.case.labels.voxels, np.zeros(task.case.labels.shape_kji, dtype=np.uint8)
    known, stack = task.view.stack_from(labels), task.view.stack_from(filled)
    annotated = complete_slices(known)
    for before, after in pairwise(annotated):
        between = np.zeros((after - before + 1, *known.shape[1:]), dtype=np.uint8)
        between[0], between[-1] = known[before], known[after]
        found = interpolator.New(itk.image_from_array(between), Axis=2)
        found.Update()
        stack[before:after] = itk.array_view_from_image(found.GetOutput())[:-1]
    stack[annotated] = known[annotated]
    return Prediction(task.case.labels.with_voxels(filled))


def prompt_with_slices(task: SliceTask) -> Prediction:
    """Ask the frozen foundation model alone, prompted from slice to slice and with interpolated contours between them.

    Both count as they do on annotated slices (`foundation.label_propagation`), whatever their Dice.
    """
    image, view, structures = task.case.image, task.view, range(len(task.structures))
    known = class_indices(task.case.labels.voxels, task.structures)
    window, classes = choose_window(image.voxels, known), view.stack_from(known)
    predictor = SlicePredictor.of_volume(image, view, window, task.load_teacher(), task.cache)
    propagated = PropagatedLabels(predictor, classes, view.spacing_mm, len(structures), _CONTOUR_MARGIN_PIXELS)
    phase = task.monitor.phase("Propagating annotated slices", len(propagated.expected_looks))
    reliability = propagated.propagate_and_validate(phase).reliability(len(structures))
    builder = SegmentationBuilder(image, view, task.structures)
    for index in task.monitor.each(range(len(classes)), "Prompting between annotated slices"):
        if index in propagated.annotated:
            builder.put_known(index, classes[index])
            continue
        for structure in structures:
            contour = propagated.contour(index, structure)
            if contour is not None:
                propagated.prompt_with_mask(index, structure, contour)
        probabilities, _ = propagated.fuse(index, reliability)
        builder.put(index, with_background(predictor.to_native(probabilities)))
    found = builder.finish()
    return Prediction(found.labels, found.uncertainty)


def register(task: SliceTask) -> Prediction:
    """Carry the annotated slices to all others by registration alone."""
    return _from_labels(task, None)


def register_and_prompt(task: SliceTask) -> Prediction:
    """Fuse registration and the frozen foundation model by their agreement, as the product does before any training."""
    return _from_labels(task, task.load_teacher())


def _from_labels(task: SliceTask, teacher: PromptableModel | None) -> Prediction:
    case, plane = task.case, plane_of_axis(task.case.image, "K")
    found = segment_from_labels(
        case.image, case.labels, task.structures, teacher, task.cache, plane=plane, monitor=task.monitor
    )
    return Prediction(found.labels, found.uncertainty)


FILL_SLICES: dict[str, FillSlices] = {
    "shape-interpolation": interpolate,
    "shape-interpolation-ends": interpolate_and_repeat,
    "morphological-interpolation": interpolate_morphologically,
    REGISTRATION: register,
    FROZEN_TEACHER: prompt_with_slices,
    "untrained": register_and_prompt,
}
"""How each of `WITHOUT_TRAINING` fills a volume."""
