"""Which model of a store is the active one, and which were before it.

    STORE/active.json = {"active": NAME or null, "history": [names that were active before, the latest last]}

While a model gets another name, `"renaming": [OLD, NEW]` stands there, too: whenever the program ends, one of the two
is there, and it is the one that is meant.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uncol.core.errors import CheckpointError, ConfigError
from uncol.core.files import atomic_write, read_limited
from uncol.core.records import from_document
from uncol.core.strict_json import read_json

ACTIVE_FILE = "active.json"
_LARGEST_FILE_BYTES = 1 << 20
_HISTORY_LENGTH = 20


@dataclass(frozen=True)
class Choice:
    """Which model is active, and which were before, the latest last."""

    active: str | None
    history: tuple[str, ...]
    renaming: tuple[str, str] | None = None


class ActiveModel:
    """The record of the active model.

    Args:
        folder: The store.
        has: Says whether there is a model of a name.
    """

    def __init__(self, folder: Path, has: Callable[[str], bool]) -> None:
        self._path, self._has = folder / ACTIVE_FILE, has

    def read(self) -> Choice:
        """Return what was chosen last.

        Raises:
            CheckpointError: If the record is damaged.
        """
        try:
            document = read_json(read_limited(self._path, _LARGEST_FILE_BYTES).decode("utf-8"))
            choice = from_document(Choice, document, ACTIVE_FILE)
        except FileNotFoundError:
            return Choice(None, ())
        except (OSError, ValueError, ConfigError) as error:
            message = f'"{self._path}" is damaged. Delete it and activate a model again; no model is lost.'
            raise CheckpointError(message) from error
        if choice.renaming is None or self._has(choice.renaming[0]):
            return Choice(choice.active, choice.history)
        return _renamed(choice, *choice.renaming)

    def write(self, active: str | None, history: Sequence[str | None], renaming: Sequence[str] | None = None) -> None:
        """Keep a choice.

        Raises:
            OSError: If it cannot be written; then the one before stays.
        """
        names = [each for each in history if each is not None][-_HISTORY_LENGTH:]
        document: dict[str, Any] = {"active": active, "history": names}
        if renaming is not None:
            document["renaming"] = list(renaming)
        with atomic_write(self._path) as partial:
            partial.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")

    @contextmanager
    def renaming(self, old: str, new: str) -> Iterator[None]:
        """While the block gives a model another name, say so; afterwards it is chosen as far as it was before.

        Raises:
            OSError: If that cannot be written; then the block is not entered.
        """
        choice = self.read()
        if old not in (choice.active, *choice.history):
            yield
            return
        self.write(choice.active, choice.history, (old, new))
        try:
            yield
        except OSError:
            with suppress(OSError):
                self.write(choice.active, choice.history)
            raise
        with suppress(OSError):  # what was written before means the same
            renamed = _renamed(choice, old, new)
            self.write(renamed.active, renamed.history)


def _renamed(choice: Choice, old: str, new: str) -> Choice:
    active, *history = (new if each == old else each for each in (choice.active, *choice.history))
    return Choice(active, tuple(each for each in history if each is not None))
