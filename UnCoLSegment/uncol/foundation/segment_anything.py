"""SAM and MedSAM (ViT-B, ViT-L, ViT-H) as foundation teachers, from a checkpoint file that the user names.

The networks come from the package `segment-anything` (Apache-2.0). SAM and MedSAM have the same weights' names and
shapes but were trained on differently scaled grey values, so which of the two a file is has to be said.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from uncol.core.errors import CheckpointError
from uncol.core.files import opened, sha256_of
from uncol.foundation.sam_layers import SamTeacher

Family = Literal["MedSAM", "SAM"]

_PACKAGE = "segment-anything"
_VERSIONS = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}
"""Names in the package's registry by the width of the image encoder's tokens."""
_MORE_THAN_TENSORS = torch.serialization.pickle.UnpicklingError  # type: ignore[attr-defined]  # torch imports it
"""What torch raises for a file that holds more than tensors; named by way of torch, as nothing here unpickles."""
_WRAPPERS = ("model", "state_dict")
"""Where training programs put the weights beside the state of their optimizer."""
_BRIGHTEST = 255.0


def load_segment_anything(weights: Path, device: torch.device, family: Family = "MedSAM") -> SamTeacher:
    """Load a SAM or MedSAM checkpoint; whether it is ViT-B, ViT-L or ViT-H is seen from its weights.

    Its intermediate maps are those of the middle and the last block: of the 12 blocks of ViT-B these are blocks 5 and
    11 (method, section 2); ViT-L and ViT-H go by it.

    Args:
        weights: File with tensors alone, such as medsam_vit_b.pth or sam_vit_h_4b8939.pth.
        device: Where to work.
        family: Whose grey values the weights were trained on: MedSAM's, or SAM's own.

    Raises:
        CheckpointError: If the package is missing, or if the file cannot be read or is no SAM checkpoint.
    """
    if find_spec("segment_anything") is None:
        message = (
            f'Foundation models of the SAM family need the Python package "{_PACKAGE}", which is not installed. '
            f"Install it with `pip install {_PACKAGE}`, or use LiteMedSAM."
        )
        raise CheckpointError(message)
    network, version = _load_network(weights)
    digest = sha256_of(weights)
    blocks = network.image_encoder.blocks
    return SamTeacher(
        network=network,
        device=device,
        name=f"{family} ViT-{version[-1].upper()} ({digest[:8]})",
        weights_id=f"{digest[:16]}-{family}",
        side=network.image_encoder.img_size,
        layers=[blocks[len(blocks) // 2 - 1], blocks[-1]],
        map_width=network.image_encoder.pos_embed.shape[-1],
        token_width=network.prompt_encoder.embed_dim,
        scale=as_photograph if family == "SAM" else torch.Tensor.float,
    )


def as_photograph(image: Tensor) -> Tensor:
    """Return grey values in [0, 1] as SAM's colors (3, H, W), mean 0 and standard deviation 1 over photographs."""
    mean = torch.tensor([123.675, 116.28, 103.53])[:, None, None]
    deviation = torch.tensor([58.395, 57.12, 57.375])[:, None, None]
    return (image * _BRIGHTEST - mean) / deviation


def _load_network(weights: Path) -> tuple[Any, str]:
    """Build the SAM that a checkpoint file was written from, and load every weight."""
    # optional, and with torchvision behind it: loaded only where a checkpoint of SAM is asked for
    from segment_anything import sam_model_registry

    state = _read(weights)
    try:
        version = _VERSIONS[state["image_encoder.pos_embed"].shape[-1]]
        network = sam_model_registry[version]()
        network.load_state_dict(state, strict=True)
    except (KeyError, ValueError, RuntimeError, AttributeError, IndexError) as error:
        message = (
            f'"{weights}" is no checkpoint of SAM or MedSAM (ViT-B, ViT-L or ViT-H): {_first_difference(error)}. '
            "Choose a file such as medsam_vit_b.pth or sam_vit_b_01ec64.pth."
        )
        raise CheckpointError(message) from error
    return network, version


def _read(weights: Path) -> Mapping[str, Tensor]:
    try:
        with opened(weights) as (file, _):
            content: Any = torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        why = error.strerror or error
        message = f'Foundation weights "{weights}" could not be read ({why}). Name an existing file.'
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
        name = error.args[0]
        return f"it has no weights named {name}" if isinstance(name, str) else f"its image encoder has width {name}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # torch lists every difference below a headline
    return (lines[1] if len(lines) > 1 else lines[0]).rstrip(". ")[:200]
