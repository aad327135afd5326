"""What the worker is asked and what it tells: messages and their one line of JSON, in both directions.

A request is `{"id", "op", ...}`, an event `{"id", "event", ...}`, and the rest are the fields of a dataclass;
docs/worker.md lists them. Unknown messages and fields are refused, so that two versions that differ notice it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from uncol.core.dicom_export import ExportJob, ExportResult
from uncol.core.errors import ConfigError, UncolError
from uncol.core.jobs import Device, FineTuneJob, FineTuneResult, SegmentJob, SegmentResult
from uncol.core.progress import Progress
from uncol.core.records import from_document, to_document
from uncol.core.round_scores import ScoreJob, ScoreResult
from uncol.core.volume_files import VolumeFile

PROTOCOL = 7
"""Version of the messages."""
LINE_LIMIT_BYTES = 1 << 23
"""Longest line that is a request: an export names the files of a series, of which there may be thousands."""

WORKER_ENVIRONMENT = {"OMP_WAIT_POLICY": "passive", "PYTHONUTF8": "1"}
"""Variables that whoever starts a worker sets for it: torch's threads read the first one when they load.

Threads that wait busily slow everything down tenfold when another program needs the cores, too.
"""

RequestId = int | str


class MessageError(ConfigError):
    """A line that cannot be understood.

    Args:
        message: One sentence.
        id: The message's id, as far as it could be read.
    """

    def __init__(self, message: str, id: RequestId | None = None) -> None:
        super().__init__(message)
        self.id = id


@dataclass(frozen=True)
class Hello:
    """Begin: say which version of the messages is spoken."""

    protocol: int


@dataclass(frozen=True)
class GraphicsCard:
    """A processor beside the CPU that the engine can compute on.

    Attributes:
        device: Its kind.
        name: What its maker calls it.
        memory_gib: Its memory, in GiB; what of it is free changes all the time.
    """

    device: Device
    name: str
    memory_gib: float


@dataclass(frozen=True)
class Greeting:
    """The answer to `Hello`.

    Attributes:
        protocol: Version of the messages.
        uncol: Version of the engine.
        devices: Where it can compute, best first.
        teachers: Foundation models that are installed.
        job_folder: The private folder for images and results.
        graphics_cards: What is known of the devices other than the CPU.
    """

    protocol: int
    uncol: str
    devices: tuple[Device, ...]
    teachers: tuple[str, ...]
    job_folder: Path
    graphics_cards: tuple[GraphicsCard, ...] = ()


@dataclass(frozen=True)
class Cancel:
    """End another request."""

    target: RequestId


@dataclass(frozen=True)
class CancelResult:
    """Whether the request to cancel was running; it ends with `Cancelled`."""

    found: bool


@dataclass(frozen=True)
class Shutdown:
    """End the worker."""


@dataclass(frozen=True)
class ShutdownResult:
    """The last event."""


@dataclass(frozen=True)
class Cancelled:
    """A request was ended by `Cancel`.

    Attributes:
        message: One sentence for the user.
        resumable: Whether a fine-tuning can go on from there.
    """

    message: str = ""
    resumable: bool = False


@dataclass(frozen=True)
class Failed:
    """A request was refused or failed.

    Attributes:
        kind: "user" if the message says what to do, "bug" if it is our fault.
        message: One sentence or two.
        details: A traceback; "" for none.
    """

    kind: Literal["user", "bug"]
    message: str
    details: str = ""


@dataclass(frozen=True)
class Preview:
    """What is found so far, while something is still learned or asked.

    Attributes:
        segmentation: Labels (uint8) of the image.
        uncertainty: Normalized entropy, float32 in [0, 1]; None where the labels cannot stand as a result.
        case: Number of the case that it is about, from 1.
    """

    segmentation: VolumeFile
    uncertainty: VolumeFile | None = None
    case: int = 1


@dataclass(frozen=True)
class Log:
    """A warning or an error that does not end the request; the level is one of Python's `logging`, in small letters."""

    level: str
    message: str = ""


Job = SegmentJob | FineTuneJob | ScoreJob | ExportJob
Request = Hello | Job | Cancel | Shutdown
Result = Greeting | SegmentResult | FineTuneResult | ScoreResult | ExportResult | CancelResult | ShutdownResult
News = Progress | Preview | Log
Event = News | Result | Cancelled | Failed

REQUESTS: dict[str, type[Any]] = {
    "hello": Hello,
    "segment": SegmentJob,
    "fine_tune": FineTuneJob,
    "score": ScoreJob,
    "export_dicom": ExportJob,
    "cancel": Cancel,
    "shutdown": Shutdown,
}
EVENTS: dict[str, type[Any]] = {
    "progress": Progress,
    "preview": Preview,
    "log": Log,
    "greeting": Greeting,
    "segment_result": SegmentResult,
    "fine_tune_result": FineTuneResult,
    "score_result": ScoreResult,
    "export_dicom_result": ExportResult,
    "cancel_result": CancelResult,
    "shutdown_result": ShutdownResult,
    "cancelled": Cancelled,
    "error": Failed,
}
_NAMES = {kind: {key: name} for key, kinds in (("op", REQUESTS), ("event", EVENTS)) for name, kind in kinds.items()}


def write_message(id: RequestId | None, content: Request | Event) -> bytes:
    """Return a request or an event as one line; numbers that are not finite are left out."""
    document = {"id": id, **_NAMES[type(content)], **_plain(to_document(content))}
    return json.dumps(document, allow_nan=False).encode() + b"\n"


def read_request(line: bytes) -> tuple[RequestId, Any]:
    """Return the id and the content of a request.

    Raises:
        MessageError: If it is no JSON object, or an unknown, incomplete or contradicting request.
    """
    document = _json_object(line)
    found, name = _id_in(document), document.pop("op", None)
    if found is None:
        message = 'The request has no "id". Give it a whole number or a text.'
        raise MessageError(message)
    with _understood(found):
        if not isinstance(name, str) or name not in REQUESTS:
            message = f"There is no request {json.dumps(name)}. Known requests: {', '.join(REQUESTS)}."
            raise MessageError(message)
        return found, from_document(REQUESTS[name], document, f'Request "{name}"')


def read_event(line: bytes) -> tuple[RequestId | None, Any]:
    """Return the id and the content of an event; the id is None where it is about no request.

    Raises:
        MessageError: If it is no event; with its id if it is one that cannot be understood.
    """
    document = _json_object(line)
    found, name = _id_in(document), document.pop("event", None)
    with _understood(found if isinstance(name, str) and name in EVENTS else None):
        if not isinstance(name, str) or name not in EVENTS:
            message = f"There is no event {json.dumps(name)}."
            raise MessageError(message)
        return found, from_document(EVENTS[name], document, f'Event "{name}"')


def _json_object(line: bytes) -> dict[str, Any]:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as error:
        message = "This line is not JSON. Send one JSON object per line."
        raise MessageError(message) from error
    if not isinstance(document, dict):
        message = "This line is not a JSON object. Send one JSON object per line."
        raise MessageError(message)
    return document


def _id_in(document: dict[str, Any]) -> RequestId | None:
    found = document.pop("id", None)
    return found if isinstance(found, int | str) and not isinstance(found, bool) else None


@contextmanager
def _understood(found: RequestId | None) -> Iterator[None]:
    """Turn whatever goes wrong with a document into a `MessageError`: nested too deep, a path that no system takes."""
    try:
        yield
    except UncolError as error:
        raise MessageError(str(error), found) from error
    except Exception as error:
        message = f"This message cannot be understood ({type(error).__name__})."
        raise MessageError(message, found) from error


def _plain(value: Any) -> Any:
    """Return a JSON value without numbers that are not finite, which JSON does not know."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items() if not _is_odd(each)}
    if isinstance(value, list):
        return [_plain(each) for each in value if not _is_odd(each)]
    return value


def _is_odd(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
