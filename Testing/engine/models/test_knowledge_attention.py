"""Cross-attention at the bottleneck, by hand."""

from __future__ import annotations

import math

import torch
from torch import nn

from uncol.models.knowledge_attention import KnowledgeAttention


def _plain(channels: int, knowledge_channels: int) -> KnowledgeAttention:
    """Queries, keys and values are the numbers themselves: weights 1, biases 0."""
    attention = KnowledgeAttention(channels, knowledge_channels)
    for name, weights in attention.named_parameters():
        nn.init.constant_(weights, 0.0 if name.endswith("bias") else 1.0)
    return attention


def test_features_gain_the_knowledge_that_their_queries_find() -> None:
    half = math.log(2) / 2
    features = torch.tensor([[[0.0, 1.0]]])
    knowledge = torch.tensor([[[0.0, half, 0.0]]])

    answered = _plain(1, 1)(features, knowledge)

    # scale (1/4)^-0.5 = 2. Query 0: scores 0 0 0, weights 1/3 each, finds half / 3.
    # Query 1: scores 0, ln 2, 0, weights 1/4, 1/2, 1/4, finds half / 2.
    torch.testing.assert_close(answered, torch.tensor([[[half / 3, 1 + half / 2]]]))


def test_with_four_channels_scores_are_not_scaled() -> None:
    features = torch.tensor([0.25, 0.0, 0.0, 0.0]).reshape(1, 4, 1, 1)
    knowledge = torch.tensor([[0.0, math.log(3) / 1.0]]).reshape(1, 1, 1, 2)

    answered = _plain(4, 1)(features, knowledge)

    # Every query, key and value channel is the sum of its input: q = 0.25, k = 0 and ln 3, in four channels alike.
    # Scores 4 x 0.25 x k x (4/4)^-0.5 = 0 and ln 3, weights 1/4 and 3/4; each value 3/4 ln 3, their sum 3 ln 3.
    expected = features + 3 * math.log(3)
    torch.testing.assert_close(answered, expected)


def test_grids_and_widths_of_features_and_knowledge_may_differ() -> None:
    answered = KnowledgeAttention(8, 5)(torch.rand(2, 8, 3, 4, 2), torch.rand(2, 5, 6, 8, 4))

    assert answered.shape == (2, 8, 3, 4, 2)


def test_every_voxel_is_answered_in_its_place() -> None:
    attention = KnowledgeAttention(4, 4)
    features, knowledge = torch.rand(1, 4, 2, 3), torch.rand(1, 4, 2, 2)
    changed = features.clone()
    changed[:, :, 1, 0] += 1

    differs = (attention(features, knowledge) != attention(changed, knowledge)).any(1)[0]

    assert differs.tolist() == [[False, False, False], [True, False, False]]
