"""The section "Result": what is proposed and how large it is, where to look, and what lies over the views."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import slicer
from slicer.i18n import tr as _

from UnCoLSegmentLib.Engine.Run import RunResult
from UnCoLSegmentLib.Logic import Logic
from UnCoLSegmentLib.Panel.Controls import enable
from UnCoLSegmentLib.Panel.Section import Message, Section
from UnCoLSegmentLib.ParameterNode import ParameterNode
from UnCoLSegmentLib.Scene import Bridge, Labelmaps, SliceViews, UncertaintyDisplay
from UnCoLSegmentLib.Scene.Maker import Maker
from UnCoLSegmentLib.Scene.Overlay import Overlay
from UnCoLSegmentLib.Scene.ResultDisplay import ResultDisplay
from UnCoLSegmentLib.Scene.Rounds import Round
from UnCoLSegmentLib.Scene.RunScene import VOLUME_ROLE


class ResultSection(Section):
    """Shows the proposal and its map, and leads to where the map is largest."""

    _during = slicer.util.RenderBlocker

    def __init__(self, ui: Any, logic: Logic, message: Message) -> None:
        super().__init__(ui, logic, message)
        self._shown: object = None
        self._overlay, self._display = Overlay(slicer.mrmlScene), ResultDisplay()
        ui.uncertaintySelector.addAttribute("vtkMRMLScalarVolumeNode", Bridge.UNCERTAINTY_ATTRIBUTE)
        ui.show3DButton.connect("clicked(bool)", self._display.show3D)
        ui.compareButton.connect("pressed()", lambda: self.compare(True))
        ui.compareButton.connect("released()", lambda: self.compare(False))
        ui.proposalFilledCheckBox.connect("clicked(bool)", self._display.fill)
        self._onClicks((ui.nextPlaceButton, self._jumpToWorst), (ui.unsureButton, self._toggleUnsure))
        ui.hideButton.connect("clicked(bool)", self._hide)
        self._follow(logic.finished, self._onResult)

    def update(self, parameters: ParameterNode | None) -> None:
        """Show the state of the parameters."""
        super().update(parameters)
        ui, proposal = self.ui, parameters.proposal if parameters else None
        self._display.follow(proposal, parameters.segmentation if parameters else None)
        enable(
            "" if proposal is not None else _("There is no proposal yet. Segment the volume first."),
            (ui.show3DButton, _("Show the proposal as a surface in the 3D views")),
            (ui.compareButton, _("Hold it, or the key C, to see your segmentation alone instead of the proposal")),
            (ui.hideButton, _("Show the image alone, and everything again with the next click")),
            (ui.proposalFilledCheckBox, _("Fill the proposal in the slice views; otherwise only its outline is drawn")),
        )
        ui.show3DButton.checked = self._display.is3D
        ui.proposalFilledCheckBox.checked = self._display.isFilled
        ui.hideButton.checked = self._display.isHidden
        node = parameters.uncertaintyVolume if parameters else None
        enable(
            "" if node else _("There is no uncertainty map yet. Segment the volume first."),
            (ui.nextPlaceButton, _("Center the slice views and the crosshair on the region of highest uncertainty")),
            (ui.unsureButton, _("Lay the uncertainty over the volume in the slice views, or take it away")),
            (ui.legendShownCheckBox, _("Explain the colors in the slice views")),
            (ui.opacitySlider, _("0 hides the map, 1 hides the volume")),
            (ui.thresholdSlider, _("Only uncertainty from this value on is shown")),
        )
        if parameters is not None:
            self._lay(parameters, node)
        text = _structuresText(proposal, parameters)
        ui.structuresLabel.text = text or escape(_("Nothing is proposed yet."))
        ui.trustLabel.text = trustText(parameters, self._logic) if parameters else ""
        ui.trustLabel.visible = bool(ui.trustLabel.text)

    def compare(self, isOn: bool) -> None:
        """Show the user's segmentation instead of the proposal while this is on."""
        self._display.compare(isOn)

    def forgetScene(self) -> None:
        """Let go of a scene that is being closed."""
        self._shown = None
        self._overlay.forget()
        self._message.clear()

    def disconnect(self) -> None:
        """Follow logic and views no more."""
        super().disconnect()
        self._overlay.close()

    def _onResult(self, _result: RunResult) -> None:
        self._display.showAnew()

    def _toggleUnsure(self) -> None:
        self._given.uncertaintyShown = not self._given.uncertaintyShown

    def _hide(self, isHidden: bool) -> None:
        self._display.hide(isHidden)
        self.update(self._parameters)

    def _lay(self, parameters: ParameterNode, node: Any) -> None:
        """Change the display only where the user changed something here: elsewhere they may want it otherwise."""
        isThere = node is not None and node.GetImageData() is not None
        isShown = parameters.uncertaintyShown and not self._display.isHidden
        volume = (node.GetNodeReference(VOLUME_ROLE) or parameters.inputVolume) if isThere else None
        if volume is None or not isShown:
            self._overlay.hide()
        else:
            self._overlay.show(volume, node, parameters.uncertaintyOpacity)
        hasLegend = parameters.legendShown and isShown
        wanted = (node and node.GetID(), hasLegend, parameters.uncertaintyThreshold)
        if isThere and wanted != self._shown:
            self._shown = wanted
            UncertaintyDisplay.show(node, parameters.uncertaintyThreshold)
            UncertaintyDisplay.addLegend(node).SetVisibility(hasLegend)

    def _jumpToWorst(self) -> None:
        ras, value = UncertaintyDisplay.worstPoint(self._given.uncertaintyVolume)
        SliceViews.centerOn(ras)
        text = _("Most uncertain place: {value:.2f} on average (0 is certain, 1 is as uncertain as possible).")
        self._message.showInformation(text.format(value=value))


def _structuresText(proposal: Any, _parameters: ParameterNode | None) -> str:
    """Return the structures as rich text, each with its color."""
    rows = []
    for segment in Labelmaps.segmentsOf(proposal).values() if proposal is not None else ():
        color = "#" + "".join(f"{round(255 * each):02x}" for each in segment.GetColor())
        rows.append(f'<span style="color:{color}">&#9632;</span> {escape(segment.GetName())}')
    return "<br>".join(rows)


def trustText(parameters: ParameterNode, logic: Logic) -> str:
    """Return how far proposal and map can be trusted, as measured; "" while there is no map."""
    if parameters.uncertaintyVolume is None or parameters.proposal is None:
        return ""
    rounds = logic.rounds(parameters)
    maker = Maker.of(parameters.proposal)
    return " ".join(filter(None, [_modelTrust(maker.model, rounds, maker.byBoth), _mapTrust(rounds)]))


def _modelTrust(name: str, rounds: Sequence[Round], byBothTeachers: bool) -> str:
    """Return what the model behind the proposal scored on slices of this volume, or why that is not known."""
    if not name:
        return _(
            "Not measured: this proposal comes from the foundation model. Annotate a few slices and fine-tune to get a "
            "score."
        )
    entry = next((each for each in reversed(rounds) if each.model == name), None)
    if entry is None:
        return _("Not measured on this volume: the model learned from another one.")
    if entry.activated is None:
        return _("Not measured yet: the fine-tuning has not ended.")
    if not entry.heldOut:
        return _("Not measured: too few annotated slices to hold some out.")
    scores = ", ".join(f"{structure} {score:.2f}" for structure, score in entry.heldOut.items())
    text = _("Measured on annotated slices that the model had not seen (Dice): {scores}.")
    if byBothTeachers:
        text = _(
            "The model alone, on annotated slices that it had not seen (Dice): {scores}. The foundation model had a "
            "say here, too."
        )
    return text.format(scores=scores)


def _mapTrust(rounds: Sequence[Round]) -> str:
    """Return how well the last map that met newly annotated slices had found the errors there."""
    last = next((each for each in reversed(rounds) if each.errorAuroc is not None), None)
    if last is None:
        return ""
    text = _(
        "On the slices that were annotated for round {number} the map before it found errors near contours with an "
        "AUROC of {auroc:.2f} (1 is perfect, 0.5 is chance)."
    )
    measured = text.format(number=last.number, auroc=last.errorAuroc)
    return measured if last.activated is None else _("{measured} The map shown now is newer.").format(measured=measured)
