"""Encode each slice once: embeddings are kept in memory and on disk, under a hash of what was encoded."""

from __future__ import annotations

import logging
import os
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from uncol.core.files import atomic_write

_log = logging.getLogger(__name__)

_IN_MEMORY = 160
"""Embeddings kept in memory; one of LiteMedSAM takes 2 MiB."""
_ON_DISK_MIB = 4096
"""Size to which the folder is cut back, least recently used first."""


class EmbeddingCache:
    """Embeddings by content hash, the recent ones in memory and all of them in a private folder.

    Args:
        folder: Where they are kept between runs; None keeps them in memory only. A folder that
            cannot be written is treated like None, with a warning.
    """

    def __init__(self, folder: Path | None) -> None:
        self._recent: OrderedDict[str, Tensor] = OrderedDict()
        self._folder = _private_folder(folder) if folder is not None else None

    def find(self, key: str) -> Tensor | None:
        """Return the embedding with this key, or None."""
        if key in self._recent:
            self._recent.move_to_end(key)
            self._mark_used(key)
            return self._recent[key]
        embedding = self._read(key)
        if embedding is not None:
            self._remember(key, embedding)
        return embedding

    def keep(self, key: str, embedding: Tensor) -> None:
        """Keep an embedding under its key."""
        self._remember(key, embedding)
        if self._folder is None:
            return
        try:
            with atomic_write(self._folder / f"{key}.safetensors") as partial:
                save_file({"embedding": embedding.contiguous()}, partial)
                partial.chmod(0o600)
        except (OSError, SafetensorError) as error:
            _log.warning("Embeddings are no longer kept on disk (%s).", error)
            self._folder = None

    def trim(self) -> None:
        """Delete the least recently used files until the folder is below its limit."""
        with suppress(OSError):  # another process may trim the same folder at the same time
            by_age = sorted((file.stat().st_mtime, file.stat().st_size, file) for file in self._files())
            total = sum(size for _, size, _ in by_age)
            for _, size, file in by_age:
                if total <= _ON_DISK_MIB * 2**20:
                    return
                total -= size
                file.unlink(missing_ok=True)

    def _files(self) -> list[Path]:
        return list(self._folder.glob("*.safetensors")) if self._folder is not None else []

    def _remember(self, key: str, embedding: Tensor) -> None:
        self._recent[key] = embedding
        self._recent.move_to_end(key)
        while len(self._recent) > _IN_MEMORY:
            self._recent.popitem(last=False)

    def _read(self, key: str) -> Tensor | None:
        if self._folder is None:
            return None
        path = self._folder / f"{key}.safetensors"
        if not path.exists():
            return None
        try:
            embedding = load_file(path)["embedding"]
        except (OSError, SafetensorError, KeyError):
            _log.warning("A damaged embedding was removed from the cache; its slice is encoded again.")
            with suppress(OSError):
                path.unlink(missing_ok=True)
            return None
        self._mark_used(key)
        return embedding

    def _mark_used(self, key: str) -> None:
        if self._folder is not None:
            with suppress(OSError):
                os.utime(self._folder / f"{key}.safetensors")


def _private_folder(folder: Path) -> Path | None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        _log.warning("Embeddings are kept in memory only: the cache folder cannot be made (%s).", error.strerror)
        return None
    return folder
