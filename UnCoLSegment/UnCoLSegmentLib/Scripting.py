"""For scripts: start a run and wait for its end, while the application goes on drawing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import slicer

from uncol.core.errors import CancelledError, UncolError
from UnCoLSegmentLib.Engine.Run import EngineError, RunResult
from UnCoLSegmentLib.Logic import Logic


def waitFor(
    logic: Logic, start: Callable[[], None], idle: Callable[[], None] | None = None, patience_s: float = math.inf
) -> RunResult:
    """Start a run and return how it ended.

    Args:
        logic: Whose run it is.
        start: Starts it, such as `partial(logic.segment, parameters)`.
        idle: Called between two polls, to wait a little; None lets the application draw and handle events.
        patience_s: So long it may take, in s.

    Raises:
        CancelledError: If it was cancelled, by the user or because the scene was closed.
        EngineError: If it could not start, or failed.
        TimeoutError: If it did not end in time; it goes on.
    """
    ended: list[RunResult | UncolError] = []
    receivers = (
        (logic.finished, ended.append),
        (logic.cancelled, lambda message: ended.append(CancelledError(message))),
        (logic.failed, lambda message, details: ended.append(EngineError(message, details))),
    )
    for signal, receiver in receivers:
        signal.connect(receiver)
    deadline = time.monotonic() + patience_s
    try:
        start()
        while not ended:
            if time.monotonic() > deadline:
                message = f"The run did not end within {patience_s:.0f} s."
                raise TimeoutError(message)
            logic.poll()
            (idle or partial(_letApplicationRun, logic))()
    finally:
        for signal, receiver in receivers:
            signal.disconnect(receiver)
    if isinstance(ended[0], UncolError):
        raise ended[0]
    return ended[0]


def _letApplicationRun(logic: Logic) -> None:
    slicer.app.processEvents()
    time.sleep(logic.pollAfter_ms / 1000)


def segment(moduleLogic: Any, volume: Any, box: Any = None, model: str = "") -> tuple[Any, Any]:
    """Do what the panel's button Segment does; see `UnCoLSegmentLogic.process`."""
    from UnCoLSegmentLib.ParameterNode import ParameterNode, SegmentFrom

    if (box is None) == (not model):
        message = "Give either a box (an ROI node) or the name of a model."
        raise ValueError(message)
    parameters = ParameterNode(moduleLogic.getParameterNode())
    parameters.inputVolume = volume
    parameters.segmentFrom = SegmentFrom.MODEL if model else SegmentFrom.BOX
    if model:
        parameters.modelName = model
    else:
        parameters.roi = box
    waitFor(moduleLogic.runs, partial(moduleLogic.runs.segment, parameters))
    return parameters.proposal, parameters.uncertaintyVolume
