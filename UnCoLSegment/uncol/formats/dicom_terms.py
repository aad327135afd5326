"""The standard terms of structures by their names, from the code lists of DICOM that pydicom brings."""

from __future__ import annotations

import re
from functools import cache
from typing import NamedTuple

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

_SIDES = {"left": codes.SCT.Left, "right": codes.SCT.Right}
_KINDS = (
    (codes.SCT.AnatomicalStructure, codes.cid7192),
    (codes.SCT.MorphologicallyAbnormalStructure, codes.cid7194),
    (codes.SCT.Tissue, codes.cid7191),
    (codes.SCT.BodySubstance, codes.cid7197),
)
"""Categories of what is segmented with their types; DICOM PS3.16, CID 7150."""


class Term(NamedTuple):
    """What a structure is: its category, its type, and on which side of the body, where that is said."""

    category: Code
    kind: Code
    side: Code | None = None


UNKNOWN = Term(codes.SCT.Tissue, codes.SCT.Tissue)
"""What is said of a structure without a known term; its name says what it is. 3D Slicer does so, too."""


def term_of(name: str) -> Term:
    """Return the term of a structure: "liver" is the liver, "left kidney" and "kidney_left" the left one of kidneys."""
    words = re.findall(r"[^\W_]+", name.casefold())
    whole = _terms().get("".join(words))
    sides = [word for word in words if word in _SIDES]
    if whole is not None or len(sides) != 1:
        return whole or UNKNOWN
    found = _terms().get("".join(word for word in words if word not in _SIDES))
    return UNKNOWN if found is None else found._replace(side=_SIDES[sides[0]])


@cache
def _terms() -> dict[str, Term]:
    """Return the terms by their names in small letters without spaces; the first kind that knows a name has it."""
    found: dict[str, Term] = {}
    for category, group in _KINDS:
        for keyword in group.dir():
            found.setdefault(keyword.casefold(), Term(category, getattr(group, keyword)))
    return found
