"""Installing what the engine needs: on a click, with consent, and never Slicer's own packages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import slicer

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
    module = SimpleNamespace(
        load_requirements=lambda path: Path(path).read_text().split("\n"),
        pip_ensure=lambda *arguments, **options: asked.append((arguments, options)),
    )
    monkeypatch.setitem(sys.modules, "slicer.packaging", module)
    return asked


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

    [(_arguments, options)] = packaging
    assert options["requester"] == "UnCoL"
    assert set(options["skip_packages"]) == {"SimpleITK", "numpy", "torch", "torchvision"}


def test_a_declined_installation_is_a_cancel(packaging, requirements: Path, monkeypatch) -> None:
    def decline(*_arguments: Any, **_options: Any) -> None:
        message = "User declined package installation"
        raise RuntimeError(message)

    monkeypatch.setattr(sys.modules["slicer.packaging"], "pip_ensure", decline)

    with pytest.raises(CancelledError, match="were not installed, so nothing was started"):
        Dependencies.ensureInstalled(requirements)


def test_a_failed_installation_says_what_to_look_at(packaging, requirements: Path, monkeypatch) -> None:
    def fail(*_arguments: Any, **_options: Any) -> None:
        raise subprocess.CalledProcessError(1, "pip")

    monkeypatch.setattr(sys.modules["slicer.packaging"], "pip_ensure", fail)

    with pytest.raises(Dependencies.InstallationError, match="Check the network connection and the proxy"):
        Dependencies.ensureInstalled(requirements)


class OlderSlicer:
    """Slicer 5.10: no `slicer.packaging`, so that the question is ours."""

    def __init__(self, monkeypatch, answer: bool) -> None:
        self.questions: list[str] = []
        self.installed: list[list[str]] = []
        self.constraints: list[str] = []

        def ask(text: str, *_arguments: Any) -> bool:
            self.questions.append(text)
            return answer

        def install(arguments: list[str]) -> None:
            self.installed.append(arguments[:-2])
            self.constraints.append(Path(arguments[-1]).read_text())

        monkeypatch.setitem(sys.modules, "slicer.packaging", None)
        monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", ask)
        monkeypatch.setattr(slicer.util, "pip_install", install)


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

    class PyTorchUtilsLogic:
        def installTorch(self, **options: Any) -> Any:
            asked.append(options)
            return answer

    monkeypatch.setitem(sys.modules, "PyTorchUtils", SimpleNamespace(PyTorchUtilsLogic=PyTorchUtilsLogic))

    with pytest.raises(error):
        Dependencies.ensureInstalled(REQUIREMENTS)

    assert asked == [{"askConfirmation": True, "torchVersionRequirement": ">=999"}]
