"""SAM and MedSAM (ViT-B, ViT-L, ViT-H) as foundation teachers, from a checkpoint file that the user names.

The networks come from the package `segment-anything` (Apache-2.0). SAM and MedSAM have the same weights' names and
shapes but were trained on differently scaled grey values, so which of the two a file is has to be said.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from uncol.data.transforms import SliceFrame, frame_with_longest_side
from uncol.foundation.promptable import Decoded, EncodedSlice
from uncol.foundation.sam_checkpoint import EncoderSize, load_sam
from uncol.foundation.sam_layers import (
    ask_with_boxes,
    inside_frame,
    outputs_of,
    pad_to_square,
    stretch_contrast,
    tokens_after_prompts,
)
from uncol.models.devices import autocast, reduced_precision

Family = Literal["MedSAM", "SAM"]
_BRIGHTEST = 255.0


class SegmentAnything:
    """A frozen SAM or MedSAM that encodes slices, answers boxes and shows its features (`FeatureTeacher`)."""

    def __init__(
        self, network: nn.Module, size: EncoderSize, family: Family, digest: str, device: torch.device
    ) -> None:
        self._network: Any = network.to(device).eval().requires_grad_(False)
        self._size = size
        self._scale = _SCALES[family]
        self._device = device
        precision = str(reduced_precision(device) or torch.float32).removeprefix("torch.")
        self.name = f"{family} {size.kind} ({digest[:8]})"
        self.identity = f"{digest[:16]}-{family}-{precision}"
        self.token_width = size.embedding_width
        self.map_widths = (size.width, size.width)

    def frame_of(self, rows: int, columns: int, spacing_mm: tuple[float, float]) -> SliceFrame:
        """Return the frame whose longest side fills the model's square, 1024 pixels for the published models."""
        return frame_with_longest_side(rows, columns, spacing_mm, self._size.side)

    @torch.inference_mode()
    def encode(self, image: Tensor) -> Tensor:
        """Encode one windowed slice (H, W) in [0, 1] to (256, 64, 64), float16, on the CPU."""
        return self._embed(image)

    @torch.inference_mode()
    def decode(self, embedding: Tensor, boxes: Tensor, frame: SliceFrame) -> Decoded:
        """Segment one structure per box (N, 4) = (row0, column0, row1, column1) in pixels of the frame."""
        logits, quality = ask_with_boxes(self._network, self._on_device(embedding), boxes)
        square = (self._size.side, self._size.side)
        enlarged = functional.interpolate(logits[:, None], square, mode="bilinear", align_corners=False)[:, 0]
        return Decoded(
            probabilities=enlarged[:, : frame.rows, : frame.columns].sigmoid().cpu(),
            quality=quality.cpu(),
        )

    @torch.no_grad()  # not inference_mode: students learn from what these two return
    def encode_with_maps(self, image: Tensor) -> EncodedSlice:
        """Encode a slice and keep the maps of the middle and the last block, (768, 64, 64) each, cut to the slice.

        Of the 12 blocks of ViT-B these are blocks 5 and 11 (method, section 2); ViT-L and ViT-H go by it.
        """
        blocks = self._network.image_encoder.blocks
        with outputs_of([blocks[len(blocks) // 2 - 1], blocks[-1]]) as outputs:
            embedding = self._embed(image)
        maps = (output[0].permute(2, 0, 1).to("cpu", torch.float16) for output in outputs)  # from (1, h, w, width)
        rows, columns = image.shape
        inside = (inside_frame(each, rows, columns, self._size.side).contiguous() for each in maps)
        return EncodedSlice(embedding, tuple(inside))

    @torch.no_grad()
    def decode_tokens(self, embedding: Tensor, boxes: Tensor, frame: SliceFrame) -> Tensor:
        """Return the image tokens after the prompts (N, 256, 64, 64), cut to the slice."""
        tokens = tokens_after_prompts(self._network, self._on_device(embedding), boxes)
        return inside_frame(tokens, frame.rows, frame.columns, self._size.side).to("cpu", torch.float16)

    def _embed(self, image: Tensor) -> Tensor:
        side = self._size.side
        batch = pad_to_square(self._scale(stretch_contrast(image)), side).to(self._device)
        with autocast(self._device):
            embedding: Tensor = self._network.image_encoder(batch.expand(1, 3, side, side))
        return embedding[0].to("cpu", torch.float16)

    def _on_device(self, embedding: Tensor) -> Tensor:
        return embedding.to(self._device, torch.float32)[None]


def load_segment_anything(weights: Path, device: torch.device, family: Family = "MedSAM") -> SegmentAnything:
    """Load a SAM or MedSAM checkpoint; whether it is ViT-B, ViT-L or ViT-H is read off its weights.

    Args:
        weights: File with tensors alone, such as medsam_vit_b.pth or sam_vit_h_4b8939.pth.
        device: Where to work.
        family: Whose grey values the weights were trained on: MedSAM's, or SAM's own.

    Raises:
        CheckpointError: If the package is missing, or if the file cannot be read or is no SAM checkpoint.
    """
    network, size = load_sam(weights)
    with weights.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return SegmentAnything(network, size, family, digest, device)


def _as_color(image: Tensor) -> Tensor:
    """Return grey values in [0, 1] as SAM's colors (3, H, W), mean 0 and standard deviation 1 over photographs."""
    mean = torch.tensor([123.675, 116.28, 103.53])[:, None, None]
    deviation = torch.tensor([58.395, 57.12, 57.375])[:, None, None]
    return (image * _BRIGHTEST - mean) / deviation


def _as_it_is(image: Tensor) -> Tensor:
    return image


_SCALES: dict[Family, Callable[[Tensor], Tensor]] = {"MedSAM": _as_it_is, "SAM": _as_color}
