"""Structures that come, go and are renamed between rounds, patients that share a scene: nothing is mixed up, or unsaid.

Each test tells what a user of a comparable tool had reported.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer
import slicer.util
from scripted_engine import readVolume

SHAPE_KJI = (24, 48, 64)


def ellipsoid(center_kji: tuple[float, ...], radii_kji: tuple[float, ...]) -> np.ndarray:
    axes = np.ogrid[tuple(slice(size) for size in SHAPE_KJI)]
    parts = zip(axes, center_kji, radii_kji, strict=True)
    return sum(((axis - center) / radius) ** 2 for axis, center, radius in parts) < 1


LIVER = ellipsoid((12, 22, 22), (8, 11, 12))
SPLEEN = ellipsoid((12, 24, 46), (8, 7, 6)) & ~LIVER
KIDNEY = ellipsoid((12, 38, 34), (8, 5, 5)) & ~LIVER & ~SPLEEN
ORGANS = {"liver": LIVER, "spleen": SPLEEN, "kidney": KIDNEY}
UNSURE = np.full(SHAPE_KJI, 0.1, np.float32)
SLICES = [6, 9, 12, 15]


class Patient:
    """A patient in the scene, chosen in the panel, and what a user does with them."""

    def __init__(self, panel: Any, phantom: Any, *names: str, name: str = "CT") -> None:
        self.panel = panel
        self.volume = phantom.addVolume()
        self.volume.SetName(name)
        self.segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", f"{name} segmentation")
        self.segmentation.CreateDefaultDisplayNodes()
        self.segmentation.SetReferenceImageGeometryParameterFromVolumeNode(self.volume)
        self.ids = {each: self.segments.AddEmptySegment("", each) for each in names}
        self.choose()

    @property
    def segments(self) -> Any:
        return self.segmentation.GetSegmentation()

    def choose(self) -> None:
        self.panel.choose("inputVolumeSelector", self.volume.GetName())
        self.panel.choose("segmentationSelector", self.segmentation.GetName())

    def add(self, name: str) -> None:
        self.ids[name] = self.segments.AddEmptySegment("", name)

    def paint(self, name: str, mask: np.ndarray, slices: list[int]) -> None:
        painted = self.mask(name).astype(np.uint8)
        painted[slices] = mask[slices]
        slicer.util.updateSegmentBinaryLabelmapFromArray(painted, self.segmentation, self.ids[name], self.volume)

    def mask(self, name: str) -> np.ndarray:
        found = slicer.util.arrayFromSegmentBinaryLabelmap(self.segmentation, self.ids[name], self.volume)
        return np.zeros(SHAPE_KJI, bool) if found is None else found > 0

    def fineTune(self, engine: Any) -> dict[str, int]:
        """Click; return the values of the structures that the engine is sent."""
        self.panel.waitForDetection()
        count = sum(op == "fine_tune" for op, _ in engine.requests)
        self.panel.click("fineTuneButton")
        self.panel.wait(lambda: sum(op == "fine_tune" for op, _ in engine.requests) > count)
        return {each["name"]: each["value"] for each in engine.asked("fine_tune")["structures"]}

    def finish(self, engine: Any, heldOut: dict[str, float], found: np.ndarray, **options: Any) -> str:
        """Let the engine end the run; return what the user is told."""
        engine.finishFineTune(heldOut, found.astype(np.uint8), UNSURE, **options)
        self.panel.wait(self.panel.shown)
        return self.panel.shown()


def labelsOf(structures: dict[str, int], masks: dict[str, np.ndarray]) -> np.ndarray:
    """Return what the engine answers: in its report the structures count from 1 in their order."""
    found = np.zeros(SHAPE_KJI, np.uint8)
    for number, name in enumerate(structures, 1):
        found[masks[name]] = number
    return found


def names(segmentation: Any) -> list[str]:
    segments = segmentation.GetSegmentation()
    return [segments.GetNthSegment(index).GetName() for index in range(segments.GetNumberOfSegments())]


def maskNamed(segmentation: Any, name: str, volume: Any) -> np.ndarray:
    segments = segmentation.GetSegmentation()
    ids = [each for each in segments.GetSegmentIDs() if segments.GetSegment(each).GetName() == name]
    return slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, ids[0], volume) > 0


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return 2 * (first & second).sum() / (first.sum() + second.sum())


def test_a_segment_that_was_deleted_and_added_again_under_its_name_is_the_new_one(
    panel: Any, phantom: Any, engine: Any
) -> None:
    patient = Patient(panel, phantom, "liver", "spleen")
    for name in ("liver", "spleen"):
        patient.paint(name, ORGANS[name], SLICES)
    values = patient.fineTune(engine)
    patient.finish(engine, {"liver": 0.9, "spleen": 0.9}, labelsOf(values, ORGANS))
    panel.click("acceptAllButton")
    patient.segments.RemoveSegment(patient.ids["liver"])
    patient.add("liver")
    patient.segments.GetSegment(patient.ids["liver"]).SetColor(0.9, 0.9, 0.1)
    patient.paint("liver", LIVER, [10])
    before = patient.mask("liver"), patient.mask("spleen")

    values = patient.fineTune(engine)
    labels = readVolume(engine.asked("fine_tune")["cases"][0]["labels"]).voxels
    patient.finish(engine, {"liver": 0.9, "spleen": 0.9}, labelsOf(values, ORGANS))

    for name, value in values.items():
        assert not ((labels == value) & ~ORGANS[name]).any(), name
    assert not ((labels == 0) & LIVER).any(), "slices of before say nothing of the new segment"
    proposal = panel.parameters.proposal.GetSegmentation()
    assert proposal.GetSegmentIdBySegmentName("liver") == patient.ids["liver"]
    assert np.allclose(proposal.GetSegment(patient.ids["liver"]).GetColor(), (0.9, 0.9, 0.1))
    panel.click("acceptAllButton")
    assert dice(patient.mask("liver"), LIVER) > 0.9
    assert names(patient.segmentation) == ["spleen", "liver"]

    panel.pressKey("z")
    panel.waitForDetection()
    for name, mask in zip(("liver", "spleen"), before, strict=True):
        assert np.array_equal(patient.mask(name), mask), name
    assert patient.segments.GetSegmentIDs() == (patient.ids["spleen"], patient.ids["liver"])


def test_the_only_model_that_knows_a_new_structure_is_not_put_aside(panel: Any, phantom: Any, engine: Any) -> None:
    patient = Patient(panel, phantom, "liver")
    patient.paint("liver", LIVER, SLICES)
    patient.fineTune(engine)
    patient.finish(engine, {"liver": 0.90}, LIVER)
    patient.add("spleen")
    patient.paint("spleen", SPLEEN, SLICES)

    structures = patient.fineTune(engine)
    told = patient.finish(engine, {"liver": 0.89, "spleen": 0.85}, labelsOf(structures, ORGANS))

    active = panel.logic.store.entry(panel.logic.store.active)
    assert [each.name for each in active.structures] == ["liver", "spleen"]
    assert "Dice of liver 0.89, before 0.90" in told
    assert "It also knows: spleen." in told
    # the spleen was never proposed before, which is no score of 0
    assert panel.cells("roundsTable")[1][2] == "no new slices"


def test_a_new_structure_on_new_slices_has_no_score_of_a_proposal_that_did_not_know_it(
    panel: Any, phantom: Any, engine: Any
) -> None:
    patient = Patient(panel, phantom, "liver")
    patient.paint("liver", LIVER, [6, 9])
    patient.fineTune(engine)
    patient.finish(engine, {"liver": 0.90}, LIVER)
    patient.add("spleen")
    for name in ("liver", "spleen"):
        patient.paint(name, ORGANS[name], [12, 15])

    patient.fineTune(engine)

    assert panel.cells("roundsTable")[1][2] == "liver 1.00"


def test_a_model_that_forgot_a_structure_is_said_to(panel: Any, phantom: Any, engine: Any) -> None:
    patient = Patient(panel, phantom, *ORGANS)
    colors = {"liver": (0.9, 0.1, 0.1), "spleen": (0.1, 0.9, 0.1), "kidney": (0.1, 0.1, 0.9)}
    for name, mask in ORGANS.items():
        patient.segments.GetSegment(patient.ids[name]).SetColor(*colors[name])
        patient.paint(name, mask, SLICES)
    structures = patient.fineTune(engine)
    patient.finish(engine, dict.fromkeys(ORGANS, 0.9), labelsOf(structures, ORGANS))
    patient.segments.RemoveSegment(patient.ids["spleen"])

    structures = patient.fineTune(engine)
    told = patient.finish(engine, {"liver": 0.92, "kidney": 0.9}, labelsOf(structures, ORGANS))

    assert sorted(structures) == ["kidney", "liver"]
    assert told.startswith("Better than before")
    assert 'It does not know: spleen. To segment that, choose the model "liver".' in told
    proposal = panel.parameters.proposal
    assert names(proposal) == ["liver", "kidney"]
    for segmentId in proposal.GetSegmentation().GetSegmentIDs():
        segment = proposal.GetSegmentation().GetSegment(segmentId)
        assert segment.GetColor() == pytest.approx(colors[segment.GetName()])
        assert np.array_equal(maskNamed(proposal, segment.GetName(), patient.volume), ORGANS[segment.GetName()])


def oneRound(panel: Any, phantom: Any, engine: Any, name: str, slices: list[int]) -> Patient:
    patient = Patient(panel, phantom, "liver", name=name)
    patient.paint("liver", LIVER, slices)
    patient.fineTune(engine)
    patient.finish(engine, {"liver": 0.9}, LIVER)
    return patient


def test_rounds_and_result_are_there_again_when_the_scene_is_loaded(
    panel: Any, phantom: Any, engine: Any, tmp_path: Path
) -> None:
    oneRound(panel, phantom, engine, "Patient A", [6, 9, 12])
    before = panel.cells("roundsTable"), panel.ui.modelComboBox.currentText, panel.ui.trustLabel.text
    assert slicer.util.saveScene(str(tmp_path / "a.mrb"))
    slicer.mrmlScene.Clear(False)

    slicer.util.loadScene(str(tmp_path / "a.mrb"))
    panel.settle()

    assert (panel.cells("roundsTable"), panel.ui.modelComboBox.currentText, panel.ui.trustLabel.text) == before
    assert panel.parameters.proposal is not None


def test_a_scene_added_to_an_open_one_leaves_each_patient_their_rounds(
    panel: Any, phantom: Any, engine: Any, tmp_path: Path
) -> None:
    oneRound(panel, phantom, engine, "Patient A", [6, 9, 12])
    ofA = panel.cells("roundsTable")
    assert slicer.util.saveScene(str(tmp_path / "a.mrb"))
    slicer.mrmlScene.Clear(False)
    panel.settle()
    oneRound(panel, phantom, engine, "Patient B", [7, 10])
    ofB = panel.cells("roundsTable")
    assert ofA != ofB

    slicer.mrmlScene.ReadFromMRB(str(tmp_path / "a.mrb"), False)  # as adding a scene does: nothing is cleared
    panel.settle()

    for name, expected in (("Patient A", ofA), ("Patient B", ofB)):
        panel.choose("inputVolumeSelector", name)
        assert panel.cells("roundsTable") == expected


def test_choosing_another_model_deletes_nothing_and_a_renamed_volume_is_still_the_same(
    panel: Any, phantom: Any, engine: Any
) -> None:
    from scripted_engine import writeModel

    phantom.addVolume().SetName("CT")
    patient = Patient(panel, phantom, "liver", "spleen", name="CT 2")
    patient.volume.SetName("CT")  # two of the same name
    patient.paint("liver", LIVER, SLICES)
    patient.paint("spleen", SPLEEN, SLICES)
    own = {name: patient.mask(name) for name in ("liver", "spleen")}
    for name in ("liver", "kidneys"):
        writeModel(panel.logic.store.folder / name, [name], {name: 0.9})
    panel.logic.modelsChanged.emit()

    def segment(model: str, found: np.ndarray) -> None:
        panel.choose("modelComboBox", model)
        count = len(engine.requests)
        panel.click("segmentButton")
        panel.wait(lambda: any(op == "segment" for op, _ in engine.requests[count:]))
        patient.volume.SetName(f"renamed while {model} runs")
        engine.finishSegment(found, UNSURE, [model])
        panel.wait(panel.shown)

    segment("liver", LIVER)
    assert panel.parameters.proposal.GetNodeReference("UnCoL.Volume") is patient.volume
    assert np.array_equal(maskNamed(panel.parameters.proposal, "liver", patient.volume), LIVER)
    panel.choose("modelComboBox", "kidneys")
    assert np.array_equal(maskNamed(panel.parameters.proposal, "liver", patient.volume), LIVER)
    segment("kidneys", KIDNEY)
    assert names(panel.parameters.proposal) == ["kidneys"]
    assert all(np.array_equal(patient.mask(name), own[name]) for name in own)


def test_segments_whose_names_differ_in_case_only_are_kept_apart(panel: Any, phantom: Any, engine: Any) -> None:
    patient = Patient(panel, phantom, "RV", "rv")
    masks = {"RV": LIVER, "rv": SPLEEN}
    for name, color in (("RV", (0.9, 0.1, 0.1)), ("rv", (0.1, 0.1, 0.9))):
        patient.segments.GetSegment(patient.ids[name]).SetColor(*color)
        patient.paint(name, masks[name], [9, 12, 15])
    structures = patient.fineTune(engine)

    patient.finish(engine, {}, labelsOf(structures, masks))
    panel.click("acceptAllButton")

    proposed = panel.parameters.proposal.GetSegmentation()
    assert [proposed.GetSegment(patient.ids[name]).GetName() for name in masks] == ["RV", "rv"]
    assert proposed.GetSegment(patient.ids["rv"]).GetColor() == pytest.approx((0.1, 0.1, 0.9))
    assert names(patient.segmentation) == ["RV", "rv"]
    assert all(dice(patient.mask(name), masks[name]) > 0.95 for name in masks)


def test_a_renamed_segment_is_scored_compared_and_accepted_as_the_one_that_it_is(
    panel: Any, phantom: Any, engine: Any
) -> None:
    patient = Patient(panel, phantom, "Segment_1")
    patient.paint("Segment_1", LIVER, [6, 9, 12])
    patient.fineTune(engine)
    patient.finish(engine, {"Segment_1": 0.9}, LIVER)
    patient.segments.GetSegment(patient.ids["Segment_1"]).SetName("liver")
    patient.ids["liver"] = patient.ids["Segment_1"]
    larger = ellipsoid((12, 22, 22), (8.5, 12, 13))
    patient.paint("liver", larger, [15, 17])
    expected = dice(larger[[15, 17]], LIVER[[15, 17]])

    patient.fineTune(engine)
    assert panel.cells("roundsTable")[1][2] == f"liver {expected:.2f}"
    told = patient.finish(engine, {"liver": 0.85}, LIVER)

    assert told.startswith("Not better than before - kept the old model (Dice 0.85, before 0.90).")
    panel.click("acceptAllButton")
    assert [(each, patient.segments.GetSegment(each).GetName()) for each in patient.segments.GetSegmentIDs()] == [
        (patient.ids["liver"], "liver")
    ]


def test_the_kept_models_proposal_is_about_the_segment_that_it_learned_whatever_that_is_called_now(
    panel: Any, phantom: Any, engine: Any
) -> None:
    patient = Patient(panel, phantom, "Segment_1")
    patient.paint("Segment_1", LIVER, [6, 9, 12])
    patient.fineTune(engine)
    patient.finish(engine, {"Segment_1": 0.9}, LIVER)
    patient.segments.GetSegment(patient.ids["Segment_1"]).SetName("liver")
    panel.click("fromModelButton")

    panel.click("segmentButton")
    panel.wait(lambda: engine.asked("segment"))
    engine.finishSegment(LIVER, UNSURE, ["Segment_1"])  # all that this model can call it
    panel.wait(panel.shown)

    proposed = panel.parameters.proposal.GetSegmentation()
    assert [(each, proposed.GetSegment(each).GetName()) for each in proposed.GetSegmentIDs()] == [
        (patient.ids["Segment_1"], "liver")
    ]


NAMES = [
    *["Übergangszone", "🫀 Herz", "a/b", "x, y; z", "k=v", "fat and co", "liver", "liver ", '"quoted"', "{brace}"],
    *["肝臓", "..", "con", "a\ttab", "[bold]node[/bold]", "%s %d", "-out", "255", "L" * 300],
]


def test_names_come_back_letter_for_letter_whatever_people_write(
    panel: Any, phantom: Any, engine: Any, tmp_path: Path
) -> None:
    patient = Patient(panel, phantom, *NAMES)
    corners = {name: (2 + 9 * (n // 5), 3 + 12 * (n % 5)) for n, name in enumerate(NAMES)}
    whole = np.zeros(SHAPE_KJI, np.uint8)
    colors = {}
    for number, name in enumerate(NAMES, start=1):
        mask = np.zeros(SHAPE_KJI, bool)
        j, i = corners[name]
        mask[:, j : j + 8, i : i + 10] = True
        patient.paint(name, mask, SLICES)
        whole[mask] = number
        colors[name] = (number / 40, 1 - number / 40, 0.5)
        patient.segments.GetSegment(patient.ids[name]).SetColor(*colors[name])

    values = patient.fineTune(engine)
    assert list(values) == NAMES
    patient.finish(engine, {}, whole)

    def shown(node: Any) -> list[tuple[str, tuple[float, ...]]]:
        segments = [
            node.GetSegmentation().GetNthSegment(n) for n in range(node.GetSegmentation().GetNumberOfSegments())
        ]
        return [(each.GetName(), tuple(round(part, 4) for part in each.GetColor())) for each in segments]

    expected = [(name, tuple(round(part, 4) for part in colors[name])) for name in NAMES]
    assert shown(panel.parameters.proposal) == expected
    active = panel.logic.store.entry(panel.logic.store.active)
    assert [each.name for each in active.structures] == NAMES
    panel.logic.store.export_zip(active.name, tmp_path / "für Köln.zip")

    panel.click("acceptAllButton")
    assert all(np.array_equal(patient.mask(name), whole == n) for n, name in enumerate(NAMES, start=1))
    slicer.util.saveScene(str(tmp_path / "Szene ü.mrb"))
    slicer.mrmlScene.Clear(False)
    slicer.util.loadScene(str(tmp_path / "Szene ü.mrb"))
    panel.settle()
    assert shown(panel.parameters.proposal) == expected
