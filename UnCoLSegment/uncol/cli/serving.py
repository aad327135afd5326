"""A page for the browser on this machine: on the loopback address, under an address that nobody can guess."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from uncol.core.errors import UncolError
from uncol.core.strict_json import read_json

_HOST = "127.0.0.1"
_VERDICT_LIMIT_BYTES = 1 << 20
_PART_BYTES = 1 << 16
_MOST_DIGITS = 12


class PageServer(ThreadingHTTPServer):
    """Serves one page and takes the verdict that is given on it.

    Args:
        make_page: Makes the page's HTML; it is told the address that takes a verdict.
        keep: Keeps a verdict, a JSON text of ours.
    """

    daemon_threads = True

    def __init__(self, make_page: Callable[[str], str], keep: Callable[[str], None]) -> None:
        self.root = f"/{secrets.token_urlsafe(24)}/"
        self.page = make_page(f"{self.root}verdict").encode()
        self.keep = keep
        super().__init__((_HOST, 0), _Handler)

    @property
    def host(self) -> str:
        """The host that requests must name: another site's name that leads here is refused."""
        return f"{_HOST}:{self.server_port}"

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://{self.host}{self.root}"


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    server_version = "uncol"
    sys_version = ""
    timeout = 60  # seconds in which nothing comes

    def do_GET(self) -> None:
        if self._is_ours(self.server.root):
            self._answer(HTTPStatus.OK, self.server.page, "text/html; charset=utf-8")

    def do_POST(self) -> None:
        body = self._body()
        if not self._is_ours(f"{self.server.root}verdict"):
            return
        if len(body) > _VERDICT_LIMIT_BYTES:
            self._answer(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            return
        try:
            verdict = read_json(body.decode("utf-8"))
            self.server.keep(json.dumps(verdict, indent=2) + "\n")
        except (ValueError, UncolError) as error:
            self._answer(HTTPStatus.BAD_REQUEST, str(error).encode())
            return
        self._answer(HTTPStatus.NO_CONTENT)

    def _body(self) -> bytes:
        """Read what is sent, and keep no more of it than shows that it is too much.

        A connection that is closed before all of it was read is reset, and the answer may be lost with it.
        """
        length = self.headers.get("Content-Length", "")
        left = int(length) if length.isdecimal() and len(length) <= _MOST_DIGITS else 0
        body = b""
        while left and (part := self.rfile.read(min(left, _PART_BYTES))):
            left -= len(part)
            body += part if len(body) <= _VERDICT_LIMIT_BYTES else b""
        return body

    def _is_ours(self, path: str) -> bool:
        """Say whether a request names this host and a secret path; the others are answered here."""
        is_right = secrets.compare_digest(self.path.encode(), path.encode())
        if is_right and self.headers.get("Host") == self.server.host:
            return True
        self._answer(HTTPStatus.NOT_FOUND)
        return False

    def _answer(self, status: HTTPStatus, content: bytes = b"", kind: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(content)), "Cache-Control": "no-store"}
        headers |= {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY"}
        for name, text in headers.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_about: Any) -> None:
        """Say nothing: addresses hold the token."""
