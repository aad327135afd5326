"""Whatever a user does, in whatever order: their voxels change by their acts alone, and only what they said is learned.

Sequences of acts are drawn at random, each from its own seed, so that a failure comes again. `make soak` draws more.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from random_user import RandomUser
from slice_view import SliceView

ACTS = (
    *("paint", "paint", "erase", "effect", "acceptSlice", "acceptSegment", "acceptAll", "sliceIsRight"),
    *("sliceIsEmpty", "untick", "undo", "undo", "redo", "segment", "fineTune", "preview", "finish", "cancel"),
    *("changeVolume", "changeSegmentation", "rename", "save", "load", "importScene", "close"),
)
ACTS_EACH = 12
SEQUENCES = int(os.environ.get("UNCOL_RANDOM_USERS", "200"))


@pytest.fixture
def user(panel: Any, engine: Any, host: Any, tmp_path: Any) -> RandomUser:
    views = [SliceView(host, orientation) for orientation in ("Axial", "Coronal", "Sagittal")]
    return RandomUser(panel, engine, tmp_path, views)


_UNDO_AFTER_LOADING = [*((act, 0, 0) for act in ("save", "paint", "undo", "load", "redo", "paint", "undo", "redo"))]

_RIGHT_ONCE_MORE = [
    *(("paint", 2, 0), ("sliceIsRight", 6, 0), ("effect", 2, 2), ("sliceIsRight", 6, 0), ("effect", 9, 0)),
    *(("rename", 9, 1), ("acceptAll", 6, 0), ("undo", 2, 3)),
]


@example(acts=_UNDO_AFTER_LOADING)
@example(acts=_RIGHT_ONCE_MORE)
@given(
    acts=st.lists(
        st.tuples(st.sampled_from(ACTS), st.integers(0, 9), st.integers(0, 4)), min_size=ACTS_EACH, max_size=ACTS_EACH
    )
)
@settings(
    max_examples=SEQUENCES,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    derandomize=SEQUENCES <= 200,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_nothing_of_the_users_is_spoiled(user: RandomUser, host: Any, acts: list[tuple[str, int, int]]) -> None:
    user.close(0, 0)
    for act, index, size in acts:
        getattr(user, act)(index, size)
        user.look()
    user.close(0, 0)
    assert not host.errors
