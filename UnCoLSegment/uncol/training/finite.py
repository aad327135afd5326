"""How a training ends whose numbers are not finite any more: with a sentence, and with what was saved before."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from uncol.core.errors import NotFiniteError


def finite_losses(losses: Mapping[str, Tensor], step: int) -> dict[str, float]:
    """Return the losses of a step as numbers.

    Raises:
        NotFiniteError: If one is infinite or no number.
    """
    numbers = {name: float(loss.detach()) for name, loss in losses.items()}
    for name, loss in numbers.items():
        if not math.isfinite(loss):
            raise went_wrong(step, f"the loss {name}")
    return numbers


def went_wrong(step: int, what: str) -> NotFiniteError:
    """Return the error about what is not finite after some steps."""
    message = (
        f"Training went wrong after {step} steps: {what} is no finite number any more. What was saved before is kept; "
        "resume it, or start anew, with a smaller learning rate if you have set one."
    )
    return NotFiniteError(message)
