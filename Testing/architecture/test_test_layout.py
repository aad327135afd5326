"""Tests are found where their module's name says, and the shared fixtures are what their names say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from uncol.core.volume import Volume

ROOT = Path(__file__).resolve().parents[2]
ENGINE = ROOT / "UnCoLSegment" / "uncol"
ENGINE_TESTS = ROOT / "Testing" / "engine"
TEST_MODULES = sorted(ENGINE_TESTS.rglob("test_*.py"))


@pytest.mark.parametrize(
    "test_module", TEST_MODULES, ids=[path.relative_to(ENGINE_TESTS).as_posix() for path in TEST_MODULES]
)
def test_each_test_module_has_its_module(test_module: Path) -> None:
    tested = test_module.relative_to(ENGINE_TESTS).parent / test_module.stem.removeprefix("test_")

    assert (ENGINE / tested).with_suffix(".py").is_file() or (ENGINE / tested).is_dir()


def test_nasty_volumes_hide_no_swap_of_axes(nasty_volume: Volume) -> None:
    sides, spacings = set(nasty_volume.shape_kji), set(nasty_volume.spacing_mm)

    assert len(sides) == len(spacings) == 3
    assert not np.allclose(nasty_volume.ijk_to_ras[:3, 3], 0)


def test_nasty_volumes_have_the_handedness_of_their_name(nasty_volumes: dict[str, Volume]) -> None:
    left_handed = {name for name, volume in nasty_volumes.items() if np.linalg.det(volume.ijk_to_ras[:3, :3]) < 0}

    assert {"left-handed", "oblique left-handed"} <= left_handed
    assert left_handed.isdisjoint({"anisotropic", "oblique"})
