"""What is tested, what is locked with hashes, what Slicer's users get and what the product accepts fit each other."""

from __future__ import annotations

import re
import subprocess
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "requirements"
OF_TORCH = re.compile(r"torch|torchvision|triton|nvidia-.*|cuda-.*")
OF_SLICER = {"numpy", "pydicom", "simpleitk"}
HOW = "run `make lock`"


def requirements_in(path: Path) -> list[Requirement]:
    """The requirements of a file, without comments, options and hashes."""
    text = re.sub(r"\\\n\s*", " ", path.read_text(encoding="utf-8"))
    lines = (re.split(r"(?:^|\s)(?:#|--)", line)[0].strip() for line in text.splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("-")]


def versions_in(path: Path) -> dict[str, set[str]]:
    """The versions of each package: there may be several, for several versions of Python."""
    found: dict[str, set[str]] = {}
    for each in requirements_in(path):
        found.setdefault(canonicalize_name(each.name), set()).update(part.version for part in each.specifier)
    return found


PINS = {
    canonicalize_name(each.name): str(each.specifier).removeprefix("==")
    for name in ("runtime", "dev")
    for each in requirements_in(FOLDER / f"{name}.txt")
    if str(each.specifier).startswith("==")
}
LOCKED = versions_in(FOLDER / "locked.txt")
TESTED = versions_in(ROOT / "UnCoLSegment" / "Resources" / "constraints.txt")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ACCEPTED = [
    Requirement(each)
    for each in (
        *PROJECT["project"]["dependencies"],
        *(each for extra in PROJECT["project"]["optional-dependencies"].values() for each in extra),
        *PROJECT["build-system"]["requires"],
    )
]


def test_what_is_pinned_is_locked_in_that_version() -> None:
    assert len(PINS) > 20
    assert {name: LOCKED.get(name) for name in PINS} == {name: {version} for name, version in PINS.items()}, HOW


def test_pins_of_mrml_and_qt_are_locked_in_that_version() -> None:
    assert versions_in(FOLDER / "locked-mrml.txt") == versions_in(FOLDER / "mrml.txt"), HOW


@pytest.mark.parametrize("name", ["locked.txt", "locked-mrml.txt"])
def test_every_locked_version_has_hashes(name: str) -> None:
    entries = re.split(r"\n(?=\S)", (FOLDER / name).read_text(encoding="utf-8").strip())

    without = [each.split()[0] for each in entries if not each.startswith("#") and "--hash=sha256:" not in each]
    assert without == []
    assert len(entries) > 4


def test_what_depends_on_the_machine_is_not_locked() -> None:
    assert [name for name in LOCKED if OF_TORCH.fullmatch(name)] == []


def test_slicers_users_get_no_newer_versions_than_those_that_are_tested() -> None:
    needed = {canonicalize_name(each.name) for each in requirements_in(FOLDER / "runtime.txt")}
    needed = {name for name in needed if not OF_TORCH.fullmatch(name)} - OF_SLICER

    assert needed <= set(TESTED), HOW
    assert not OF_SLICER & set(TESTED)
    assert {name: LOCKED.get(name) for name in TESTED} == TESTED, HOW
    constraints = (ROOT / "UnCoLSegment" / "Resources" / "constraints.txt").read_text(encoding="utf-8")
    assert all(re.match(r"[a-z0-9-]+<=[^<>=]+( ; .+)?$", line) for line in constraints.splitlines())


def test_the_gate_installs_what_is_locked_by_its_hashes_and_builds_with_that(tmp_path: Path) -> None:
    told = subprocess.run(
        ["make", "--dry-run", "install", f"VENV={tmp_path}"], cwd=ROOT, capture_output=True, text=True, check=True
    )

    locked, rest, mrml = (line for line in told.stdout.splitlines() if " pip install " in line)
    by_hashes = "--require-hashes --no-deps --only-binary :all: --requirement requirements"
    assert locked.endswith(f"{by_hashes}/locked.txt")
    assert mrml.endswith(f"{by_hashes}/locked-mrml.txt")
    assert "--no-build-isolation" in rest
    builders = [Requirement(each) for each in PROJECT["build-system"]["requires"]]
    assert all(version in each.specifier for each in builders for version in LOCKED[each.name])


def test_whatever_the_project_needs_here_is_locked_in_the_version_that_is_here() -> None:
    found: dict[str, str] = {}
    left = [Requirement("uncol[dev]")]
    while left:
        wanted = left.pop()
        name = canonicalize_name(wanted.name)
        if OF_TORCH.fullmatch(name) or (name in found and not wanted.extras):
            continue
        here = distribution(name)
        found[name] = here.version
        extras = wanted.extras or {""}
        inner = [Requirement(each) for each in here.requires or ()]
        left += [each for each in inner if not each.marker or any(each.marker.evaluate({"extra": x}) for x in extras)]

    del found["uncol"]
    assert len(found) > 50
    assert {name: version for name, version in found.items() if version not in LOCKED.get(name, ())} == {}, HOW


@pytest.mark.parametrize("requirement", ACCEPTED, ids=lambda each: each.name)
def test_the_product_accepts_what_is_tested_and_no_later_major_version(requirement: Requirement) -> None:
    bounds = {part.operator for part in requirement.specifier}
    pinned = PINS.get(canonicalize_name(requirement.name))

    assert "<" in bounds, requirement
    assert pinned is None or pinned in requirement.specifier, requirement
