"""The section "Uncertainty": which map lies over the volume, how, and where it is largest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import slicer
from slicer.i18n import tr as _

from UnCoLSegmentLib.Logic import Logic
from UnCoLSegmentLib.Panel.Controls import enable
from UnCoLSegmentLib.Panel.Section import Section
from UnCoLSegmentLib.ParameterNode import ParameterNode
from UnCoLSegmentLib.Scene import Bridge, SliceViews, UncertaintyDisplay
from UnCoLSegmentLib.Scene.Maker import Maker
from UnCoLSegmentLib.Scene.Overlay import Overlay
from UnCoLSegmentLib.Scene.Rounds import Round
from UnCoLSegmentLib.Scene.RunScene import VOLUME_ROLE


class UncertaintySection(Section):
    """Shows the map and finds its worst region."""

    _during = slicer.util.RenderBlocker

    def __init__(self, ui: Any, logic: Logic) -> None:
        super().__init__(ui, logic, "uncertainty")
        self._shown: object = None
        self._overlay = Overlay(slicer.mrmlScene)
        ui.uncertaintySelector.addAttribute("vtkMRMLScalarVolumeNode", Bridge.UNCERTAINTY_ATTRIBUTE)
        self._onClicks((ui.jumpToWorstButton, self._jumpToWorst))
        self._follow(logic.outdated, self._message.clear)

    def update(self, parameters: ParameterNode | None) -> None:
        """Show the map as the parameters say."""
        super().update(parameters)
        node = parameters.uncertaintyVolume if parameters else None
        enable(
            "" if node else _("There is no uncertainty map yet. Segment the volume first."),
            (
                self.ui.jumpToWorstButton,
                _("Center the slice views and the crosshair on the region of highest uncertainty"),
            ),
            (self.ui.uncertaintyShownCheckBox, _("Lay the map over the volume in the slice views")),
            (self.ui.legendShownCheckBox, _("Explain the colors in the slice views")),
            (self.ui.opacitySlider, _("0 hides the map, 1 hides the volume")),
            (self.ui.thresholdSlider, _("Only uncertainty from this value on is shown")),
        )
        if parameters is not None:
            self._display(parameters, node)
        self.ui.trustLabel.text = trustText(parameters, self._logic) if parameters else ""
        self.ui.trustLabel.visible = bool(self.ui.trustLabel.text)

    def forgetScene(self) -> None:
        """Let go of a scene that is being closed."""
        self._shown = None
        self._overlay.forget()
        self._message.clear()

    def disconnect(self) -> None:
        """Follow logic and views no more."""
        super().disconnect()
        self._overlay.close()

    def _display(self, parameters: ParameterNode, node: Any) -> None:
        """Change the display only where the user changed something here: elsewhere they may want it otherwise."""
        isThere = node is not None and node.GetImageData() is not None
        volume = (node.GetNodeReference(VOLUME_ROLE) or parameters.inputVolume) if isThere else None
        if volume is None or not parameters.uncertaintyShown:
            self._overlay.hide()
        else:
            self._overlay.show(volume, node, parameters.uncertaintyOpacity)
        hasLegend = parameters.legendShown and parameters.uncertaintyShown
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
