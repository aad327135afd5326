"""A model's folder, without torch: how it is written, read and checked, and the same as one zip file."""

from __future__ import annotations

import json
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from uncol import __version__
from uncol.core.errors import CheckpointError, ConfigError, OutputError
from uncol.core.files import PRIVATE, atomic_folder, atomic_write, flush_to_disk, sha256_of

FORMAT = 1
"""Version of the model folder's format."""
MODEL_FILE, WEIGHTS_FILE, SUMS_FILE = "model.json", "weights.safetensors", "SHA256SUMS"
CHECKPOINT_FILE = "checkpoint.safetensors"
"""The state of a run that is not finished."""
WHEN_DAMAGED = "Import it again, fine-tune it anew, or choose another model."
"""What to do about a damaged model."""
DISCLAIMER = "Research use only. Not a medical device."
COMPLETE = ".complete"
"""Subfolder of a model that was written completely, but whose files were not yet moved to their place."""
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_NOT_ON_WINDOWS = re.compile(r"con|prn|aux|nul|com[0-9]|lpt[0-9]")
_LIMITS_BYTES = {MODEL_FILE: 16 << 20, WEIGHTS_FILE: 4 << 30, SUMS_FILE: 4 << 10}
"""The files that a zip may hold, and how large each may be."""


def is_model_name(name: str) -> bool:
    """Say whether a model may have that name: a folder name that every system takes."""
    return bool(_NAME.fullmatch(name)) and not _NOT_ON_WINDOWS.fullmatch(name)


def check_model_name(name: str) -> None:
    """Refuse what is no name for a model.

    Raises:
        ConfigError: If it is none.
    """
    if not is_model_name(name):
        message = (
            f'"{name}" is no name for a model. Use 1 to 64 small letters, digits, - and _, beginning with a letter '
            "or a digit (and no name that Windows keeps for itself, such as con)."
        )
        raise ConfigError(message)


def newest(folder: Path, name: str) -> Path:
    """Return where a file of a model lies, also when an interruption kept it from its place."""
    complete = folder / COMPLETE / name
    return complete if complete.is_file() else folder / name


@contextmanager
def model_written(folder: Path, card: dict[str, Any]) -> Iterator[Path]:
    """Write a model folder; an older model there is replaced only when the new one is complete.

    Args:
        folder: The model's folder.
        card: The JSON object for `model.json`.

    Yields:
        Where the weights are to be written.

    Raises:
        OutputError: If the folder cannot be written.
    """
    with folder_written(folder):
        _finish_interrupted_save(folder)
        # renamed to `.complete`, the files are what `newest` finds, whether or not they have come to their place yet
        with atomic_folder(folder / COMPLETE) as partial:
            yield partial / WEIGHTS_FILE
            (partial / MODEL_FILE).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
            sums = [f"{sha256_of(partial / name)}  {name}\n" for name in (MODEL_FILE, WEIGHTS_FILE)]
            (partial / SUMS_FILE).write_text("".join(sums), encoding="utf-8")
        _finish_interrupted_save(folder)


@contextmanager
def folder_written(folder: Path) -> Iterator[None]:
    """Make a model's folder and say in one sentence when something cannot be written into it.

    Raises:
        OutputError: Instead of an OSError.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        message = (
            f'"{folder}" could not be written ({error.strerror or error}). Free some space there, or make the folder '
            "writable, and try again; what was there before is kept."
        )
        raise OutputError(message) from error


def _finish_interrupted_save(folder: Path) -> None:
    complete = folder / COMPLETE
    if complete.is_dir():
        for file in complete.iterdir():
            file.replace(folder / file.name)
        complete.rmdir()
    for left_behind in folder.glob(f"{PRIVATE}*"):
        shutil.rmtree(left_behind, ignore_errors=True)


def read_card(folder: Path) -> dict[str, Any]:
    """Return the JSON object in a model's `model.json`.

    Raises:
        CheckpointError: If it is missing, damaged or of another format.
    """
    try:
        card: dict[str, Any] = json.loads(newest(folder, MODEL_FILE).read_text(encoding="utf-8"))
        found = card["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f'Model "{folder}" cannot be read ({error}). {WHEN_DAMAGED}'
        raise CheckpointError(message) from error
    if found != FORMAT:
        unknown = f"it has format {found}, this version reads {FORMAT}"
        message = says_newer(folder, card, unknown) or f'Model "{folder}" cannot be read: {unknown}. Update UnCoL.'
        raise CheckpointError(message)
    return card


def says_newer(folder: Path, card: dict[str, Any], unknown: str) -> str:
    """Return what to tell about a model that this version cannot use; "" unless a newer one made it.

    Args:
        folder: The model's folder.
        card: Its card, which says which version made it.
        unknown: What cannot be used, in a few words.
    """
    made_by = str(card.get("uncol", ""))
    if _version(made_by) <= _version(__version__):
        return ""
    return f'Model "{folder}" was made by UnCoL {made_by}, this is {__version__}: update UnCoL to use it ({unknown}).'


def _version(text: str) -> list[int]:
    return [int(each) for each in re.findall(r"[0-9]+", text)[:3]]


def verify_sums(folder: Path) -> None:
    """Check a model's files against its checksums.

    Raises:
        CheckpointError: If a file is missing or differs.
    """
    try:
        lines = newest(folder, SUMS_FILE).read_text(encoding="utf-8").splitlines()
        sums = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
        wrong = [name for name in (MODEL_FILE, WEIGHTS_FILE) if sums.get(name) != sha256_of(newest(folder, name))]
    except (OSError, ValueError) as error:
        message = f'Model "{folder}" is incomplete ({error}). {WHEN_DAMAGED}'
        raise CheckpointError(message) from error
    if wrong:
        message = f'Model "{folder}" is damaged: {wrong[0]} does not match its checksum. {WHEN_DAMAGED}'
        raise CheckpointError(message)


def pack_model(folder: Path, name: str, path: Path) -> None:
    """Write the files of a model folder into a zip, below a folder `name`; it appears complete or not at all.

    Raises:
        OSError: If a file cannot be read or written.
    """
    with atomic_write(path) as partial, zipfile.ZipFile(partial, "x", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = DISCLAIMER.encode()
        for file in _LIMITS_BYTES:
            archive.write(newest(folder, file), f"{name}/{file}")


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
                # zipfile reads no more of an entry than the size that it announces, and checks its sum
                with archive.open(member) as source, (folder / file).open("xb") as target:
                    shutil.copyfileobj(source, target)
                flush_to_disk(folder / file)
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
            raise _refused(path, f'"{file}" twice')
        members[file] = entry
    missing = [file for file in _LIMITS_BYTES if file not in members]
    if missing:
        message = f'"{path.name}" is not a model: it has no {missing[0]}. Export the model again with UnCoL.'
        raise CheckpointError(message)
    if len({PurePosixPath(entry.filename).parent for entry in members.values()}) != 1:
        raise _refused(path, "files of several models")
    return members


def _file_of(entry: zipfile.ZipInfo, path: Path) -> str:
    """Return which file of a model an entry is, or refuse it."""
    file = PurePosixPath(entry.filename).name
    if not _is_plain(entry.filename, depth=2) or not _is_regular(entry) or file not in _LIMITS_BYTES:
        raise _refused(path, f'"{entry.filename}", which no model has')
    if entry.file_size > _LIMITS_BYTES[file]:
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


def _refused(path: Path, what: str) -> CheckpointError:
    return CheckpointError(f'"{path.name}" was not imported: it holds {what}. Ask for a zip that UnCoL exported.')
