"""Stand-in for the module of the PyTorch extension: its logic installs through `slicer.packaging`'s stand-in."""

from __future__ import annotations

from typing import Any

from slicer.packaging import installations


class PyTorchUtilsLogic:
    """Installs the PyTorch that suits the graphics driver."""

    def installTorch(
        self,
        askConfirmation: bool = False,
        forceComputationBackend: str | None = None,
        torchVersionRequirement: str | None = None,
        torchvisionVersionRequirement: str | None = None,
    ) -> Any:
        assert not askConfirmation, "the user was asked already"
        wanted = [f"torch{torchVersionRequirement or ''}", f"torchvision{torchvisionVersionRequirement or ''}"]
        installations.carryOut("PyTorch", wanted)
        return object()  # the module torch

    def uninstallTorch(self, askConfirmation: bool = False, forceComputationBackend: str | None = None) -> None:
        installations.carryOut("PyTorch", ["uninstall", "torch", "torchvision"])
