"""What a whole job needs beside its files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from uncol.core.foundation_choice import LITE_MEDSAM, FoundationChoice
from uncol.core.progress import Monitor
from uncol.foundation.loading import load_foundation_model
from uncol.foundation.promptable import PromptableModel
from uncol.inference.result import Show
from uncol.models.card import Model
from uncol.models.checkpoints import load_model
from uncol.training.preview import PreviewOrder


@dataclass(frozen=True)
class Context:
    """What a piece of work needs beside its job.

    Attributes:
        monitor: Told about progress, and asked whether to stop.
        cache: Folder for the foundation model's embeddings, or None.
        foundation: Which foundation model, and its weights.
        load_model: Gives the model of a folder; a long-lived process keeps the last one.
        load_teacher: Gives the foundation model for a device and a choice; a long-lived process keeps it.
        preview: What to show while a model is being trained, or None.
        show: Told what annotated slices say at first, while more is asked.
        say: Told a sentence on the way that the user may want to read.
        command: The command line without names of files, for reports; "" where there is none.
    """

    monitor: Monitor
    cache: Path | None
    foundation: FoundationChoice = LITE_MEDSAM
    load_model: Callable[[Path], Model] = field(default=load_model)
    load_teacher: Callable[[torch.device, FoundationChoice], PromptableModel] = field(default=load_foundation_model)
    preview: PreviewOrder | None = None
    show: Show = lambda *_: None
    say: Callable[[str], None] = lambda _: None
    command: str = ""
