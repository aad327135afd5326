"""Pieces of work for other processes, which import them from here: light, and able to end their own process."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Piece:
    """A number, the folder in which it leaves traces, and what goes wrong with it."""

    number: int
    folder: Path
    kills: str = ""
    seconds: float = 0.0

    @property
    def trace(self) -> Path:
        """A line for each time that it was begun, with the number of its process."""
        return self.folder / f"{self.number}.txt"


def double(piece: Piece) -> int:
    """Return twice the number; a piece that kills ends its process, always or the first time."""
    is_first = not piece.trace.exists()
    with piece.trace.open("a", encoding="utf-8") as file:
        file.write(f"{os.getpid()}\n")
    if piece.kills == "always" or (piece.kills == "once" and is_first):
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(piece.seconds)
    return 2 * piece.number


def lost(piece: Piece) -> int:
    """Return what stands for a piece that nobody could do."""
    return -piece.number


def has_begun(piece: Piece) -> bool:
    return piece.trace.exists()
