"""SAM's networks from a checkpoint file: its sizes are read off the weights, and every weight must fit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from uncol.core.errors import CheckpointError

PACKAGE = "segment-anything"
_KINDS = {(768, 12): "ViT-B", (1024, 24): "ViT-L", (1280, 32): "ViT-H"}
_MORE_THAN_TENSORS = torch.serialization.pickle.UnpicklingError  # type: ignore[attr-defined]  # torch imports it
"""What torch raises for a file that holds more than tensors; named by way of torch, as nothing here unpickles."""
_WRAPPERS = ("model", "state_dict")
"""Where training programs put the weights beside the state of their optimizer."""


@dataclass(frozen=True)
class EncoderSize:
    """Size of a SAM image encoder, as its weights show it.

    Attributes:
        width: Channels of a token.
        depth: Transformer blocks.
        heads: Attention heads of a block.
        patch: Side of a patch in pixels.
        grid: Patches along one side of the image.
        window: Side of the windows, in patches, within which most blocks attend.
        global_blocks: Blocks that attend to the whole image, from 0.
        embedding_width: Channels of the embedding.
    """

    width: int
    depth: int
    heads: int
    patch: int
    grid: int
    window: int
    global_blocks: tuple[int, ...]
    embedding_width: int

    @property
    def kind(self) -> str:
        """ViT-B, ViT-L or ViT-H, or what is special about another one."""
        return _KINDS.get((self.width, self.depth), f"ViT with {self.depth} blocks of width {self.width}")

    @property
    def side(self) -> int:
        """Rows and columns of the image that the encoder takes, in pixels."""
        return self.grid * self.patch


def load_sam(weights: Path) -> tuple[nn.Module, EncoderSize]:
    """Build the SAM that a checkpoint file was written from, and load it strictly.

    Raises:
        CheckpointError: If the package is missing, or if the file cannot be read or is no SAM checkpoint.
    """
    if find_spec("segment_anything") is None:
        message = (
            f'Foundation models of the SAM family need the Python package "{PACKAGE}", which is not installed. '
            f"Install it with `pip install {PACKAGE}`, or use LiteMedSAM."
        )
        raise CheckpointError(message)
    state = _read(weights)
    try:
        size = encoder_size(state)
        network = build_sam(size)
        network.load_state_dict(state, strict=True)
    except (KeyError, ValueError, RuntimeError, AttributeError, IndexError) as error:
        message = (
            f'"{weights}" is no checkpoint of SAM or MedSAM (ViT-B, ViT-L or ViT-H): {_first_difference(error)}. '
            "Choose a file such as medsam_vit_b.pth or sam_vit_b_01ec64.pth."
        )
        raise CheckpointError(message) from error
    return network, size


def encoder_size(state: Mapping[str, Tensor]) -> EncoderSize:
    """Read the size of the image encoder off the names and shapes of its weights.

    Raises:
        KeyError: If a weight that tells the size is missing.
        ValueError: If the weights have shapes that no SAM has.
    """
    _, grid, _, width = state["image_encoder.pos_embed"].shape
    depth = 1 + max(int(match[1]) for name in state if (match := re.match(r"image_encoder\.blocks\.(\d+)\.", name)))
    # a block's relative positions are 2 n - 1 for n places: the whole image's, or those of a window
    places = [(len(state[f"image_encoder.blocks.{index}.attn.rel_pos_h"]) + 1) // 2 for index in range(depth)]
    return EncoderSize(
        width=width,
        depth=depth,
        heads=width // state["image_encoder.blocks.0.attn.rel_pos_h"].shape[1],
        patch=state["image_encoder.patch_embed.proj.weight"].shape[-1],
        grid=grid,
        window=min(places),
        global_blocks=tuple(index for index, count in enumerate(places) if count == grid),
        embedding_width=state["image_encoder.neck.0.weight"].shape[0],
    )


def build_sam(size: EncoderSize) -> nn.Module:
    """Return a SAM with this image encoder and its usual prompt encoder and mask decoder, not yet trained."""
    # optional, and with torchvision behind it: loaded only where a checkpoint of SAM is asked for
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    channels = size.embedding_width
    image_encoder = ImageEncoderViT(
        img_size=size.side,
        patch_size=size.patch,
        embed_dim=size.width,
        depth=size.depth,
        num_heads=size.heads,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=size.window,
        global_attn_indexes=size.global_blocks,
        out_chans=channels,
    )
    prompt_encoder = PromptEncoder(
        embed_dim=channels,
        image_embedding_size=(size.grid, size.grid),
        input_image_size=(size.side, size.side),
        mask_in_chans=16,
    )
    transformer = TwoWayTransformer(depth=2, embedding_dim=channels, num_heads=8, mlp_dim=2048)
    mask_decoder = MaskDecoder(transformer_dim=channels, transformer=transformer)
    network: nn.Module = Sam(image_encoder, prompt_encoder, mask_decoder)
    return network


def _read(weights: Path) -> Mapping[str, Tensor]:
    try:
        content: Any = torch.load(weights, map_location="cpu", weights_only=True)
    except OSError as error:
        message = f'Foundation weights "{weights}" could not be read ({error.strerror}). Name an existing file.'
        raise CheckpointError(message) from error
    except (RuntimeError, EOFError, ValueError, KeyError, _MORE_THAN_TENSORS) as error:
        message = (
            f'"{weights}" is no checkpoint file of tensors alone, or it is damaged. '
            "Download it again, or choose another one; files that could run code are never opened."
        )
        raise CheckpointError(message) from error
    for wrapper in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict):
        message = f'"{weights}" holds a {type(content).__name__} instead of named weights. Choose a SAM checkpoint.'
        raise CheckpointError(message)
    return content


def _first_difference(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it has no weights named {error.args[0]}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # torch lists every difference below a headline
    return (lines[1] if len(lines) > 1 else lines[0]).rstrip(". ")[:200]
