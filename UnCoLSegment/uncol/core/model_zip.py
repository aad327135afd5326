"""A model as one zip file, to share it: written, and taken in without trusting anything in it."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from uncol.core.errors import CheckpointError
from uncol.core.files import atomic_write, flush_to_disk
from uncol.core.model_folder import DISCLAIMER, LIMITS_BYTES, MODEL_FILE, WEIGHTS_FILE, newest
from uncol.core.weights_file import read_header

_MOST_ENTRIES = 8
"""Three files, and the folder that holds them."""
_HOW_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def pack_model(folder: Path, name: str, path: Path) -> None:
    """Write the files of a model folder into a zip, below a folder `name`; it appears complete or not at all.

    Raises:
        OSError: If a file cannot be read or written.
    """
    with atomic_write(path) as partial, zipfile.ZipFile(partial, "x", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = DISCLAIMER.encode()
        for file in LIMITS_BYTES:
            archive.write(newest(folder, file), f"{name}/{file}")


def unpack_model(path: Path, folder: Path) -> str:
    """Unpack the three files of a model into an existing folder; return the model's name in the zip.

    Entries are never unpacked by their own path: the zip must hold exactly the three files of a model, all
    at its top or all in one folder, and each is written under its known name, up to its limit.

    Raises:
        CheckpointError: If the zip is damaged or holds anything else.
        OSError: If the files cannot be written.
    """
    if path.stat().st_size > sum(LIMITS_BYTES.values()):
        raise _refused(path, f"{path.stat().st_size} bytes, which is too large")
    try:
        with zipfile.ZipFile(path) as archive:
            members = _checked_members(archive, path)
            _check_weights(archive, members[WEIGHTS_FILE], path)
            _check_space(folder, sum(each.file_size for each in members.values()), path)
            for file, member in members.items():
                # zipfile reads no more of an entry than the size that it announces, and checks its sum
                with archive.open(member) as source, (folder / file).open("xb") as target:
                    shutil.copyfileobj(source, target)
                flush_to_disk(folder / file)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        message = f'"{path.name}" is no zip of a model, or it is damaged ({error}). Export the model again.'
        raise CheckpointError(message) from error
    parent = PurePosixPath(members[MODEL_FILE].filename).parent.name
    return parent or path.stem.lower()


def _check_space(folder: Path, size: int, path: Path) -> None:
    if size > shutil.disk_usage(folder).free:
        message = f'"{path.name}" was not imported: it needs {size / 2**20:.0f} MiB. Free some space and try again.'
        raise CheckpointError(message)


def _checked_members(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    members: dict[str, zipfile.ZipInfo] = {}
    if len(archive.infolist()) > _MOST_ENTRIES:
        raise _refused(path, f"{len(archive.infolist())} entries")
    for entry in archive.infolist():
        if entry.is_dir() and _is_plain(entry.filename.rstrip("/"), depth=1):
            continue
        file = _file_of(entry, path)
        if file in members:
            raise _refused(path, f'"{file}" twice')
        members[file] = entry
    missing = [file for file in LIMITS_BYTES if file not in members]
    if missing:
        message = f'"{path.name}" is not a model: it has no {missing[0]}. Export the model again with UnCoL.'
        raise CheckpointError(message)
    if len({PurePosixPath(entry.filename).parent for entry in members.values()}) != 1:
        raise _refused(path, "files of several models")
    return members


def _file_of(entry: zipfile.ZipInfo, path: Path) -> str:
    """Return which file of a model an entry is, or refuse it."""
    file = PurePosixPath(entry.filename).name
    if not _is_plain(entry.filename, depth=2) or not _is_regular(entry) or file not in LIMITS_BYTES:
        raise _refused(path, f'"{entry.filename}", which no model has')
    if entry.compress_type not in _HOW_PACKED:
        raise _refused(path, f'"{file}" packed in another way than UnCoL does')
    if entry.file_size > LIMITS_BYTES[file]:
        raise _refused(path, f'"{file}" with {entry.file_size} bytes, which is too large')
    return file


def _is_plain(name: str, depth: int) -> bool:
    """Say whether a path is relative, goes down at most `depth` levels and never up."""
    parts = name.split("/")
    return len(parts) <= depth and "\\" not in name and ":" not in name and not {"", ".", ".."}.intersection(parts)


def _is_regular(entry: zipfile.ZipInfo) -> bool:
    kind, is_encrypted = stat.S_IFMT(entry.external_attr >> 16), bool(entry.flag_bits & 1)
    # a kind of 0 comes from systems that have no file kinds
    return kind in (0, stat.S_IFREG) and not entry.is_dir() and not is_encrypted


def _check_weights(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> None:
    """Refuse weights that are no safetensors file before they are unpacked."""
    try:
        with archive.open(member) as source:
            read_header(source, member.file_size)
    except ValueError as error:
        message = f'"{path.name}" is not a model: its weights are no safetensors file ({error}). Export it again.'
        raise CheckpointError(message) from error


def _refused(path: Path, what: str) -> CheckpointError:
    return CheckpointError(f'"{path.name}" was not imported: it holds {what}. Ask for a zip that UnCoL exported.')
