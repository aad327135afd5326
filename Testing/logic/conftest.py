"""What the tests of the logic share: Slicer's own MRML without the application, and the modules that come with it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import stand_ins  # noqa: F401  # makes slicer.i18n and the like importable
from as_slicer_waits import waitAsSlicer
from parameters import Parameters
from scripted_user import User

from UnCoLSegmentLib.Engine.EngineProcess import EngineProcess, engineCommand, engineEnvironment
from UnCoLSegmentLib.Engine.Run import RunState
from UnCoLSegmentLib.Engine.Signal import Signal
from UnCoLSegmentLib.Logic import Logic
from UnCoLSegmentLib.SelfTest import LoopDriver, makePhantomVolume

MODULE_FOLDER = Path(__file__).resolve().parents[2] / "UnCoLSegment"


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    """One real worker for all tests, as warm as in a user's session; a test that kills it gets the next one new."""
    folder = tmp_path_factory.mktemp("engine")
    environment = {**engineEnvironment(MODULE_FOLDER), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2")}
    folders = {name: folder / name for name in ("models", "cache", "jobs")}
    command = engineCommand(*(each for name, path in folders.items() for each in (f"--{name}", str(path))))
    engine = EngineProcess(command, environment)
    engine.folder = folder
    yield engine
    engine.stop(0)


@pytest.fixture
def logic(engine: EngineProcess) -> Iterator[Logic]:
    """The logic of a panel that was just opened; afterwards it is closed and forgotten, the worker stays warm."""
    engine.received, engine.ended = Signal(), Signal()
    shutil.rmtree(engine.folder / "models", ignore_errors=True)
    logic = Logic(engine.folder / "models", engine)
    yield logic
    if logic.state is not RunState.IDLE:
        logic.shutdown()


@pytest.fixture
def jobFolders(engine: EngineProcess) -> Any:
    """Return a function that lists the folders of runs that still hold files."""
    return lambda: [path for worker in (engine.folder / "jobs").glob("*") for path in worker.glob("run-*")]


@pytest.fixture
def drive(logic: Logic, scene: Any) -> LoopDriver:
    """Return the driver of a user with a phantom, a box round its structure and nothing else."""
    volume, truth = makePhantomVolume()
    driver = LoopDriver(logic, Parameters(inputVolume=volume), truth, idle=partial(waitAsSlicer, 20))
    driver.drawBox()
    return driver


@pytest.fixture
def user(scene: Any, tmp_path: Path) -> Iterator[User]:
    user = User(tmp_path)
    user.driver.drawBox()
    yield user
    user.logic.shutdown()
