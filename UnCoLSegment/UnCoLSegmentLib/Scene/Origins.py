"""Who made each proposed structure, noted on its segment: it goes with scenes and files, DICOM results repeat it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from contextlib import suppress
from typing import Any

from uncol.core.strict_json import read_json
from UnCoLSegmentLib.Scene import Labelmaps

TAG = "UnCoL.Origin"
"""Tag of a segment: what the report of its result said of who made it (`dicom_export.origin_in`), as JSON."""
_SEPARATOR, _ESCAPED = "|", "\\u007c"
"""What stands between tags in Slicer's files, and how JSON writes it in texts, the only place where it can be."""


def note(proposal: Any, names: Collection[str], origin: Mapping[str, Any]) -> None:
    """Note the origin of the structures that were proposed now; an empty one takes away what was noted before."""
    text = json.dumps(origin).replace(_SEPARATOR, _ESCAPED) if origin else ""
    for segment in Labelmaps.segmentsOf(proposal).values():
        if segment.GetName() in names:
            Labelmaps.setTag(segment, TAG, text)


def originOf(segment: Any) -> dict[str, Any]:
    """Return the origin of a segment; empty where none is noted, as by a version before this."""
    with suppress(ValueError):  # of a damaged scene
        found = read_json(Labelmaps.tagOf(segment, TAG) or "{}")
        return found if isinstance(found, dict) else {}
    return {}
