"""What the SAM family shares: contrast and padding by hand, and looking inside without leaving traces."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from uncol.foundation.sam_layers import (
    inside_frame,
    outputs_of,
    pad_to_square,
    stretch_contrast,
    tokens_to_map,
)


def test_contrast_is_stretched_from_0_to_1() -> None:
    assert stretch_contrast(torch.tensor([[0.2, 0.3], [0.4, 0.2]])).flatten().tolist() == pytest.approx([0, 0.5, 1, 0])


def test_a_slice_of_one_value_becomes_0() -> None:
    assert stretch_contrast(torch.full((2, 3), 0.7)).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_padding_is_at_the_bottom_and_the_right() -> None:
    assert pad_to_square(torch.tensor([[1.0, 2.0]]), 3).tolist() == [[1, 2, 0], [0, 0, 0], [0, 0, 0]]


def test_tokens_lie_row_by_row() -> None:
    tokens = torch.arange(6.0).reshape(1, 6, 1)

    assert tokens_to_map(tokens, rows=2).tolist() == [[[[0, 1, 2], [3, 4, 5]]]]


@pytest.mark.parametrize(
    ("rows", "columns", "kept"),
    [
        pytest.param(256, 256, (64, 64), id="a square slice"),
        pytest.param(256, 191, (64, 48), id="191 / 4 = 47.75 columns are touched"),
        pytest.param(128, 256, (32, 64), id="half the rows"),
    ],
)
def test_maps_are_cut_to_what_the_slice_touches(rows: int, columns: int, kept: tuple[int, int]) -> None:
    assert inside_frame(torch.zeros(5, 64, 64), rows, columns, side=256).shape == (5, *kept)


def test_outputs_are_collected_in_the_context_only() -> None:
    layer = nn.Linear(1, 1)

    with outputs_of([layer]) as outputs:
        seen = layer(torch.ones(1, 1))
    layer(torch.ones(1, 1))

    assert len(outputs) == 1
    assert outputs[0] is seen
    assert not layer._forward_hooks


def test_nothing_is_left_behind_when_the_work_fails() -> None:
    layer = nn.Linear(1, 1)

    with pytest.raises(RuntimeError), outputs_of([layer]):
        layer(torch.ones(1, 2))

    assert not layer._forward_hooks
