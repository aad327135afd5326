"""Single steps away from the corrected method, by name: what the released code does, and what is ours alone.

The default is the corrected method (no ablation, the preset "corrected"). The preset "released" is all deviations of
the released code together, as far as they exist in this trainer (method, section 7).
"""

from __future__ import annotations

from uncol.core.errors import ConfigError

FROZEN_EMA = "frozen-ema"
SOFTMAX_OF_PROBABILITIES = "softmax-of-probabilities"
ADAMW_LR_001 = "adamw-lr-0.01"
TEACHER_TRAIN_MODE = "teacher-train-mode"
WHOLE_IMAGE_BOX = "whole-image-box"
DOUBLE_SOFTMAX_DICE = "double-softmax-dice"
ATTACHED_SEMANTIC_TARGET = "attached-semantic-target"
EQUAL_TEACHERS = "equal-teachers"

ABLATIONS = {
    FROZEN_EMA: "the specialized teacher no longer moves in stage 2, and the student is the result (row 1)",
    SOFTMAX_OF_PROBABILITIES: "softmax is applied to the generalized teacher's probabilities (row 2)",
    ADAMW_LR_001: "the learning rate of stage 2 starts at 0.01 and falls to 0 in stage 2 (row 3)",
    DOUBLE_SOFTMAX_DICE: "the Dice head of the paper's student sees softmax twice in stage 1 (row 4)",
    TEACHER_TRAIN_MODE: "the specialized teacher labels in training mode, with dropout (row 10)",
    WHOLE_IMAGE_BOX: "a structure that no mask shows is asked about with a box round the whole slice (row 14)",
    ATTACHED_SEMANTIC_TARGET: "the loss of the semantic path also moves the teacher's aligned features (row 15)",
    EQUAL_TEACHERS: "both teachers are believed as far as they are certain, however good they were (decision 0006)",
}
"""What each ablation does; rows are those of the method, section 7."""

RELEASED = (
    FROZEN_EMA,
    SOFTMAX_OF_PROBABILITIES,
    ADAMW_LR_001,
    DOUBLE_SOFTMAX_DICE,
    TEACHER_TRAIN_MODE,
    WHOLE_IMAGE_BOX,
    ATTACHED_SEMANTIC_TARGET,
    EQUAL_TEACHERS,
)
"""The released code's behavior."""

PRESETS = {"corrected": (), "released": RELEASED}
"""Several ablations under one name."""


def expand_ablations(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the ablations that are meant, in the order given, each once: a preset stands for all of its own.

    Raises:
        ConfigError: If there is no ablation or preset of a name.
    """
    for name in names:
        if name not in ABLATIONS and name not in PRESETS:
            message = f'There is no ablation "{name}". Choose from {", ".join([*PRESETS, *ABLATIONS])}.'
            raise ConfigError(message)
    return tuple(dict.fromkeys(each for name in names for each in PRESETS.get(name, (name,))))
