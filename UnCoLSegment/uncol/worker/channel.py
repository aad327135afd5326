"""The pipe between a worker and whoever started it: one JSON object per line, and nothing else on it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from threading import Lock

_CHUNK_BYTES = 1 << 16


class Channel:
    """Lines in and lines out, by file descriptors of its own.

    Args:
        incoming: File descriptor to read from.
        outgoing: File descriptor to write to.
        line_limit_bytes: Longest line that is handed on.
    """

    def __init__(self, incoming: int, outgoing: int, line_limit_bytes: int) -> None:
        self._incoming, self._outgoing = incoming, outgoing
        self._limit = line_limit_bytes
        self._lock = Lock()
        self.is_broken = False

    @classmethod
    def over_standard_streams(cls, line_limit_bytes: int) -> Channel:
        """Take stdin and stdout for the messages alone.

        Whatever else the process, a library or a child of it prints goes to stderr from now on; whatever
        else reads stdin finds nothing there. What was printed before, while packages were loaded, is ended
        by a line break: readers skip lines that are no JSON.
        """
        incoming, outgoing = os.dup(0), os.dup(1)
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        try:
            os.dup2(2, 1)
        except OSError:  # started without stderr
            os.dup2(nothing, 1)
        os.close(nothing)
        os.write(outgoing, b"\n")
        return cls(incoming, outgoing, line_limit_bytes)

    def send(self, line: bytes) -> None:
        """Write one line, from any thread; when nobody reads any more, `is_broken` becomes true."""
        with self._lock:
            try:
                while line and not self.is_broken:
                    line = line[os.write(self._outgoing, line) :]
            except OSError:
                self.is_broken = True

    def lines(self) -> Iterator[bytes | None]:
        """Give line after line until the input ends; None stands for a line that was too long."""
        pending, is_too_long = b"", False
        while chunk := self._read():
            *complete, pending = (pending + chunk).split(b"\n")
            for line in complete:
                yield None if is_too_long or len(line) > self._limit else line
                is_too_long = False
            if len(pending) > self._limit:
                pending, is_too_long = b"", True

    def _read(self) -> bytes:
        try:
            return os.read(self._incoming, _CHUNK_BYTES)
        except OSError:  # the other end is gone
            return b""
