"""Fusion by agreement: weights computed by hand, abstention, and who is outvoted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from uncol.inference.fusion import Source, agreement_between, average, disagreement, is_torn, shares, weigh


def source(rows: list[list[float]], *, votes: list[bool] | None = None, voices: float = 1.0) -> Source:
    """One structure in as many slices as there are rows, each of them one row of pixels."""
    maps = np.array(rows, dtype=np.float32)[:, None, None, :]
    return Source("any", maps, np.array(votes or [True] * len(rows))[:, None], voices)


def made_of(whole: Source, *parts: Source) -> Source:
    weights = np.full((len(parts), len(whole.has_vote)), 1 / max(len(parts), 1))
    return replace(whole, parts=tuple(each.probabilities for each in parts), part_weights=weights)


def fuse(sources: list[Source]) -> np.ndarray:
    return average(sources, weigh(sources))


class TestAgreement:
    def test_is_the_mean_dice_with_the_others(self) -> None:
        """Masks 1100, 1000, 0001: Dice 2/3 between the first two, 0 with the third."""
        sources = [source([[0.9, 0.8, 0.2, 0.0]]), source([[0.7, 0.5, 0.1, 0.3]]), source([[0.0, 0.0, 0.0, 0.6]])]

        np.testing.assert_allclose(agreement_between(sources)[:, 0], [1 / 3, 1 / 3, 0.0])

    def test_counts_slices_where_both_have_a_say(self) -> None:
        """In the first slice both say 10, in the second the other one abstains."""
        first, second = source([[1, 0], [1, 1]]), source([[1, 0], [0, 0]], votes=[True, False])

        np.testing.assert_allclose(agreement_between([first, second])[:, 0], [1.0, 1.0])

    def test_two_that_never_speak_together_have_none(self) -> None:
        first, second = source([[1, 0], [1, 1]], votes=[True, False]), source([[1, 0], [0, 0]], votes=[False, True])

        assert np.isnan(agreement_between([first, second])).all()

    def test_nothing_is_agreed_with_nothing(self) -> None:
        assert agreement_between([source([[0, 0]]), source([[0.4, 0]])])[0, 0] == 1.0


class TestFuse:
    def test_weights_by_hand(self) -> None:
        """Agreement 1/3, 1/3 and 0, which counts as 0.05; three voices for the first: 3/81, 1/81, 0.05^4."""
        first = source([[0.9, 0.8, 0.2, 0.0]], voices=3)
        others = [source([[0.7, 0.5, 0.1, 0.3]]), source([[0.0, 0.0, 0.0, 0.6]])]
        weights = np.array([3 / 81, 1 / 81, 0.05**4])

        np.testing.assert_allclose(weigh([first, *others])[:, 0], weights, rtol=1e-6)
        expected = weights @ [[0.9, 0.8, 0.2, 0.0], [0.7, 0.5, 0.1, 0.3], [0.0, 0.0, 0.0, 0.6]] / weights.sum()
        np.testing.assert_allclose(fuse([first, *others])[0, 0, 0], expected, rtol=1e-5)

    def test_one_that_is_alone_with_its_errors_is_outvoted(self) -> None:
        right, wrong = [[1, 1, 1, 0, 0, 0]], [[0, 0, 0, 1, 1, 1]]

        found = fuse([source(wrong, voices=1.5), source(right), source(right)])

        np.testing.assert_array_equal(found[0, 0, 0] > 0.5, np.array(right[0]) > 0)

    def test_one_whose_parts_show_a_structure_in_different_places_is_outvoted_by_another(self) -> None:
        """Spots that are others in every slice: carried from either side, they are right nowhere."""
        sides = (source([[1, 1, 0, 0, 0, 0]]), source([[0, 0, 1, 1, 0, 0]]))
        carried = made_of(source([[0.5, 0.5, 0.5, 0.5, 0, 0]], voices=5), *sides)
        student = source([[0, 0, 0, 0, 1, 1]])

        np.testing.assert_array_equal(fuse([carried, student])[0, 0, 0] > 0.5, [0, 0, 0, 0, 1, 1])
        np.testing.assert_allclose(weigh([carried, student])[:, 0], [0.05 * 0.05**4, 0.05**4])
        np.testing.assert_array_equal(fuse([carried]), carried.probabilities)

    def test_one_that_others_agree_with_keeps_its_voices_however_far_its_parts_are_apart(self) -> None:
        """An organ that moves by its own width from one annotated slice to the next, as the pancreas does."""
        sides = (source([[1, 1, 0, 0, 0, 0]]), source([[0, 0, 1, 1, 0, 0]]))
        carried = made_of(source([[0, 1, 1, 0, 0, 0]], voices=5), *sides)
        student = source([[0, 1, 1, 1, 1, 0]])

        np.testing.assert_allclose(weigh([carried, student])[:, 0], [5 * (2 / 3) ** 4, (2 / 3) ** 4], rtol=1e-6)

    @pytest.mark.parametrize(
        ("sides", "torn"),
        [
            ([[1, 1, 0, 0]], False),
            ([[1, 1, 0, 0], [0, 0, 0, 0]], False),  # it ends between the two
            ([[1, 1, 0, 0], [0, 1, 1, 0]], False),
            ([[1, 1, 0, 0], [0, 0, 1, 1]], True),
            ([[1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0]], True),
            ([], False),
        ],
    )
    def test_a_source_is_torn_where_the_parts_that_show_it_share_nothing(
        self, sides: list[list[float]], torn: bool
    ) -> None:
        assert is_torn(made_of(source([[1, 1, 1, 1]]), *(source([each]) for each in sides))).tolist() == [torn]

    def test_one_alone_is_believed(self) -> None:
        np.testing.assert_allclose(fuse([source([[0.3, 0.9]])])[0, 0, 0], [0.3, 0.9])

    def test_where_one_abstains_the_others_decide_and_nobody_says_nothing(self) -> None:
        sources = [source([[1, 0], [1, 0]], votes=[True, False]), source([[0, 0], [0.4, 0]], votes=[False, False])]

        np.testing.assert_allclose(fuse(sources)[:, 0, 0], [[1, 0], [0, 0]])

    @pytest.mark.parametrize("count", [1, 2, 5])
    def test_probabilities_stay_probabilities(self, count: int) -> None:
        random = np.random.default_rng(count)
        sources = [
            Source("any", random.random((3, 2, 4, 4), dtype=np.float32), random.random((3, 2)) > 0.3)
            for _ in range(count)
        ]
        weights = weigh(sources)

        found, parts = average(sources, weights), shares(sources, weights)

        assert 0 <= found.min() <= found.max() <= 1 + 1e-6
        spoken = np.any([each.has_vote for each in sources], axis=0)
        np.testing.assert_allclose(parts.sum(0), spoken.astype(float))


def test_shares_by_hand() -> None:
    """Weights 3 and 1; the second abstains in the second slice."""
    sources = [source([[1, 0], [1, 0]]), source([[1, 0], [1, 0]], votes=[True, False])]

    parts = shares(sources, np.array([[3.0], [1.0]]))

    np.testing.assert_allclose(parts[:, :, 0], [[0.75, 1.0], [0.25, 0.0]])


class TestDisagreement:
    def spread(self, sources: list[Source], weights: list[list[float]]) -> np.ndarray:
        return disagreement(sources, np.array(weights), average(sources, np.array(weights)))

    def test_by_hand(self) -> None:
        """Weights 3 and 1: mean of 1 and 0 is 3/4, variance 3/4 * 1/16 + 1/4 * 9/16 = 3/16; of 0.6 and 0.2: 0.03."""
        found = self.spread([source([[1.0, 0.6, 0.3]]), source([[0.0, 0.2, 0.3]])], [[3.0], [1.0]])

        np.testing.assert_allclose(found[0, 0], [2 * (3 / 16) ** 0.5, 2 * 0.03**0.5, 0.0], atol=1e-6)

    def test_half_against_half_is_1_and_one_alone_is_0(self) -> None:
        halves = [source([[1.0]]), source([[0.0]])]

        assert self.spread(halves, [[1.0], [1.0]]).item() == pytest.approx(1.0)
        assert self.spread(halves[:1], [[1.0]]).item() == 0.0

    def test_who_abstains_does_not_disagree(self) -> None:
        sources = [source([[1.0]]), source([[0.0]], votes=[False])]

        assert self.spread(sources, [[1.0], [1.0]]).item() == 0.0

    def test_a_source_counts_as_the_parts_that_it_was_made_of(self) -> None:
        """The sides say 1 and 0 with weights 1/4 and 3/4, together 0.5: 1/4 * 1/4 + 3/4 * 1/4 = 1/4."""
        whole = source([[0.5]]).probabilities
        votes = np.ones((1, 1), dtype=np.bool_)
        sides = Source("sides", whole, votes, 1.0, (whole + 0.5, whole - 0.5), np.array([[0.25], [0.75]]))

        assert self.spread([sides], [[1.0]]).item() == pytest.approx(1.0)

    def test_the_structure_that_is_most_in_dispute_counts(self) -> None:
        maps = [np.array([[[[a]], [[b]]]], dtype=np.float32) for a, b in ((1.0, 0.5), (1.0, 0.3))]
        sources = [Source("any", each, np.ones((1, 2), dtype=np.bool_)) for each in maps]

        assert self.spread(sources, [[1.0, 1.0], [1.0, 1.0]]).item() == pytest.approx(0.2, abs=1e-6)
