"""What a run takes from the generalized teacher: opinions about slices, and features for the paper's student."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from uncol.core.ablations import WHOLE_IMAGE_BOX
from uncol.core.methods import find_method
from uncol.data.cases import Pool, SliceAddress, SliceStack
from uncol.foundation.promptable import FeatureTeacher, GeneralizedTeacher
from uncol.foundation.slice_predictor import SlicePredictor
from uncol.models.checkpoints import ModelCard
from uncol.models.paper_student import PaperStudent
from uncol.training.generalized_teacher import GeneralizedOpinions
from uncol.training.setup import FineTuneSetup
from uncol.training.teacher_features import TeacherFeatures


def opinions_for(
    setup: FineTuneSetup, card: ModelCard, pool: Pool, stacks: Sequence[SliceStack]
) -> GeneralizedOpinions | None:
    """Return the generalized teacher's part in the run; None without a teacher, or where nothing is unannotated."""
    settings, method = setup.config.teachers, find_method(setup.config.method)
    if setup.teacher is None or not (settings.generalized and method.generalized) or not pool.unlabeled:
        return None
    return GeneralizedOpinions(
        pool,
        stacks,
        _prompted(setup, setup.teacher, card, stacks),
        settings.box_margin_vox,
        most_slices=settings.most_slices_asked,
        every_vote=not method.gating,
        whole_slices=WHOLE_IMAGE_BOX in setup.config.ablations,
    )


def features_for(
    setup: FineTuneSetup,
    card: ModelCard,
    pool: Pool,
    stacks: Sequence[SliceStack],
    student: nn.Module,
    asked: Sequence[SliceAddress],
) -> TeacherFeatures | None:
    """Return the generalized teacher's features for distillation; None where the student or the teacher has none."""
    if not isinstance(student, PaperStudent) or not isinstance(setup.teacher, FeatureTeacher):
        return None
    return TeacherFeatures(
        pool,
        stacks,
        _prompted(setup, setup.teacher, card, stacks),
        setup.teacher,
        patch=student.config.patch,
        asked=asked,
        margin_pixels=setup.config.teachers.box_margin_vox,
    )


def _prompted(
    setup: FineTuneSetup, teacher: GeneralizedTeacher, card: ModelCard, stacks: Sequence[SliceStack]
) -> list[SlicePredictor]:
    return [
        SlicePredictor.of_volume(case.image, each.view, card.window, teacher, setup.cache)
        for case, each in zip(setup.all_cases(), stacks, strict=True)
    ]
