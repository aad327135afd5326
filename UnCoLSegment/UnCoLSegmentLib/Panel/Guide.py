"""What to do next, in a sentence; which button does it, and which sections it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from slicer.i18n import tr as _

from UnCoLSegmentLib.Engine.Run import RunState
from UnCoLSegmentLib.Logic import Logic
from UnCoLSegmentLib.Panel.Controls import makePrimary
from UnCoLSegmentLib.ParameterNode import ParameterNode, SegmentFrom
from UnCoLSegmentLib.Scene import Bridge
from UnCoLSegmentLib.Scene.AnnotatedSlices import AnnotatedTable
from UnCoLSegmentLib.Scene.Maker import Maker

ENOUGH_SLICES = 3
"""So many finished slices that the model has not seen are worth learning from; before, more of them are asked for."""
SECTIONS = ("segment", "result", "correct", "fineTune", "models", "advanced")
_SECTIONS_OF = {"start": ("segment",), "check": ("result", "correct"), "learn": ("correct", "fineTune")}
_PRIMARY = ("setUpButton", "sampleButton", "segmentButton", "sliceIsRightButton", "fineTuneButton")


@dataclass(frozen=True)
class NextStep:
    """What to do next.

    Attributes:
        text: The same in words.
        button: Name of the button that does it.
        turn: Whose turn it is: "start", "check" or "learn".
    """

    text: str
    button: str
    turn: str = "start"


def nextStep(
    parameters: ParameterNode | None, logic: Logic, table: AnnotatedTable, missing: Sequence[str], isPlacing: bool
) -> NextStep:
    """Return what to do next.

    Args:
        parameters: The panel's choices.
        logic: What does the work.
        table: The finished slices.
        missing: Packages that the engine lacks.
        isPlacing: Whether the next clicks place a box.
    """
    if missing:
        text = _("Next: set up UnCoL once (about 1 GB, some minutes). No image ever leaves this computer.")
        return NextStep(text, "setUpButton")
    if parameters is None or parameters.inputVolume is None:
        return NextStep(_("Next: load a CT or MR, or choose the volume to segment."), "sampleButton")
    if isPlacing:
        text = _("Next: click two opposite corners of the structure in a slice view. Escape leaves the box as it was.")
        return NextStep(text, "segmentButton")
    new = _newSlices(parameters, table)
    if new >= ENOUGH_SLICES and not logic.whyNotFineTune(parameters):
        return NextStep(_("Next: Fine-tune, to learn from {count} finished slices.").format(count=new), *_LEARN)
    if parameters.proposal is not None:
        return NextStep(_checkText(new), "sliceIsRightButton", "check")
    return NextStep(_startText(parameters, logic), "segmentButton")


_LEARN = ("fineTuneButton", "learn")


def _newSlices(parameters: ParameterNode, table: AnnotatedTable) -> int:
    """Return how many finished slices the model behind the proposal has not learned from."""
    maker = Maker.of(parameters.proposal)
    known = set(maker.known) if maker.model else set()
    return sum(f"{row.axis}:{row.index}" not in known for row in table.complete)


def _checkText(new: int) -> str:
    if not new:
        return _("Next: look at a slice. D if it is right; if not, correct it and then D.")
    if new == ENOUGH_SLICES - 1:
        return _("Next: finish one more slice, then Fine-tune.")
    return _("Next: finish {count} more slices, then Fine-tune.").format(count=max(1, ENOUGH_SLICES - new))


def _startText(parameters: ParameterNode, logic: Logic) -> str:
    obstacle = logic.whyNotSegment(parameters)
    if parameters.segmentFrom is SegmentFrom.MODEL and not obstacle:
        return _('Next: Segment with the model "{name}".').format(name=parameters.modelName)
    if parameters.segmentFrom is SegmentFrom.SLICES and not obstacle:
        return _("Next: Segment, to spread your finished slices over the volume.")
    if parameters.segmentFrom is SegmentFrom.BOX and parameters.roi is not None and Bridge.isPlaced(parameters.roi):
        return _("Next: pull the faces of the box to the structure, then Segment.")
    if parameters.inputVolume.GetImageData() is None:
        return obstacle
    return _("Next: Segment, then draw a box around the structure.")


class Guide:
    """Lets the button of the next step stand out, and opens sections when their turn comes.

    Of the sections that it opened it folds those whose turn is over; never one that the user opened.

    Args:
        ui: The panel's widgets by name.
    """

    def __init__(self, ui: Any) -> None:
        self.ui = ui
        self._heads = {name: getattr(ui, f"{name}CollapsibleButton") for name in SECTIONS}
        self._opened, self._turn = {"segment"}, "start"
        for name, head in self._heads.items():
            head.connect("clicked(bool)", self._byUser(name))

    def show(self, step: NextStep, state: RunState) -> None:
        """Show the next step; while a run goes on nothing is folded."""
        for name in _PRIMARY:
            button = getattr(self.ui, name)
            makePrimary(button, name == step.button and button.enabled)
        if state is not RunState.IDLE or step.turn == self._turn:
            return
        self._turn, wanted = step.turn, _SECTIONS_OF[step.turn]
        for name in self._opened.difference(wanted):
            self._heads[name].collapsed = True
        new = {name for name in wanted if self._heads[name].collapsed}
        for name in new:
            self._heads[name].collapsed = False
        self._opened = self._opened.intersection(wanted) | new

    def _byUser(self, name: str) -> Any:
        def note() -> None:
            self._opened.discard(name)

        return note
