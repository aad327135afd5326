"""Installing what the engine needs: on a click, with one question, and never Slicer's own packages."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import recorded
import slicer
import slicer.util
from slicer.packaging import Installations, installations

from uncol.core.errors import CancelledError
from UnCoLSegmentLib import Dependencies

REQUIREMENTS = Path(__file__).resolve().parents[2] / "UnCoLSegment" / "Resources" / "requirements.txt"


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    """A file with one package that is here and one that is nowhere."""
    path = tmp_path / "requirements.txt"
    path.write_text("# why\nnumpy>=1.26\nuncol-needs-this>=3.1  # more\n\n")
    return path


def _replace(monkeypatch: pytest.MonkeyPatch, name: str, action: Any) -> None:
    """Let a function of Slicer do something else; it takes what the real one takes."""
    module, _, function = name.rpartition(".")
    monkeypatch.setattr(sys.modules[module], function, recorded.function(name, action))


@pytest.fixture
def installing(monkeypatch, tmp_path: Path) -> Iterator[Installations]:
    """The user has clicked; what is installed is found."""
    monkeypatch.setattr(slicer, "app", None, raising=False)
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    installations.__init__(isUserWaiting=True, folder=folder)
    yield installations
    installations.__init__()


class Question:
    """Asks the user, who always gives the same answer."""

    def __init__(self, answer: bool) -> None:
        self.answer, self.texts = answer, []

    def ask(self, given: dict[str, Any]) -> bool:
        self.texts.append(given["text"])
        return self.answer


@pytest.fixture(autouse=True)
def question(monkeypatch) -> Question:
    question = Question(answer=True)
    _replace(monkeypatch, "slicer.util.confirmOkCancelDisplay", question.ask)
    return question


def keptIn(constraints: str) -> set[str]:
    """Names of the packages that pip is held to as they are."""
    return {line.partition("==")[0] for line in constraints.splitlines() if "<=" not in line}


@pytest.fixture
def withoutTorch(monkeypatch) -> None:
    """No PyTorch is loaded here, and none is new enough."""
    monkeypatch.setattr(Dependencies, "TORCH", "torch>=999")
    monkeypatch.delitem(sys.modules, "torch", raising=False)


def test_what_is_installed_here_is_all_that_the_engine_needs() -> None:
    assert Dependencies.missingPackages(REQUIREMENTS) == []


def test_a_package_that_is_not_there_is_missing(requirements: Path) -> None:
    assert Dependencies.missingPackages(requirements) == ["uncol-needs-this>=3.1"]


def test_a_package_that_is_too_old_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "requirements.txt"
    path.write_text("numpy>=999\n")

    assert Dependencies.missingPackages(path) == ["numpy>=999"]


def test_nothing_is_asked_if_nothing_is_missing(installing, question: Question) -> None:
    Dependencies.ensureInstalled(REQUIREMENTS)

    assert installing.requested == question.texts == []


def test_slicer_installs_what_is_missing_and_keeps_its_own_packages(installing, requirements, question) -> None:
    Dependencies.ensureInstalled(requirements)

    assert installing.requested == [["uncol-needs-this>=3.1"]]
    [constraints] = installing.constraints
    assert keptIn(constraints) == set(Dependencies.KEPT_PACKAGES)
    assert f"numpy=={importlib.metadata.version('numpy')}" in constraints
    [text] = question.texts
    assert text.startswith("UnCoL needs 1 more Python package: uncol-needs-this>=3.1.\n\nWhat is missing is downloaded")


def test_torch_and_the_rest_are_one_question(installing, withoutTorch, requirements, question) -> None:
    Dependencies.ensureInstalled(requirements)

    assert installing.requested == [["torch>=999", "torchvision"], ["uncol-needs-this>=3.1"]]
    [text] = question.texts
    assert text.startswith("UnCoL needs 2 more Python packages: torch>=999, uncol-needs-this>=3.1.")
    assert f"PyTorch {importlib.metadata.version('torch')} is replaced by a newer one" not in text  # it is new by now


def test_that_an_older_torch_is_replaced_is_said(installing, withoutTorch, requirements, question) -> None:
    question.answer = False
    older = importlib.metadata.version("torch")

    with pytest.raises(CancelledError):
        Dependencies.ensureInstalled(requirements)

    assert f"PyTorch {older} is replaced by a newer one, for other extensions, too." in question.texts[0]


def test_a_declined_installation_is_a_cancel(installing, requirements: Path, question: Question) -> None:
    question.answer = False

    with pytest.raises(CancelledError, match="were not installed, so nothing was started"):
        Dependencies.ensureInstalled(requirements)

    assert installing.requested == []


def test_a_failed_installation_says_what_to_look_at(installing, requirements: Path) -> None:
    installing.error = subprocess.CalledProcessError(1, "pip")

    with pytest.raises(Dependencies.InstallationError, match=r"uncol-needs-this>=3.1 .*Check the network connection"):
        Dependencies.ensureInstalled(requirements)


def test_what_is_missing_all_the_same_is_said(installing, requirements: Path) -> None:
    installing.folder = None

    with pytest.raises(Dependencies.InstallationError, match=r"still lacks uncol-needs-this>=3[.]1"):
        Dependencies.ensureInstalled(requirements)


def test_an_older_slicer_keeps_its_packages_too(installing, requirements: Path, monkeypatch) -> None:
    """Slicer 5.10 has no `slicer.packaging`, and its `pip_install` takes a list of pip's own arguments alone."""
    asked: list[str] = []

    def install(given: dict[str, Any]) -> None:
        *packages, _option, constraints = given["requirements"]
        asked.append(Path(constraints).read_text())
        installations.carryOut("UnCoL", packages)

    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    _replace(monkeypatch, "slicer.util.pip_install", install)

    Dependencies.ensureInstalled(requirements)

    assert installing.requested == [["uncol-needs-this>=3.1"]]
    assert keptIn(asked[0]) == set(Dependencies.KEPT_PACKAGES)


def test_what_is_installed_is_held_to_tested_versions_and_what_others_need_is_not(
    installing, requirements: Path, tmp_path: Path, monkeypatch
) -> None:
    tested = tmp_path / "constraints.txt"
    tested.write_text("UnCoL-needs-this<=3.5\nuncol-brings-this<=1.0 ; python_version >= '3'\npytest<=0.1\n")
    monkeypatch.setattr(Dependencies, "TESTED", tested)

    Dependencies.ensureInstalled(requirements)

    [constraints] = installing.constraints
    lines = constraints.splitlines()
    assert [line for line in lines if "<=" in line] == tested.read_text().splitlines()[:2]


def test_without_the_pytorch_extension_the_user_is_told_to_install_it(installing, withoutTorch, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)

    with pytest.raises(Dependencies.InstallationError, match='Install the extension "PyTorch" in the Extensions Man'):
        Dependencies.ensureInstalled(REQUIREMENTS)


def test_a_torch_that_is_in_use_is_not_replaced_under_another_extension(
    installing, withoutTorch, question, monkeypatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", object())

    with pytest.raises(Dependencies.InstallationError, match=r"PyTorch \S+ is in use in this Slicer.* Restart Slicer"):
        Dependencies.ensureInstalled(REQUIREMENTS)

    assert installing.requested == question.texts == []


def test_on_an_intel_mac_nothing_is_tried_that_can_only_fail(installing, withoutTorch, question, monkeypatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")

    with pytest.raises(
        Dependencies.InstallationError, match="There is none for this Slicer, which was built for Intel"
    ):
        Dependencies.ensureInstalled(REQUIREMENTS)

    assert installing.requested == question.texts == []


TRACEBACK = """Traceback (most recent call last):
  File "/module/uncol/worker/server.py", line 21, in <module>
    import torch
  File "C:\\Slicer\\lib\\Python\\Lib\\site-packages\\torch\\__init__.py", line 9, in <module>
{error}"""


@pytest.mark.parametrize(
    ("words", "isStarting", "package"),
    [
        (TRACEBACK.format(error="OSError: [WinError 126] Error loading c10.dll"), True, "torch"),
        (TRACEBACK.format(error="ImportError: DLL load failed"), False, "torch"),
        (TRACEBACK.format(error="RuntimeError: sizes do not match"), False, ""),
        ("ModuleNotFoundError: No module named 'PIL'", True, "pillow"),
        ("ModuleNotFoundError: No module named 'nobody_has_this.part'", True, "nobody_has_this"),
        ('  File "/opt/site-packages/uncol/worker/server.py", line 1\nSyntaxError: invalid', True, ""),
        ("Killed", True, ""),
    ],
)
def test_the_package_to_blame_is_the_one_in_which_the_last_words_end(
    words: str, isStarting: bool, package: str
) -> None:
    assert Dependencies.damagedPackage(words, isStarting=isStarting).lower() == package


def test_a_damaged_package_is_installed_again_as_it_was(installing, question: Question) -> None:
    Dependencies.ensureInstalled(REQUIREMENTS, damaged="scipy")

    version = importlib.metadata.version("scipy")
    assert installing.requested == [["--force-reinstall", "--no-deps", "--no-cache-dir", f"scipy=={version}"]]
    assert question.texts[0].startswith("The Python package scipy is there, but it cannot be loaded.")


def test_a_damaged_torch_is_installed_again_by_its_extension(installing, monkeypatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)

    Dependencies.ensureInstalled(REQUIREMENTS, damaged="torch")

    assert installing.requested == [["uninstall", "torch", "torchvision"], ["torch>=2.4.1,<3", "torchvision"]]


def test_a_package_that_another_one_lacks_is_installed(installing) -> None:
    Dependencies.ensureInstalled(REQUIREMENTS, damaged="nobody-has-this")

    assert installing.requested == [["nobody-has-this"]]


def test_everything_can_be_installed_again(installing, monkeypatch, question: Question) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)

    Dependencies.reinstallAll(REQUIREMENTS)

    *ofTorch, again = installing.requested
    assert ofTorch == [["uninstall", "torch", "torchvision"], ["torch>=2.4.1,<3", "torchvision"]]
    assert again[:2] == ["--force-reinstall", "--no-deps"]
    assert f"monai=={importlib.metadata.version('monai')}" in again
    assert not any(each.startswith(("numpy", "SimpleITK", "torch")) for each in again)
    assert question.texts[0].startswith("Install these Python packages again: torch, filelock, ")
