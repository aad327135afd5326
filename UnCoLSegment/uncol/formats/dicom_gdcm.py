"""GDCM in a process of its own: it aborts on some damaged JPEG streams, and prints what it thinks of others.

As a script this module is that process; it needs numpy and pydicom alone. Requests and answers are a JSON object and
bytes, their two lengths ahead.
"""

from __future__ import annotations

import json
import logging
import os
import struct
import subprocess
import sys
import warnings
from tempfile import TemporaryFile
from types import TracebackType
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder

_LENGTHS = struct.Struct("<QQ")
_STDOUT, _STDERR = 1, 2


class Gdcm:
    """Decodes images, in a child process that is started when it is first needed."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Gdcm:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    def decoded(self, stream: bytes, syntax: str, options: dict[str, Any]) -> NDArray[Any] | None:
        """Return an image (J, I) as it is stored; None where the stream is damaged or cannot be decoded.

        Args:
            stream: The compressed image.
            syntax: UID of its transfer syntax.
            options: What pydicom's decoders need to know of the pixels.
        """
        try:
            requests, answers = self._pipes()
            _send(requests, {"syntax": syntax, "options": options}, stream)
            answer, pixels = _receive(answers)
        except (EOFError, OSError):  # it aborted
            self._end()
            return None
        if answer["dtype"] is None:
            return None
        return np.frombuffer(pixels, np.dtype(answer["dtype"])).reshape(options["rows"], options["columns"])

    def _pipes(self) -> tuple[BinaryIO, BinaryIO]:
        if self._child is None:
            command = [sys.executable, "-P", __file__]
            self._child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        return cast(BinaryIO, self._child.stdin), cast(BinaryIO, self._child.stdout)

    def _end(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.communicate()
            self._child = None


def _send(pipe: BinaryIO, document: dict[str, Any], content: bytes) -> None:
    text = json.dumps(document).encode()
    pipe.write(_LENGTHS.pack(len(text), len(content)) + text)
    pipe.write(content)
    pipe.flush()


def _receive(pipe: BinaryIO) -> tuple[dict[str, Any], bytes]:
    lengths = pipe.read(_LENGTHS.size)
    if len(lengths) < _LENGTHS.size:
        raise EOFError
    text, content = (pipe.read(length) for length in _LENGTHS.unpack(lengths))
    return json.loads(text), content


def _serve() -> None:
    """Answer until the pipe is closed."""
    warnings.simplefilter("ignore")
    logging.disable()
    with os.fdopen(os.dup(_STDOUT), "wb") as answers, TemporaryFile(buffering=0) as heard:
        for printed_to in (_STDOUT, _STDERR):
            os.dup2(heard.fileno(), printed_to)
        while True:
            try:
                request, stream = _receive(sys.stdin.buffer)
            except EOFError:
                return
            image = _decoded(stream, request["syntax"], request["options"])
            heard.seek(0)  # libjpeg prints what is odd about an image and decodes it all the same
            complaints = heard.read()
            heard.seek(0)
            heard.truncate()
            if image is None or complaints:
                _send(answers, {"dtype": None}, b"")
            else:
                _send(answers, {"dtype": image.dtype.str}, image.tobytes())


def _decoded(stream: bytes, syntax: str, options: dict[str, Any]) -> NDArray[Any] | None:
    try:
        image, _ = get_decoder(syntax).as_array(encapsulate([stream]), raw=True, decoding_plugin="gdcm", **options)
    except Exception:  # noqa: BLE001  # whatever it is, the parent says of which file
        return None
    return image


if __name__ == "__main__":
    _serve()
