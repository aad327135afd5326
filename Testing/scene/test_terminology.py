"""A structure gets the standard term that Slicer knows for its name."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import slicer
from scene_parts import addVolume, segmentOf

from uncol.core.jobs import Structure
from uncol.core.volume import Volume
from UnCoLSegmentLib.Scene import Labelmaps, Proposal, Terminology


def code(value: str, meaning: str, **others: Any) -> dict[str, Any]:
    return {"CodingSchemeDesignator": "SCT", "CodeValue": value, "CodeMeaning": meaning, **others}


@pytest.fixture
def terminologies(host: Any, tmp_path: Path) -> Any:
    """Slicer's own logic with a small terminology of ours; the files of Slicer's come with the application."""
    left = code("7771000", "Left", **{"3dSlicerLabel": "left_kidney"})
    types = [
        code("10200004", "Liver", **{"3dSlicerLabel": "liver"}),
        code("64033007", "Kidney", Modifier=[left]),
        code("78961009", "Spleen"),
    ]
    document = {
        "SegmentationCategoryTypeContextName": Terminology.PREFERRED,
        "@schema": "https://raw.githubusercontent.com/qiicr/dcmqi/master/doc/schemas/segment-context-schema.json#",
        "SegmentationCodes": {"Category": [code("123037004", "Anatomical Structure", showAnatomy="true", Type=types)]},
    }
    path = tmp_path / "terms.json"
    path.write_text(json.dumps(document))
    logic = slicer.vtkSlicerTerminologiesModuleLogic()
    assert logic.LoadTerminologyFromFile(str(path)) == Terminology.PREFERRED
    slicer.modules.terminologies = SimpleNamespace(logic=lambda: logic)
    return logic


@pytest.mark.parametrize(
    ("name", "value", "meaning"),
    [("liver", "10200004", "Liver"), ("SPLEEN", "78961009", "Spleen"), ("left kidney", "64033007", "Kidney")],
)
def test_a_name_finds_its_term(terminologies: Any, name: str, value: str, meaning: str) -> None:
    assert f"~SCT^123037004^Anatomical Structure~SCT^{value}^{meaning}~" in Terminology.entryFor(name)


@pytest.mark.parametrize("name", ["", "  ", "structure", "liver 2"])
def test_other_names_have_none(terminologies: Any, name: str) -> None:
    assert Terminology.entryFor(name) == ""


def test_a_slicer_without_the_module_knows_no_terms(host: Any) -> None:
    assert Terminology.entryFor("liver") == ""


def test_a_proposed_structure_that_the_user_has_not_named_yet_gets_its_term(terminologies: Any) -> None:
    volume = addVolume(Volume(np.zeros((3, 4, 5), dtype=np.int16), np.eye(4)))
    labels = Volume(np.ones((3, 4, 5), dtype=np.uint8), np.eye(4))

    node = Proposal.putProposal(labels, [Structure(1, "liver"), Structure(2, "thing")], volume, None)

    tag = slicer.vtkSegment.GetTerminologyEntryTagName()
    assert "SCT^10200004^Liver" in Labelmaps.tagOf(segmentOf(node, "liver"), tag)
    assert "Liver" not in Labelmaps.tagOf(segmentOf(node, "thing"), tag)
