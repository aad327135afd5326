"""What there is to work with on this machine, and what to do about what is missing."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from uncol import __version__
from uncol.core.config import BudgetConfig, Config, TeacherConfig
from uncol.core.errors import CheckpointError
from uncol.core.foundation_choice import FoundationChoice
from uncol.core.volume import view_slices
from uncol.data.cases import LabeledCase
from uncol.demo.case import annotate
from uncol.demo.phantom import make_phantom
from uncol.foundation.embeddings import EmbeddingCache
from uncol.foundation.lite_medsam import WEIGHTS_PACKAGE
from uncol.foundation.loading import load_foundation_model
from uncol.models.devices import available_devices, reduced_precision, select_device
from uncol.training.state import FineTuneSetup
from uncol.training.train import fine_tune

_PACKAGES = ("torch", "monai", "numpy", "SimpleITK", "safetensors", "scipy", WEIGHTS_PACKAGE)
_LEAST_MEMORY_MIB = 4096
_LEAST_DISK_MIB = 2048
_PACE_GRID, _PACE_MINUTES = ((16, 128, 128), (2.5, 2.5, 5.0)), 0.05
"""A generated image in which slices are as large as in most, and for how long a student learns from it."""
_ALONE = TeacherConfig(generalized=False, registration=False)

Check = dict[str, str]
"""Name, state in words, `ok` or `missing`, and what to do."""


def examine(cache: Path, foundation: FoundationChoice) -> dict[str, Any]:
    """Look at devices, teachers, versions, memory and disk.

    Returns:
        A JSON object: `checks` with one entry each, and whether all is `ok`.
    """
    checks = [
        _check("UnCoL", f"{__version__}, Python {platform.python_version()}, {platform.system()}"),
        *(_package(name) for name in _PACKAGES),
        *_devices(),
        _teacher(foundation),
        _memory(),
        _disk(cache),
        _pace(),
    ]
    return {"checks": checks, "ok": all(each["advice"] == "" for each in checks), "version": __version__}


def _check(name: str, state: str, advice: str = "") -> Check:
    return {"name": name, "state": state, "advice": advice}


def _package(name: str) -> Check:
    try:
        return _check(name, version(name))
    except PackageNotFoundError:
        return _check(name, "missing", f"pip install {name}")


def _devices() -> list[Check]:
    explain = {"cuda": _cuda, "mps": lambda: _check("Apple GPU", "works"), "cpu": _cpu}
    found = [explain[kind]() for kind in available_devices()]
    return found if len(found) > 1 else [*found, _no_gpu()]


def _cuda() -> Check:
    properties = torch.cuda.get_device_properties(0)
    try:
        torch.ones(8, device="cuda").sum().item()
    except RuntimeError as error:
        return _check("CUDA GPU", properties.name, f"A first computation failed ({error}); install a matching torch.")
    return _check("CUDA GPU", f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, works")


def _cpu() -> Check:
    precision = reduced_precision(torch.device("cpu"))
    computing = "bfloat16" if precision is torch.bfloat16 else "float32"
    return _check("CPU", f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, computes in {computing}")


def _no_gpu() -> Check:
    if torch.version.cuda is None and shutil.which("nvidia-smi"):
        return _check("GPU", "an NVIDIA GPU, but torch is a CPU build", "Install the CUDA build of torch.")
    return _check("GPU", "none; the CPU does the work")


def _teacher(choice: FoundationChoice) -> Check:
    try:
        teacher = load_foundation_model(torch.device("cpu"), choice)
    except CheckpointError as error:
        return _check(choice.family, "not usable", str(error))
    return _check(choice.family, "ready, checksum right" if choice.family == "LiteMedSAM" else f"ready: {teacher.name}")


def _memory() -> Check:
    free_mib = available_memory_mib()
    if free_mib is None:
        return _check("Memory", "unknown on this system")
    advice = "" if free_mib >= _LEAST_MEMORY_MIB else "Close other programs: fine-tuning wants 4 GiB."
    return _check("Memory", f"{free_mib / 1024:.1f} GiB available", advice)


def available_memory_mib(told: Path = Path("/proc/meminfo")) -> float | None:
    """Return how much memory programs can get, what the system can give back from its caches counted; None if unknown.

    Args:
        told: Where Linux says it.
    """
    try:
        lines = dict(line.split(":", 1) for line in told.read_text(encoding="ascii").splitlines())
        return int(lines["MemAvailable"].split()[0]) / 1024
    except (OSError, ValueError, KeyError):  # not Linux
        return None


def _pace() -> Check:
    """Let a student learn from a generated image for a few seconds."""
    phantom = make_phantom(*_PACE_GRID)
    view = view_slices(phantom.image, "axial")
    annotation = annotate(phantom.labels, phantom.structures, view, every=4)
    config = Config(budget=BudgetConfig(minutes=_PACE_MINUTES), teachers=_ALONE)
    device = select_device("auto")
    case = LabeledCase(phantom.image, annotation.labels)
    setup = FineTuneSetup(
        cases=[case], unlabeled=[], structures=annotation.structures, plane=view.plane, config=config, device=device,
        teacher=None, cache=EmbeddingCache(None),
    )  # fmt: skip
    with TemporaryDirectory() as folder:
        model = fine_tune(setup, Path(folder) / "model")
    training = model.card.training
    pace = 60 * training["steps"] / max(training["seconds"], 1e-3)
    return _check("Training", f"about {pace:,.0f} steps a minute on {device.type.upper()}, as busy as it is now")


def _disk(cache: Path) -> Check:
    existing = next(each for each in (cache, *cache.parents) if each.exists())
    free_mib = shutil.disk_usage(existing).free / 2**20
    advice = "" if free_mib >= _LEAST_DISK_MIB else "Free some space, or choose another folder with --cache."
    return _check("Disk for embeddings", f"{free_mib / 1024:.1f} GiB free", advice)
