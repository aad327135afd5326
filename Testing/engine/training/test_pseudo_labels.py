"""Tests of the fusion of both teachers: who is trusted where, and whose word counts how much."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from uncol.training.pseudo_labels import (
    PseudoLabel,
    Reliability,
    discount_by_reliability,
    equally_reliable,
    fuse_by_share,
    fuse_pseudo_labels,
    gate_generalized,
    gate_specialized,
    ramp_up,
    reliability_at_distance,
    trust_threshold,
    unprompted_region,
)


def voxel(*classes: float) -> Tensor:
    """Class probabilities (1, C, 1, 1) of one voxel."""
    return torch.tensor(classes).reshape(1, -1, 1, 1)


def random_probabilities(*shape: int, seed: int, sharpness: float = 3.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (sharpness * torch.randn(shape, generator=generator)).softmax(1)


def fuse(
    generalized: Tensor,
    specialized: Tensor,
    threshold: float,
    reliability: Tensor | None = None,
    unprompted: Tensor | None = None,
    specialized_reliability: Tensor | None = None,
) -> PseudoLabel:
    """Fuse with teachers that are fully reliable and were asked everywhere, unless said otherwise."""
    ones = torch.ones(generalized.shape[1])
    deserved = Reliability(
        (ones if reliability is None else reliability).expand(len(generalized), -1),
        (ones if specialized_reliability is None else specialized_reliability).expand(len(generalized), -1),
    )
    nowhere = torch.zeros_like(generalized[:, 0], dtype=torch.bool)
    return fuse_pseudo_labels(
        generalized, specialized, threshold, deserved, nowhere if unprompted is None else unprompted
    )


# Two predictions for one voxel. Their plain mean is (0.475, 0.465, 0.06): class 0.
# U_surer = (0.2 * 1.609438 + 0.8 * 0.223144) / ln 2 = 0.500402 / 0.693147 = 0.721928
SURER = voxel(0.2, 0.8, 0.0)
# U_less_sure = (0.75 * 0.287682 + 0.13 * 2.040221 + 0.12 * 2.120264) / ln 2 = 0.735423 / 0.693147 > 1: 1
LESS_SURE = voxel(0.75, 0.13, 0.12)
# U = (0.9 * 0.152003 + 0.1 * 3.321928) bit = 0.468996
CERTAIN = voxel(0.9, 0.1)
# U = (0.4 * 1.321928 + 0.6 * 0.736966) bit = 0.970951
DOUBTFUL = voxel(0.4, 0.6)


class TestTrustThreshold:
    @pytest.mark.parametrize(
        ("progress", "expected"),
        [
            pytest.param(0.0, 0.752, id="start: 0.75 + 0.25 e^-5"),
            pytest.param(1 / 3, 0.777, id="a third"),
            pytest.param(0.5, 0.822, id="half: 0.75 + 0.25 e^-1.25"),
            pytest.param(2 / 3, 0.893, id="two thirds"),
            pytest.param(5 / 6, 0.968, id="five sixths"),
            pytest.param(1.0, 1.0, id="end"),
        ],
    )
    def test_it_follows_the_method(self, progress: float, expected: float) -> None:
        assert trust_threshold(progress, 0.75, 1.0) == pytest.approx(expected, abs=5e-4)

    def test_equal_ends_keep_it_fixed(self) -> None:
        assert [trust_threshold(progress, 0.5, 0.5) for progress in (0, 0.3, 1)] == [0.5, 0.5, 0.5]


class TestFusion:
    def test_when_both_are_trusted_the_surer_teacher_counts_more(self) -> None:
        fused = fuse(SURER, LESS_SURE, threshold=1.0)

        # w_g = 1 / (1 + exp(0.721928 - 1)) = 0.569073
        # class 0: 0.569073 * 0.2 + 0.430927 * 0.75 = 0.437010; class 1: 0.569073 * 0.8 + 0.430927 * 0.13 = 0.511279
        assert fused.label.item() == 1

    def test_it_does_not_matter_which_of_them_is_the_surer_one(self) -> None:
        assert fuse(LESS_SURE, SURER, threshold=1.0).label.item() == 1

    @pytest.mark.parametrize(
        ("generalized", "specialized"),
        [
            pytest.param(voxel(0.3, 0.7), voxel(0.95, 0.05), id="specialized"),
            pytest.param(voxel(0.95, 0.05), voxel(0.3, 0.7), id="generalized"),
        ],
    )
    def test_when_one_is_trusted_its_word_is_taken(self, generalized: Tensor, specialized: Tensor) -> None:
        # U(0.95) = 0.286 <= 0.5 < U(0.7) = 0.881
        fused = fuse(generalized, specialized, threshold=0.5)

        assert fused.label.item() == 0
        assert fused.trust_mask.item()

    def test_when_one_is_trusted_the_other_has_no_influence(self) -> None:
        # U_surer = 0.722 <= 0.8 < 1; mixed in by halves, the doubtful one would turn the label to 0
        assert fuse(SURER, LESS_SURE, threshold=0.8).label.item() == 1

    def test_when_none_is_trusted_the_voxel_does_not_count(self) -> None:
        assert not fuse(SURER, LESS_SURE, threshold=0.7).trust_mask.item()

    def test_at_the_end_of_the_ramp_every_voxel_counts(self) -> None:
        undecided = voxel(0.5, 0.5)

        assert fuse(undecided, undecided, threshold=trust_threshold(1.0, 0.75, 1.0)).trust_mask.item()

    def test_a_certain_voxel_is_trusted_from_the_start(self) -> None:
        certain = voxel(0.0, 1.0)

        fused = fuse(certain, certain, threshold=trust_threshold(0.0, 0.75, 1.0))

        assert (fused.label.item(), fused.trust_mask.item()) == (1, True)


class TestReliability:
    def test_a_teacher_becomes_as_uncertain_as_it_has_earned(self) -> None:
        # 0.6 * (0.9, 0.1) + 0.4 / 2
        shrunk = discount_by_reliability(CERTAIN, torch.full((1, 1, 1), 0.6))

        assert shrunk.flatten().tolist() == pytest.approx([0.74, 0.26])

    def test_what_it_has_not_earned_can_cost_the_trust(self) -> None:
        # U(0.74, 0.26) = 0.74 * 0.434403 + 0.26 * 1.943416 = 0.826746, above 0.6; U(0.9, 0.1) = 0.469 is below
        fused = fuse(CERTAIN, DOUBTFUL, 0.6, reliability=torch.tensor([1.0, 0.6]))

        assert not fused.trust_mask.item()
        assert fuse(CERTAIN, DOUBTFUL, 0.6).trust_mask.item()

    def test_only_the_structure_in_question_matters(self) -> None:
        generalized, specialized = voxel(0.9, 0.1, 0.0), voxel(0.4, 0.6, 0.0)

        fused = fuse(generalized, specialized, 0.6, reliability=torch.tensor([0.0, 1.0, 0.0]))

        assert fused.trust_mask.item()

    def test_of_two_certain_teachers_the_more_reliable_one_wins(self) -> None:
        yes, no = voxel(0.0, 1.0), voxel(1.0, 0.0)

        # (0.05, 0.95) with U = 0.286397 against (1, 0) with U = 0: w_g = 1 / (1 + e^0.286397) = 0.428885;
        # class 1: 0.428885 * 0.95 = 0.407
        assert fuse(yes, no, 1.0, reliability=torch.tensor([1.0, 0.9])).label.item() == 0
        # the other way round w_g = 0.571115; class 1: 0.571115 + 0.428885 * 0.05 = 0.593
        assert fuse(yes, no, 1.0, specialized_reliability=torch.tensor([1.0, 0.9])).label.item() == 1

    def test_the_word_of_both_is_weighed_by_earned_certainty_and_keeps_its_own(self) -> None:
        generalized, specialized = voxel(0.2, 0.8), voxel(0.6, 0.4)

        fused = fuse(generalized, specialized, 1.0, reliability=torch.tensor([1.0, 0.5]))

        # Earned: (0.35, 0.65) with U = 0.934068 against U = 0.970951: w_g = 1 / (1 + e^-0.036883) = 0.509220;
        # class 1: 0.509220 * 0.8 + 0.490780 * 0.4 = 0.603688
        assert fused.probabilities.flatten().tolist() == pytest.approx([0.396312, 0.603688], abs=1e-6)
        assert fused.label.item() == 1

    def test_a_class_with_reliability_0_gets_no_vote_even_when_the_gate_is_open(self) -> None:
        # trusted, even the most doubtful vote would weigh at least 0.27: 0.27 * 1 + 0.73 * 0.4 > 0.5
        certain = voxel(1.0, 0.0)

        fused = fuse(certain, DOUBTFUL, threshold=1.0, reliability=torch.tensor([1.0, 0.0]))

        assert fused.label.item() == DOUBTFUL.argmax(1).item()

    def test_every_slice_of_a_batch_has_its_own(self) -> None:
        yes, no = voxel(0.0, 1.0).expand(2, 2, 1, 1), voxel(1.0, 0.0).expand(2, 2, 1, 1)

        fused = fuse(yes, no, 1.0, reliability=torch.tensor([[1.0, 0.9], [1.0, 1.0]]),
                     specialized_reliability=torch.tensor([[1.0, 1.0], [1.0, 0.9]]))  # fmt: skip

        assert fused.label.flatten().tolist() == [0, 1]

    def test_it_falls_with_the_distance_to_the_nearest_annotated_slice(self) -> None:
        # 1 - (1 - 0.6) * 0.5 = 0.8
        deserved = reliability_at_distance(torch.tensor([1.0, 0.6]), torch.tensor([0.0, 0.5, 1.0]))

        assert deserved.flatten().tolist() == pytest.approx([1, 1, 1, 0.8, 1, 0.6])


class TestSilence:
    def test_where_the_generalized_teacher_was_not_asked_the_specialized_one_decides(self) -> None:
        fused = fuse(voxel(1.0, 0.0), DOUBTFUL, 1.0, unprompted=torch.tensor([[[True]]]))

        assert (fused.label.item(), fused.trust_mask.item()) == (1, True)

    def test_where_nobody_is_left_to_trust_the_voxel_does_not_count(self) -> None:
        fused = fuse(voxel(1.0, 0.0), DOUBTFUL, 0.9, unprompted=torch.tensor([[[True]]]))

        assert not fused.trust_mask.item()

    def test_elsewhere_its_vote_counts(self) -> None:
        generalized, specialized = voxel(1.0, 0.0).expand(1, 2, 1, 2), DOUBTFUL.expand(1, 2, 1, 2)

        fused = fuse(generalized, specialized, 0.9, unprompted=torch.tensor([[[True, False]]]))

        assert fused.trust_mask.tolist() == [[[False, True]]]

    def test_structures_without_a_box_are_unasked(self) -> None:
        # three voxels in a row that the specialized teacher takes for background, structure 1 and structure 2
        votes = torch.eye(3).reshape(1, 3, 1, 3).expand(2, 3, 1, 3)

        unasked = unprompted_region(votes, torch.tensor([[True, False], [False, True]]))

        assert unasked.tolist() == [[[False, False, True]], [[False, True, False]]]

    def test_signs_of_a_structure_without_a_box_are_enough(self) -> None:
        assert unprompted_region(voxel(0.8, 0.0, 0.2), torch.tensor([[True, False]])).all()

    def test_in_a_slice_without_any_box_there_is_no_vote_at_all(self) -> None:
        assert unprompted_region(voxel(1.0, 0.0, 0.0), torch.tensor([[False, False]])).all()

    def test_background_needs_no_box(self) -> None:
        background = voxel(0.8, 0.1, 0.1)

        assert not unprompted_region(background, torch.tensor([[True, False]])).any()


class TestLaws:
    SHAPE = (3, 3, 3, 3)  # as many images as classes as rows as columns: a wrong broadcast would go unnoticed

    def test_a_batch_is_labeled_like_its_images_one_by_one(self) -> None:
        generalized, specialized = (random_probabilities(*self.SHAPE, seed=seed) for seed in (1, 2))
        reliability = torch.tensor([1.0, 0.9, 0.6])
        unprompted = torch.rand(3, 3, 3) > 0.7

        batch = fuse(generalized, specialized, 0.6, reliability, unprompted)

        for index in range(3):
            part = slice(index, index + 1)
            alone = fuse(generalized[part], specialized[part], 0.6, reliability, unprompted[part])
            assert torch.equal(batch.label[part], alone.label)
            assert torch.equal(batch.trust_mask[part], alone.trust_mask)

    @pytest.mark.parametrize("spatial", [(4, 5), (2, 3, 4)])
    @pytest.mark.parametrize("class_count", [2, 3, 5])
    def test_labels_are_classes_and_have_the_shape_of_the_image(
        self, class_count: int, spatial: tuple[int, ...]
    ) -> None:
        generalized, specialized = (random_probabilities(2, class_count, *spatial, seed=seed) for seed in (3, 4))

        fused = fuse(generalized, specialized, 0.8)

        assert fused.label.shape == fused.trust_mask.shape == (2, *spatial)
        assert fused.label.dtype == torch.int64
        assert fused.trust_mask.dtype == torch.bool
        assert fused.label.min() >= 0
        assert fused.label.max() < class_count

    def test_where_both_agree_their_common_word_is_the_label(self) -> None:
        generalized, specialized = (random_probabilities(4, 3, 8, 8, seed=seed) for seed in (5, 6))
        agreed = generalized.argmax(1) == specialized.argmax(1)

        fused = fuse(generalized, specialized, 0.7)

        assert torch.equal(fused.label[agreed], generalized.argmax(1)[agreed])

    def test_a_higher_threshold_never_takes_trust_away(self) -> None:
        generalized, specialized = (random_probabilities(2, 3, 8, 8, seed=seed) for seed in (7, 8))

        masks = [fuse(generalized, specialized, threshold).trust_mask for threshold in (0.2, 0.6, 0.9)]

        assert not (masks[0] & ~masks[1]).any()
        assert not (masks[1] & ~masks[2]).any()
        assert masks[0].sum() < masks[2].sum()


class TestOneTeacher:
    def test_its_word_counts_up_to_the_threshold(self) -> None:
        # entropies 0.469 and 0.971
        pair = torch.cat([CERTAIN, DOUBTFUL], 3)

        alone = gate_specialized(pair, 0.5)

        assert alone.label.tolist() == [[[0, 1]]]
        assert alone.trust_mask.tolist() == [[[True, False]]]


class TestRampUp:
    def test_it_climbs_from_next_to_nothing_to_one(self) -> None:
        # exp(-5) = 0.00674, exp(-5 / 4) = 0.2865, exp(0) = 1.
        assert [ramp_up(each) for each in (0.0, 0.5, 1.0)] == pytest.approx([0.00674, 0.2865, 1.0], abs=1e-4)


class TestTrustGeneralizedTeacher:
    # Four pixels, two classes; the structure's probability is 1, 0.9, 0.6 and 0.
    PROBABILITIES = torch.tensor([[[[0.0, 0.1, 0.4, 1.0]], [[1.0, 0.9, 0.6, 0.0]]]])
    SPOKE = torch.zeros(1, 1, 4, dtype=torch.bool)

    def test_it_is_trusted_where_its_entropy_is_low(self) -> None:
        # Entropies in bits: 0, 0.469, 0.971, 0.
        found = gate_generalized(self.PROBABILITIES, 0.75, torch.ones(1, 2), self.SPOKE)

        assert found.label.tolist() == [[[1, 1, 1, 0]]]
        assert found.trust_mask.tolist() == [[[True, True, False, True]]]

    def test_a_lower_reliability_makes_it_less_certain(self) -> None:
        # r = 0.8: 0.8 * 0.9 + 0.1 = 0.82 (0.680 bit), 0.8 * 1 + 0.1 = 0.9 (0.469 bit).
        reliability = torch.tensor([[1.0, 0.8]])

        found = gate_generalized(self.PROBABILITIES, 0.6, reliability, self.SPOKE)

        assert found.trust_mask.tolist() == [[[True, False, False, True]]]

    def test_without_a_vote_it_is_not_trusted(self) -> None:
        unprompted = torch.tensor([[[True, False, False, False]]])

        assert not gate_generalized(self.PROBABILITIES, 1.0, torch.zeros(1, 2), self.SPOKE).trust_mask.any()
        found = gate_generalized(self.PROBABILITIES, 1.0, torch.ones(1, 2), unprompted)
        assert found.trust_mask.tolist() == [[[False, True, True, True]]]


def test_equally_reliable_teachers_deserve_all_of_their_certainty_but_no_vote_that_they_do_not_have() -> None:
    measured = Reliability(torch.tensor([[1.0, 0.7, 0.0]]), torch.tensor([[1.0, 0.3, 0.6]]))

    equal = equally_reliable(measured)

    assert equal.generalized.tolist() == [[1, 1, 0]]
    assert equal.specialized.tolist() == [[1, 1, 1]]


def test_sources_and_moving_average_are_mixed_by_its_share():
    """Share 0.25 of the moving average for the first structure, 1 for the second; background is what is left.

    First voxel: 0.75 * 0.8 + 0.25 * 0.4 = 0.7 and 0.1, background 0.2: H = 0.8018 nats, 1.157 bits, more than one bit.
    Second voxel: 0.75 * 1 + 0.25 * 0.96 = 0.99 and 0.01, background 0: 0.0808 bits.
    """
    generalized = torch.tensor([[[0.8, 1.0], [0.9, 0.9]]])
    specialized = torch.tensor([[[0.5, 0.03], [0.4, 0.96], [0.1, 0.01]]])
    share = torch.tensor([[0.25, 1.0]])

    found = fuse_by_share(generalized, specialized, share, 0.75)

    expected = torch.tensor([[[0.2, 0.0], [0.7, 0.99], [0.1, 0.01]]])
    torch.testing.assert_close(found.probabilities, expected, atol=1e-6, rtol=0)
    assert found.label.tolist() == [[1, 1]]
    assert found.trust_mask.tolist() == [[False, True]]
    assert fuse_by_share(generalized, specialized, share, 1.0).trust_mask.all()


def test_among_equal_probabilities_the_first_class_is_taken_whatever_the_layout() -> None:
    coarse = torch.randint(0, 3, (2, 4, 16, 24), generator=torch.Generator().manual_seed(0)) / 3  # many equal ones

    for probabilities in (coarse, coarse.to(memory_format=torch.channels_last)):
        assert torch.equal(gate_specialized(probabilities, 1.0).label, coarse.argmax(1))
