"""The catalog entry says the same in its three forms, and the extension's lists name every file there is."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULE_FOLDER = ROOT / "UnCoLSegment"
LISTED_PARTS = ("UnCoLSegmentLib", "uncol", "Resources")
REQUIRED_KEYS = {"$schema", "category", "scm_url"}
KNOWN_KEYS = REQUIRED_KEYS | {
    "build_dependencies",
    "build_subdirectory",
    "enabled",
    "scm_revision",
    "scm_type",
    "tier",
}


def s4ext_entry() -> dict[str, str]:
    lines = (ROOT / "UnCoL.s4ext").read_text(encoding="utf-8").splitlines()
    pairs = [line.split(maxsplit=1) for line in lines if line.strip() and not line.startswith("#")]
    return {pair[0]: pair[1] for pair in pairs}


@pytest.fixture
def catalog() -> dict[str, object]:
    return json.loads((ROOT / "UnCoL.json").read_text(encoding="utf-8"))


@pytest.fixture
def cmake(cmake_values) -> dict[str, str]:
    names = ("HOMEPAGE", "CATEGORY", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS", "DEPENDS")
    return {name: " ".join(cmake_values(ROOT / "CMakeLists.txt", f"EXTENSION_{name}")) for name in names}


def test_the_catalog_entry_has_the_keys_of_its_schema_and_no_others(catalog) -> None:
    assert set(catalog) >= REQUIRED_KEYS
    assert set(catalog) <= KNOWN_KEYS


def test_the_catalog_entry_has_the_types_of_its_schema(catalog) -> None:
    assert re.fullmatch(
        r"https://.+/slicer-extension-catalog-entry-schema-v\d+(?:[.]\d+){2}[.]json#", catalog["$schema"]
    )
    assert re.fullmatch(r"https://github[.]com/[\w-]+/Slicer[\w-]+[.]git", catalog["scm_url"])
    assert isinstance(catalog["build_dependencies"], list)
    assert catalog["tier"] in (1, 3, 5)


def test_the_older_form_of_the_entry_says_the_same(catalog) -> None:
    s4ext = s4ext_entry()

    assert s4ext["scm"] == "git"
    assert s4ext["scmurl"] == catalog["scm_url"]
    assert s4ext["scmrevision"] == catalog["scm_revision"]
    assert s4ext["depends"].split() == catalog["build_dependencies"]
    assert s4ext["build_subdirectory"] == catalog["build_subdirectory"]
    assert s4ext["category"] == catalog["category"]


def test_cmake_says_the_same(catalog, cmake) -> None:
    s4ext = s4ext_entry()

    assert {name.lower(): cmake[name] for name in cmake} == {
        "homepage": s4ext["homepage"],
        "category": catalog["category"],
        "contributors": s4ext["contributors"],
        "description": s4ext["description"],
        "iconurl": s4ext["iconurl"],
        "screenshoturls": s4ext["screenshoturls"],
        "depends": " ".join(catalog["build_dependencies"]),
    }


def test_pictures_of_the_entry_are_files_of_this_repository(cmake) -> None:
    base = cmake["HOMEPAGE"].replace("https://github.com/", "https://raw.githubusercontent.com/") + "/main/"

    for url in [cmake["ICONURL"], *cmake["SCREENSHOTURLS"].split()]:
        assert url.startswith(base)
        assert (ROOT / url.removeprefix(base)).is_file(), url


def test_the_extension_is_called_as_the_catalog_wants_it() -> None:
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")

    assert re.findall(r"^project\((\w+)\)", text, re.MULTILINE) == ["UnCoL"]  # never beginning with "Slicer"


def files_on_disk() -> set[str]:
    found = {"UnCoLSegment.py"}
    for part in LISTED_PARTS:
        for path in (MODULE_FOLDER / part).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and not path.name.endswith("~"):
                found.add(path.relative_to(MODULE_FOLDER).as_posix())
    return found


def test_every_file_of_the_module_is_listed_else_the_installed_extension_lacks_it(listed_files) -> None:
    assert sorted(files_on_disk() - set(listed_files)) == []


def test_every_listed_file_exists_and_is_listed_once(listed_files) -> None:
    assert sorted(set(listed_files) - files_on_disk()) == []
    assert len(listed_files) == len(set(listed_files))


def test_the_module_folder_holds_one_module_because_slicer_takes_every_python_file_there_for_one() -> None:
    assert [path.name for path in MODULE_FOLDER.glob("*.py")] == ["UnCoLSegment.py"]


def scripts_of_ctest() -> list[str]:
    """Return what `slicer_add_python_test` and its like get as SCRIPT."""
    return re.findall(r"SCRIPT\s+(\S+)\)", (ROOT / "Testing" / "CMakeLists.txt").read_text(encoding="utf-8"))


def test_every_application_test_is_registered() -> None:
    files = (ROOT / "Testing" / "application").glob("test_*.py")

    assert sorted(Path(each).name for each in scripts_of_ctest()) == sorted(path.name for path in files)


def test_ctest_finds_its_scripts() -> None:
    """Slicer's macro puts a script's folder into `sys.path` as it is written: in full, or there is none."""
    for script in scripts_of_ctest():
        path = script.replace("${CMAKE_CURRENT_SOURCE_DIR}", str(ROOT / "Testing"))
        assert Path(path).is_absolute() or "/" not in script, script
        assert Path(path).is_file(), script


def test_what_slicer_installs_covers_what_the_engine_declares() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    requirements = (MODULE_FOLDER / "Resources" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    installed = {line for line in requirements if line and not line.startswith("#")}

    assert installed == {each for each in declared if not each.startswith(("numpy", "SimpleITK", "torch"))}
    assert constant_of_dependencies("TORCH") in declared


def test_slicers_own_packages_are_never_installed_over() -> None:
    assert {"SimpleITK", "numpy", "torch"} <= set(constant_of_dependencies("KEPT_PACKAGES"))


def constant_of_dependencies(name: str) -> object:
    tree = ast.parse((MODULE_FOLDER / "UnCoLSegmentLib" / "Dependencies.py").read_text(encoding="utf-8"))
    return next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name
    )
