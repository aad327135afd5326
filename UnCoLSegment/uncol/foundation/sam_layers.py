"""What networks of the SAM family have in common: asking with boxes, and looking at what happens inside."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_BOX_BATCH = 8
_SMALLEST_CONTRAST = 1e-6


def stretch_contrast(image: Tensor) -> Tensor:
    """Map the lowest grey value of a slice to 0 and its highest to 1; a slice of one value becomes 0."""
    span = image.max() - image.min()
    return (image - image.min()) / span.clamp_min(_SMALLEST_CONTRAST)


def pad_to_square(image: Tensor, side: int) -> Tensor:
    """Pad images (..., H, W) with zeros at the bottom and the right to `side` x `side`."""
    rows, columns = image.shape[-2:]
    return functional.pad(image, (0, side - columns, 0, side - rows))


def ask_with_boxes(network: Any, image_embedding: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Ask prompt encoder and mask decoder for one structure per box.

    Args:
        network: Holds `prompt_encoder` and `mask_decoder`.
        image_embedding: Embedding of one image (1, C, h, w), float32, on the network's device.
        boxes: Boxes (N, 4) = (row0, column0, row1, column1) in pixels of the network's square.

    Returns:
        Logits (N, 4 h, 4 w) and the network's own estimate of each mask's IoU (N,), float32.
    """
    corners_xyxy = boxes[:, [1, 0, 3, 2]].to(image_embedding)
    answers = [_answer(network, image_embedding, part) for part in corners_xyxy.split(_BOX_BATCH)]
    return torch.cat([logits for logits, _ in answers]), torch.cat([quality for _, quality in answers])


def tokens_after_prompts(network: Any, image_embedding: Tensor, boxes: Tensor) -> Tensor:
    """Return the image tokens (N, C, h, w) after the decoder's two-way transformer, before they are enlarged.

    Source:
        Method, section 2, semantic path (UnCoL, IEEE TMI 2026, doi:10.1109/TMI.2026.3664940).
    """
    with outputs_of([network.mask_decoder.transformer]) as outputs:
        ask_with_boxes(network, image_embedding, boxes)
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


def _answer(network: Any, image_embedding: Tensor, corners_xyxy: Tensor) -> tuple[Tensor, Tensor]:
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
