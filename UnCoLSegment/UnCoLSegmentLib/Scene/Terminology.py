"""The standard term of a structure by its name, from the terminologies that Slicer has loaded: DICOM SEG needs it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import slicer
import vtk

from uncol.core.dicom_export import CodedTerm, Concept
from UnCoLSegmentLib.Scene.Labelmaps import tagOf

PREFERRED = "Segmentation category and type - 3D Slicer General Anatomy list"
"""Context that Slicer itself offers first."""
_UNSPECIFIC = {("SCT", "85756007"), ("SRT", "T-D0050")}
"""Tissue, which Slicer says of every new segment."""


def entryFor(name: str) -> str:
    """Return the terminology entry of a structure as Slicer writes it into a segment's tag; "" if none has its name.

    "liver" finds the type "Liver", "left_kidney" and "left kidney" the one that Slicer labels so. Case does not count.
    """
    module = getattr(slicer.modules, "terminologies", None)
    if module is None or not name.strip():
        return ""
    logic, entry = module.logic(), slicer.vtkSlicerTerminologyEntry()
    for context in _contextsOf(logic):
        if logic.FindTypeInTerminologyBy3dSlicerLabel(context, name.strip().lower().replace(" ", "_"), entry):
            return str(logic.SerializeTerminologyEntry(entry))
        for category, kind in _typesIn(logic, context):
            if (kind.GetCodeMeaning() or "").casefold() == name.strip().casefold():
                entry.SetTerminologyContextName(context)
                entry.GetCategoryObject().Copy(category)
                entry.GetTypeObject().Copy(kind)
                return str(logic.SerializeTerminologyEntry(entry))
    return ""


def termOf(segment: Any) -> CodedTerm | None:
    """Return what the user, or Slicer by its name, says that a segment is; None where nothing is said but "tissue"."""
    module = getattr(slicer.modules, "terminologies", None)
    text, entry = tagOf(segment, slicer.vtkSegment.GetTerminologyEntryTagName()), slicer.vtkSlicerTerminologyEntry()
    if module is None or not text or not module.logic().DeserializeTerminologyEntry(text, entry):
        return None
    category, kind, modifier = (
        _conceptIn(each) for each in (entry.GetCategoryObject(), entry.GetTypeObject(), entry.GetTypeModifierObject())
    )
    if category is None or kind is None or (kind.scheme, kind.value) in _UNSPECIFIC:
        return None
    return CodedTerm(category, kind, modifier)


def _conceptIn(coded: Any) -> Concept | None:
    parts = [coded.GetCodingSchemeDesignator(), coded.GetCodeValue(), coded.GetCodeMeaning()]
    return Concept(*parts) if all(parts) else None


def _contextsOf(logic: Any) -> list[str]:
    names = vtk.vtkStringArray()
    logic.GetLoadedTerminologyNames(names)
    found = [names.GetValue(index) for index in range(names.GetNumberOfValues())]
    return sorted(found, key=lambda each: each != PREFERRED)


def _typesIn(logic: Any, context: str) -> Iterator[tuple[Any, Any]]:
    for number in range(logic.GetNumberOfCategoriesInTerminology(context)):
        category = slicer.vtkSlicerTerminologyCategory()
        logic.GetNthCategoryInTerminology(context, number, category)
        for index in range(logic.GetNumberOfTypesInTerminologyCategory(context, category)):
            kind = slicer.vtkSlicerTerminologyType()
            logic.GetNthTypeInTerminologyCategory(context, category, index, kind)
            yield category, kind
