"""The section "Uncertainty": which map lies over the volume, how, and where it is largest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import slicer
from slicer.i18n import tr as _

from UnCoLSegmentLib.Logic import Logic
from UnCoLSegmentLib.Panel.Buttons import enable
from UnCoLSegmentLib.Panel.Message import Message
from UnCoLSegmentLib.ParameterNode import ParameterNode
from UnCoLSegmentLib.Scene import UncertaintyDisplay
from UnCoLSegmentLib.Scene.Rounds import Round
from UnCoLSegmentLib.Scene.RunScene import BOTH_ATTRIBUTE, MODEL_ATTRIBUTE
from UnCoLSegmentLib.Scene.SliceViews import compositeNodes, sliceNodes


class UncertaintySection:
    """Shows the map and finds its worst region.

    Args:
        ui: The panel's widgets by name.
        logic: Knows the models and how they were measured.
    """

    def __init__(self, ui: Any, logic: Logic) -> None:
        self.ui, self._logic = ui, logic
        self._parameters: ParameterNode | None = None
        self._shown: object = None
        self._message = Message(
            ui.uncertaintyMessageFrame,
            ui.uncertaintyMessageIcon,
            ui.uncertaintyMessageLabel,
            ui.uncertaintyMessageDetailsButton,
        )
        ui.uncertaintySelector.addAttribute("vtkMRMLScalarVolumeNode", UncertaintyDisplay.ATTRIBUTE)
        ui.jumpToWorstButton.connect("clicked(bool)", self._onJumpToWorst)

    def update(self, parameters: ParameterNode | None) -> None:
        """Show the map as the parameters say."""
        self._parameters = parameters
        node = parameters.uncertaintyVolume if parameters else None
        missing = "" if node else _("There is no uncertainty map yet. Segment the volume first.")
        enable(self.ui.jumpToWorstButton, missing, _("Center the slice views on the region of highest uncertainty"))
        for control, purpose in (
            (self.ui.uncertaintyShownCheckBox, _("Lay the map over the volume in the slice views")),
            (self.ui.legendShownCheckBox, _("Explain the colors in the slice views")),
            (self.ui.opacitySlider, _("0 hides the map, 1 hides the volume")),
            (self.ui.thresholdSlider, _("Only uncertainty from this value on is shown")),
        ):
            enable(control, missing, purpose)
        if parameters is not None and node is not None and node.GetImageData() is not None:
            self._display(parameters, node)
        self._showTrust(parameters)

    def forgetScene(self) -> None:
        """Let go of a scene that is being closed."""
        self._shown = None
        self._message.clear()

    def _display(self, parameters: ParameterNode, node: Any) -> None:
        """Change slice views and display only where the user changed something: others may want them otherwise."""
        wanted = (
            node.GetID(),
            parameters.uncertaintyShown,
            parameters.legendShown,
            parameters.uncertaintyOpacity,
            parameters.uncertaintyThreshold,
        )
        if wanted == self._shown:
            return
        self._shown = wanted
        UncertaintyDisplay.show(node, parameters.uncertaintyOpacity, parameters.uncertaintyThreshold)
        opacity = parameters.uncertaintyOpacity if parameters.uncertaintyShown else 0.0
        UncertaintyDisplay.setAsForeground(compositeNodes(), parameters.inputVolume, node, opacity)
        legend = UncertaintyDisplay.addLegend(node)
        if legend is not None:
            legend.SetVisibility(parameters.legendShown and parameters.uncertaintyShown)

    def _showTrust(self, parameters: ParameterNode | None) -> None:
        text = trustText(parameters, self._logic) if parameters else ""
        self.ui.trustLabel.text, self.ui.trustLabel.visible = text, bool(text)

    def _onJumpToWorst(self) -> None:
        assert self._parameters is not None  # without parameters the button is disabled
        with self._message.reporting(), slicer.util.RenderBlocker():
            ras, value = UncertaintyDisplay.worstPoint(self._parameters.uncertaintyVolume)
            UncertaintyDisplay.jumpTo(sliceNodes(), ras)
            text = _("Least sure here: {value:.2f} on average, where 0 is sure and 1 is a coin toss.")
            self._message.showInformation(text.format(value=value))


def trustText(parameters: ParameterNode, logic: Logic) -> str:
    """Return how far proposal and map can be trusted, as measured; "" while there is no map."""
    if parameters.uncertaintyVolume is None or parameters.proposal is None:
        return ""
    rounds = logic.rounds(parameters)
    name, both = (parameters.proposal.GetAttribute(each) or "" for each in (MODEL_ATTRIBUTE, BOTH_ATTRIBUTE))
    return " ".join(filter(None, [_modelTrust(name, rounds, bool(both)), _mapTrust(rounds)]))


def _modelTrust(name: str, rounds: Sequence[Round], byBothTeachers: bool) -> str:
    """Return what the model behind the proposal scored on slices of this volume, or why that is not known."""
    if not name:
        return _(
            "Not measured: this proposal comes from the foundation model. Annotate a few slices and fine-tune to get a "
            "score."
        )
    entry = next((each for each in reversed(rounds) if each.get("model") == name), None)
    if entry is None:
        return _("Not measured on this volume: the model learned from another one.")
    if "activated" not in entry:
        return _("Not measured yet: the fine-tuning has not ended.")
    if not entry.get("heldOut"):
        return _("Not measured: too few annotated slices to hold some out.")
    scores = ", ".join(f"{structure} {score:.2f}" for structure, score in entry["heldOut"].items())
    if byBothTeachers:
        text = _(
            "The model alone, on annotated slices that it had not seen (Dice): {scores}. The foundation model had a "
            "say here, too."
        )
    else:
        text = _("Measured on annotated slices that the model had not seen (Dice): {scores}.")
    return text.format(scores=scores)


def _mapTrust(rounds: Sequence[Round]) -> str:
    """Return how well the last map that met newly annotated slices had found the errors there."""
    last = next((each for each in reversed(rounds) if each.get("errorAuroc") is not None), None)
    if last is None:
        return ""
    text = _(
        "Slices newly annotated for round {number} showed what the map was worth: a wrong voxel near a contour was "
        "less sure than a right one in {percent:.0f} of 100 cases (50 is chance)."
    )
    return text.format(number=last["number"], percent=100 * last["errorAuroc"])
