"""What the base knows, remembered on slices that nobody annotated, while a structure is added to it.

Slices that are annotated for a new structure show the others in their neighborhood only; elsewhere these are forgotten.

Source:
    Li & Hoiem, "Learning without Forgetting", ECCV 2016; that background there may be a new structure now: Cermelli et
    al., "Modeling the Background for Incremental Learning in Semantic Segmentation", CVPR 2020.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from uncol.core.model_card import ModelCard
from uncol.core.volume import UNKNOWN_LABEL
from uncol.data.cases import Pool
from uncol.evaluation.metrics import dice
from uncol.inference.predict import predict
from uncol.models.card import Model

_LEAST_DICE = 0.8
"""A structure that the base does not find so well on slices annotated now is not remembered: the images are others."""
_MOST_DRAWS = 16
"""So many annotated slices or patches are drawn to see that."""


@dataclass(frozen=True)
class BaseMemory:
    """What of a base model is remembered.

    Attributes:
        student: The base's student, on the device of the training.
        kept: Classes of the new student (K,), in their order, that the base finds.
        places: For each class of the base (N,) its place among the kept ones, from 1; 0 is everything else.
    """

    student: nn.Module
    kept: list[int]
    places: Tensor

    def labels(self, inputs: Tensor, device: torch.device) -> Tensor:
        """Return what the base finds (B, ...), uint8: 0 is everything that is not kept."""
        return self.places[predict(self.student.to(device), inputs, device).argmax(1)]

    def logits(self, logits: Tensor) -> Tensor:
        """Return logits of the new student (B, C, ...) for all else together and for what is kept (B, 1 + K, ...)."""
        rest = [each for each in range(logits.shape[1]) if each not in self.kept]
        return torch.cat([logits[:, rest].logsumexp(1, keepdim=True), logits[:, self.kept]], 1)


def memory_of(base: Model | None, card: ModelCard, pool: Pool, device: torch.device) -> BaseMemory | None:
    """Return what is remembered of a base model; None without one, where nothing is added, or where it finds nothing.

    Args:
        base: The model that the student starts from.
        card: What it is to learn.
        pool: What it learns from.
        device: Where to compute.
    """
    if base is None or not pool.unlabeled or base.card.config.data.neighbor_count != card.config.data.neighbor_count:
        return None
    theirs = {each.name: channel for channel, each in enumerate(base.card.structures, start=1)}
    known = {label: theirs[each.name] for label, each in enumerate(card.structures, start=1) if each.name in theirs}
    if len(known) in (0, len(card.structures)):
        return None
    addresses = list(dict.fromkeys(pool.draw_labeled(_MOST_DRAWS, torch.Generator().manual_seed(0))))
    truth = torch.cat([pool.targets([each]) for each in addresses]).numpy()
    student = base.student.to(device)
    found = torch.cat([predict(student, pool.inputs([each]), device).argmax(1) for each in addresses]).numpy()
    found = np.where(truth == UNKNOWN_LABEL, 0, found)
    kept = [label for label, theirs in known.items() if dice(found == theirs, truth == label) >= _LEAST_DICE]
    places = torch.zeros(base.card.class_count, dtype=torch.uint8)
    for place, label in enumerate(kept, start=1):
        places[known[label]] = place
    return BaseMemory(student, kept, places) if kept else None
