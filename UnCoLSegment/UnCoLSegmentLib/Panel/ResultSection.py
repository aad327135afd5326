"""The section "Result": what is proposed and how large it is, where to look, and what lies over the views."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from html import escape
from typing import Any

import slicer
from slicer.i18n import tr as _

from uncol.core.findings import Finding, ml_text
from uncol.core.volume import Axis
from UnCoLSegmentLib.Engine.Run import RunResult
from UnCoLSegmentLib.Logic import Logic
from UnCoLSegmentLib.Panel.Controls import enable
from UnCoLSegmentLib.Panel.Section import Message, Section
from UnCoLSegmentLib.Panel.ViewTexts import ViewTexts
from UnCoLSegmentLib.ParameterNode import Overlay, ParameterNode
from UnCoLSegmentLib.Scene import Bridge, Labelmaps, Places, UncertaintyDisplay
from UnCoLSegmentLib.Scene.Maker import Maker
from UnCoLSegmentLib.Scene.Overlay import Overlay as OverlayInViews
from UnCoLSegmentLib.Scene.ResultDisplay import ResultDisplay
from UnCoLSegmentLib.Scene.Results import VOLUME_ROLE
from UnCoLSegmentLib.Scene.Rounds import Round


class ResultSection(Section):
    """Shows the proposal and its map, and leads to where the map is largest.

    Args:
        ui: The panel's widgets by name.
        logic: What does the work.
        message: Where it is told how clicks ended.
        done: Returns the slices of the volume that are done.
    """

    _during = slicer.util.RenderBlocker

    def __init__(
        self, ui: Any, logic: Logic, message: Message, done: Callable[[], Collection[tuple[Axis, int]]]
    ) -> None:
        super().__init__(ui, logic, message)
        self._shown: object = None
        self._lifted, self._display = OverlayInViews(slicer.mrmlScene), ResultDisplay()
        self._texts = ViewTexts(lambda: self._display.shown, done)
        ui.uncertaintySelector.addAttribute("vtkMRMLScalarVolumeNode", Bridge.UNCERTAINTY_ATTRIBUTE)
        ui.show3DButton.connect("clicked(bool)", self._display.show3D)
        for button, other in ((ui.compareButton, "own"), (ui.compareBeforeButton, "earlier")):
            button.connect("pressed()", partial(self.compare, other))
            button.connect("released()", partial(self.compare, ""))
        ui.proposalFilledCheckBox.connect("clicked(bool)", self._display.fill)
        self._onClicks((ui.unsureButton, self._nextOverlay))
        ui.hideButton.connect("clicked(bool)", self._hide)
        self._follow(logic.finished, self._onResult)

    def update(self, parameters: ParameterNode | None) -> None:
        """Show the state of the parameters."""
        super().update(parameters)
        ui, proposal = self.ui, parameters.proposal if parameters else None
        node = parameters.uncertaintyVolume if parameters else None
        self._display.follow(proposal, parameters.segmentation if parameters else None, node)
        enable(
            "" if proposal is not None else _("There is no proposal yet. Segment the volume first."),
            (ui.compareButton, _("Hold it, or the key C, to see your segmentation alone instead of the proposal")),
            (ui.hideButton, _("Show the image alone, and everything again with the next click")),
            (ui.proposalFilledCheckBox, _("Fill the proposal in the slice views; otherwise only its outline is drawn")),
        )
        missing = _("There was no proposal before the last run.")
        purpose = _("Hold it, or the keys Shift+C, to see the proposal of before the last run instead of this one")
        enable("" if self._display.hasEarlier else missing, (ui.compareBeforeButton, purpose))
        ui.show3DButton.checked = self._display.is3D
        ui.proposalFilledCheckBox.checked = self._display.isFilled
        ui.hideButton.checked = self._display.isHidden
        enable(
            "" if node else _("There is no uncertainty map yet. Segment the volume first."),
            (
                ui.unsureButton,
                _("Show numbered outlines of the places to look at, or the map itself, or neither"),
            ),
            (ui.show3DButton, _("Show the proposal in the 3D views, colored where it is unsure")),
            (ui.legendShownCheckBox, _("Explain the colors in the slice views")),
            (ui.opacitySlider, _("0 hides the map, 1 hides the volume")),
            (ui.thresholdSlider, _("Only uncertainty from this value on is shown")),
        )
        if parameters is not None:
            self._lay(parameters, node)
        text = _structuresText(proposal)
        ui.structuresLabel.text = text or escape(_("Nothing is proposed yet."))
        ui.trustLabel.text = trustText(parameters, self._logic) if parameters else ""
        ui.trustLabel.visible = bool(ui.trustLabel.text)

    def compare(self, other: str) -> None:
        """Show "own", the user's segmentation, or "earlier", what was proposed before, instead of the proposal.

        "" shows again what was shown.
        """
        if other == "earlier" and not self._display.hasEarlier:
            self._message.showInformation(self.ui.compareBeforeButton.toolTip)
            return
        self._display.compare(other)
        self.showTexts()

    def showTexts(self) -> None:
        """Write into the slice views what they show; called when that, or what is done, has changed."""
        self._texts.update(self._parameters.inputVolume if self._parameters is not None else None)

    def leave(self) -> None:
        """The user goes to another module: the views are not ours there."""
        self._texts.remove()

    def forgetScene(self) -> None:
        """Let go of a scene that is being closed."""
        self._shown = None
        self._texts.remove()
        self._lifted.forget()
        self._message.clear()

    def disconnect(self) -> None:
        """Follow logic and views no more."""
        super().disconnect()
        self._lifted.close()

    def _onResult(self, _result: RunResult) -> None:
        self._display.showAnew()
        self.ui.show3DButton.checked = self._display.is3D

    def _nextOverlay(self) -> None:
        ways = list(Overlay)
        self._given.overlay = ways[(ways.index(self._given.overlay) + 1) % len(ways)]

    def _hide(self, isHidden: bool) -> None:
        self._display.hide(isHidden)
        self.update(self._parameters)
        self.showTexts()

    def _lay(self, parameters: ParameterNode, node: Any) -> None:
        """Change the display only where the user changed something here: elsewhere they may want it otherwise."""
        isThere = node is not None and node.GetImageData() is not None
        way = Overlay.OFF if self._display.isHidden else parameters.overlay
        words = {Overlay.REGIONS: _("regions"), Overlay.HEAT: _("heat"), Overlay.OFF: _("off")}
        self.ui.unsureButton.text = _("Unsure: {what} (U)").format(what=words[parameters.overlay])
        if parameters.inputVolume is not None:
            Places.show(parameters.inputVolume, way is Overlay.REGIONS)
        isShown = way is Overlay.HEAT
        volume = (node.GetNodeReference(VOLUME_ROLE) or parameters.inputVolume) if isThere else None
        if volume is None or not isShown:
            self._lifted.hide()
        else:
            self._lifted.show(volume, node, parameters.uncertaintyOpacity)
        hasLegend = parameters.legendShown and isShown
        wanted = (node and node.GetID(), hasLegend, parameters.uncertaintyThreshold)
        if isThere and wanted != self._shown:
            self._shown = wanted
            unsureFrom = Places.findingsOf(parameters.proposal).unsure_from
            UncertaintyDisplay.show(node, parameters.uncertaintyThreshold, unsureFrom)
            UncertaintyDisplay.addLegend(node).SetVisibility(hasLegend)


def _structuresText(proposal: Any) -> str:
    """Return the structures as rich text: color, name, volume and its range, and what Dice to expect, or why not."""
    found = {each.name: each for each in Places.findingsOf(proposal).structures}
    rows, reasons = [], []
    for segment in Labelmaps.segmentsOf(proposal).values() if proposal is not None else ():
        color = "#" + "".join(f"{round(255 * each):02x}" for each in segment.GetColor())
        name, finding = segment.GetName(), found.get(segment.GetName(), Finding(segment.GetName(), 1))
        volume = _("{volume} ml").format(volume=ml_text(finding.volume_ml)) if finding.volume_ml is not None else ""
        rows.append(
            f'<tr><td><span style="color:{color}">&#9632;</span> {escape(name)}</td>'
            f'<td align="right"><b>{escape(volume)}</b></td></tr>'
        )
        details = filter(None, [_rangeText(finding), _diceText(finding)])
        rows.append(f'<tr><td colspan="2">{escape(" ".join(details))}</td></tr>')
        reasons.append(finding.why_no_promise)
    sentences = "<br>".join(escape(each) for each in dict.fromkeys(filter(None, reasons)))
    return f'<table width="100%">{"".join(rows)}</table>{sentences}' if rows else ""


def _rangeText(finding: Finding) -> str:
    if finding.volume_range_ml is None:
        return ""
    low, high = map(ml_text, finding.volume_range_ml)
    if finding.range_rests_on == "promise":
        return _("{low} to {high} ml in 90 of 100 cases.").format(low=low, high=high)
    return _("Sure: {low} ml, possible: {high} ml.").format(low=low, high=high)


def _diceText(finding: Finding) -> str:
    if finding.predicted_dice is None:
        return ""
    text = _("Expected Dice {0:.2f} ({1:.2f} to {2:.2f}).").format(*finding.predicted_dice)
    if finding.is_enough:
        return _("{text} More slices would change little.").format(text=text)
    if finding.with_two_more is not None:
        return _("{text} Two more slices: about {dice:.2f}.").format(text=text, dice=finding.with_two_more)
    return text


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
