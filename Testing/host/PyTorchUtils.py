"""Stand-in for the module of the PyTorch extension: its logic installs through `slicer.packaging`'s stand-in."""

from __future__ import annotations

from typing import Any

import recorded
from slicer.packaging import installations


def _install(given: dict[str, Any]) -> object:
    assert not given.get("askConfirmation"), "the user was asked already"
    installations.carryOut("PyTorch", [f"torch{given.get('torchVersionRequirement', '')}", "torchvision"])
    return object()  # the module torch


def _uninstall(_given: dict[str, Any]) -> None:
    installations.carryOut("PyTorch", ["uninstall", "torch", "torchvision"])


PyTorchUtilsLogic = recorded.module(
    "PyTorchUtils", {"PyTorchUtilsLogic.installTorch": _install, "PyTorchUtilsLogic.uninstallTorch": _uninstall}
).PyTorchUtilsLogic
