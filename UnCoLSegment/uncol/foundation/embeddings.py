"""Encode each slice once: embeddings are kept in memory and on disk, under a hash of what was encoded."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import stat
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from uncol.core.errors import NotFiniteError
from uncol.core.files import atomic_write, read_limited

_log = logging.getLogger(__name__)

_IN_MEMORY = 160
"""Embeddings kept in memory; one of LiteMedSAM takes 2 MiB."""
_ON_DISK_MIB = 4096
"""Size to which the folder is cut back, least recently used first."""
_LARGEST_FILE_BYTES = 1 << 30
_OWN_NAME = re.compile(r"[0-9a-f]{64}\.safetensors")
"""What the files are called that are ours to delete."""


class EmbeddingCache:
    """Embeddings by content hash (SHA-256, hex), the recent ones in memory and all of them in a private folder.

    Args:
        folder: Where they are kept between runs; None keeps them in memory only. A folder that
            cannot be written is treated like None, with a warning.
    """

    def __init__(self, folder: Path | None) -> None:
        self._recent: OrderedDict[str, Tensor] = OrderedDict()
        self._folder = _private_folder(folder) if folder is not None else None

    def find(self, key: str, shape: tuple[int, ...]) -> Tensor | None:
        """Return the embedding with this key, float16, or None; a file that holds another shape is none of ours."""
        if key in self._recent:
            self._recent.move_to_end(key)
            self._mark_used(key)
            return self._recent[key]
        embedding = self._read(key, shape)
        if embedding is not None:
            self._remember(key, embedding)
        return embedding

    def keep(self, key: str, embedding: Tensor) -> None:
        """Keep an embedding under its key.

        Raises:
            NotFiniteError: If it holds numbers that are not finite.
        """
        if not bool(embedding.isfinite().all()):
            message = (
                "What was computed from the image is not finite: the image is broken, or the weights of the foundation "
                "model are. Look at the image, or choose other weights with --foundation-weights."
            )
            raise NotFiniteError(message)
        self._remember(key, embedding)
        if self._folder is None:
            return
        try:
            with atomic_write(self._folder / f"{key}.safetensors") as partial:
                content = {"embedding": embedding.contiguous(), "digest": _digest(key, embedding)}
                save_file(content, partial)
                partial.chmod(0o600)
        except (OSError, SafetensorError) as error:
            _log.warning("Embeddings are no longer kept on disk (%s).", error)
            self._folder = None

    def trim(self) -> None:
        """Delete the least recently used files until the folder is below its limit."""
        by_age = sorted((found.st_mtime, found.st_size, file) for file, found in self._files())
        total = sum(size for _, size, _ in by_age)
        for _, size, file in by_age:
            if total <= _ON_DISK_MIB * 2**20:
                return
            total -= size
            with suppress(OSError):  # another process may trim the same folder at the same time
                file.unlink(missing_ok=True)

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        """Yield the files that a cache wrote, and no others that may lie there."""
        for file in self._folder.glob("*.safetensors") if self._folder is not None else ():
            with suppress(OSError):
                found = file.lstat()
                if _OWN_NAME.fullmatch(file.name) and stat.S_ISREG(found.st_mode):
                    yield file, found

    def _remember(self, key: str, embedding: Tensor) -> None:
        self._recent[key] = embedding
        self._recent.move_to_end(key)
        while len(self._recent) > _IN_MEMORY:
            self._recent.popitem(last=False)

    def _read(self, key: str, shape: tuple[int, ...]) -> Tensor | None:
        if self._folder is None:
            return None
        path = self._folder / f"{key}.safetensors"
        try:
            found = load(read_limited(path, _LARGEST_FILE_BYTES))
            is_whole = torch.equal(found["digest"], _digest(key, found["embedding"]))
            is_whole = is_whole and _can_be_ours(found["embedding"], shape)
        except FileNotFoundError:
            return None
        except (OSError, RuntimeError, KeyError, SafetensorError):
            is_whole = False
        if not is_whole:
            _log.warning("A damaged embedding was removed from the cache; its slice is encoded again.")
            with suppress(OSError):
                path.unlink(missing_ok=True)
            return None
        self._mark_used(key)
        return found["embedding"]

    def _mark_used(self, key: str) -> None:
        if self._folder is not None:
            with suppress(OSError):
                os.utime(self._folder / f"{key}.safetensors")


def _can_be_ours(embedding: Tensor, shape: tuple[int, ...]) -> bool:
    """Say whether that can have been kept: whoever can write a file can write its digest, too."""
    return embedding.dtype is torch.float16 and embedding.shape == shape and bool(embedding.isfinite().all())


def _digest(key: str, embedding: Tensor) -> Tensor:
    """Return the SHA-256 (32,), uint8, by which a file of ours is known: of key, type, shape and numbers."""
    digest = hashlib.sha256(f"{key} {embedding.dtype} {tuple(embedding.shape)}".encode())
    digest.update(embedding.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return torch.frombuffer(bytearray(digest.digest()), dtype=torch.uint8)


def _private_folder(folder: Path) -> Path | None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        _log.warning("Embeddings are kept in memory only: the cache folder cannot be made (%s).", error.strerror)
        return None
    return folder
