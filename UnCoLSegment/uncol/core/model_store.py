"""The user's models in one folder: list, activate, roll back, rename, share as one zip.

Pure files and JSON, no torch: the panel lists and manages models whether or not the engine is installed.

    STORE/NAME/{model.json, weights.safetensors, SHA256SUMS}
    STORE/active.json = {"active": NAME or null, "history": [names that were active before, the latest last]}
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from uncol.core.errors import CheckpointError, ConfigError, OutputError, UncolError
from uncol.core.jobs import Structure
from uncol.core.model_folder import CHECKPOINT_FILE, MODEL_FILE, WHEN_DAMAGED, newest, read_card, verify_sums
from uncol.core.model_zip import pack_model, unpack_model

ACTIVE_FILE = "active.json"
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_NOT_ON_WINDOWS = re.compile(r"con|prn|aux|nul|com[0-9]|lpt[0-9]")
_HISTORY_LENGTH = 20
_PRIVATE = ".private-"
_FORGOTTEN_S = 24 * 3600.0
"""Age from which a private folder is surely left over from an interruption."""


class NameTakenError(CheckpointError):
    """A model or an unfinished run has that name already."""

    def __init__(self, name: str) -> None:
        super().__init__(f'"{name}" is taken already. Choose another name; nothing was changed.')
        self.name = name


@dataclass(frozen=True)
class ModelEntry:
    """One line of the list of models.

    Attributes:
        name: Name of its folder.
        title: What it segments, in words: the names of its structures.
        structures: Label values and names.
        created: When it was written, ISO 8601 with time zone.
        training: The record of its training (steps, seconds, seed, reliabilities, curve, notes).
        is_active: Whether it is the model that is proposed.
    """

    name: str
    title: str
    structures: tuple[Structure, ...]
    created: str
    training: dict[str, Any]
    is_active: bool

    def as_document(self) -> dict[str, Any]:
        """Return the line as a JSON object, without the learning curve."""
        return {
            "name": self.name,
            "title": self.title,
            "structures": [{"name": each.name, "value": each.value} for each in self.structures],
            "created": self.created,
            "training": {key: value for key, value in self.training.items() if key != "curve"},
            "is_active": self.is_active,
        }


class Store:
    """A folder of models; it is made when the first model comes.

    Args:
        folder: Where the models are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def active(self) -> str | None:
        """Name of the active model; None when there is none or its folder is gone.

        Raises:
            CheckpointError: If the record of it is damaged.
        """
        name, _ = self._read_active()
        return name if name is not None and self.has(name) else None

    def has(self, name: str) -> bool:
        """Say whether there is a finished model of that name."""
        return is_model_name(name) and newest(self.folder / name, MODEL_FILE).is_file()

    def names(self) -> tuple[str, ...]:
        """Return the names of all finished models."""
        return tuple(sorted(each.name for each in self.folder.glob("*") if self.has(each.name)))

    def has_unfinished(self, name: str) -> bool:
        """Say whether an interrupted run of that name can be resumed."""
        return is_model_name(name) and not self.has(name) and (self.folder / name / CHECKPOINT_FILE).is_file()

    def unfinished(self) -> tuple[str, ...]:
        """Return the names of all interrupted runs."""
        return tuple(sorted(each.name for each in self.folder.glob("*") if self.has_unfinished(each.name)))

    def entry(self, name: str) -> ModelEntry:
        """Return the line of one model.

        Raises:
            UncolError: If there is no such model or its card cannot be read.
        """
        self.path_of(name)
        return self._entry(name, self.active)

    def show(self, name: str) -> dict[str, Any]:
        """Return the whole card of a model.

        Raises:
            UncolError: If there is no such model or its card cannot be read.
        """
        return read_card(self.path_of(name))

    def path_of(self, name: str) -> Path:
        """Return the folder of a model.

        Raises:
            ConfigError: If that is no name for a model.
            CheckpointError: If there is no such model.
        """
        check_model_name(name)
        if not self.has(name):
            known = ", ".join(self.names())
            other = f'There is no model "{name}" in "{self.folder}" (models there: {known}). Choose one of them.'
            raise CheckpointError(other if known else self.says_empty)
        return self.folder / name

    @property
    def says_empty(self) -> str:
        """What to tell the user of a store without any model."""
        return f'There is no model in "{self.folder}" yet. Fine-tune one or import one.'

    def free_name(self, wanted: str) -> str:
        """Return a name that nothing has yet, made from any text: `Left kidney` gives left-kidney-2."""
        base = re.sub(r"[^a-z0-9_]+", "-", wanted.lower()).strip("-_")[:56].rstrip("-_")
        name = base = base if is_model_name(base) else f"model-{base}".rstrip("-")
        number = 1
        while (self.folder / name).exists():
            number += 1
            name = f"{base}-{number}"
        return name

    def rename(self, old: str, new: str) -> None:
        """Give a model another name; it stays active if it was.

        Raises:
            UncolError: If there is no model `old`, if `new` is no name or taken, or if it cannot be written.
        """
        source = self.path_of(old)
        self._check_free(new)
        active, history = self._read_active()
        with self._writing():
            source.rename(self.folder / new)
        self._write_active(new if active == old else active, [new if each == old else each for each in history])

    def activate(self, name: str) -> None:
        """Make a model the one that is proposed; the one before is remembered.

        Raises:
            UncolError: If there is no such model or the choice cannot be written.
        """
        self.path_of(name)
        active, history = self._read_active()
        if active != name:
            self._write_active(name, [*history, *([active] if active else [])])

    def roll_back(self) -> str:
        """Make the model active that was active before; return its name.

        Raises:
            UncolError: If no earlier model is left or the choice cannot be written.
        """
        active, history = self._read_active()
        earlier = [each for each in history if each != active and self.has(each)]
        if not earlier:
            message = "There is no earlier model to go back to. Activate one from the list."
            raise CheckpointError(message)
        self._write_active(earlier[-1], earlier[:-1])
        return earlier[-1]

    def remove(self, name: str) -> None:
        """Delete a model or an unfinished run; if the model was active, none is active afterwards.

        Raises:
            UncolError: If there is no such model or it cannot be deleted; then it is still whole.
        """
        folder = self.folder / name if self.has_unfinished(name) else self.path_of(name)
        active, history = self._read_active()
        with self._private_folder() as private:
            folder.rename(private / name)
        self._write_active(None if active == name else active, [each for each in history if each != name])

    def verify(self, name: str) -> None:
        """Check that a model is whole.

        Raises:
            UncolError: If it is missing, incomplete or differs from its checksums.
        """
        folder = self.path_of(name)
        verify_sums(folder)
        read_card(folder)

    def import_zip(self, path: Path, name: str | None = None) -> str:
        """Take in a model that was exported elsewhere; return its name here.

        Args:
            path: The zip; nothing in it is trusted (see `core.model_zip.unpack_model`).
            name: Name to give it; None takes that of its folder in the zip, or of the zip file.

        Raises:
            UncolError: If the zip is no whole model, if the name is no name or taken, or if it cannot be written.
        """
        if not path.is_file():
            message = f'"{path}" does not exist. Choose the zip of a model.'
            raise CheckpointError(message)
        with self._private_folder() as private:
            unpacked = private / "model"
            unpacked.mkdir()
            found = unpack_model(path, unpacked)
            self._check_unpacked(unpacked, path)
            chosen = found if name is None else name
            self._check_free(chosen)
            unpacked.rename(self.folder / chosen)
        return chosen

    def export_zip(self, name: str, path: Path) -> None:
        """Write a model as one zip that `import_zip` takes; a file there is replaced when the new one is complete.

        Raises:
            UncolError: If there is no such model, if it is damaged, or if the zip cannot be written.
        """
        self.verify(name)
        try:
            pack_model(self.folder / name, name, path)
        except OSError as error:
            message = f'"{path}" could not be written ({error.strerror}). Choose another place for the zip.'
            raise OutputError(message) from error

    def _check_unpacked(self, unpacked: Path, path: Path) -> None:
        try:
            verify_sums(unpacked)
            _entry_of(read_card(unpacked), unpacked, "imported", is_active=False)
        except CheckpointError as error:
            reason = str(error).replace(str(unpacked), path.name).replace(WHEN_DAMAGED, "Export it again.")
            message = f'"{path.name}" was not imported. {reason}'
            raise CheckpointError(message) from error

    def _check_free(self, name: str) -> None:
        check_model_name(name)
        if (self.folder / name).exists():
            raise NameTakenError(name)

    def _entry(self, name: str, active: str | None) -> ModelEntry:
        folder = self.folder / name
        return _entry_of(read_card(folder), folder, name, is_active=name == active)

    def _read_active(self) -> tuple[str | None, list[str]]:
        path = self.folder / ACTIVE_FILE
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            active, history = document["active"], document["history"]
            is_right = (active is None or isinstance(active, str)) and all(isinstance(each, str) for each in history)
        except FileNotFoundError:
            return None, []
        except (OSError, ValueError, KeyError, TypeError):
            is_right = False
        if not is_right:
            message = f'"{path}" is damaged. Delete it and activate a model again; no model is lost.'
            raise CheckpointError(message)
        return active, list(history)

    def _write_active(self, active: str | None, history: list[str]) -> None:
        document = {"active": active, "history": history[-_HISTORY_LENGTH:]}
        with self._private_folder() as private:
            written = private / ACTIVE_FILE
            with written.open("x", encoding="utf-8") as file:
                file.write(json.dumps(document, indent=2) + "\n")
                file.flush()
                os.fsync(file.fileno())
            written.replace(self.folder / ACTIVE_FILE)

    @contextmanager
    def _private_folder(self) -> Iterator[Path]:
        """Lend a folder inside the store that nobody lists; what is left in it at the end is deleted."""
        with self._writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            _sweep_forgotten(self.folder)
            private = Path(tempfile.mkdtemp(prefix=_PRIVATE, dir=self.folder))
            try:
                yield private
            finally:
                shutil.rmtree(private, ignore_errors=True)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            message = f'The models in "{self.folder}" could not be changed ({error.strerror}). Check the folder.'
            raise OutputError(message) from error

    def list(self) -> list[ModelEntry]:
        """Return all models by name; one whose card cannot be read is left out, and `verify` says why.

        Raises:
            CheckpointError: If the record of the active model is damaged.
        """
        active = self.active
        entries = []
        for name in self.names():
            with suppress(CheckpointError):
                entries.append(self._entry(name, active))
        return entries


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


def find_model(text: str, store: Store) -> Path:
    """Return the model folder that a user means: a path of one, or else a name in the store.

    Raises:
        CheckpointError: If it is neither.
    """
    path = Path(text)
    if newest(path, MODEL_FILE).is_file():
        return path
    if store.has(text):
        return store.path_of(text)
    known = ", ".join(store.names())
    choice = (
        f'No model in "{store.folder}" has that name (models there: {known}). '
        "Name a folder that fine-tuning wrote, or one of these models."
    )
    message = f'"{text}" is not a model folder (it has no {MODEL_FILE}). {choice if known else store.says_empty}'
    raise CheckpointError(message)


def _entry_of(card: dict[str, Any], folder: Path, name: str, *, is_active: bool) -> ModelEntry:
    try:
        structures = tuple(Structure(int(each["value"]), str(each["name"])) for each in card["structures"])
        training = dict(card["training"])
        written = newest(folder, MODEL_FILE).stat().st_mtime
    except (OSError, KeyError, TypeError, ValueError, UncolError) as error:
        message = f'Model "{folder}" has a card that cannot be understood ({error}). {WHEN_DAMAGED}'
        raise CheckpointError(message) from error
    title = ", ".join(each.name for each in structures)
    created = datetime.fromtimestamp(written, UTC).isoformat(timespec="seconds")
    return ModelEntry(name, title, structures, created, training, is_active)


def _sweep_forgotten(folder: Path) -> None:
    for left_behind in folder.glob(f"{_PRIVATE}*"):
        with suppress(OSError):  # another process may sweep the same folder at the same time
            if time.time() - left_behind.stat().st_mtime > _FORGOTTEN_S:
                shutil.rmtree(left_behind, ignore_errors=True)
