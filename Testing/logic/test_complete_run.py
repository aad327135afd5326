"""The complete run of a user, on real MRML with a real worker: box, proposal, slices, fine-tune, uncertainty, again."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import slicer.util
import torch
from as_slicer_waits import waitAsSlicer
from parameters import Device, Parameters

from uncol.demo.phantom import LIVER, make_phantom
from UnCoLSegmentLib.Engine.Run import RunState
from UnCoLSegmentLib.Scene import Bridge, Cases, Labelmaps, Maker, Origins, Results
from UnCoLSegmentLib.SelfTest import LoopDriver, makePhantomVolume

ROOT = Path(__file__).resolve().parents[2]
STEPS = 12


@pytest.fixture
def patient(scene: Any) -> tuple[Any, np.ndarray]:
    """A CT in the scene and where its liver is: the real one if there are real images, else the phantom."""
    folder = Path(os.environ.get("UNCOL_TEST_DATA") or ROOT.parent / "shared" / "data") / "totalseg_ct"
    if not folder.is_dir():
        phantom = make_phantom((40, 96, 96), (3.0, 3.0, 6.0))
        volume = slicer.util.addVolumeFromArray(phantom.image.voxels, ijkToRAS=phantom.image.ijk_to_ras, name="CT")
        return volume, phantom.labels.voxels == LIVER
    volume = slicer.util.loadVolume(str(folder / "images" / "ts_body3mm_sm.nii.gz"))
    labels = slicer.util.loadVolume(str(folder / "labels" / "ts_body3mm_sm.nii.gz"), {"labelmap": True})
    names = json.loads((folder / "labels.json").read_text())["ts_body3mm_sm"]
    liver = next(int(value) for value, name in names.items() if name == "liver")
    truth = slicer.util.arrayFromVolume(labels) == liver
    slicer.mrmlScene.RemoveNode(labels)
    return volume, truth


@pytest.mark.slow
def test_box_proposal_slices_fine_tune_uncertainty_and_a_second_round(logic, patient, host, tmp_path) -> None:
    volume, truth = patient
    parameters = Parameters(inputVolume=volume)
    driver = LoopDriver(logic, parameters, truth, idle=partial(waitAsSlicer, 20))
    progresses, scored = [], []
    logic.progressed.connect(progresses.append)
    logic.roundScored.connect(scored.append)
    slices = [int(each) for each in np.quantile(np.flatnonzero(truth.any(axis=(1, 2))), [0.25, 0.5, 0.75])]

    story = driver.tellStory(slices, STEPS)

    # a proposal from a box
    assert story.first.message.startswith("Proposed: liver")
    assert story.diceOfFirst > 0.6
    # three annotated slices, scored before anything learned from them
    [first] = logic.rounds(parameters)
    assert first.scored == tuple(f"K:{index}" for index in slices)
    assert 0 < first.dice["liver"] < 1
    assert scored[0].dice == first.dice
    # a model of their own, active because it is the first
    assert story.fineTuned.activated
    assert logic.store.active == story.fineTuned.modelName == parameters.modelName == "liver"
    assert logic.store.unfinished() == []
    [entry] = logic.store.list()
    assert entry.name == "liver"
    assert first.heldOut == entry.training["held_out_dice"]  # the engine's own words, whether or not it is empty
    assert logic.curve
    assert {each.step for each in progresses if each.step} >= {STEPS}
    # the proposal is the model's and the foundation model's, and it has seen the three slices
    assert parameters.proposal.GetAttribute(Maker.MODEL_ATTRIBUTE) == "liver"
    assert parameters.proposal.GetAttribute(Maker.BOTH_ATTRIBUTE) == "1"
    assert json.loads(parameters.proposal.GetAttribute(Maker.KNOWN_ATTRIBUTE)) == list(first.annotated)
    # what made it is kept for DICOM results
    [segment] = Labelmaps.segmentsOf(parameters.proposal).values()
    origin = Origins.originOf(segment)
    assert (origin["model"], len(origin["model_sha256"]), origin["by_both_teachers"]) == ("liver", 64, True)
    assert origin["versions"]["torch"] == torch.__version__
    assert origin["training"]["generalized_teacher_license"]
    # an uncertainty map on the volume's grid, shown with a threshold
    uncertainty = Bridge.snapshotVolume(parameters.uncertaintyVolume)
    assert uncertainty.shares_grid_with(Bridge.snapshotVolume(volume))
    assert 0 <= uncertainty.voxels.min() < uncertainty.voxels.max() <= 1
    _checkOverlay(host, volume, parameters, tmp_path)
    # the next slice is suggested, with a reason; annotate it and go on: what is new is scored, what is better is used
    suggestion = logic.suggestSlice(parameters)
    assert suggestion.axis == "K"
    assert suggestion.index not in slices
    assert suggestion.reason

    driver.annotate([suggestion.index])
    again = driver.fineTune(STEPS)

    _first, second = logic.rounds(parameters)
    assert second.scored == (f"K:{suggestion.index}",)
    assert second.against == ""  # the foundation model had a say, so it is no score of the model's
    assert again.activated == (logic.store.active == "liver-2")
    assert second.activated == again.activated
    assert len(logic.store.list()) == 2
    assert logic.state is RunState.IDLE


@pytest.mark.gpu
def test_a_graphics_card_finds_what_the_cpu_finds(logic, drive) -> None:
    """From a box, from annotated slices, and with a model that was trained on the card."""
    found: dict[tuple[str, Device], np.ndarray] = {}
    devices = (Device.CPU, Device.CUDA if torch.cuda.is_available() else Device.MPS)

    def segmentOnBoth(source: str) -> None:
        for device in devices:
            drive.parameters.device = device
            drive.segment(source)
            labels, _structures = Bridge.labelsOfAllSegments(drive.parameters.proposal, drive.parameters.inputVolume)
            found[source, device] = labels.voxels > 0

    segmentOnBoth("box")
    drive.annotate([5, 8, 11])
    segmentOnBoth("slices")
    drive.fineTune(40)
    segmentOnBoth("model")

    assert logic.engine.greeting.graphics_cards
    for source in ("box", "slices", "model"):
        onCpu, onCard = (found[source, device] for device in devices)
        assert 2 * (onCpu & onCard).sum() / (onCpu.sum() + onCard.sum()) >= 0.99, source


def _checkOverlay(host: Any, volume: Any, parameters: Parameters, folder: Path) -> None:
    """The map lies over the CT in color, and only where it is above its threshold."""
    from slice_view import SliceView

    values = slicer.util.arrayFromVolume(parameters.uncertaintyVolume)
    k, j, i = np.unravel_index(int(values.argmax()), values.shape)
    point = (Bridge.snapshotVolume(volume).ijk_to_ras @ [i, j, k, 1.0])[:3]
    view = SliceView(host)
    view.show(volume, parameters.uncertaintyVolume, parameters.uncertaintyOpacity, through=tuple(point))
    view.save(folder / "overlay.png")
    pixels = view.pixels().astype(int)
    isColored = np.ptp(pixels, axis=2) > 0
    assert isColored.any()
    rasToIJK = np.linalg.inv(Bridge.snapshotVolume(volume).ijk_to_ras)
    world = view.worldUnderPixels()[isColored]
    indices = np.rint(world @ rasToIJK[:3, :3].T + rasToIJK[:3, 3]).astype(int)
    near = [
        values[max(0, kk - 1) : kk + 2, max(0, jj - 1) : jj + 2, max(0, ii - 1) : ii + 2].max()
        for ii, jj, kk in indices
    ]
    assert min(near) >= parameters.uncertaintyThreshold  # within a voxel, as the view interpolates


@pytest.mark.slow
def test_one_model_learns_from_two_volumes_and_both_get_its_proposal(logic, scene: Any) -> None:
    drivers = []
    for slices in ([5, 8, 11], [6, 10]):
        volume, truth = makePhantomVolume()
        driver = LoopDriver(logic, Parameters(inputVolume=volume), truth, idle=partial(waitAsSlicer, 20))
        driver.annotate(slices)
        Cases.note(volume, driver.parameters.segmentation)
        drivers.append(driver)
    other, shown = drivers

    result = shown.fineTune(STEPS)

    assert result.notes[0] == "Learned from 2 volumes, each of which has a new proposal: Phantom (2), Phantom (1)."
    assert shown.parameters.proposal.GetDisplayNode().GetVisibility()
    assert not Results.proposalAbout(other.parameters.inputVolume).GetDisplayNode().GetVisibility()
    for driver, slices in ((shown, [6, 10]), (other, [5, 8, 11])):
        Results.choose(driver.parameters)
        labels, _structures = Bridge.labelsOfAllSegments(driver.parameters.proposal, driver.parameters.inputVolume)
        assert np.array_equal(labels.voxels[slices] > 0, driver.truth[slices])
        assert driver.dice() > 0.7
        [entry] = logic.rounds(driver.parameters)
        assert (entry.model, entry.activated) == (result.modelName, True)
        assert entry.annotated == tuple(f"K:{index}" for index in slices)
