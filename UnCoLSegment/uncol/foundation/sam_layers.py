"""What foundation models of the SAM family have in common: encode, decode boxes, and look at what happens inside."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from uncol.data.transforms import SliceFrame, frame_with_longest_side
from uncol.foundation.promptable import BoxPrediction, EncodedSlice
from uncol.models.devices import autocast, reduced_precision

_BOX_BATCH = 8
_SMALLEST_CONTRAST = 1e-6
_PIXELS_AT_ONCE = {"cuda": 16 * 256**2, "mps": 8 * 256**2}
"""Pixels that are encoded in one call; those of one slice on a CPU, where more in one call are not faster."""


@dataclass(frozen=True, eq=False, kw_only=True)
class SamTeacher:
    """A frozen model of the SAM family that encodes slices, answers boxes and shows its features (`FeatureModel`).

    Attributes:
        network: Holds `image_encoder`, `prompt_encoder` and `mask_decoder`.
        device: Where it works.
        name: Name for reports.
        weights_id: Which weights these are, for `identity`.
        side: Rows and columns of the square that the model sees, in pixels.
        layers: The layers of the image encoder whose outputs are its intermediate maps, shallow first.
        map_width: Channels of these maps.
        token_width: Channels of the embedding and of the tokens after the prompts.
        scale: From grey values (H, W) in [0, 1] to those that the model was trained on, (H, W) or (3, H, W).
        memory_format: How images lie in memory.
    """

    network: Any
    device: torch.device
    name: str
    weights_id: str
    side: int
    layers: Sequence[nn.Module]
    map_width: int
    token_width: int
    scale: Callable[[Tensor], Tensor] = torch.Tensor.float
    memory_format: torch.memory_format = torch.contiguous_format

    def __post_init__(self) -> None:
        self.network.to(self.device).to(memory_format=self.memory_format).eval().requires_grad_(False)

    @property
    def identity(self) -> str:
        """Hash of the weights, and the precision."""
        return f"{self.weights_id}-{reduced_precision(self.device) or torch.float32}".replace("torch.", "")

    @property
    def map_widths(self) -> tuple[int, ...]:
        """Channels of each intermediate map, shallow first."""
        return (self.map_width,) * len(self.layers)

    def frame_of(self, rows: int, columns: int, spacing_mm: tuple[float, float]) -> SliceFrame:
        """Return the frame whose longest side fills the model's square."""
        return frame_with_longest_side(rows, columns, spacing_mm, self.side)

    def embedding_shape(self, _frame: SliceFrame) -> tuple[int, int, int]:
        """Return the shape (C, h, w) of an embedding: that of the padded square, whatever the frame."""
        rows, columns = self.network.prompt_encoder.image_embedding_size
        return self.token_width, rows, columns

    @property
    def slices_at_once(self) -> int:
        """How many slices fill the device: a small model's launches take a GPU longer than its computing."""
        return max(1, _PIXELS_AT_ONCE.get(self.device.type, 0) // self.side**2)

    @torch.inference_mode()
    def encode(self, image: Tensor) -> Tensor:
        """Encode one windowed slice (H, W) in [0, 1] to (C, h, w), 256 x 64 x 64 if published, float16, on the CPU."""
        return self._embed([image])[0]

    @torch.inference_mode()
    def encode_all(self, images: Sequence[Tensor]) -> list[Tensor]:
        """Encode slices in one call, each as `encode` does up to rounding."""
        return list(self._embed(images))

    @torch.inference_mode()
    def decode(self, embedding: Tensor, boxes: Tensor, frame: SliceFrame) -> BoxPrediction:
        """Segment one structure per box (N, 4) = (row0, column0, row1, column1) in pixels of the frame."""
        logits, quality = decode_boxes(self.network, self._on_device(embedding), boxes)
        square = (self.side, self.side)
        if logits.shape[1:] != square:
            logits = functional.interpolate(logits[:, None], square, mode="bilinear", align_corners=False)[:, 0]
        return BoxPrediction(logits[:, : frame.rows, : frame.columns].sigmoid().cpu(), quality.cpu())

    @torch.no_grad()  # not inference_mode: students learn from what these two return
    def encode_with_maps(self, image: Tensor) -> EncodedSlice:
        """Encode a slice and keep the intermediate maps (C, h, w), cut to the slice."""
        with outputs_of(self.layers) as outputs:
            embedding = self._embed([image])[0]
        grids = (tokens_to_map(each.flatten(1, -2), embedding.shape[1])[0] for each in outputs)  # from (1, ..., C)
        (rows, columns), side = image.shape, self.side
        maps = (inside_frame(each.to("cpu", torch.float16), rows, columns, side).contiguous() for each in grids)
        return EncodedSlice(embedding, tuple(maps))

    @torch.no_grad()
    def decode_tokens(self, embedding: Tensor, boxes: Tensor, frame: SliceFrame) -> Tensor:
        """Return the image tokens after the prompts (N, C, h, w), cut to the slice."""
        tokens = tokens_after_prompts(self.network, self._on_device(embedding), boxes)
        return inside_frame(tokens, frame.rows, frame.columns, self.side).to("cpu", torch.float16)

    def _embed(self, images: Sequence[Tensor]) -> Tensor:
        """Return the embeddings (B, C, h, w)."""
        side = self.side
        padded = [pad_to_square(self.scale(stretch_contrast(each)), side).expand(3, side, side) for each in images]
        batch = torch.stack(padded).to(self.device).contiguous(memory_format=self.memory_format)
        with autocast(self.device):
            embeddings: Tensor = self.network.image_encoder(batch)
        return embeddings.to("cpu", torch.float16)

    def _on_device(self, embedding: Tensor) -> Tensor:
        return embedding.to(self.device, torch.float32)[None]


def stretch_contrast(image: Tensor) -> Tensor:
    """Map the lowest grey value of a slice to 0 and its highest to 1; a slice of one value becomes 0."""
    span = image.max() - image.min()
    return (image - image.min()) / span.clamp_min(_SMALLEST_CONTRAST)


def pad_to_square(image: Tensor, side: int) -> Tensor:
    """Pad images (..., H, W) with zeros at the bottom and the right to `side` x `side`."""
    rows, columns = image.shape[-2:]
    return functional.pad(image, (0, side - columns, 0, side - rows))


def decode_boxes(network: Any, image_embedding: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Ask prompt encoder and mask decoder for one structure per box.

    Args:
        network: Holds `prompt_encoder` and `mask_decoder`.
        image_embedding: Embedding of one image (1, C, h, w), float32, on the network's device.
        boxes: Boxes (N, 4) = (row0, column0, row1, column1) in pixels of the network's square.

    Returns:
        Logits (N, 4 h, 4 w) and the network's own estimate of each mask's IoU (N,), float32.
    """
    corners_xyxy = boxes[:, [1, 0, 3, 2]].to(image_embedding)
    parts = [_decode_some(network, image_embedding, part) for part in corners_xyxy.split(_BOX_BATCH)]
    return torch.cat([logits for logits, _ in parts]), torch.cat([quality for _, quality in parts])


def tokens_after_prompts(network: Any, image_embedding: Tensor, boxes: Tensor) -> Tensor:
    """Return the image tokens (N, C, h, w) after the decoder's two-way transformer, before they are enlarged.

    Source:
        Method, section 2, semantic path (UnCoL, IEEE TMI 2026, doi:10.1109/TMI.2026.3664940).
    """
    with outputs_of([network.mask_decoder.transformer]) as outputs:
        decode_boxes(network, image_embedding, boxes)
    tokens = torch.cat([image_tokens for _, image_tokens in outputs])  # (N, h w, C)
    return tokens_to_map(tokens, image_embedding.shape[-2])


def tokens_to_map(tokens: Tensor, rows: int) -> Tensor:
    """Return tokens (N, h w, C) as maps (N, C, h, w) with the given number of rows."""
    return tokens.transpose(1, 2).unflatten(2, (rows, -1))


def inside_frame(maps: Tensor, frame_rows: int, frame_columns: int, side: int) -> Tensor:
    """Cut the padding off maps (..., h, w) of a padded square; what the slice touches stays."""
    rows, columns = maps.shape[-2:]
    return maps[..., : math.ceil(frame_rows * rows / side), : math.ceil(frame_columns * columns / side)]


@contextmanager
def outputs_of(modules: Sequence[nn.Module]) -> Iterator[list[Any]]:
    """Collect what modules return while the context is open; afterwards they cost what they did before."""
    outputs: list[Any] = []
    hooks = [each.register_forward_hook(lambda _module, _inputs, output: outputs.append(output)) for each in modules]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def _decode_some(network: Any, image_embedding: Tensor, corners_xyxy: Tensor) -> tuple[Tensor, Tensor]:
    prompt_encoder, mask_decoder = network.prompt_encoder, network.mask_decoder
    sparse, dense = prompt_encoder(points=None, boxes=corners_xyxy[:, None], masks=None)
    logits, quality = mask_decoder(
        image_embeddings=image_embedding,
        image_pe=prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=False,
    )
    return logits[:, 0].float(), quality[:, 0].float()
