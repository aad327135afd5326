"""Builds what a training starts with: cases in the student's frame, networks, teachers, and the method's recipe."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from typing import Any

import torch
from torch import nn

from uncol.core.clock import awake_s
from uncol.core.config import BudgetConfig, Config
from uncol.core.errors import ConfigError, DataError
from uncol.core.grey_values import KINDS, GreyValues, Window
from uncol.core.methods import (
    ADAMW_LR_001,
    ATTACHED_SEMANTIC_TARGET,
    DOUBLE_SOFTMAX_DICE,
    EQUAL_TEACHERS,
    FROZEN_EMA,
    SOFTMAX_OF_PROBABILITIES,
    TEACHER_TRAIN_MODE,
    WHOLE_IMAGE_BOX,
    find_method,
)
from uncol.core.model_card import ModelCard
from uncol.core.volume import SliceView, view_slices
from uncol.data.annotations import complete_slices
from uncol.data.cases import FramedCase, Pool, class_indices, finest_pixel_mm, frame_case
from uncol.data.patch_dataset import PatchDataset, frame_volume
from uncol.data.slice_dataset import SliceDataset
from uncol.data.windows import grey_values_of, hounsfield_window, may_be_hounsfield, own_window
from uncol.foundation.promptable import FeatureModel, PromptableModel
from uncol.foundation.prompting import SlicePredictor
from uncol.inference.few_slices import (
    LEAST_DICE_WITH_TRUE_BOXES,
    carry_annotated,
    opinions_from_other_planes,
)
from uncol.inference.grey_scale import window_for
from uncol.inference.predict import memory_format
from uncol.models.build import build_student
from uncol.models.paper_student import PaperStudent
from uncol.models.parts import part_of
from uncol.models.unet import SIZE_MULTIPLE
from uncol.training.batches import Sampler
from uncol.training.budget import TrainingBudget
from uncol.training.distillation import Projector, SemanticAligner
from uncol.training.generalized_sources import GeneralizedSources
from uncol.training.generalized_teacher import GeneralizedTeacher
from uncol.training.learned_slices import seen_slices
from uncol.training.losses import class_weights
from uncol.training.prompting_rounds import PromptingRounds
from uncol.training.remembering import memory_of
from uncol.training.specialized_teacher import make_specialized_teacher
from uncol.training.state import FineTuneSetup, Recipe, TrainingState
from uncol.training.teacher_features import TeacherFeatures
from uncol.training.warm_start import carry_over

RELEASED_STAGE2_RATE = 0.01
"""What the released code's AdamW effectively starts stage 2 with, falling to 0 (method, section 7, row 3)."""


def prepared(setup: FineTuneSetup) -> TrainingState:
    """Return the state that a training starts with: everything is drawn, built and moved, nothing is learned.

    Raises:
        UncolError: If the data cannot be learned from.
    """
    began_s = awake_s()
    config, device = setup.config, setup.device
    recipe, card = recipe_of(config), card_for(setup)
    framed, pool = frame_cases(setup, card)
    if not pool.unlabeled or not recipe.method.scores_teachers:
        pool.release_held_out()

    torch.manual_seed(config.seed)
    sampler = Sampler(
        pool, torch.Generator().manual_seed(config.seed), config.data, card.slice_mm / card.pixel_mm, device
    )
    student = student_for(setup, card).to(device).to(memory_format=memory_format(config.student.dims))
    specialized_teacher = make_specialized_teacher(student).train(TEACHER_TRAIN_MODE in config.ablations)
    helpers = helpers_for(setup, student, card).to(device)
    state = TrainingState(
        setup=setup,
        card=card,
        recipe=recipe,
        framed=framed,
        sampler=sampler,
        budget=TrainingBudget(_budget_of(setup, recipe, pool), awake_s() - began_s),
        student=student,
        specialized_teacher=specialized_teacher,
        helpers=helpers,
        optimizer=torch.optim.AdamW(
            parameter_groups(student, helpers),
            lr=config.optimizer.learning_rate,
            weight_decay=config.optimizer.weight_decay,
        ),
        rarity=class_weights(pool.voxel_counts, config.losses.class_weight_cap).to(device),
        found=torch.zeros(card.class_count, device=device),
        device=device,
        batch_size=config.optimizer.batch_size,
        specialized_reliability=torch.ones(card.class_count),
        memory=memory_of(setup.base, card, pool, device),
        notes=_says_other_base(setup, card),
    )
    if setup.teacher is not None and config.teachers.generalized and recipe.method.generalized and pool.unlabeled:
        _add_generalized_teacher(state, setup.teacher)
    if _carries(state):
        _add_registration(state)
    return state


def _says_other_base(setup: FineTuneSetup, card: ModelCard) -> list[str]:
    if setup.base is None or setup.base.card.grey_values == card.grey_values:
        return []
    return [
        f"The base model learned from {KINDS[setup.base.card.grey_values]}, this one from {KINDS[card.grey_values]}, "
        "so the base helps little. Start without a base model, or with one of such images."
    ]


def recipe_of(config: Config) -> Recipe:
    """Translate the method and its ablations into what the loop reads."""
    chosen = config.ablations
    return Recipe(
        method=find_method(config.method),
        ema_moves_in_stage2=FROZEN_EMA not in chosen,
        stage2_rate=RELEASED_STAGE2_RATE if ADAMW_LR_001 in chosen else None,
        softmax_of_probabilities=SOFTMAX_OF_PROBABILITIES in chosen,
        equal_reliability=EQUAL_TEACHERS in chosen,
        double_softmax_dice=DOUBLE_SOFTMAX_DICE in chosen,
        attached_semantic_target=ATTACHED_SEMANTIC_TARGET in chosen,
    )


def _budget_of(setup: FineTuneSetup, recipe: Recipe, pool: Pool) -> BudgetConfig:
    part = recipe.method.stage1_part if pool.unlabeled else 1.0
    return setup.config.budget if part is None else replace(setup.config.budget, stage1_part=part)


def _add_generalized_teacher(state: TrainingState, teacher: PromptableModel) -> None:
    """Give the foundation model its part, and its features where the student learns to see as it does."""
    settings, framed = state.config.teachers, state.framed
    prompted = [
        SlicePredictor.of_volume(case.image, each.view, each.window, teacher, state.setup.cache)
        for case, each in zip(state.setup.all_cases(), framed, strict=True)
    ]
    state.generalized_teacher = GeneralizedTeacher(
        state.pool,
        framed,
        prompted,
        settings.box_margin_vox,
        most_slices=settings.most_slices_asked,
        every_vote=not state.recipe.method.gating,
        whole_slices=WHOLE_IMAGE_BOX in state.config.ablations,
        least_dice=LEAST_DICE_WITH_TRUE_BOXES if _carries(state) else 0.0,
    )
    state.prompting = PromptingRounds(
        state.generalized_teacher, settings.prompt_rounds, state.budget.total_s, state.notes
    )
    if isinstance(state.student, PaperStudent) and isinstance(teacher, FeatureModel):
        state.features = TeacherFeatures(
            state.pool,
            framed,
            prompted,
            teacher,
            patch=state.student.config.patch,
            prompted_slices=state.generalized_teacher.slices,
            margin_pixels=settings.box_margin_vox,
        )


def _carries(state: TrainingState) -> bool:
    """Whether annotated slices are carried; an ablation is a step away from the paper's method, which does not."""
    config = state.config
    wanted = state.recipe.method.registration and config.teachers.registration and not config.ablations
    return wanted and any(_is_annotated_in_part(each) for each in state.framed)


def _is_annotated_in_part(case: FramedCase) -> bool:
    return 0 < len(complete_slices(case.native_labels)) < len(case.native_labels)


def _add_registration(state: TrainingState) -> None:
    """Carry annotated slices to the others of their case, in cases that have both."""
    cases, count = state.setup.all_cases(), state.card.class_count - 1
    carried = [
        carry_annotated(case.image, each.view, each.native_labels, count, state.setup.cache)
        if _is_annotated_in_part(each)
        else None
        for case, each in zip(cases, state.framed, strict=True)
    ]
    others = [
        opinions_from_other_planes(
            case.image,
            class_indices(case.labels.voxels, state.setup.structures),
            count,
            state.card.plane,
            state.setup.cache,
        )
        for case in cases
    ]
    state.sources = GeneralizedSources(state.pool, state.framed, carried, others, state.generalized_teacher)


def card_for(setup: FineTuneSetup) -> ModelCard:
    """Return the card of the model to be trained: structures, plane, pixel, slice distance, window and grey values.

    With a base model, pixel, slice distance and window are the base's, because its weights know things of that size;
    all cases are brought to them. The plane is this run's nevertheless: nothing is annotated in another one. So is the
    window where the configuration names one, or where grey values mean something else than the base's.

    Raises:
        ConfigError: If the base model's student has other dimensions.
        DataError: If some images are CT and others cannot be.
    """
    config, base = setup.config, None if setup.base is None else setup.base.card
    if base is not None and base.config.student.dims != config.student.dims:
        message = (
            f"The base model's student is {base.config.student.dims}D, this run's is {config.student.dims}D. "
            "Choose another base model, or the same --student."
        )
        raise ConfigError(message)
    slice_mm, pixel_mm = _frame_mm(setup) if base is None else (base.slice_mm, base.pixel_mm)
    grey_values, window = _grey_values_of_all(setup), config.data.window
    if window is None and base is not None and base.grey_values == grey_values:
        window = base.window
    return ModelCard(
        structures=setup.structures,
        plane=setup.plane,
        pixel_mm=pixel_mm,
        slice_mm=slice_mm,
        window=window or _window_of_first(setup, grey_values),
        config=config,
        grey_values=grey_values,
    )


def _window_of_first(setup: FineTuneSetup, grey_values: GreyValues) -> Window:
    case = setup.cases[0]
    if grey_values == "arbitrary":
        return own_window(case.image.voxels)
    return hounsfield_window(case.image.voxels, class_indices(case.labels.voxels, setup.structures))


def _frame_mm(setup: FineTuneSetup) -> tuple[float, float]:
    """Return the distance between slices and the pixel of a student that begins with the first case."""
    image, data = setup.cases[0].image, setup.config.data
    view = view_slices(image, setup.plane)
    if setup.config.student.dims == 3:
        return _voxel_mm(view, data.voxel_mm)
    _, rows, columns = view.stack_from(image.voxels).shape
    return view.spacing_mm[0], finest_pixel_mm(view, rows, columns, data.max_side_vox)


def _grey_values_of_all(setup: FineTuneSetup) -> GreyValues:
    """Return what the grey values of all images of a training mean; pieces of a CT without air go with a CT."""
    images = [each.image.voxels for each in setup.cases] + [each.voxels for each in setup.unlabeled]
    is_ct = [grey_values_of(each) == "hounsfield" for each in images]
    strange = [number for number, each in enumerate(images) if not is_ct[number] and not may_be_hounsfield(each)]
    if not any(is_ct):
        from_ct = setup.base is not None and setup.base.card.grey_values == "hounsfield"
        return "hounsfield" if from_ct and not strange else "arbitrary"
    if strange and setup.config.data.window is None:
        names = [f"case {number}" for number in range(1, len(setup.cases) + 1)]
        names += [f"unlabeled image {number}" for number in range(1, len(setup.unlabeled) + 1)]
        message = (
            f"The grey values of {names[is_ct.index(True)]} are Hounsfield units (CT), those of {names[strange[0]]} "
            "are not, so that no scale serves both. Train one model for each kind of image."
        )
        raise DataError(message)
    return "hounsfield"


def _voxel_mm(view: SliceView, wanted: float | None) -> tuple[float, float]:
    """Return the distance between slices and the pixel of a 3D student: alike, unless the slices are thicker."""
    pixel_mm = wanted or min(view.spacing_mm)
    return max(pixel_mm, view.spacing_mm[0]), pixel_mm


def frame_cases(setup: FineTuneSetup, card: ModelCard) -> tuple[list[FramedCase], Pool]:
    """Bring all cases into the student's frame, and return what training draws from."""
    if card.config.student.dims == 3:
        voxel_mm = (card.slice_mm, card.pixel_mm)
        volumes = [
            frame_volume(each, setup.structures, setup.plane, voxel_mm, window_for(card, each.image.voxels))
            for each in setup.all_cases()
        ]
        seen = seen_slices(setup, volumes)
        return volumes, PatchDataset(volumes, card.class_count, card.config.data.patch_vox, seen)
    framed = [
        frame_case(each, setup.structures, setup.plane, card.pixel_mm, window_for(card, each.image.voxels))
        for each in setup.all_cases()
    ]
    neighbor_count, seen = card.config.data.neighbor_count, seen_slices(setup, framed)
    return framed, SliceDataset(framed, card.class_count, neighbor_count, SIZE_MULTIPLE, card.slice_mm, seen)


def student_for(setup: FineTuneSetup, card: ModelCard) -> nn.Module:
    """Return the student with its first weights: random ones, or those of the base model where they fit."""
    student = build_student(card)
    if setup.base is not None:
        carry_over(setup.base, student, card)
    return student


def parameter_groups(student: nn.Module, helpers: nn.Module) -> list[dict[str, Any]]:
    """Return the optimizer's groups, one for each stretch of weights of one part of the student; helpers are head."""
    named = [(part_of(name), each) for name, each in student.named_parameters()]
    named += [("head", each) for each in helpers.parameters()]
    stretches = groupby(named, key=itemgetter(0))
    return [{"part": part, "params": [each for _, each in stretch]} for part, stretch in stretches]


def helpers_for(setup: FineTuneSetup, student: nn.Module, card: ModelCard) -> nn.ModuleDict:
    """Return the modules that learn beside the paper's student to compare it with the generalized teacher; or none."""
    if not isinstance(student, PaperStudent) or not isinstance(setup.teacher, FeatureModel):
        return nn.ModuleDict()
    size, structure_count = student.config, card.class_count - 1
    return nn.ModuleDict(
        {
            "projector": Projector(setup.teacher.map_widths, size.token_dim, size.dims),
            "aligner": SemanticAligner(setup.teacher.token_width, structure_count, size.prior_channels, size.dims),
        }
    )
