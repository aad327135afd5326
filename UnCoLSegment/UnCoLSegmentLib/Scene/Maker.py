"""Who made a proposal, noted on its node: the model, what that has seen, and whether the foundation model had a say."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

from UnCoLSegmentLib.Scene.Attributes import textsOf

MODEL_ATTRIBUTE = "UnCoL.Model"
"""On a proposal and on its map: name of the model that made it, "" for the foundation model."""
KNOWN_ATTRIBUTE = "UnCoL.KnownSlices"
"""On a proposal: JSON list of the annotated slices that its maker has seen."""
BOTH_ATTRIBUTE = "UnCoL.BothTeachers"
"""On a proposal: "1" where model and foundation model made it together."""


@dataclass(frozen=True)
class Maker:
    """Who made a proposal.

    Attributes:
        model: Name of the model, "" for the foundation model alone.
        known: Annotated slices that it has seen, as "K:12".
        byBoth: Whether the foundation model had a say beside the model.
    """

    model: str = ""
    known: tuple[str, ...] = ()
    byBoth: bool = False

    @classmethod
    def of(cls, proposal: Any) -> Maker:
        """Read what a proposal says; that of none is nobody."""
        if proposal is None:
            return cls()
        model, both = map(proposal.GetAttribute, (MODEL_ATTRIBUTE, BOTH_ATTRIBUTE))
        return cls(model or "", tuple(textsOf(proposal, KNOWN_ATTRIBUTE)), bool(both))

    def write(self, proposal: Any) -> None:
        """Note it on a proposal."""
        proposal.SetAttribute(MODEL_ATTRIBUTE, self.model)
        proposal.SetAttribute(KNOWN_ATTRIBUTE, json.dumps(self.known))
        proposal.SetAttribute(BOTH_ATTRIBUTE, "1" if self.byBoth else "")

    def andFoundationModel(self) -> Maker:
        """Return who made a proposal that a structure of the foundation model's joined."""
        return replace(self, byBoth=bool(self.model))

    @property
    def alone(self) -> str:
        """The model whose own score the proposal's is; "" where the foundation model had a say."""
        return "" if self.byBoth else self.model
