"""Why a button is disabled: what is missing for a run, in a sentence for its tool tip. Cheap, asked at every change."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from uncol.core.errors import GeometryError
from uncol.core.model_store import Store
from uncol.core.unfinished import UnfinishedRun
from UnCoLSegmentLib.Scene import Bridge, Results
from UnCoLSegmentLib.Scene.AnnotatedSlices import noStructureText
from UnCoLSegmentLib.Scene.DicomSource import whyNoDicom
from UnCoLSegmentLib.Scene.RunScene import annotatedSlices, segmentNames


def toSegment(parameters: Any, store: Store) -> str:
    """Return what is missing to segment the volume in the chosen way."""
    missing = {"box": _toSegmentBox, "slices": _toLearn, "model": lambda each: _toUseModel(each, store)}
    return toReadVolume(parameters) or missing[parameters.segmentFrom.value](parameters)


def toFineTune(parameters: Any) -> str:
    """Return what is missing to learn from annotated slices."""
    return toReadVolume(parameters) or _toLearn(parameters)


def toResume(parameters: Any, run: UnfinishedRun | None) -> str:
    """Return what is missing to go on with an unfinished run about the chosen volume."""
    if run is None:
        return _("There is no unfinished fine-tuning of this volume to resume.")
    if run.origin.volume_digest != Bridge.volumeDigest(parameters.inputVolume):
        text = _('"{name}" was learning from "{volume}". Choose that volume and its annotations to resume it.')
        return text.format(name=run.name, volume=run.origin.volume)
    return ""


def toReadVolume(parameters: Any) -> str:
    """Return what is missing to read the volume."""
    if parameters.inputVolume is None:
        return _("Choose the volume to segment.")
    if parameters.inputVolume.GetImageData() is None:
        return _("The chosen volume holds no image. Choose another one.")
    return ""


def toExport(parameters: Any) -> str:
    """Return what is missing to export the proposal to DICOM; whether the images are there is asked at the click."""
    volume = parameters.inputVolume
    if missing := toReadVolume(parameters):
        return missing
    if Results.proposalAbout(volume, parameters.proposal) is None:
        return _("There is no proposal of this volume yet. Segment it first.")
    found = Results.mapAbout(volume, parameters.uncertaintyVolume)
    if found is None or found.GetImageData() is None:
        return _("There is no uncertainty map yet. Segment the volume first.")
    return whyNoDicom(volume)


def _toSegmentBox(parameters: Any) -> str:
    if parameters.roi is None:
        return _("Draw a box (ROI) around the structure first.")
    if not Bridge.isPlaced(parameters.roi):
        return _("The box (ROI) is not placed yet. Draw it around the structure.")
    return ""


def _toLearn(parameters: Any) -> str:
    if parameters.segmentation is None:
        return _("Choose or create the segmentation that holds your annotations.")
    if not segmentNames(parameters.segmentation):
        return _("Add a segment and paint the structure in a few slices.")
    try:
        annotated = annotatedSlices(parameters)
    except GeometryError as error:
        return str(error)
    if not annotated:
        return _("Paint the structure in at least one slice and mark that slice complete.")
    return "" if any(row.hasStructure for row in annotated) else noStructureText()


def _toUseModel(parameters: Any, store: Store) -> str:
    if not parameters.modelName:
        return _("Choose a model. If there is none yet, fine-tune one.")
    if not store.has(parameters.modelName):
        text = _('The model "{name}" is not on this computer. Choose another one or import it.')
        return text.format(name=parameters.modelName)
    return ""
