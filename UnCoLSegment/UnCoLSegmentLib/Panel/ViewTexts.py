"""What each slice view shows, in words at its upper edge: which segmentation, and whether its slice is done.

The corners are Slicer's: an actor of our own leaves its annotations as they are. Names of nodes may be those of
patients and are never shown.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

from uncol.core.volume import Axis
from UnCoLSegmentLib.Panel.Observations import Observations
from UnCoLSegmentLib.Scene import SliceViews

_COLOR, _DONE_COLOR = (0.9, 0.9, 0.9), (0.45, 0.9, 0.45)
_FONT_SIZE, _PLACE = 14, (0.5, 0.98)


class ViewTexts:
    """The texts in the slice views of the layout.

    Args:
        shown: Returns what can be seen: "proposal", "earlier", "own".
        done: Returns the slices that are done.
    """

    def __init__(self, shown: Callable[[], Collection[str]], done: Callable[[], Collection[tuple[Axis, int]]]) -> None:
        self._shownNow, self._doneNow = shown, done
        self._volume: Any = None
        self._actors: dict[str, tuple[Any, Any]] = {}
        """Renderer and text by the ID of a view's node: a view may be gone before we are told."""
        self._views = Observations()

    def update(self, volumeNode: Any) -> None:
        """Write about a volume into the views that show it, now and when they move; None for no volume."""
        self._volume = volumeNode
        views = {view.GetID(): view for view in SliceViews.mappedViews()} if volumeNode is not None else {}
        renderers = {viewId: _rendererOf(view) for viewId, view in views.items()}
        for viewId, (renderer, _text) in list(self._actors.items()):
            if renderers.get(viewId) is not renderer:
                self._remove(viewId)
        for viewId, view in views.items():
            if viewId not in self._actors and renderers[viewId] is not None:
                self._add(view, renderers[viewId])
            self._write(view)

    def remove(self) -> None:
        """Take all texts out of the views."""
        self.update(None)

    def _add(self, view: Any, renderer: Any) -> None:
        actor = vtk.vtkTextActor()
        actor.GetPositionCoordinate().SetCoordinateSystemToNormalizedViewport()
        actor.SetPosition(*_PLACE)
        look = actor.GetTextProperty()
        look.SetFontSize(_FONT_SIZE)
        look.SetJustificationToCentered()
        look.SetVerticalJustificationToTop()
        look.SetShadow(True)
        renderer.AddViewProp(actor)
        self._actors[view.GetID()] = renderer, actor
        moved = [(vtk.vtkCommand.ModifiedEvent, lambda node, _event: self._write(node))]
        self._views.observe(view.GetID(), view, moved)

    def _remove(self, viewId: str) -> None:
        self._views.observe(viewId, None, ())
        renderer, actor = self._actors.pop(viewId)
        renderer.RemoveViewProp(actor)
        _draw(slicer.mrmlScene.GetNodeByID(viewId))

    def _write(self, view: Any) -> None:
        if view.GetID() not in self._actors or self._volume is None:
            return
        _renderer, actor = self._actors[view.GetID()]
        text, isDone = self._textFor(view)
        if text != (actor.GetInput() or ""):
            actor.SetInput(text)
            actor.GetTextProperty().SetColor(*(_DONE_COLOR if isDone else _COLOR))
            _draw(view)

    def _textFor(self, view: Any) -> tuple[str, bool]:
        place = SliceViews.sliceIn(view, self._volume)
        if place is None:
            return "", False
        words = {"proposal": _("proposal"), "earlier": _("proposal before"), "own": _("yours")}
        shown, isDone = [words[each] for each in self._shownNow()], place in self._doneNow()
        return ", ".join([*shown, _("slice done")] if isDone else shown), isDone


def _sliceViewOf(view: Any) -> Any:
    """Return the widget that draws a view; None where there is none, as without a main window."""
    manager = slicer.app.layoutManager()
    widget = manager.sliceWidget(view.GetLayoutName()) if manager is not None and view is not None else None
    return widget.sliceView() if widget is not None else None


def _rendererOf(view: Any) -> Any:
    widget = _sliceViewOf(view)
    return widget.renderWindow().GetRenderers().GetFirstRenderer() if widget is not None else None


def _draw(view: Any) -> None:
    widget = _sliceViewOf(view)
    if widget is not None:
        widget.scheduleRender()
