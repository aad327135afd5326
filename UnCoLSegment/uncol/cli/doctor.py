"""What there is to work with on this machine, and what to do about what is missing."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from uncol import __version__
from uncol.core.errors import CheckpointError
from uncol.foundation.lite_medsam import WEIGHTS_PACKAGE
from uncol.foundation.loading import FoundationChoice, load_foundation_model
from uncol.models.devices import available_devices, reduced_precision

_PACKAGES = ("torch", "monai", "numpy", "SimpleITK", "safetensors", "scipy", WEIGHTS_PACKAGE)
_LEAST_MEMORY_MIB = 4096
_LEAST_DISK_MIB = 2048

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
    if not hasattr(os, "sysconf") or "SC_AVPHYS_PAGES" not in os.sysconf_names:
        return _check("Memory", "unknown on this system")
    free_mib = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**20
    advice = "" if free_mib >= _LEAST_MEMORY_MIB else "Close other programs: fine-tuning wants 4 GiB."
    return _check("Memory", f"{free_mib / 1024:.1f} GiB free", advice)


def _disk(cache: Path) -> Check:
    existing = next(each for each in (cache, *cache.parents) if each.exists())
    free_mib = shutil.disk_usage(existing).free / 2**20
    advice = "" if free_mib >= _LEAST_DISK_MIB else "Free some space, or choose another folder with --cache."
    return _check("Disk for embeddings", f"{free_mib / 1024:.1f} GiB free", advice)
