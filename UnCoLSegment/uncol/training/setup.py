"""What a fine-tuning run starts from: cases, settings, teacher and the student's first weights."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from uncol.core.config import Config
from uncol.core.errors import ConfigError
from uncol.core.jobs import Structure
from uncol.core.volume import UNKNOWN_LABEL, Plane, SliceView, Volume, view_slices
from uncol.data.cases import LabeledCase, Pool, SliceStack, class_indices, finest_pixel_mm, stack_case
from uncol.data.patch_dataset import VolumePool, stack_volume
from uncol.data.slice_dataset import SlicePool
from uncol.data.transforms import choose_window
from uncol.foundation.embeddings import EmbeddingCache
from uncol.foundation.promptable import FeatureTeacher, GeneralizedTeacher
from uncol.models.checkpoints import Model, ModelCard, build_student
from uncol.models.paper_student import PaperStudent
from uncol.models.unet import SIZE_MULTIPLE
from uncol.training.distillation import Projector, SemanticAligner


@dataclass(frozen=True)
class FineTuneSetup:
    """Everything that a run starts from.

    Attributes:
        cases: Images with their annotated slices.
        unlabeled: Further images of the same kind, without annotation.
        structures: What to learn.
        plane: Plane of the slices.
        config: All settings.
        device: Where the student is trained.
        teacher: The frozen foundation model, or None.
        cache: Where its embeddings are kept.
        base: A model whose weights the student starts from, or None.
    """

    cases: Sequence[LabeledCase]
    unlabeled: Sequence[Volume]
    structures: tuple[Structure, ...]
    plane: Plane
    config: Config
    device: torch.device
    teacher: GeneralizedTeacher | None
    cache: EmbeddingCache
    base: Model | None = None

    def all_cases(self) -> list[LabeledCase]:
        """Return the annotated cases, then the others with every voxel unknown."""
        unknown = [
            LabeledCase(image, image.with_voxels(np.full(image.shape_kji, UNKNOWN_LABEL, dtype=np.uint8)))
            for image in self.unlabeled
        ]
        return [*self.cases, *unknown]

    def fingerprint(self) -> str:
        """Return a hash of the images, labels and structures: a run is resumed with the same ones only."""
        digest = hashlib.sha256(repr((self.structures, self.plane)).encode())
        for case in self.all_cases():
            for volume in (case.image, case.labels):
                digest.update(np.ascontiguousarray(volume.voxels).tobytes())
                digest.update(np.round(volume.ijk_to_ras, 4).tobytes())
        return digest.hexdigest()


def card_for(setup: FineTuneSetup) -> ModelCard:
    """Return the card of the model to be trained: structures, plane, pixel, slice distance and window.

    With a base model, pixel, slice distance and window are the base's, because its weights know things of that size;
    all cases are brought to them. The plane is this run's nevertheless: nothing is annotated in another one.
    """
    if setup.base is not None:
        base = setup.base.card
        if base.config.student.dims != setup.config.student.dims:
            message = (
                f"The base model's student is {base.config.student.dims}D, this run's is {setup.config.student.dims}D. "
                "Choose another base model, or the same --student."
            )
            raise ConfigError(message)
        return ModelCard(setup.structures, setup.plane, base.pixel_mm, base.slice_mm, base.window, setup.config)
    case = setup.cases[0]
    view = view_slices(case.image, setup.plane)
    _, rows, columns = view.stack_from(case.image.voxels).shape
    known = class_indices(case.labels.voxels, setup.structures)
    slice_mm, pixel_mm = view.spacing_mm[0], finest_pixel_mm(view, rows, columns, setup.config.data.max_side_vox)
    if setup.config.student.dims == 3:
        slice_mm, pixel_mm = _voxel_mm(view, setup.config.data.voxel_mm)
    return ModelCard(
        structures=setup.structures,
        plane=setup.plane,
        pixel_mm=pixel_mm,
        slice_mm=slice_mm,
        window=setup.config.data.window or choose_window(case.image.voxels, known),
        config=setup.config,
    )


def _voxel_mm(view: SliceView, wanted: float | None) -> tuple[float, float]:
    """Return the distance between slices and the pixel of a 3D student: alike, unless the slices are thicker."""
    pixel_mm = wanted or min(view.spacing_mm)
    return max(pixel_mm, view.spacing_mm[0]), pixel_mm


def frame_cases(setup: FineTuneSetup, card: ModelCard) -> tuple[list[SliceStack], Pool]:
    """Bring all cases into the student's frame, and return what training draws from."""
    if card.config.student.dims == 3:
        voxel_mm = (card.slice_mm, card.pixel_mm)
        volumes = [
            stack_volume(each, setup.structures, setup.plane, voxel_mm, card.window) for each in setup.all_cases()
        ]
        return volumes, VolumePool(volumes, card.class_count, card.config.data.patch_vox)
    stacks = [stack_case(each, setup.structures, setup.plane, card.pixel_mm, card.window) for each in setup.all_cases()]
    return stacks, SlicePool(stacks, card.class_count, card.config.data.neighbor_count, SIZE_MULTIPLE, card.slice_mm)


def student_for(setup: FineTuneSetup, card: ModelCard) -> nn.Module:
    """Return the student with its first weights: random ones, or those of the base model where they fit."""
    student = build_student(card)
    if setup.base is not None:
        _copy_fitting_weights(setup.base.student, student)
    return student


def helpers_for(setup: FineTuneSetup, student: nn.Module, card: ModelCard) -> nn.ModuleDict:
    """Return the modules that learn beside the paper's student to compare it with the generalized teacher; or none."""
    if not isinstance(student, PaperStudent) or not isinstance(setup.teacher, FeatureTeacher):
        return nn.ModuleDict()
    size, structure_count = student.config, card.class_count - 1
    return nn.ModuleDict(
        {
            "projector": Projector(setup.teacher.map_widths, size.token_dim, size.dims),
            "aligner": SemanticAligner(setup.teacher.token_width, structure_count, size.prior_channels, size.dims),
        }
    )


def _copy_fitting_weights(base: nn.Module, student: nn.Module) -> None:
    own = student.state_dict()
    fitting = {key: value for key, value in base.state_dict().items() if key in own and own[key].shape == value.shape}
    student.load_state_dict(own | fitting)
