"""A long-lived process loads a model once, and again only when it is another one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from uncol.core.config import Config, StudentConfig
from uncol.core.errors import CheckpointError
from uncol.core.foundation_choice import LITE_MEDSAM, FoundationChoice
from uncol.core.jobs import Structure
from uncol.core.model_card import ModelCard
from uncol.models.build import build_student
from uncol.models.card import Model
from uncol.models.checkpoints import save_model
from uncol.worker.model_cache import ModelCache

CONFIG = Config(student=StudentConfig(channels=(2, 2, 2, 2, 2)))
CARD = ModelCard((Structure(1, "liver"),), "axial", 1.0, 3.0, (-160.0, 240.0), CONFIG)


def write_model(folder: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    save_model(Model(CARD, build_student(CARD)), folder)
    return folder


def test_the_last_model_is_kept(tmp_path: Path) -> None:
    cache, folder = ModelCache(), write_model(tmp_path / "a", 0)

    assert cache.model(folder) is cache.model(folder)


def test_another_model_is_loaded_and_replaces_the_last(tmp_path: Path) -> None:
    cache = ModelCache()
    first, second = write_model(tmp_path / "a", 0), write_model(tmp_path / "b", 1)
    kept = cache.model(first)

    assert cache.model(second) is not kept
    assert cache.model(first) is not kept


def test_a_model_that_was_trained_anew_in_the_same_folder_is_loaded_again(tmp_path: Path) -> None:
    cache, folder = ModelCache(), write_model(tmp_path / "a", 0)
    before = cache.model(folder)
    write_model(folder, 1)

    after = cache.model(folder)

    assert after is not before
    assert any(
        not torch.equal(old, new)
        for old, new in zip(before.student.parameters(), after.student.parameters(), strict=True)
    )


def test_a_model_that_is_gone_is_not_given_from_memory(tmp_path: Path) -> None:
    cache, folder = ModelCache(), write_model(tmp_path / "a", 0)
    cache.model(folder)
    for file in folder.iterdir():
        file.unlink()

    with pytest.raises(CheckpointError, match="is not a model folder"):
        cache.model(folder)


@pytest.mark.parametrize(
    "make",
    [lambda path: path.write_bytes(b"\xff\xfe"), os.mkfifo, lambda path: path.symlink_to("/dev/zero"), Path.mkdir],
    ids=["no UTF-8", "pipe", "endless", "folder"],
)
def test_sums_that_are_none_are_one_sentence_and_not_waited_for(tmp_path: Path, make: Callable[[Path], object]) -> None:
    folder = write_model(tmp_path / "a", 0)
    (folder / "SHA256SUMS").unlink()
    make(folder / "SHA256SUMS")

    with pytest.raises(CheckpointError, match=r'"/.*a" is incomplete'):
        ModelCache().model(folder)


def test_the_foundation_model_is_kept(tmp_path: Path) -> None:
    cache = ModelCache()

    assert cache.teacher(torch.device("cpu"), LITE_MEDSAM) is cache.teacher(torch.device("cpu"), LITE_MEDSAM)
    with pytest.raises(CheckpointError, match=r"none.pth.*could not be read"):
        cache.teacher(torch.device("cpu"), FoundationChoice(weights=tmp_path / "none.pth"))
