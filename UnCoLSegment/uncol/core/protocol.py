"""What the worker is asked and what it tells: messages only, apart from the transport that carries them.

A request is one JSON object `{"id", "op", ...}`, an event is `{"id", "event", ...}`; docs/worker.md lists them.
Unknown requests and unknown fields are refused, so that two versions that differ notice it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal, cast, get_args

from uncol.core.errors import ConfigError, UncolError
from uncol.core.jobs import Box, Device, Structure

PROTOCOL = 1
"""Version of the messages."""
LINE_LIMIT_BYTES = 1 << 20
"""Longest line that is a request."""

WORKER_ENVIRONMENT = {"OMP_WAIT_POLICY": "passive", "PYTHONUTF8": "1"}
"""Variables that whoever starts a worker sets for it: torch's threads read the first one when they load.

Threads that wait busily slow everything down tenfold when another program needs the cores, too.
"""

RequestId = int | str
ModelAction = Literal["list", "show", "rename", "activate", "roll_back", "remove", "import", "export", "verify"]


class RequestError(ConfigError):
    """A request that cannot be understood.

    Args:
        message: One sentence.
        request_id: The request's id, as far as it could be read.
    """

    def __init__(self, message: str, request_id: RequestId | None = None) -> None:
        super().__init__(message)
        self.request_id = request_id


@dataclass(frozen=True)
class Hello:
    """Begin: say which version of the messages is spoken."""

    protocol: int


@dataclass(frozen=True)
class Segment:
    """Segment one image in a folder of the job folder; exactly one of model, boxes and labels says how."""

    job: str
    image: str
    model: str | None = None
    boxes: tuple[Box, ...] = ()
    labels: str | None = None
    structures: tuple[Structure, ...] = ()
    device: Device = "auto"

    def __post_init__(self) -> None:
        if sum([self.model is not None, bool(self.boxes), self.labels is not None]) != 1:
            message = "Say what to segment with: exactly one of a model, boxes or annotated slices."
            raise ConfigError(message)


@dataclass(frozen=True)
class CaseFiles:
    """An image and its partial label map (255 unknown), as file names in the job's folder."""

    image: str
    labels: str


@dataclass(frozen=True)
class FineTune:
    """Train a model from annotated slices and from all others."""

    job: str
    cases: tuple[CaseFiles, ...]
    out: str
    structures: tuple[Structure, ...] = ()
    minutes: float | None = None
    steps: int | None = None
    seed: int | None = None
    base: str | None = None
    resume: bool = False
    device: Device = "auto"
    preview_s: float | None = None

    def __post_init__(self) -> None:
        if not self.cases:
            message = "There is nothing to learn from: annotate at least one slice."
            raise ConfigError(message)
        if self.seed is not None and not 0 <= self.seed < 2**63:
            message = f"seed must be a whole number from 0 to 2^63 - 1, got {self.seed}."
            raise ConfigError(message)
        if self.preview_s is not None and self.preview_s <= 0:
            message = f"preview_s must be above 0, got {self.preview_s:g}. Leave it out for no previews."
            raise ConfigError(message)


@dataclass(frozen=True)
class Cancel:
    """End another request."""

    target: RequestId


@dataclass(frozen=True)
class Models:
    """Look at or change the models in the store."""

    action: ModelAction
    name: str | None = None
    new_name: str | None = None
    path: str | None = None

    def __post_init__(self) -> None:
        needed = {"rename": ("name", "new_name"), "import": ("path",), "export": ("name", "path")}
        needs_name = () if self.action in ("list", "roll_back") else ("name",)
        for field in needed.get(self.action, needs_name):
            if getattr(self, field) is None:
                message = f'To {self.action.replace("_", " ")} a model, the request needs the field "{field}".'
                raise ConfigError(message)


@dataclass(frozen=True)
class Shutdown:
    """End the worker."""


Content = Hello | Segment | FineTune | Cancel | Models | Shutdown


@dataclass(frozen=True)
class Request:
    """One request: the id that its events will carry, and what is wanted."""

    id: RequestId
    content: Content


def parse_request(line: bytes) -> Request:
    """Read one line.

    Raises:
        RequestError: If it is no JSON object, or an unknown, incomplete or contradicting request.
    """
    document = _json_object(line)
    request_id = _id_of(document)
    try:
        return Request(request_id, _content(document))
    except UncolError as error:
        raise RequestError(str(error), request_id) from error


def make_event(request_id: RequestId | None, event: str, **content: Any) -> dict[str, Any]:
    """Return an event as a JSON object; numbers that are not finite, which JSON does not know, become null."""
    document: dict[str, Any] = _finite({"id": request_id, "event": event, **content})
    return document


def _json_object(line: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as error:
        message = "This line is not JSON. Send one JSON object per line."
        raise RequestError(message) from error
    if not isinstance(document, dict):
        message = "This line is not a JSON object. Send one JSON object per line."
        raise RequestError(message)
    return document


def _id_of(document: Mapping[str, Any]) -> RequestId:
    found = document.get("id")
    if isinstance(found, bool) or not isinstance(found, int | str):
        message = 'The request has no "id". Give it a whole number or a text.'
        raise RequestError(message)
    return found


def _content(document: Mapping[str, Any]) -> Content:
    op = document.get("op")
    if not isinstance(op, str) or op not in _CONTENTS:
        message = f"There is no request {json.dumps(op)}. Known requests: {', '.join(_CONTENTS)}."
        raise ConfigError(message)
    given = {key: value for key, value in document.items() if key not in ("id", "op")}
    return cast(Content, _build(_CONTENTS[op], given, f'Request "{op}"'))


def _build(kind: type[Any], given: Any, subject: str) -> Any:
    if not isinstance(given, dict):
        message = f"{subject} must be a JSON object, got {json.dumps(given)[:80]}."
        raise ConfigError(message)
    known = {each.name: each for each in fields(kind)}
    for key in given:
        if key not in known:
            message = f'{subject} has no field "{key}". Known fields: {", ".join(known) or "none"}.'
            raise ConfigError(message)
    missing = [name for name, each in known.items() if each.default is MISSING and name not in given]
    if missing:
        message = f'{subject} lacks the field "{missing[0]}".'
        raise ConfigError(message)
    return kind(
        **{key: _READERS[str(known[key].type)](value, f'{subject}, field "{key}"') for key, value in given.items()}
    )


def _text(value: Any, subject: str) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ConfigError(_wrong(subject, "a text", value))
    return value


def _whole_number(value: Any, subject: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(_wrong(subject, "a whole number", value))
    return value


def _number(value: Any, subject: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(_wrong(subject, "a number", value))
    return float(value)


def _flag(value: Any, subject: str) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(_wrong(subject, "true or false", value))
    return value


def _request_id(value: Any, subject: str) -> RequestId:
    return value if isinstance(value, str) else _whole_number(value, subject)


def _index(value: Any, subject: str) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) != 3:
        raise ConfigError(_wrong(subject, "three whole numbers", value))
    return tuple(_whole_number(each, subject) for each in value)


def _one_of(choices: tuple[str, ...]) -> Callable[[Any, str], Any]:
    def read(value: Any, subject: str) -> Any:
        if value not in choices:
            raise ConfigError(_wrong(subject, f"one of {', '.join(choices)}", value))
        return value

    return read


def _optional(read: Callable[[Any, str], Any]) -> Callable[[Any, str], Any]:
    return lambda value, subject: None if value is None else read(value, subject)


def _list_of(kind: type[Any]) -> Callable[[Any, str], Any]:
    def read(value: Any, subject: str) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise ConfigError(_wrong(subject, "a list", value))
        return tuple(_build(kind, each, subject) for each in value)

    return read


def _wrong(subject: str, wanted: str, value: Any) -> str:
    return f"{subject}: {wanted} is needed, got {json.dumps(value)[:80]}."


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _finite(each) for key, each in value.items()}
    return [_finite(each) for each in value] if isinstance(value, list | tuple) else value


_CONTENTS: dict[str, type[Any]] = {
    "hello": Hello,
    "segment": Segment,
    "fine_tune": FineTune,
    "cancel": Cancel,
    "models": Models,
    "shutdown": Shutdown,
}
_READERS: dict[str, Callable[[Any, str], Any]] = {  # by the field's type as it is written above and in `core/jobs.py`
    "str": _text,
    "str | None": _optional(_text),
    "int": _whole_number,
    "int | None": _optional(_whole_number),
    "float | None": _optional(_number),
    "bool": _flag,
    "RequestId": _request_id,
    "tuple[int, int, int]": _index,
    "Device": _one_of(get_args(Device)),
    "ModelAction": _one_of(get_args(ModelAction)),
    "tuple[Box, ...]": _list_of(Box),
    "tuple[Structure, ...]": _list_of(Structure),
    "tuple[CaseFiles, ...]": _list_of(CaseFiles),
}
