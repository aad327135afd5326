"""`uncol doctor`: what is there, and what to do about what is missing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from uncol.cli.examination import available_memory_mib


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


def test_doctor_tells_the_pace_and_what_needs_doing_alone(uncol: Callable[..., Any], bad_files: Path):
    code, out, err = uncol("doctor", "--foundation-weights", bad_files / "damaged.pth")

    assert code == 0
    assert re.search(r"about [\d,]+ steps a minute", out)
    assert "what to do" in out
    assert "SimpleITK" not in out
    assert "All is well" not in err


def test_memory_is_what_programs_can_get(tmp_path: Path):
    told = tmp_path / "meminfo"
    told.write_text("MemTotal: 24576000 kB\nMemFree: 1536000 kB\nMemAvailable: 19456000 kB\n")

    assert available_memory_mib(told) == 19000
    assert available_memory_mib(tmp_path / "nowhere") is None
