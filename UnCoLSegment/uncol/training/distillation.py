"""Dual-path distillation: the student's side encoder learns to see what the generalized teacher sees.

Visual path: the teacher's intermediate maps, projected to the width of the student's tokens, and the tokens after
some layers of the side encoder. Semantic path: the teacher's image tokens after the prompts, aligned to the width of
the student's prior, and that prior. Both compare by plain mean squared error; the teacher itself never learns.

The paper distills on the mixed images of a step, which the foundation model must encode anew. Here it is done on
slices of their own, as they are but for their affine: each is encoded once, and its features are moved along.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from uncol.models.devices import autocast
from uncol.models.paper_student import PaperStudent, StudentOutput
from uncol.training.losses import four_head_loss, known_region
from uncol.training.state import TrainingState
from uncol.training.teacher_features import pool_to_grid

_STAGE2_WEIGHT = 0.1
"""Weight of the visual path in stage 2 (method, section 5, item 8)."""
_LARGEST_WEIGHT = 0.1
"""Lambda at full weight (method, section 6.1)."""
_STEEPNESS = 5.0
_FULL_WEIGHT_AT = 0.5
"""Part of stage 1 after which lambda is at its full weight: step 7,500 of 15,000 (method, section 4)."""


def annotated_distillation(
    student: PaperStudent,
    helpers: nn.ModuleDict,
    image: Tensor,
    label: Tensor,
    maps: Sequence[Tensor],
    tokens: Tensor,
    *,
    progress: float,
    double_softmax_dice: bool = False,
    attached_target: bool = False,
) -> Tensor:
    """Stage 1: both paths; the teacher's knowledge takes the place of the prior, and the segmentation trains it.

    Args:
        student: The paper's student.
        helpers: `projector` and `aligner`, which learn with it.
        image: One annotated slice with its neighbors (1, N, H, W), or a patch.
        label: Its labels (1, H, W), 255 unknown.
        maps: The teacher's maps, moved like the image.
        tokens: The teacher's tokens after the prompts (1, structures, width, h, w), moved likewise.
        progress: t/T of stage 1, in [0, 1].
        double_softmax_dice: See `losses.four_head_loss`.
        attached_target: See `semantic_loss`.
    """
    knowledge = helpers["aligner"](tokens, tokens.shape[3:])
    output = _seen_by(student, image, knowledge)
    target, known = known_region(label)
    supervised = four_head_loss(output.head_logits, target, known, double_softmax_dice=double_softmax_dice)
    semantic = semantic_loss(output.prior.float(), knowledge, attached_target=attached_target)
    return supervised + distillation_weight(progress) * (semantic + _visual_path(helpers, maps, output))


def unannotated_distillation(
    student: PaperStudent, helpers: nn.ModuleDict, image: Tensor, maps: Sequence[Tensor]
) -> Tensor:
    """Stage 2: the visual path, for one unannotated slice or patch; arguments as in `annotated_distillation`."""
    return _STAGE2_WEIGHT * _visual_path(helpers, maps, _seen_by(student, image, None))


def _visual_path(helpers: nn.ModuleDict, maps: Sequence[Tensor], output: StudentOutput) -> Tensor:
    projector = helpers["projector"]
    assert isinstance(projector, Projector)  # `setup.helpers_for` puts it there
    return visual_loss(projector, maps, [each.float() for each in output.token_maps])


def _seen_by(student: PaperStudent, image: Tensor, knowledge: Tensor | None) -> StudentOutput:
    """Return what the student predicts and sees, with the teacher's knowledge or with its own prior."""
    with autocast(image.device, dims=image.ndim - 2, training=True):
        return student.explain(image, knowledge)


def distillation_weight(progress: float) -> float:
    """Return the weight of both paths in stage 1: `0.1 exp(-5 (1 - min(2 t/T, 1))^2)`.

    In stage 2 the visual path has the constant weight 0.1, which is this function's value from t/T = 1/2 on.

    Args:
        progress: t/T of stage 1, in [0, 1].

    Source:
        Method, section 4 (UnCoL, IEEE TMI 2026, doi:10.1109/TMI.2026.3664940), in parts of the budget.
    """
    ramp = min(progress / _FULL_WEIGHT_AT, 1.0)
    return _LARGEST_WEIGHT * math.exp(-_STEEPNESS * (1 - ramp) ** 2)


class Projector(nn.Module):
    """Brings the teacher's maps to the width and the grid of the student's tokens, maps of one width alike.

    Args:
        map_widths: Channels of each of the teacher's maps, shallow first.
        token_dim: Width of the student's tokens.
        dims: 2 for slices, 3 for volumes.

    Source:
        Method, section 2: one 1x1 convolution for all maps, without bias in 3D; average pooling to the grid.
    """

    def __init__(self, map_widths: Sequence[int], token_dim: int, dims: int) -> None:
        super().__init__()
        self.map_widths = tuple(map_widths)
        self.by_width = nn.ModuleDict(
            {str(width): _pointwise(width, token_dim, dims) for width in sorted(set(map_widths))}
        )

    def forward(self, teacher_maps: Sequence[Tensor], grid: Sequence[int]) -> list[Tensor]:
        """Return maps (B, token_dim, *grid) from the teacher's (B, width, ...) on any grid."""
        if _channels(teacher_maps) != self.map_widths:
            message = f"The projector is for maps of {self.map_widths} channels, got {_channels(teacher_maps)}."
            raise ValueError(message)
        # a pointwise convolution and an average may change places; on the small grid it costs less
        return [self.by_width[str(each.shape[1])](pool_to_grid(each, grid)) for each in teacher_maps]


class SemanticAligner(nn.Module):
    """Brings the teacher's tokens after the prompts, class by class, to the width and the grid of the prior.

    Args:
        token_width: Channels of the teacher's tokens.
        structure_count: Classes without background; each has been prompted for on its own.
        prior_channels: Channels of the student's prior.
        dims: 2 for slices, 3 for volumes.

    Source:
        Method, section 2: the classes' tokens one after the other, a 1x1 convolution, without bias in 3D.
    """

    def __init__(self, token_width: int, structure_count: int, prior_channels: int, dims: int) -> None:
        super().__init__()
        self.align = _pointwise(token_width * structure_count, prior_channels, dims)

    def forward(self, tokens: Tensor, grid: Sequence[int]) -> Tensor:
        """Return the knowledge (B, prior_channels, *grid) in tokens (B, structures, token_width, ...).

        The tokens of a structure that the teacher was not prompted for are 0, so that they say nothing.
        """
        return self.align(pool_to_grid(tokens.flatten(1, 2), grid))


def visual_loss(projector: Projector, teacher_maps: Sequence[Tensor], token_maps: Sequence[Tensor]) -> Tensor:
    """Return the mean squared error between projected teacher maps and student tokens, averaged over the maps.

    The maps meet the layers before the last: two maps layers 1 and 2 of 0 ... 3, three maps 0, 1 and 2.

    Args:
        projector: Learns with the student.
        teacher_maps: The generalized teacher's maps (B, width, ...), shallow first; they get no gradient.
        token_maps: The student's tokens after each layer (B, token_dim, ...).

    Raises:
        ValueError: If there are as many maps as layers, or more, or if their widths are not the projector's.

    Source:
        Method, section 2 (UnCoL, IEEE TMI 2026, doi:10.1109/TMI.2026.3664940).
    """
    first = len(token_maps) - 1 - len(teacher_maps)
    if first < 0 or not teacher_maps:
        message = f"{len(token_maps)} layers can learn from 1 to {len(token_maps) - 1} maps, got {len(teacher_maps)}."
        raise ValueError(message)
    students = token_maps[first:-1]
    projected = projector([each.detach() for each in teacher_maps], students[0].shape[2:])
    losses = [functional.mse_loss(mine, theirs) for mine, theirs in zip(students, projected, strict=True)]
    return torch.stack(losses).mean()


def semantic_loss(prior: Tensor, knowledge: Tensor, *, attached_target: bool = False) -> Tensor:
    """Return the mean squared error between the student's prior and the teacher's aligned tokens.

    The target is detached: the aligner learns from the segmentation, through the knowledge that the student is
    given, and not by shrinking towards the prior. The released code detaches neither side (method, section 7,
    row 15).

    Args:
        prior: What the student knows without a prompt (B, prior_channels, ...).
        knowledge: Output of `SemanticAligner`, of the same shape.
        attached_target: Let the loss teach the aligner as well (ablation `attached-semantic-target`).
    """
    return functional.mse_loss(prior, knowledge if attached_target else knowledge.detach())


def _pointwise(before: int, after: int, dims: int) -> nn.Module:
    return nn.Conv2d(before, after, kernel_size=1) if dims == 2 else nn.Conv3d(before, after, kernel_size=1, bias=False)


def _channels(maps: Sequence[Tensor]) -> tuple[int, ...]:
    return tuple(each.shape[1] for each in maps)


def distillation_loss(state: TrainingState) -> dict[str, Tensor]:
    """Let the paper's student see as the generalized teacher does, on one slice or patch of its own."""
    features, student, sampler = state.features, state.student, state.sampler
    if features is None or not isinstance(student, PaperStudent):
        return {}
    draw = state.pool.draw_labeled if state.stage == 1 else state.pool.draw_unlabeled
    (address,) = draw(1, sampler.generator)
    if not features.has(address):
        return {"distillation": torch.zeros(())}
    affine = sampler.affine(1)
    image, label = sampler.augment(affine, state.pool.inputs([address]), state.pool.targets([address]))
    maps = [affine.warp_images(each).to(state.device) for each in features.maps([address])]
    if state.stage == 2:
        return {"distillation": unannotated_distillation(student, state.helpers, image, maps)}
    tokens = features.tokens([address])
    moved = affine.warp_images(tokens.flatten(1, 2)).to(state.device).unflatten(1, tokens.shape[1:3])
    loss = annotated_distillation(
        student,
        state.helpers,
        image,
        label,
        maps,
        moved,
        progress=state.stage1_fraction,
        double_softmax_dice=state.recipe.double_softmax_dice,
        attached_target=state.recipe.attached_semantic_target,
    )
    return {"distillation": loss}
