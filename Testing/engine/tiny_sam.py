"""A SAM of a few thousand weights in the registry of `segment-anything`: slices of 64 pixels in patches of 8."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from uncol.foundation import segment_anything as teachers

WIDTH, DEPTH, SIDE, GRID, CHANNELS = 32, 4, 64, 8, 16


def build() -> nn.Module:
    """The network with random weights."""
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    encoder = ImageEncoderViT(
        img_size=SIDE, patch_size=SIDE // GRID, embed_dim=WIDTH, depth=DEPTH, num_heads=2, out_chans=CHANNELS,
        norm_layer=partial(nn.LayerNorm, eps=1e-6), use_rel_pos=True, window_size=3, global_attn_indexes=(1, 3),
    )  # fmt: skip
    prompts = PromptEncoder(CHANNELS, (GRID, GRID), (SIDE, SIDE), mask_in_chans=16)
    transformer = TwoWayTransformer(depth=2, embedding_dim=CHANNELS, num_heads=8, mlp_dim=2048)
    return Sam(encoder, prompts, MaskDecoder(transformer_dim=CHANNELS, transformer=transformer))


def register() -> None:
    """Let checkpoints of this width be loaded, as ViT-T."""
    package = pytest.importorskip("segment_anything", reason="needs the optional package segment-anything")
    package.sam_model_registry["vit_t"] = build
    teachers._VERSIONS[WIDTH] = "vit_t"


def write_checkpoint(path: Path) -> Path:
    """A checkpoint whose weights are large enough to tell slices apart; always the same one."""
    torch.manual_seed(0)
    network = build()
    for weights in network.parameters():
        nn.init.normal_(weights, std=0.1)
    torch.save(network.state_dict(), path)
    return path
