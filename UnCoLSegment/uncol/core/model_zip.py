"""A model as one zip file: written for a colleague, and read without trusting what is in it."""

from __future__ import annotations

import json
import os
import stat
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path, PurePosixPath

from uncol.core.errors import CheckpointError
from uncol.core.model_folder import DISCLAIMER, MODEL_FILE, SUMS_FILE, WEIGHTS_FILE, newest

_LIMITS_BYTES = {MODEL_FILE: 16 << 20, WEIGHTS_FILE: 4 << 30, SUMS_FILE: 4 << 10}
"""The files that a zip may hold, and how large each may be."""
_CHUNK_BYTES = 1 << 20


def pack_model(folder: Path, name: str, path: Path) -> None:
    """Write the files of a model folder into a zip, below a folder `name`; it appears complete or not at all.

    Raises:
        OSError: If a file cannot be read or written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with zipfile.ZipFile(partial, "x", zipfile.ZIP_DEFLATED) as archive:
            archive.comment = DISCLAIMER.encode()
            for file in _LIMITS_BYTES:
                archive.write(newest(folder, file), f"{name}/{file}")
        partial.replace(path)
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def unpack_model(path: Path, folder: Path) -> str:
    """Unpack the three files of a model into an existing folder; return the model's name in the zip.

    Entries are never unpacked by their own path: the zip must hold exactly the three files of a model, all
    at its top or all in one folder, and each is written under its known name, up to its limit.

    Raises:
        CheckpointError: If the zip is damaged or holds anything else.
        OSError: If the files cannot be written.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = _checked_members(archive, path)
            for file, member in members.items():
                _copy(archive, member, folder / file, path)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError) as error:
        message = f'"{path.name}" is no zip of a model, or it is damaged ({error}). Export the model again.'
        raise CheckpointError(message) from error
    _check_weights(folder / WEIGHTS_FILE, path)
    parent = PurePosixPath(members[MODEL_FILE].filename).parent.name
    return parent or path.stem.lower()


def _checked_members(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    members: dict[str, zipfile.ZipInfo] = {}
    for entry in archive.infolist():
        if entry.is_dir() and _is_plain(entry.filename.rstrip("/"), depth=1):
            continue
        file = _file_of(entry, path)
        if file in members:
            raise CheckpointError(_refused(path, f'"{file}" twice'))
        members[file] = entry
    missing = [file for file in _LIMITS_BYTES if file not in members]
    if missing:
        message = f'"{path.name}" is not a model: it has no {missing[0]}. Export the model again with UnCoL.'
        raise CheckpointError(message)
    if len({PurePosixPath(entry.filename).parent for entry in members.values()}) != 1:
        raise CheckpointError(_refused(path, "files of several models"))
    return members


def _file_of(entry: zipfile.ZipInfo, path: Path) -> str:
    """Return which file of a model an entry is, or refuse it."""
    file = PurePosixPath(entry.filename).name
    if not _is_plain(entry.filename, depth=2) or not _is_regular(entry) or file not in _LIMITS_BYTES:
        raise CheckpointError(_refused(path, f'"{entry.filename}", which no model has'))
    if entry.file_size > _LIMITS_BYTES[file]:
        raise CheckpointError(_refused(path, f'"{file}" with {entry.file_size} bytes, which is too large'))
    return file


def _is_plain(name: str, depth: int) -> bool:
    """Say whether a path is relative, goes down at most `depth` levels and never up."""
    parts = name.split("/")
    return len(parts) <= depth and "\\" not in name and ":" not in name and not {"", ".", ".."}.intersection(parts)


def _is_regular(entry: zipfile.ZipInfo) -> bool:
    kind = stat.S_IFMT(entry.external_attr >> 16)  # 0 where the writing system has no file kinds
    is_encrypted = bool(entry.flag_bits & 1)
    return kind in (0, stat.S_IFREG) and not entry.is_dir() and not is_encrypted


def _copy(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, path: Path) -> None:
    left = member.file_size
    with archive.open(member) as source, target.open("xb") as file:
        while chunk := source.read(_CHUNK_BYTES):
            left -= len(chunk)
            if left < 0:
                raise CheckpointError(_refused(path, f'more in "{target.name}" than it announces'))
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())


def _check_weights(weights: Path, path: Path) -> None:
    """Refuse weights that are no safetensors file: eight bytes with the length of a JSON header, then the header."""
    with weights.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            is_safetensors = length <= _LIMITS_BYTES[MODEL_FILE] and isinstance(json.loads(file.read(length)), dict)
        except ValueError:
            is_safetensors = False
    if not is_safetensors:
        message = f'"{path.name}" is not a model: its weights are no safetensors file. Export it again with UnCoL.'
        raise CheckpointError(message)


def _refused(path: Path, what: str) -> str:
    return f'"{path.name}" was not imported: it holds {what}. Ask for a zip that UnCoL exported.'
