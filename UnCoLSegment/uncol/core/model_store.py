"""The user's models in one folder: list, activate, roll back, rename, share as one zip.

Pure files and JSON, no torch: the panel lists and manages models whether or not the engine is installed.

    STORE/NAME/{model.json, weights.safetensors, SHA256SUMS}
    STORE/NAME/{checkpoint.safetensors, run.json} while a run is unfinished (see `core.unfinished`)
    STORE/active.json says which model is active (see `core.active_model`)
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from uncol.core.active_model import ActiveModel
from uncol.core.errors import CheckpointError, OutputError, UncolError
from uncol.core.files import PRIVATE, is_file, private_folder, resolved
from uncol.core.grey_values import GreyValues, grey_values_in
from uncol.core.jobs import Structure
from uncol.core.model_card import check_model, check_structures
from uncol.core.model_folder import (
    CHECKPOINT_FILE,
    MODEL_FILE,
    WHEN_DAMAGED,
    check_model_name,
    has_model,
    is_model_name,
    newest,
    read_card,
    says_newer,
    verify_sums,
)
from uncol.core.model_zip import pack_model, unpack_model
from uncol.core.records import from_document, to_document
from uncol.core.training_record import training_record
from uncol.core.unfinished import (
    RunOrigin,
    UnfinishedRun,
    claim_folder,
    forget_finished,
    is_run_held,
    is_worthless,
    release_folder,
    says_busy,
    unfinished_in,
)

_FORMERLY_PRIVATE = ".partial-"
"""How version 0.1 began the names of private folders."""
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
        structures: Label values and names.
        created: When it was written, ISO 8601 with time zone.
        training: The record of its training (steps, seconds, seed, reliabilities, curve, notes).
        is_active: Whether it is the model that is proposed.
        grey_values: Whether it learned from CT, or from images without Hounsfield units.
    """

    name: str
    structures: tuple[Structure, ...]
    created: str
    training: dict[str, Any]
    is_active: bool
    grey_values: GreyValues

    def __post_init__(self) -> None:
        check_structures(self.structures)
        training_record(self.training)

    @property
    def title(self) -> str:
        """What it segments, in words: the names of its structures."""
        return ", ".join(each.name for each in self.structures)

    def as_document(self) -> dict[str, Any]:
        """Return the line as a JSON object, without the learning curve."""
        training = {key: value for key, value in self.training.items() if key != "curve"}
        return {**to_document(self), "title": self.title, "training": training}


class Store:
    """A folder of models; it is made when the first model comes.

    What its methods cannot do is a `ConfigError` for what is no name, a `CheckpointError` where there is no such
    model, a name is taken (`NameTakenError`), or a model, a zip or the record of the active model is damaged, and an
    `OutputError` where files cannot be written.

    Args:
        folder: Where the models are.
        check: Raises a `CheckpointError` for a model's folder that cannot be used, however good its sums are.
    """

    def __init__(self, folder: Path, check: Callable[[Path], object] = check_model) -> None:
        self.folder, self._check = folder, check
        self._record = ActiveModel(folder, self.has)

    @property
    def active(self) -> str | None:
        """Name of the active model; None when there is none or its folder is gone."""
        name = self._record.read().active
        return name if name is not None and self.has(name) else None

    def has(self, name: str) -> bool:
        """Say whether there is a finished model of that name."""
        return is_model_name(name) and has_model(self.folder / name)

    def names(self) -> tuple[str, ...]:
        """Return the names of all finished models."""
        return tuple(sorted(each.name for each in self.folder.glob("*") if self.has(each.name)))

    def has_unfinished(self, name: str) -> bool:
        """Say whether there is a run of that name that has learned something and has not ended."""
        return is_model_name(name) and not self.has(name) and is_file(self.folder / name / CHECKPOINT_FILE)

    def unfinished(self) -> list[UnfinishedRun]:
        """Return the runs that can be resumed or removed, the latest first; those under way are left out."""
        found = [unfinished_in(each) for each in self.folder.glob("*") if is_model_name(each.name)]
        return sorted(filter(None, found), key=lambda each: each.saved, reverse=True)

    def entry(self, name: str) -> ModelEntry:
        """Return the line of one model."""
        return _entry_of(self.path_of(name), name, is_active=name == self.active)

    def show(self, name: str) -> dict[str, Any]:
        """Return the whole card of a model."""
        return read_card(self.path_of(name))

    def path_of(self, name: str) -> Path:
        """Return the folder of a model."""
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

    def claim(self, wanted: str, origin: RunOrigin) -> str:
        """Make the folder of a run that begins, under a name made from any text, and return the name.

        Nothing else has it, nor can another program take it: `Left kidney` gives left-kidney, or left-kidney-2.
        """
        base = re.sub(r"[^a-z0-9_]+", "-", wanted.lower()).strip("-_")[:56].rstrip("-_")
        base = base if is_model_name(base) else f"model-{base}".rstrip("-")
        with self._writing():
            return claim_folder(self.folder / base, origin).name

    def release(self, name: str) -> None:
        """Give a claimed name back, unless the run has learned something or is still under way."""
        release_folder(self.folder / name)

    def rename(self, old: str, new: str) -> None:
        """Give a model another name; it stays active if it was. Where that cannot be finished nothing changes."""
        source = self.path_of(old)
        self._check_free(new)
        with self._writing(), self._record.renaming(old, new):
            source.rename(self.folder / new)

    def activate(self, name: str) -> None:
        """Make a model the one that is proposed; the one before is remembered."""
        self.path_of(name)
        choice = self._record.read()
        if choice.active != name:
            with self._writing():
                self._record.write(name, [*choice.history, choice.active])

    def roll_back(self) -> str:
        """Make the model active that was active before; return its name."""
        choice = self._record.read()
        earlier = [each for each in choice.history if each != choice.active and self.has(each)]
        if not earlier:
            message = "There is no earlier model to go back to. Activate one from the list."
            raise CheckpointError(message)
        with self._writing():
            self._record.write(earlier[-1], earlier[:-1])
        return earlier[-1]

    def remove(self, name: str) -> None:
        """Delete a model or an unfinished run; if the model was active, none is active afterwards."""
        folder = self.folder / name if self.has_unfinished(name) else self.path_of(name)
        if is_run_held(folder):
            raise CheckpointError(says_busy(folder))
        choice = self._record.read()
        with self._writing() as private:
            folder.rename(private / name)
        active, *history = (None if each == name else each for each in (choice.active, *choice.history))
        with self._writing():  # only now there is the space that the model took
            self._record.write(active, history)

    def verify(self, name: str) -> None:
        """Check that a model is whole and can be used."""
        self._check(self.path_of(name))

    def import_folder(self, path: Path, name: str | None = None) -> str:
        """Take in the model of a folder that fine-tuning wrote, which stays; return its name, else the folder's."""
        verify_sums(path)
        chosen = resolved(path).name if name is None else name
        self._check_free(chosen)
        with self._writing() as private:
            pack_model(path, chosen, private / "model.zip")
            return self.import_zip(private / "model.zip", chosen)

    def import_zip(self, path: Path, name: str | None = None) -> str:
        """Take in a model that was exported elsewhere; return its name here.

        Args:
            path: The zip; nothing in it is trusted (see `core.model_folder.unpack_model`).
            name: Name to give it; None takes that of its folder in the zip, or of the zip file.
        """
        if not is_file(path):
            message = (
                f'"{path}" {"is no file" if os.path.lexists(path) else "does not exist"}. Choose the zip of a model.'
            )
            raise CheckpointError(message)
        with self._writing() as private:
            unpacked = private / "model"
            unpacked.mkdir()
            found = unpack_model(path, unpacked)
            self._check_unpacked(unpacked, path)
            chosen = found if name is None else name
            self._check_free(chosen)
            unpacked.rename(self.folder / chosen)
        return chosen

    def export_zip(self, name: str, path: Path) -> None:
        """Write a model as one zip that `import_zip` takes; a file there is replaced when the new one is complete."""
        verify_sums(self.path_of(name))
        if resolved(path).is_relative_to(resolved(self.folder)):
            message = f'"{path}" lies among the models. Choose another place for the zip; nothing was changed.'
            raise OutputError(message)
        try:
            pack_model(self.folder / name, name, path)
        except OSError as error:
            message = f'"{path}" could not be written ({error.strerror or error}). Choose another place for the zip.'
            raise OutputError(message) from error

    def _check_unpacked(self, unpacked: Path, path: Path) -> None:
        try:
            self._check(unpacked)
        except CheckpointError as error:
            reason = str(error).replace(str(unpacked), path.name).replace(WHEN_DAMAGED, "Export it again.")
            message = f'"{path.name}" was not imported. {reason}'
            raise CheckpointError(message) from error

    def _check_free(self, name: str) -> None:
        check_model_name(name)
        if os.path.lexists(self.folder / name):
            raise NameTakenError(name)

    @contextmanager
    def _writing(self) -> Iterator[Path]:
        """Lend a private folder in the store; what is left in it at the end is deleted, errors become one sentence."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            _sweep_forgotten(self.folder)
            with private_folder(self.folder) as private:
                yield private
        except OSError as error:
            message = (
                f'The models in "{self.folder}" could not be changed ({error.strerror or error}). Check the folder.'
            )
            raise OutputError(message) from error

    def list(self) -> list[ModelEntry]:
        """Return all models by name; one whose card cannot be read is left out, and `verify` says why."""
        active = self.active
        entries = []
        for name in self.names():
            with suppress(CheckpointError):
                entries.append(_entry_of(self.folder / name, name, is_active=name == active))
        return entries


def find_model(text: str, store: Store) -> Path:
    """Return the model folder that a user means: a path of one, or else a name in the store.

    Raises:
        CheckpointError: If it is neither.
    """
    path = Path(text)
    if has_model(path):
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


def _entry_of(folder: Path, name: str, *, is_active: bool) -> ModelEntry:
    card = read_card(folder)
    try:
        written = datetime.fromtimestamp(newest(folder, MODEL_FILE).stat().st_mtime, UTC)
        line = {"name": name, "created": written.isoformat(timespec="seconds"), "is_active": is_active}
        line |= {"structures": card["structures"], "training": card["training"], "grey_values": grey_values_in(card)}
        return from_document(ModelEntry, line, "The card")
    except (OSError, KeyError, OverflowError, UncolError) as error:
        damaged = f'Model "{folder}" has a card that cannot be understood ({error}). {WHEN_DAMAGED}'
        message = says_newer(folder, card, str(error)) or damaged
        raise CheckpointError(message) from error


def _sweep_forgotten(folder: Path) -> None:
    """Delete what killed programs left: private folders, and those of runs that had not learned anything."""
    for each in folder.glob("*"):
        with suppress(OSError):  # another process may sweep the same folder at the same time
            if time.time() - each.stat().st_mtime < _FORGOTTEN_S:
                continue
            if each.name.startswith((PRIVATE, _FORMERLY_PRIVATE)):
                shutil.rmtree(each, ignore_errors=True)
            elif is_model_name(each.name) and is_worthless(each):
                release_folder(each)
            elif is_model_name(each.name):
                forget_finished(each)
