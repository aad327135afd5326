"""A package whose metadata is there and that cannot be loaded: the real worker's last words name it."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from as_slicer_waits import waitAsSlicer
from parameters import Parameters

from UnCoLSegmentLib.Engine.EngineProcess import EngineProcess, engineCommand, engineEnvironment
from UnCoLSegmentLib.Engine.Run import EngineError
from UnCoLSegmentLib.Logic import Logic
from UnCoLSegmentLib.Scripting import waitFor
from UnCoLSegmentLib.SelfTest import LoopDriver, makePhantomVolume

MODULE_FOLDER = Path(__file__).resolve().parents[2] / "UnCoLSegment"


@pytest.fixture
def logicWith(tmp_path: Path, scene: Any) -> Any:
    """Return a function that makes a logic whose worker finds a damaged package."""
    made: list[Logic] = []

    def make(package: str) -> Logic:
        damaged = tmp_path / "site-packages" / package
        damaged.mkdir(parents=True)
        (damaged / "__init__.py").write_text("raise ImportError('DLL load failed while importing _C')")
        environment = engineEnvironment(MODULE_FOLDER)
        environment["PYTHONPATH"] = os.pathsep.join([str(damaged.parent), environment["PYTHONPATH"]])
        folders = (f"--{name}={tmp_path / name}" for name in ("models", "cache", "jobs"))
        made.append(Logic(tmp_path / "models", EngineProcess(engineCommand(*folders), environment)))
        return made[-1]

    yield make
    for each in made:
        each.shutdown()


@pytest.mark.parametrize("package", [pytest.param("torch", id="at the start"), pytest.param("monai", id="in a run")])
def test_a_package_that_cannot_be_loaded_is_named(logicWith: Callable[[str], Logic], package: str) -> None:
    logic = logicWith(package)
    volume, truth = makePhantomVolume()
    driver = LoopDriver(logic, Parameters(inputVolume=volume), truth)
    driver.drawBox()

    with pytest.raises(EngineError) as failed:
        waitFor(logic, lambda: logic.segment(driver.parameters), idle=partial(waitAsSlicer, 20), patience_s=120)

    assert str(failed.value) == f"The Python package {package} cannot be loaded. Click again to install it anew."
    assert "DLL load failed" in failed.value.details
    assert logic.damagedPackage == package
