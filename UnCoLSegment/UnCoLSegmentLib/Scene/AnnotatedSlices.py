"""Which slices count as annotated, for which segments: those that the user painted whole, and those that they say are.

What an accepted proposal put into the segmentation is not painting: `Painting` remembers it and compares. What is not
said by the user is only a guess from what was painted, and a cautious one: a slice that looks only begun, that was
changed together with many others or that voxels only vanished from is shown, and left for the user to tick.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from slicer.i18n import tr as _

from uncol.core.errors import DataError
from uncol.core.volume import Axis
from UnCoLSegmentLib.Scene import Labelmaps
from UnCoLSegmentLib.Scene.Painting import AcceptedVoxels, Content, Painting, Slice
from UnCoLSegmentLib.Scene.SliceCover import AXES
from UnCoLSegmentLib.Scene.SliceMarks import (
    COMPLETE_KINDS,
    USERS_KINDS,
    Kind,
    Mark,
    Marks,
    readMarks,
    writeMarks,
)

MOST_AT_ONCE = 3
"""More slices than these, some side by side, are not painted between two pauses; a tool that works in 3D did it."""
BEGUN_PART = 0.5
"""A slice with less than this part of what a slice near it shows looks only begun: a round brush leaves that behind."""
BESIDE_MM = 10.0
"""So far a brush leaks; the sphere brush of the Segment Editor has about this radius."""
BEGUN_PART_OF_PROPOSAL = 0.25
"""The same against the proposal, in a slice that has no painted one near it."""


_MOST_LOOKED_AT = 30
"""Of more slices at once nobody asks which look only begun: looking at each takes its time."""
_NOTHING = Content(0, 0, 0, 0)


@dataclass(frozen=True)
class AnnotatedSlice:
    """One row of the table.

    Attributes:
        axis: The volume's voxel index that counts the slices.
        index: The slice's number along it, from 0.
        complete: Whether everything in the slice counts as annotated, background too.
        hasStructure: Whether a segment has a voxel in it.
        byUser: Whether the user said so, one way or the other.
        knownIds: The segments that count as annotated where others do not; empty where all or none do.
        kinds: Why the slice, or a segment in it, does not count as annotated.
    """

    axis: Axis
    index: int
    complete: bool
    hasStructure: bool
    byUser: bool = False
    knownIds: tuple[str, ...] = ()
    kinds: frozenset[Kind] = field(default=frozenset(), compare=False)


@dataclass(frozen=True)
class AnnotatedTable:
    """The annotated slices of one volume, sorted by axis (K, J, I) and number; one row for each slice."""

    rows: tuple[AnnotatedSlice, ...] = ()

    @classmethod
    def of(cls, rows: Iterable[AnnotatedSlice]) -> AnnotatedTable:
        """Sort rows; of several about one slice the last one counts."""
        bySlice = {(AXES.index(row.axis), row.index): row for row in rows}
        return cls(tuple(bySlice[key] for key in sorted(bySlice)))

    @property
    def complete(self) -> list[AnnotatedSlice]:
        """The rows in which everything counts as annotated."""
        return [row for row in self.rows if row.complete]

    @property
    def leftOut(self) -> list[AnnotatedSlice]:
        """The rows that are not complete, although the user did not say so."""
        return [row for row in self.rows if not row.complete and not row.byUser]


def noStructureText() -> str:
    """Return what to do when no annotated slice shows a structure."""
    return _("No annotated slice shows a structure. Paint it in at least one slice that is ticked as complete.")


def leftOutNotes(table: AnnotatedTable) -> list[str]:
    """Return a note that names the slices that are listed and not learned from; none where there are none."""
    names = ", ".join(f"{row.axis}:{row.index}" for row in table.leftOut if not row.knownIds)
    return [_("Left out, as they are not ticked as complete: {slices}.").format(slices=names)] if names else []


def readTable(segmentation: Any, volumeNode: Any) -> AnnotatedTable:
    """Return the slices of a volume that are annotated in a segmentation, or begun, as they were found last.

    Raises:
        GeometryError: If a non-linear transform lies between the nodes.
    """
    return _tableOf(readMarks(segmentation, volumeNode))


def markComplete(segmentation: Any, volumeNode: Any, axis: Axis, index: int, on: bool) -> AnnotatedTable:
    """Do what `markSlices` does to one slice."""
    return markSlices(segmentation, volumeNode, [(axis, index)], on)


def markSlices(
    segmentation: Any,
    volumeNode: Any,
    slices: Iterable[Slice],
    on: bool,
    beforeChange: Callable[[], object] = lambda: None,
) -> AnnotatedTable:
    """Note that slices are annotated completely, for all segments there are, even if they hold none; or that not.

    `beforeChange` is called first, unless all of that is noted already.

    Raises:
        DataError: If there is no segment yet: nobody knows of what they are complete.
        GeometryError: If a non-linear transform lies between the nodes.
    """
    segments = Labelmaps.segmentsOf(segmentation)
    if not segments:
        message = _('"{name}" has no segment yet. Add the structure as a segment, then say which slices are done.')
        raise DataError(message.format(name=segmentation.GetName()))
    before = readMarks(segmentation, volumeNode)
    marks = Marks(before)
    painting, kind = Painting(segmentation, None, volumeNode), Kind.COMPLETE if on else Kind.OPEN
    for place in slices:
        contents = painting.contentsOf(*place)
        marks[place] = {each: Mark(kind, contents.get(each, _NOTHING).now) for each in segments}
    if marks != before:
        beforeChange()
        writeMarks(segmentation, volumeNode, marks)
    return _tableOf(marks)


def removeSlice(segmentation: Any, volumeNode: Any, axis: Axis, index: int) -> AnnotatedTable:
    """Take a slice out of the table: nothing was said of it, and what was painted there so far is no annotation.

    The voxels stay. Painting in the slice brings it back.

    Raises:
        GeometryError: If a non-linear transform lies between the nodes.
    """
    AcceptedVoxels(segmentation).takeSlices(volumeNode, [(axis, index)])
    marks = readMarks(segmentation, volumeNode)
    marks.pop((axis, index), None)
    writeMarks(segmentation, volumeNode, marks)
    return _tableOf(marks)


def detectAnnotated(segmentation: Any, proposal: Any, volumeNode: Any) -> AnnotatedTable:
    """Find the slices that the user painted, in whatever orientation, note them and return the table.

    What the user said stays. Of all others the fewest slices are taken that together hold everything that was painted,
    along one axis, or along several if that takes fewer. A new one that shows exactly what the proposal shows there was
    copied from it by other means than ours; that is not painting.

    What is noted goes unnoticed by Slicer's undo history: after an Undo, Redo stays possible.

    Args:
        segmentation: The user's segmentation.
        proposal: The proposal that stands; None for none.
        volumeNode: The volume whose slices are counted.

    Raises:
        GeometryError: If a non-linear transform lies between the nodes.
    """
    with Labelmaps.unnoticed(segmentation):
        marks = _found(segmentation, proposal, volumeNode)
        writeMarks(segmentation, volumeNode, marks)
    return _tableOf(marks)


def _found(segmentation: Any, proposal: Any, volumeNode: Any) -> Marks:
    """Return the marks as they should be now."""
    marks = _withoutGuessesOf(_adopted(segmentation), readMarks(segmentation, volumeNode))
    painting = Painting(segmentation, proposal, volumeNode)
    kept, found = painting.slices(marks)
    copied = [place for place in found if painting.isCopied(*place)]
    AcceptedVoxels(segmentation).takeSlices(volumeNode, copied)
    found = [place for place in found if place not in copied]
    edited = [*found, *(place for place in kept if _isEdited(painting.contentsOf(*place), marks[place]))]
    judge = _Judge(painting, {*kept, *found}, edited, volumeNode)
    candidates = _segmentsThatCount(segmentation, marks) if found else []
    after = Marks()
    for place, known in marks.items():
        judged = {each: judge.again(place, each, mark) for each, mark in known.items()}
        if place in kept or any(mark.kind in USERS_KINDS for mark in known.values()):
            after[place] = {**judge.newIn(place, known), **judged}
    for place in found:
        after[place] = judge.first(place, candidates)
    return after


class _Judge:
    """Says of each segment in a slice that was painted whether it counts as complete there.

    Args:
        painting: What was painted.
        painted: All slices in which that was.
        edited: Those in which that was since it was looked for last.
        volumeNode: Tells how far slices lie from each other.
    """

    def __init__(self, painting: Painting, painted: set[Slice], edited: Collection[Slice], volumeNode: Any) -> None:
        self._painting, self._painted = painting, painted
        self._spacing_mm = dict(zip("IJK", volumeNode.GetSpacing(), strict=True))
        looksWhole = edited if len(edited) > _MOST_LOOKED_AT else [each for each in edited if self._looksWhole(each)]
        isIn3d = len(looksWhole) > MOST_AT_ONCE and any((axis, index + 1) in looksWhole for axis, index in looksWhole)
        self._many = set(looksWhole) if isIn3d else set()

    def first(self, place: Slice, segmentIds: Iterable[str]) -> dict[str, Mark]:
        """Return the marks of a slice that is found for the first time."""
        contents = self._painting.contentsOf(*place)
        ids = {*segmentIds, *(each for each, content in contents.items() if content.changed)}
        if place in self._many:
            return {each: Mark(Kind.MANY, contents.get(each, _NOTHING).now) for each in ids}
        return {each: self._guess(place, each) for each in ids}

    def newIn(self, place: Slice, known: Collection[str]) -> dict[str, Mark]:
        """Return the marks of segments that were painted in a known slice and were not asked about there before."""
        contents = self._painting.contentsOf(*place) if place in self._painted else {}
        return {each: self._guess(place, each) for each in contents if contents[each].changed and each not in known}

    def again(self, place: Slice, segmentId: str, mark: Mark) -> Mark:
        """Return the mark that a segment has now in a known slice."""
        if mark.kind in USERS_KINDS or mark.kind is Kind.MANY:
            return replace(mark, voxels=self._painting.contentsOf(*place).get(segmentId, _NOTHING).now)
        return self._guess(place, segmentId)

    def _looksWhole(self, place: Slice) -> bool:
        contents = self._painting.contentsOf(*place)
        changed = [each for each, content in contents.items() if content.changed]
        return any(self._guess(place, each).kind is Kind.PAINTED for each in changed)

    def _guess(self, place: Slice, segmentId: str) -> Mark:
        content = self._painting.contentsOf(*place).get(segmentId, _NOTHING)
        if content.changed and not content.added:
            kind = Kind.ERASED
        else:
            kind = Kind.BEGUN if self._looksBegun(place, segmentId, content) else Kind.PAINTED
        return Mark(kind, content.now)

    def _looksBegun(self, place: Slice, segmentId: str, content: Content) -> bool:
        """Compare what was painted, or else what is there, with slices that are painted near by, and the proposal."""
        near = [self._painting.contentsOf(*each).get(segmentId, _NOTHING) for each in self._near(place)]
        here = content.changed or content.now
        most = max((each.changed if content.changed else each.now for each in near), default=0)
        if here < BEGUN_PART * most:
            isOnTop = 0 < content.changed < content.now
            return isOnTop or not content.proposed or content.now < BEGUN_PART * content.proposed
        return not most and content.now < BEGUN_PART_OF_PROPOSAL * content.proposed

    def _near(self, place: Slice) -> list[Slice]:
        axis, index = place
        reach = max(1, int(BESIDE_MM / self._spacing_mm[axis]))
        return [each for each in self._painted if each[0] == axis and 0 < abs(each[1] - index) <= reach]


def _isEdited(contents: dict[str, Content], known: dict[str, Mark]) -> bool:
    """Say whether a slice holds other numbers of voxels than when it was looked at last."""
    return any(contents.get(each, _NOTHING).now != mark.voxels for each, mark in known.items())


def _adopted(segmentation: Any) -> list[str]:
    """Count the content of segments that came without the memory of what was accepted as accepted; return their IDs."""
    accepted = AcceptedVoxels(segmentation)
    lost = [each for each in segmentation.GetSegmentation().GetSegmentIDs() if accepted.isLost(each)]
    for segmentId in lost:
        accepted.takeAll(segmentId)
    return lost


def _withoutGuessesOf(segmentIds: Collection[str], marks: Marks) -> Marks:
    """Return marks in which those of some segments count as said by the user: they cannot be guessed again."""
    if not segmentIds:
        return marks
    return {
        place: {each: _fixed(mark) if each in segmentIds else mark for each, mark in known.items()}
        for place, known in marks.items()
    }


def _fixed(mark: Mark) -> Mark:
    return replace(mark, kind=Kind.COMPLETE if mark.kind in COMPLETE_KINDS else Kind.OPEN)


def _segmentsThatCount(segmentation: Any, marks: Marks) -> list[str]:
    """Return the segments that the user looks for: those that have voxels, and those of which something is known."""
    known = {segmentId for each in marks.values() for segmentId in each}
    ids = segmentation.GetSegmentation().GetSegmentIDs()
    return [each for each in ids if each in known or Labelmaps.filledPart(segmentation, each) is not None]


def _tableOf(marks: Marks) -> AnnotatedTable:
    """Return the table: a slice is complete if it is for all segments that are learned, those shown in a slice."""
    learned = {
        segmentId
        for known in marks.values()
        for segmentId, mark in known.items()
        if mark.voxels and mark.kind in COMPLETE_KINDS
    }
    return AnnotatedTable.of(_rowOf(place, known, learned or set(known)) for place, known in marks.items())


def _rowOf(place: Slice, known: dict[str, Mark], learned: set[str]) -> AnnotatedSlice:
    isComplete = {each for each, mark in known.items() if mark.kind in COMPLETE_KINDS}
    complete = learned <= isComplete
    return AnnotatedSlice(
        *place,
        complete=complete,
        hasStructure=any(mark.voxels for mark in known.values()),
        byUser=all(mark.kind in USERS_KINDS for mark in known.values()),
        knownIds=() if complete else tuple(sorted(isComplete & learned)),
        kinds=frozenset(mark.kind for mark in known.values() if mark.kind not in COMPLETE_KINDS),
    )
