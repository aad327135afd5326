"""What counts as complete without a word of the user: what looks painted whole. Everything else waits for a tick."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from scene_parts import addSegmentation, addVolume, maskOf, paint, segmentOf

from uncol.core.jobs import Structure
from uncol.core.volume import UNKNOWN_LABEL, Volume
from UnCoLSegmentLib.Scene import Acceptance, Bridge, Grids, Labelmaps, Proposal
from UnCoLSegmentLib.Scene.AnnotatedSlices import AnnotatedTable, detectAnnotated, markComplete
from UnCoLSegmentLib.Scene.Painting import Painting
from UnCoLSegmentLib.Scene.SliceMarks import Kind

SHAPE = (24, 30, 30)
SPACING_KJI_MM = (4.0, 1.5, 1.5)


@pytest.fixture
def volume(scene):
    """A plain volume of 24 slices that are 4 mm apart."""
    return addVolume(Volume(np.zeros(SHAPE, dtype=np.int16), np.diag([-1.5, -1.5, 4.0, 1.0])))


def square(k: int, side: int, first: int = 2) -> np.ndarray:
    """A square of `side` voxels in slice k."""
    mask = np.zeros(SHAPE, dtype=bool)
    mask[k, first : first + side, first : first + side] = True
    return mask


def squares(*slices: tuple[int, int]) -> np.ndarray:
    return np.logical_or.reduce([square(*each) for each in slices])


def propose(volume, user, **masks: np.ndarray):
    labels = np.zeros(SHAPE, dtype=np.uint8)
    structures = [Structure(value, name) for value, name in enumerate(masks, start=1)]
    for structure in structures:
        labels[masks[structure.name]] = structure.value
    return Proposal.putProposal(Volume(labels, Grids.ijkToRAS(volume)), structures, volume, None, user)


def complete(table: AnnotatedTable) -> list[int]:
    return [row.index for row in table.complete]


def leftOut(table: AnnotatedTable) -> dict[int, set[Kind]]:
    return {row.index: set(row.kinds) for row in table.leftOut}


def sent(segmentation, volume, table: AnnotatedTable) -> tuple[np.ndarray, dict[str, int], list[str]]:
    found = Bridge.labelsFromSegmentation(segmentation, volume, table)
    return found.labels.volume().voxels, {each.name: each.value for each in found.structures}, found.notes


def test_slivers_that_a_round_brush_leaves_beside_a_painted_slice_are_left_out(volume) -> None:
    """A slice is painted whole; the last dab is a ball of 9 mm radius, and slices are 4 mm apart."""
    k, j, i = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    leak = ((k - 12) * 4 / 9) ** 2 + ((j - 10) * 1.5 / 9) ** 2 + ((i - 10) * 1.5 / 9) ** 2 < 1
    segmentation = addSegmentation({"liver": square(12, 20) | leak}, volume)

    table = detectAnnotated(segmentation, None, volume)

    assert complete(table) == [12]
    assert leftOut(table) == {index: {Kind.BEGUN} for index in (10, 11, 13, 14)}
    labels, _values, _notes = sent(segmentation, volume, table)
    assert set(np.unique(labels[[10, 11, 13, 14]])) == {UNKNOWN_LABEL}


def test_less_than_half_of_what_a_slice_within_10_mm_shows_looks_only_begun(volume) -> None:
    # 20 x 20 = 400 voxels; 14 x 14 = 196 are less than half, 15 x 15 = 225 are not. 2 slices are 8 mm, 3 are 12 mm.
    cases = {(12, 20): True, (13, 14): False, (10, 15): True, (15, 14): True}
    segmentation = addSegmentation({"liver": squares((12, 20))}, volume)
    detectAnnotated(segmentation, None, volume)
    for place in list(cases)[1:]:  # one after the other, as a user paints them
        paint(segmentation, "liver", maskOf(segmentation, "liver", volume) | square(*place), volume)
        table = detectAnnotated(segmentation, None, volume)

    assert complete(table) == sorted(k for (k, _side), isComplete in cases.items() if isComplete)
    assert leftOut(table) == {13: {Kind.BEGUN}}


def test_a_begun_slice_counts_once_it_is_painted_as_large_as_its_neighbor(volume) -> None:
    segmentation = addSegmentation({"liver": squares((12, 20), (13, 5))}, volume)
    assert complete(detectAnnotated(segmentation, None, volume)) == [12]

    paint(segmentation, "liver", squares((12, 20), (13, 18)), volume)

    assert complete(detectAnnotated(segmentation, None, volume)) == [12, 13]


def test_a_small_slice_counts_where_the_proposal_is_small_there_too(volume) -> None:
    segmentation = addSegmentation({"liver": np.zeros(SHAPE)}, volume)
    proposal = propose(volume, segmentation, liver=squares((12, 20), (13, 8)))
    paint(segmentation, "liver", squares((12, 19), (13, 6)), volume)  # 36 of 64 voxels: more than half

    assert complete(detectAnnotated(segmentation, proposal, volume)) == [12, 13]


def test_a_dab_where_the_proposal_shows_four_times_as_much_looks_only_begun(volume) -> None:
    segmentation = addSegmentation({"liver": np.zeros(SHAPE)}, volume)
    proposal = propose(volume, segmentation, liver=squares((6, 20), (16, 20)))
    paint(segmentation, "liver", squares((6, 9), (16, 10)), volume)  # 81 and 100 of 400 voxels

    table = detectAnnotated(segmentation, proposal, volume)

    assert complete(table) == [16]
    assert leftOut(table) == {6: {Kind.BEGUN}}


def test_a_brush_that_leaks_onto_what_was_accepted_does_not_make_that_complete(volume) -> None:
    organ = squares(*((k, 20) for k in range(8, 17)))
    segmentation = addSegmentation({"liver": np.zeros(SHAPE)}, volume)
    proposal = propose(volume, segmentation, liver=organ)
    Acceptance.acceptAll(proposal, segmentation)
    paint(segmentation, "liver", organ | square(12, 24) | square(13, 21), volume)  # 176 and 41 voxels more

    table = detectAnnotated(segmentation, proposal, volume)

    assert complete(table) == [12]
    assert leftOut(table) == {13: {Kind.BEGUN}}


def test_a_tool_that_works_in_3d_makes_nothing_complete(volume) -> None:
    segmentation = addSegmentation({"liver": squares((8, 20))}, volume)
    detectAnnotated(segmentation, None, volume)
    paint(segmentation, "liver", squares(*((k, 20) for k in range(8, 17))), volume)

    table = detectAnnotated(segmentation, None, volume)

    assert complete(table) == [8]
    assert leftOut(table) == {k: {Kind.MANY} for k in range(9, 17)}
    assert leftOut(detectAnnotated(segmentation, None, volume)) == leftOut(table)


def test_smoothing_what_was_accepted_makes_nothing_complete(volume) -> None:
    k, j, i = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    distance = ((k - 12) / 7) ** 2 + ((j - 14) / 11) ** 2 + ((i - 15) / 12) ** 2
    segmentation = addSegmentation({"liver": np.zeros(SHAPE)}, volume)
    Acceptance.acceptAll(propose(volume, segmentation, liver=distance < 0.8), segmentation)
    paint(segmentation, "liver", distance < 1, volume)

    table = detectAnnotated(segmentation, None, volume)

    assert complete(table) == []
    assert len(table.rows) == 13


def test_a_tool_that_changes_known_slices_and_a_few_more_makes_those_not_complete(volume) -> None:
    """Four slices were painted one by one; a tool grows them by one on either side."""
    segmentation = addSegmentation({"liver": np.zeros(SHAPE)}, volume)
    for last in range(8, 12):
        paint(segmentation, "liver", squares(*((k, 20) for k in range(8, last + 1))), volume)
        detectAnnotated(segmentation, None, volume)
    paint(segmentation, "liver", squares(*((k, 22) for k in range(7, 13))), volume)

    table = detectAnnotated(segmentation, None, volume)

    assert complete(table) == [8, 9, 10, 11]
    assert leftOut(table) == {7: {Kind.MANY}, 12: {Kind.MANY}}


def test_a_slice_that_lies_apart_from_the_others_that_a_tool_changed_is_not_complete_either(volume) -> None:
    segmentation = addSegmentation({"liver": squares(*((k, 20) for k in (4, 5, 6, 7, 15)))}, volume)

    table = detectAnnotated(segmentation, None, volume)

    assert leftOut(table) == {k: {Kind.MANY} for k in (4, 5, 6, 7, 15)}


@pytest.mark.parametrize("count", [2, 8, 9], ids="{} segments".format)
def test_overlapping_segments_are_counted_each_for_itself(volume, count) -> None:
    masks = {f"part {n}": squares((8, 20 - n), (12, 20 - 2 * n)) for n in range(count)}
    segmentation = addSegmentation(masks, volume)

    table = detectAnnotated(segmentation, None, volume)
    contents = Painting(segmentation, None, volume).contentsOf("K", 8)

    assert complete(table) == [8, 12]  # 16 mm apart: nothing to compare with
    assert Labelmaps.layersOf(segmentation)[1:]
    assert [contents[each].now for each in masks] == [(20 - n) ** 2 for n in range(count)]
    assert all(content.changed == content.now for content in contents.values())


def test_many_slices_that_lie_apart_were_painted_one_by_one(volume) -> None:
    """Yesterday's annotations, loaded from a file that knows nothing of UnCoL."""
    segmentation = addSegmentation({"liver": squares(*((k, 20) for k in range(2, 20, 3)))}, volume)

    assert complete(detectAnnotated(segmentation, None, volume)) == list(range(2, 20, 3))


def test_a_segment_that_is_added_later_was_not_asked_about_in_earlier_slices(volume) -> None:
    liver, spleen = squares((4, 10), (8, 10), (12, 10), (16, 10)), square(12, 8, first=20)
    segmentation = addSegmentation({"liver": liver}, volume)
    detectAnnotated(segmentation, None, volume)
    segmentation.GetSegmentation().AddEmptySegment("spleen", "spleen")
    paint(segmentation, "spleen", spleen, volume)

    table = detectAnnotated(segmentation, None, volume)
    labels, values, notes = sent(segmentation, volume, table)

    assert complete(table) == [12]
    assert {row.index: row.knownIds for row in table.rows if row.knownIds} == dict.fromkeys((4, 8, 16), ("liver",))
    assert (labels[12] == np.where(spleen, values["spleen"], np.where(liver, values["liver"], 0))[12]).all()
    for k in (4, 8, 16):
        assert (labels[k] == np.where(liver[k], values["liver"], UNKNOWN_LABEL)).all()
    assert any('In K:4, K:8, K:16 only "liver" counts as annotated' in note for note in notes)


def test_one_tick_says_that_the_later_segment_is_not_in_an_earlier_slice(volume) -> None:
    segmentation = addSegmentation({"liver": squares((4, 10), (12, 10))}, volume)
    detectAnnotated(segmentation, None, volume)
    segmentation.GetSegmentation().AddEmptySegment("spleen", "spleen")
    paint(segmentation, "spleen", square(12, 8, first=20), volume)
    detectAnnotated(segmentation, None, volume)

    markComplete(segmentation, volume, "K", 4, True)

    assert complete(detectAnnotated(segmentation, None, volume)) == [4, 12]


def test_a_new_segment_of_an_old_name_was_not_asked_about(volume) -> None:
    segmentation = addSegmentation({"liver": squares((4, 10), (12, 10)), "spleen": squares((4, 4), (12, 4))}, volume)
    detectAnnotated(segmentation, None, volume)
    segmentation.GetSegmentation().RemoveSegment("liver")
    segmentation.GetSegmentation().AddEmptySegment("liver-2", "liver")
    paint(segmentation, "liver-2", square(8, 10), volume)

    labels, values, _notes = sent(segmentation, volume, detectAnnotated(segmentation, None, volume))

    assert not (labels[[4, 12]] == 0).any()
    assert (labels[8] == values["liver"]).sum() == 100


def test_a_segment_that_is_empty_is_not_looked_for(volume) -> None:
    segmentation = addSegmentation({"liver": square(4, 10), "later": np.zeros(SHAPE)}, volume)

    table = detectAnnotated(segmentation, None, volume)

    assert complete(table) == [4]
    assert (sent(segmentation, volume, table)[0][4] != UNKNOWN_LABEL).all()


def test_a_second_segment_that_its_neighbor_slice_shows_is_not_taken_for_absent(volume) -> None:
    both = {"liver": square(12, 10), "spleen": square(12, 8, first=20)}
    segmentation = addSegmentation(both, volume)
    detectAnnotated(segmentation, None, volume)
    paint(segmentation, "liver", squares((12, 10), (13, 10)), volume)

    table = detectAnnotated(segmentation, None, volume)

    assert complete(table) == [12]
    assert {row.index: row.knownIds for row in table.rows if row.knownIds} == {13: ("liver",)}


def test_what_was_cleared_is_taught_nowhere(volume) -> None:
    segmentation = addSegmentation({"liver": squares((8, 10), (9, 10)), "spleen": square(15, 8)}, volume)
    detectAnnotated(segmentation, None, volume)

    slicer.vtkSlicerSegmentationsModuleLogic.ClearSegment(segmentation, "liver")

    assert complete(detectAnnotated(segmentation, None, volume)) == [15]
    assert segmentOf(segmentation, "liver") is not None
