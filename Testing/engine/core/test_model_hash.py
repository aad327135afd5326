"""A model is known by the hash of its weights, whatever it is called."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from small_models import WEIGHTS, write_model

from uncol.core.errors import CheckpointError
from uncol.core.model_hash import name_of, stated_hash, weights_hash
from uncol.core.model_store import Store

SHA256 = hashlib.sha256(WEIGHTS).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    write_model(tmp_path / "spleen")
    return Store(tmp_path)


def test_the_hash_is_that_of_the_weights(store: Store) -> None:
    assert weights_hash(store.path_of("spleen")) == SHA256


@pytest.mark.parametrize("text", [SHA256, SHA256[:12], "spleen"])
def test_a_model_is_found_by_hash_or_name_also_after_it_was_renamed(store: Store, text: str) -> None:
    assert name_of(store, text) == "spleen"
    store.rename("spleen", "renamed")
    assert name_of(store, text) == ("spleen" if text == "spleen" else "renamed")  # no hash: told by who shows it


def test_a_name_goes_before_a_hash(store: Store) -> None:
    write_model(store.folder / SHA256[:12])

    assert name_of(store, SHA256[:12]) == SHA256[:12]


def test_a_damaged_model_has_no_hash_and_hides_no_other(store: Store) -> None:
    write_model(store.folder / "a-damaged-one")
    (store.folder / "a-damaged-one" / "SHA256SUMS").write_text("nonsense")

    assert stated_hash(store.folder / "a-damaged-one") == ""
    assert name_of(store, SHA256) == "spleen"


def test_a_hash_that_nobody_has_is_told(store: Store) -> None:
    with pytest.raises(CheckpointError, match=r"has weights with the SHA-256 0{64}\. Look in another folder"):
        name_of(store, "0" * 64)
