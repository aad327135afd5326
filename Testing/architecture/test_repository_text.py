"""The repository works on any machine: no file names a path or a package index of one; what texts name is there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MACHINE_PATH = re.compile(r"""(?:^|[\s"'`(=:])(/(?:work|root|home|tmp|Users)/[^\s"'`)]*)""", re.MULTILINE)
OF_OTHERS = {"UnCoLSegment/uncol/report/web/niivue.umd.js"}
"""Not written here and kept as it is; its checksum is tested."""
PACKAGE_INDEX = re.compile(
    r"pypi[.]org|pythonhosted[.]org|download[.]pytorch[.]org|conda[.]anaconda[.]org|[-](?:extra-)?index-url\b"
)


def machine_details(text: str) -> list[str]:
    """Return the absolute paths and package indexes that a text names."""
    return MACHINE_PATH.findall(text) + PACKAGE_INDEX.findall(text)


def test_no_tracked_file_names_a_machine_path_or_a_package_index() -> None:
    found = {name: details for name, text in _tracked_texts() if (details := machine_details(text))}

    assert found == {}


@pytest.mark.parametrize("folder", ["work", "root", "home", "tmp", "Users"])
@pytest.mark.parametrize("before", ["", "see ", '"', "(", "OUT="], ids=["start", "space", "quote", "bracket", "equals"])
def test_the_check_finds_machine_paths(before: str, folder: str) -> None:
    path = f"/{folder}/someone"

    assert machine_details(f"{before}{path}") == [path]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("https://" + "pypi" + ".org/simple", id="index"),
        pytest.param("pip install --extra-" + "index-url X torch", id="option of pip"),
    ],
)
def test_the_check_finds_package_indexes(text: str) -> None:
    assert len(machine_details(text)) == 1


@pytest.mark.parametrize("text", ["../shared/data", "docs/home/page.md", "https://example.org/home/page"])
def test_relative_paths_and_addresses_are_no_machine_paths(text: str) -> None:
    assert machine_details(text) == []


def test_every_command_that_make_promises_does_something() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    promised = set(re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)[0].split())

    assert promised == set(re.findall(r"^([a-z-]+):.*## ", text, re.MULTILINE))


def test_every_test_file_that_the_review_names_is_there() -> None:
    text = (ROOT / "docs/slicer-review.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\b((?:[a-z]+/)*(?:test_|as_|random_|scripted_)\w+\.py)\b", text))
    there = {path.as_posix() for path in (ROOT / "Testing").rglob("*.py")}

    assert sorted(name for name in named if not any(path.endswith(f"/{name}") for path in there)) == []


def _tracked_texts() -> list[tuple[str, str]]:
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"git cannot list the files of this checkout ({error})")
    names = [name for name in listed.stdout.decode().split("\0") if (ROOT / name).is_file() and name not in OF_OTHERS]
    contents = [(name, (ROOT / name).read_bytes()) for name in names]
    return [(name, content.decode(errors="replace")) for name, content in contents if b"\0" not in content]
