"""The paper's students: their size, what they return, and where knowledge enters."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from uncol.models.paper_config import PaperStudentConfig
from uncol.models.paper_student import KnowledgeAttention, PaperStudent, StudentOutput
from uncol.training.distillation import Projector, SemanticAligner
from uncol.training.specialized_teacher import make_specialized_teacher

SMALL_2D, SMALL_3D = PaperStudentConfig.small_2d(), PaperStudentConfig.small_3d()


def _millions(*modules: nn.Module) -> float:
    return round(sum(weights.numel() for module in modules for weights in module.parameters()) / 1e6, 2)


class TestSizes:
    """Method, section 1.3: millions of weights."""

    def test_the_2d_student_for_five_classes(self) -> None:
        student = PaperStudent(PaperStudentConfig.paper_2d(), input_channels=1, class_count=5)
        taught_with = [Projector((768, 768), 128, dims=2), SemanticAligner(256, 4, 256, dims=2)]

        assert _millions(student, *taught_with) == 3.89
        assert _millions(student) == 3.53
        transformer = (student.side_encoder.embedding, student.side_encoder.layers, student.side_encoder.norm)
        assert (_millions(*transformer), _millions(student.side_encoder.neck)) == (0.82, 0.62)
        assert _millions(student.attention) == 0.26
        assert _millions(student.backbone) == 1.81

    @pytest.mark.parametrize(("class_count", "in_training"), [(2, 14.24), (3, 14.33)])
    def test_the_3d_student(self, class_count: int, in_training: float) -> None:
        student = PaperStudent(PaperStudentConfig.paper_3d(), input_channels=1, class_count=class_count)
        taught_with = [Projector((768,) * 3, 256, dims=3), SemanticAligner(384, class_count - 1, 256, dims=3)]

        assert _millions(student, *taught_with) == in_training
        assert _millions(student) == 13.94
        assert (_millions(student.side_encoder), _millions(student.attention)) == (4.21, 0.26)
        assert _millions(student.backbone) == 9.44


@pytest.mark.parametrize(
    ("config", "image", "grid"),
    [
        pytest.param(SMALL_2D, torch.zeros(2, 3, 32, 48), (4, 6), id="2D with neighbors"),
        pytest.param(SMALL_3D, torch.zeros(1, 1, 16, 32, 48), (2, 4, 6), id="3D, no cube"),
    ],
)
def test_it_explains_its_prediction_head_by_head(
    config: PaperStudentConfig, image: Tensor, grid: tuple[int, ...]
) -> None:
    student = PaperStudent(config, input_channels=image.shape[1], class_count=4).eval()
    image.uniform_()

    output = student.explain(image)

    batch, *sides = image.shape[0], *image.shape[2:]
    assert [each.shape for each in output.head_logits] == [(batch, 4, *sides)] * 4
    assert [each.shape for each in output.token_maps] == [(batch, config.token_dim, *grid)] * 4
    assert output.prior.shape == (batch, config.prior_channels, *grid)
    assert torch.equal(student(image), output.logits)


def test_the_prediction_is_the_mean_of_the_heads() -> None:
    heads = tuple(torch.full((1, 2, 1, 1), value) for value in (1.0, 2.0, 3.0, 6.0))

    # (1 + 2 + 3 + 6) / 4 = 3
    assert StudentOutput(heads, (), torch.zeros(0)).logits.flatten().tolist() == [3.0, 3.0]


@pytest.mark.parametrize("config", [SMALL_2D, SMALL_3D], ids=["2D", "3D"])
def test_given_knowledge_takes_the_place_of_the_prior(config: PaperStudentConfig) -> None:
    student = PaperStudent(config, input_channels=1, class_count=2).eval()
    image = torch.rand(1, 1, *(32,) * config.dims)
    prior = student.explain(image).prior

    assert torch.equal(student.explain(image, prior).logits, student(image))
    assert not torch.equal(student.explain(image, prior + 1).logits, student(image))


def test_with_knowledge_the_segmentation_teaches_the_knowledge_and_not_the_side_encoder() -> None:
    student = PaperStudent(SMALL_2D, input_channels=1, class_count=2)
    knowledge = torch.rand(2, 128, 4, 4, requires_grad=True)

    student.explain(torch.rand(2, 1, 32, 32), knowledge).logits.square().sum().backward()

    assert knowledge.grad is not None
    assert all(weights.grad is None for weights in student.side_encoder.parameters())


def test_without_knowledge_every_weight_of_the_student_is_taught() -> None:
    student = PaperStudent(SMALL_3D, input_channels=1, class_count=2)

    student(torch.rand(1, 1, 16, 16, 32)).square().sum().backward()

    assert all(weights.grad is not None for weights in student.parameters())


def test_a_moving_average_of_it_predicts_alike_at_first() -> None:
    student = PaperStudent(SMALL_2D, input_channels=1, class_count=2).eval()
    image = torch.rand(1, 1, 32, 32)

    assert torch.equal(make_specialized_teacher(student)(image), student(image))


@pytest.mark.parametrize(
    ("config", "sides"),
    [
        pytest.param(SMALL_2D, (32, 40), id="no multiple of 16"),
        pytest.param(SMALL_2D, (32, 32, 32), id="a volume for the 2D student"),
        pytest.param(SMALL_3D, (16, 16, 16), id="one voxel at the bottleneck"),
    ],
)
def test_images_that_do_not_fit_are_refused(config: PaperStudentConfig, sides: tuple[int, ...]) -> None:
    student = PaperStudent(config, input_channels=1, class_count=2)

    with pytest.raises(ValueError, match=r"multiples of 16 voxels, the longest at least 32; got \(.*Pad or resample"):
        student(torch.zeros(1, 1, *sides))


def _plain(channels: int, knowledge_channels: int) -> KnowledgeAttention:
    """Queries, keys and values are the numbers themselves: weights 1, biases 0."""
    attention = KnowledgeAttention(channels, knowledge_channels)
    for name, weights in attention.named_parameters():
        nn.init.constant_(weights, 0.0 if name.endswith("bias") else 1.0)
    return attention


class TestKnowledgeAttention:
    """Cross-attention at the bottleneck, by hand."""

    def test_features_gain_the_knowledge_that_their_queries_find(self) -> None:
        half = math.log(2) / 2
        features = torch.tensor([[[0.0, 1.0]]])
        knowledge = torch.tensor([[[0.0, half, 0.0]]])

        answered = _plain(1, 1)(features, knowledge)

        # scale (1/4)^-0.5 = 2. Query 0: scores 0 0 0, weights 1/3 each, finds half / 3.
        # Query 1: scores 0, ln 2, 0, weights 1/4, 1/2, 1/4, finds half / 2.
        torch.testing.assert_close(answered, torch.tensor([[[half / 3, 1 + half / 2]]]))

    def test_with_four_channels_scores_are_not_scaled(self) -> None:
        features = torch.tensor([0.25, 0.0, 0.0, 0.0]).reshape(1, 4, 1, 1)
        knowledge = torch.tensor([[0.0, math.log(3) / 1.0]]).reshape(1, 1, 1, 2)

        answered = _plain(4, 1)(features, knowledge)

        # Every query, key and value channel is the sum of its input: q = 0.25, k = 0 and ln 3, in four channels alike.
        # Scores 4 x 0.25 x k x (4/4)^-0.5 = 0 and ln 3, weights 1/4 and 3/4; each value 3/4 ln 3, their sum 3 ln 3.
        expected = features + 3 * math.log(3)
        torch.testing.assert_close(answered, expected)

    def test_grids_and_widths_of_features_and_knowledge_may_differ(self) -> None:
        answered = KnowledgeAttention(8, 5)(torch.rand(2, 8, 3, 4, 2), torch.rand(2, 5, 6, 8, 4))

        assert answered.shape == (2, 8, 3, 4, 2)

    def test_every_voxel_is_answered_in_its_place(self) -> None:
        attention = KnowledgeAttention(4, 4)
        features, knowledge = torch.rand(1, 4, 2, 3), torch.rand(1, 4, 2, 2)
        changed = features.clone()
        changed[:, :, 1, 0] += 1

        differs = (attention(features, knowledge) != attention(changed, knowledge)).any(1)[0]

        assert differs.tolist() == [[False, False, False], [True, False, False]]
