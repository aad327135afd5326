"""`uncol doctor`: what is there, and what to do about what is missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def test_doctor_names_devices_packages_and_the_foundation_model(uncol: Callable[..., Any]):
    code, out, _ = uncol("doctor", "--json")

    assert code == 0
    checks = {each["name"]: each for each in json.loads(out)["checks"]}
    assert checks["LiteMedSAM"] == {"name": "LiteMedSAM", "state": "ready, checksum right", "advice": ""}
    assert {"CPU", "torch", "Memory", "Disk for embeddings"} <= set(checks)


def test_doctor_says_what_to_do_about_damaged_weights(uncol: Callable[..., Any], bad_files: Path):
    _, out, _ = uncol("doctor", "--json", "--foundation-weights", bad_files / "damaged.pth")

    result = json.loads(out)
    assert not result["ok"]
    assert any("leave out --foundation-weights" in each["advice"] for each in result["checks"])
