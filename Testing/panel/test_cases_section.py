"""Several patients in one scene: each keeps its own annotations, one model learns from all, the next is one click."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import slicer.util
from scripted_engine import writeModel
from several_patients import addVolume, annotate, choose, learn, shownSegmentations


def test_what_was_annotated_in_one_patient_is_never_taken_for_another_one(panel: Any, phantom: Any) -> None:
    for name in ("First", "Second"):
        addVolume(phantom, name)
    own = annotate(panel, phantom, "First", 6, 12, 18)

    choose(panel, "Second")

    assert panel.parameters.segmentation is None
    assert panel.cells("slicesTable") == []
    assert not panel.ui.fineTuneButton.enabled
    assert shownSegmentations() == set()

    choose(panel, "First")

    assert panel.parameters.segmentation is own
    assert len(panel.cells("slicesTable")) == 3
    assert shownSegmentations() == {"First segments"}


def test_a_user_can_say_that_two_volumes_share_a_segmentation_and_no_slice_is_learned_from_twice(
    panel: Any, phantom: Any, engine: Any
) -> None:
    addVolume(phantom, "Whole")
    addVolume(phantom, "Cropped")
    own = annotate(panel, phantom, "Whole", 6, 12, 18)

    choose(panel, "Cropped")
    panel.choose("segmentationSelector", "Whole segments")
    panel.waitForDetection()

    assert panel.parameters.segmentation is own
    assert len(panel.cells("slicesTable")) == 3
    assert len(learn(panel, phantom, engine)["cases"]) == 1


def test_one_model_learns_from_all_volumes_and_each_gets_its_result(two: Any, phantom: Any, engine: Any) -> None:
    assert two.cells("casesTable") == [["First", "none", "[x]3 slices"], ["Second", "none", "2 slices"]]

    fields = learn(two, phantom, engine)

    learned = [np.flatnonzero((each != 255).any(axis=(1, 2))).tolist() for each in fields["labels"]]
    assert learned == [[7, 13], [6, 12, 18]]
    assert two.parameters.proposal.GetName() == "Second proposal"
    assert shownSegmentations() >= {"Second proposal", "Second segments"}
    assert not shownSegmentations() & {"First proposal", "First segments"}
    assert [row[1] for row in two.cells("casesTable")] == ["yes", "yes"]
    assert len(two.cells("roundsTable")) == 1

    choose(two, "First")

    assert two.parameters.proposal.GetName() == "First proposal"
    assert two.parameters.uncertaintyVolume.GetName() == "First uncertainty"
    assert shownSegmentations() >= {"First proposal", "First segments"}
    assert not shownSegmentations() & {"Second proposal", "Second segments"}
    assert [row[1:] for row in two.cells("roundsTable")] == [["3", "no proposal before", "in use"]]


def test_a_volume_that_was_left_out_is_not_learned_from(two: Any, phantom: Any, engine: Any) -> None:
    two.clickCell("casesTable", 0, 2)

    assert two.cells("casesTable")[0] == ["First", "none", "[ ]3 slices"]
    fields = learn(two, phantom, engine)

    assert len(fields["cases"]) == 1
    assert fields["further_proposals"] == []
    assert [row[1] for row in two.cells("casesTable")] == ["none", "yes"]


def test_enter_on_a_name_shows_that_volume(two: Any) -> None:
    two.activateCell("casesTable", 0, 0)

    assert two.parameters.inputVolume.GetName() == "First"
    assert two.parameters.segmentation.GetName() == "First segments"


def test_a_preview_lies_over_its_own_volume_only(two: Any, phantom: Any, engine: Any) -> None:
    two.click("fineTuneButton")
    two.wait(lambda: engine.asked("fine_tune"))

    for case in (1, 2):
        engine.sayPreview("fine_tune", phantom.liver, phantom.uncertainty, case)
    two.wait(lambda: len(slicer.util.getNodesByClass("vtkMRMLSegmentationNode")) == 4)
    two.settle()

    assert [name for name in shownSegmentations() if "preview" in name] == ["Second preview"]
    choose(two, "First")
    assert [name for name in shownSegmentations() if "preview" in name] == ["First preview"]


def test_where_a_structure_was_not_looked_for_nothing_is_background(panel: Any, phantom: Any, engine: Any) -> None:
    for name in ("First", "Second"):
        addVolume(phantom, name)
    annotate(panel, phantom, "First", 6, 12, structure="spleen")
    annotate(panel, phantom, "Second", 7, 13)

    fields = learn(panel, phantom, engine)

    assert [each["name"] for each in fields["structures"]] == ["liver", "spleen"]
    liver, spleen = fields["labels"]
    assert set(np.unique(liver[7])) == {1, 255}
    assert set(np.unique(spleen[6])) == {2, 255}
    assert np.array_equal(spleen[6] == 2, phantom.liver[6])


def test_a_name_that_is_spelled_in_two_ways_is_told_and_nothing_begins(panel: Any, phantom: Any, engine: Any) -> None:
    for name in ("First", "Second"):
        addVolume(phantom, name)
    annotate(panel, phantom, "First", 6, 12, structure="Liver")
    annotate(panel, phantom, "Second", 7, 13)

    panel.click("fineTuneButton")

    assert panel.shown() == (
        'A structure is called "liver" in "Second" and "Liver" in "First". Give both segments the same name, or leave '
        "one of the volumes out."
    )
    assert engine.asked("fine_tune") is None


def test_the_next_patient_is_one_click(two: Any, phantom: Any, engine: Any, modelFolder: Any) -> None:
    addVolume(phantom, "Third")
    two.settle()
    two.unfold("result")
    assert two.ui.nextPatientButton.toolTip == "No model is in use yet. Fine-tune one first."
    learn(two, phantom, engine)
    asked = len(engine.requests)

    two.click("nextPatientButton")

    two.wait(lambda: any(op == "segment" for op, _fields in engine.requests[asked:]))
    assert engine.asked("segment")["model"].endswith("liver")
    engine.finishSegment(phantom.proposed, phantom.uncertainty, ["liver"])
    two.wait(lambda: two.logic.state.value == "idle")
    two.settle()
    assert two.parameters.inputVolume.GetName() == "Third"
    assert two.parameters.segmentation is None
    assert two.parameters.proposal.GetName() == "Third proposal"
    assert shownSegmentations() & {"First proposal", "Second proposal", "Third proposal"} == {"Third proposal"}
    assert two.ui.nextPatientButton.toolTip == (
        "Every other volume of the scene has a proposal already. Load the next patient first."
    )


def test_with_one_volume_there_is_no_list(annotated: Any, modelFolder: Any) -> None:
    writeModel(modelFolder / "liver", ["liver"], {})
    annotated.unfold("result", "fineTune")

    assert not annotated.ui.casesTable.isVisible()
    assert not annotated.ui.casesLabel.isVisible()
    assert not annotated.ui.nextPatientButton.isVisible()
