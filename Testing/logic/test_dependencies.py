"""Installing what the engine needs: on a click, with consent, and never Slicer's own packages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import recorded
import slicer.util  # noqa: F401  # replaced by name below

from uncol.core.errors import CancelledError
from UnCoLSegmentLib import Dependencies

REQUIREMENTS = Path(__file__).resolve().parents[2] / "UnCoLSegment" / "Resources" / "requirements.txt"


@pytest.fixture
def requirements(tmp_path: Path) -> Path:
    """A file with one package that is here and one that is nowhere."""
    path = tmp_path / "requirements.txt"
    path.write_text("# why\nnumpy>=1.26\nuncol-needs-this>=3.1  # more\n\n")
    return path


@pytest.fixture
def packaging(monkeypatch) -> list[Any]:
    """What is asked of `slicer.packaging`, which installs nothing here."""
    asked: list[Any] = []
    actions = {"load_requirements": lambda given: given["path"], "pip_ensure": asked.append}
    monkeypatch.setitem(sys.modules, "slicer.packaging", recorded.module("slicer.packaging", actions))
    return asked


def _replace(monkeypatch: pytest.MonkeyPatch, name: str, action: Any) -> None:
    """Let a function of Slicer do something else; it takes what the real one takes."""
    module, _, function = name.rpartition(".")
    monkeypatch.setattr(sys.modules[module], function, recorded.function(name, action))


def test_what_is_installed_here_is_all_that_the_engine_needs() -> None:
    assert Dependencies.missingPackages(REQUIREMENTS) == []


def test_a_package_that_is_not_there_is_missing(requirements: Path) -> None:
    assert Dependencies.missingPackages(requirements) == ["uncol-needs-this>=3.1"]


def test_a_package_that_is_too_old_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "requirements.txt"
    path.write_text("numpy>=999\n")

    assert Dependencies.missingPackages(path) == ["numpy>=999"]


def test_nothing_is_asked_if_nothing_is_missing(packaging) -> None:
    Dependencies.ensureInstalled(REQUIREMENTS)

    assert packaging == []


def test_slicer_installs_and_leaves_its_own_packages_alone(packaging, requirements: Path) -> None:
    with pytest.raises(Dependencies.InstallationError, match=r"still lacks uncol-needs-this>=3[.]1"):
        Dependencies.ensureInstalled(requirements)

    [options] = packaging
    assert options["requester"] == "UnCoL"
    assert set(options["skip_packages"]) == {"SimpleITK", "numpy", "torch", "torchvision"}


def test_a_declined_installation_is_a_cancel(packaging, requirements: Path, monkeypatch) -> None:
    def decline(_given: dict[str, Any]) -> None:
        message = "User declined package installation"
        raise RuntimeError(message)

    _replace(monkeypatch, "slicer.packaging.pip_ensure", decline)

    with pytest.raises(CancelledError, match="were not installed, so nothing was started"):
        Dependencies.ensureInstalled(requirements)


def test_a_failed_installation_says_what_to_look_at(packaging, requirements: Path, monkeypatch) -> None:
    def fail(_given: dict[str, Any]) -> None:
        raise subprocess.CalledProcessError(1, "pip")

    _replace(monkeypatch, "slicer.packaging.pip_ensure", fail)

    with pytest.raises(Dependencies.InstallationError, match="Check the network connection and the proxy"):
        Dependencies.ensureInstalled(requirements)


class OlderSlicer:
    """Slicer 5.10: no `slicer.packaging`, so that the question is ours."""

    def __init__(self, monkeypatch, answer: bool) -> None:
        self.questions: list[str] = []
        self.installed: list[list[str]] = []
        self.constraints: list[str] = []

        def ask(given: dict[str, Any]) -> bool:
            self.questions.append(given["text"])
            return answer

        def install(given: dict[str, Any]) -> None:
            *packages, _option, constraints = given["requirements"]
            self.installed.append(packages)
            self.constraints.append(Path(constraints).read_text())

        monkeypatch.setitem(sys.modules, "slicer.packaging", None)
        _replace(monkeypatch, "slicer.util.confirmOkCancelDisplay", ask)
        _replace(monkeypatch, "slicer.util.pip_install", install)


def test_an_older_slicer_is_asked_by_us_and_keeps_its_packages(requirements: Path, monkeypatch) -> None:
    older = OlderSlicer(monkeypatch, answer=True)

    with pytest.raises(Dependencies.InstallationError):
        Dependencies.ensureInstalled(requirements)

    assert older.questions[0].startswith(
        "UnCoL needs 1 more Python package: uncol-needs-this>=3.1.\n\nIt is downloaded"
    )
    assert older.installed == [["uncol-needs-this>=3.1"]]
    assert {line.partition("==")[0] for line in older.constraints[0].split()} >= {"SimpleITK", "numpy", "torch"}


def test_an_older_slicer_is_asked_once_for_several_packages(requirements: Path, monkeypatch) -> None:
    older = OlderSlicer(monkeypatch, answer=True)
    requirements.write_text("uncol-needs-this\nuncol-needs-that\n")

    with pytest.raises(Dependencies.InstallationError):
        Dependencies.ensureInstalled(requirements)

    [question] = older.questions
    assert question.startswith("UnCoL needs 2 more Python packages: uncol-needs-this, uncol-needs-that.\n\nThey are ")


def test_nothing_is_installed_into_an_older_slicer_that_declines(requirements: Path, monkeypatch) -> None:
    older = OlderSlicer(monkeypatch, answer=False)

    with pytest.raises(CancelledError):
        Dependencies.ensureInstalled(requirements)

    assert older.installed == []


@pytest.fixture
def withoutTorch(monkeypatch) -> None:
    monkeypatch.setattr(Dependencies, "TORCH", "torch>=999")


def test_without_the_pytorch_extension_the_user_is_told_to_install_it(withoutTorch, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)

    with pytest.raises(Dependencies.InstallationError, match='Install the extension "PyTorch" in the Extensions Man'):
        Dependencies.ensureInstalled(REQUIREMENTS)


@pytest.mark.parametrize(("answer", "error"), [(None, CancelledError), (object(), Dependencies.InstallationError)])
def test_torch_is_left_to_the_pytorch_extension_which_asks(withoutTorch, monkeypatch, answer, error) -> None:
    asked = []
    install = {"PyTorchUtilsLogic.installTorch": lambda given: (asked.append(given), answer)[1]}
    monkeypatch.setitem(sys.modules, "PyTorchUtils", recorded.module("PyTorchUtils", install))

    with pytest.raises(error):
        Dependencies.ensureInstalled(REQUIREMENTS)

    assert asked == [{"askConfirmation": True, "torchVersionRequirement": ">=999"}]
