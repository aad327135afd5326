"""One public abdominal CT, fetched once, with consent, and believed only if its SHA-256 is right.

Source of the facts in `CT_ABDOMEN`: 3D Slicer's own catalog of sample data
(https://github.com/Slicer/Slicer, Modules/Scripted/SampleData/SampleData.py, commit 01c2def0e7: address,
SHA-256 and terms) and a download log in a Slicer forum post of 2021 (size, 35.4 MB). The CT has no
reference labels. Slicer's "CTLiver" would have freer terms (CC BY-SA 4.0), but has 685 slices of 512 x 512.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from uncol.core.errors import CancelledError, DataError, OutputError
from uncol.core.jobs import Progress, Report, ShouldStop, never_stop

_LOGGER = logging.getLogger(__name__)
_TIMEOUT_S = 30.0
_CHUNK_BYTES = 1 << 18
_SIZE_TOLERANCE = 1.25
_LOOPBACK_HOSTS = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class SampleSource:
    """A file on the network that may be fetched.

    Attributes:
        name: What it is, in the user's words.
        file_name: Its name on disk.
        url: Address; https, or http on this machine.
        sha256: Checksum of the file, 64 hexadecimal digits.
        size_bytes: About how large it is; a download that grows a quarter beyond is refused.
        licence: Terms of use, in one sentence.
    """

    name: str
    file_name: str
    url: str
    sha256: str
    size_bytes: int
    licence: str

    def question(self) -> str:
        """Return what the user has to agree to: origin, size, terms and checksum."""
        return (
            f"Download {self.name} ({self.size_bytes / 1e6:.0f} MB)?\n"
            f"From: {self.url}\n"
            f"Terms: {self.licence}\n"
            f"SHA-256: {self.sha256}"
        )


CT_ABDOMEN = SampleSource(
    name="a public abdominal CT angiogram (3D Slicer sample data, Panoramix)",
    file_name="Panoramix-cropped.nrrd",
    url=(
        "https://github.com/Slicer/SlicerTestingData/releases/download/"
        "SHA256/146af87511520c500a3706b7b2bfb545f40d5d04dd180be3a7a2c6940e447433"
    ),
    sha256="146af87511520c500a3706b7b2bfb545f40d5d04dd180be3a7a2c6940e447433",
    size_bytes=37_100_000,
    licence=(
        "From the OsiriX DICOM image library, exclusively for research and teaching; "
        "no redistribution, sale or commercial use."
    ),
)


def fetch_public_ct(
    folder: Path,
    confirm: Callable[[str], bool],
    report: Report,
    *,
    source: SampleSource = CT_ABDOMEN,
    should_stop: ShouldStop = never_stop,
) -> Path:
    """Return the file, from the folder if it is there already, else from the network.

    Args:
        folder: Where the file is kept; made if it is missing.
        confirm: Shown the origin, size, terms and checksum; False means that nothing is fetched.
        report: Told how far the download has come.
        source: What to fetch.
        should_stop: Asked after every piece; True ends the download and leaves nothing behind.

    Raises:
        CancelledError: If the user declined or stopped the download.
        DataError: If there is no connection, or the file is not the one that was expected.
        OutputError: If the file could not be written.
    """
    _refuse_insecure(source.url)
    target = folder / source.file_name
    if target.is_file() and _checksum(target) == source.sha256:
        return target
    if not confirm(source.question()):
        message = f"The download of {source.name} was declined; nothing was fetched."
        raise CancelledError(message)
    part = _new_part_file(folder, source)
    try:
        with part:
            _download(source, part, report, should_stop)
        Path(part.name).replace(target)
    except OSError as error:
        raise _not_written(folder, error) from error
    finally:
        Path(part.name).unlink(missing_ok=True)
    _LOGGER.info("Fetched %s to %s", source.url, target)
    return target


def _new_part_file(folder: Path, source: SampleSource) -> IO[bytes]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tempfile.NamedTemporaryFile(dir=folder, prefix=f".{source.file_name}-", suffix=".part", delete=False)
    except OSError as error:
        raise _not_written(folder, error) from error


def _not_written(folder: Path, error: OSError) -> OutputError:
    return OutputError(f'The download could not be written to "{folder}" ({error}). Choose another folder.')


def _download(source: SampleSource, part: IO[bytes], report: Report, should_stop: ShouldStop) -> None:
    digest, received = hashlib.sha256(), 0
    with closing(_chunks(source)) as chunks:
        for chunk in chunks:
            received += len(chunk)
            if received > source.size_bytes * _SIZE_TOLERANCE:
                message = (
                    f"The server sends more than the {source.size_bytes / 1e6:.1f} MB that were expected "
                    f"from {source.url}. The download was stopped and deleted; it is not the known file."
                )
                raise DataError(message)
            if should_stop():
                message = f"The download of {source.name} was stopped; nothing was kept."
                raise CancelledError(message)
            digest.update(chunk)
            part.write(chunk)
            report(Progress("Downloading", min(received / source.size_bytes, 1.0)))
    if digest.hexdigest() != source.sha256:
        message = (
            f"The file from {source.url} has SHA-256 {digest.hexdigest()}, expected {source.sha256}. "
            "It was deleted. Try again; if this repeats, the file was changed or the connection is not trustworthy."
        )
        raise DataError(message)


def _chunks(source: SampleSource) -> Generator[bytes, None, None]:
    request = Request(source.url, headers={"User-Agent": "uncol"})
    try:
        with build_opener(_SecureRedirects()).open(request, timeout=_TIMEOUT_S) as response:
            while chunk := response.read(_CHUNK_BYTES):
                yield chunk
    except HTTPError as error:
        message = f"The server answered {error.code} ({error.reason}) to {source.url}. Try again later."
        raise DataError(message) from error
    except (OSError, HTTPException) as error:
        host = urlsplit(source.url).hostname
        message = f"The download of {source.name} from {host} failed ({error}). Check the network connection."
        raise DataError(message) from error


class _SecureRedirects(HTTPRedirectHandler):
    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        _refuse_insecure(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _refuse_insecure(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK_HOSTS):
        return
    message = f'Address "{url}" is not secure; downloads need https.'
    raise DataError(message)


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
