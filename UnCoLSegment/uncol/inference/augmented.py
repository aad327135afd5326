"""How far a model's answers are apart when its input is changed a little: the map `augmentation-variance`.

The input is moved by up to three pixels of the student's frame, and its contrast changed by a tenth, in eight ways;
with the plain answer these are nine. Nothing is turned or mirrored: organs are where they are. This was not tuned.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import torch
from torch import Tensor

_REACH = 3
_SHIFTS = ((0, 3), (3, 0), (3, 3), (1, 2))
"""By how many rows and columns the input lies farther down and right than with the least of them, 0 and 0."""
_CONTRASTS = ((0.9, 0.05), (1.1, -0.05))
"""Factor and offset of grey values in [0, 1]: a tenth less and more contrast about their middle."""
VARIANTS = tuple(product(_SHIFTS, _CONTRASTS))


def augmentation_spread(predict: Callable[[Tensor], Tensor], inputs: Tensor, probabilities: Tensor) -> Tensor:
    """Return twice the standard deviation of nine answers, of the structure with the most, in [0, 1].

    It is 0 where all answers are the same, and near 1 where one half is sure of a structure and the other half is sure
    that it is not there.

    Args:
        predict: Given such inputs, returns class probabilities (B, C, ..., H, W) of the same rows and columns; of a
            single volume the first axis may be missing.
        inputs: Grey values in [0, 1], (B, neighbors, H, W) or (1, 1, D, H, W).
        probabilities: The plain answer to them, (B, C, ..., H, W), background first.

    Returns:
        The same without the axis of classes: (B, ..., H, W).
    """
    rows, columns = inputs.shape[-2:]
    total, squares = probabilities.clone(), probabilities**2
    for (row, column), (factor, offset) in VARIANTS:
        moved = _moved(inputs, row, column)
        answer = predict((moved * factor + offset).clamp(0, 1))[..., row : row + rows, column : column + columns]
        total += answer
        squares += answer**2
    count = 1 + len(VARIANTS)
    variance = (squares / count - (total / count) ** 2).clamp_min(0)
    return (2 * variance[:, 1:].amax(1).sqrt()).clamp(max=1)


def _moved(inputs: Tensor, row: int, column: int) -> Tensor:
    """Return inputs on a larger canvas, so far down and right; their edges go on beyond them."""
    rows, columns = inputs.shape[-2:]
    from_rows = (torch.arange(rows + _REACH) - row).clamp(0, rows - 1)
    from_columns = (torch.arange(columns + _REACH) - column).clamp(0, columns - 1)
    return inputs[..., from_rows, :][..., from_columns]
