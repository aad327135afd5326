"""The page on the loopback address: the token opens it, nobody else, and a verdict is kept."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from browser import browser, opened
from given import a_larger_ball

from uncol.cli.serving import PageServer
from uncol.core.errors import CancelledError, OutputError
from uncol.core.jobs import Structure
from uncol.inference.result import Segmentation
from uncol.pipelines.results import reported
from uncol.pipelines.view import VERDICT_FILE


class Kept:
    """Keeps verdicts; a full disk can be played."""

    def __init__(self) -> None:
        self.verdicts: list[str] = []
        self.is_full = False

    def __call__(self, verdict: str) -> None:
        if self.is_full:
            message = "The disk is full."
            raise OutputError(message)
        self.verdicts.append(verdict)


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def server(kept: Kept) -> Iterator[PageServer]:
    with PageServer(lambda save_to: f"<p>{save_to}</p>", kept) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def ask(server: PageServer, method: str, path: str, body: str | None = None, **headers: str) -> tuple[int, str]:
    with closing(HTTPConnection("127.0.0.1", server.server_port, timeout=30)) as connection:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def test_the_page_is_there_under_its_secret_address(server: PageServer) -> None:
    assert server.address.startswith("http://127.0.0.1:")
    assert len(server.root) > 30
    assert ask(server, "GET", server.root) == (200, f"<p>{server.root}verdict</p>")


@pytest.mark.parametrize("path", ["/", "/verdict", "/other/", "/../etc/passwd", "/" + "x" * 34 + "/"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_without_the_token_there_is_nothing(server: PageServer, kept: Kept, method: str, path: str) -> None:
    assert ask(server, method, path, "{}" if method == "POST" else None) == (404, "")
    assert kept.verdicts == []


@pytest.mark.parametrize("path", ["/x", "verdict"])
def test_a_length_of_thousands_of_digits_is_refused_like_anything_else(server: PageServer, path: str) -> None:
    where = path if path.startswith("/") else server.root + path
    status, _ = ask(server, "POST", where, "{}", **{"Content-Length": "9" * 5000})

    assert status == (404 if path.startswith("/") else 400)


def test_another_name_of_this_machine_is_refused(server: PageServer) -> None:
    assert ask(server, "GET", server.root, Host="evil.example")[0] == 404


def test_a_verdict_is_kept(server: PageServer, kept: Kept) -> None:
    assert ask(server, "POST", f"{server.root}verdict", '{"verdict": "usable"}')[0] == 204
    assert [json.loads(each) for each in kept.verdicts] == [{"verdict": "usable"}]


@pytest.mark.parametrize(
    ("body", "status"),
    [("{", 400), ('{"a": NaN}', 400), ("x" * (1 << 20 | 1), 413), ("x" * (1 << 24), 413)],
    ids=["cut", "NaN", "too large", "far too large"],
)
def test_what_is_no_verdict_is_not_kept(server: PageServer, kept: Kept, body: str, status: int) -> None:
    assert ask(server, "POST", f"{server.root}verdict", body)[0] == status
    assert kept.verdicts == []


def test_a_full_disk_is_told_to_the_page(server: PageServer, kept: Kept) -> None:
    kept.is_full = True

    assert ask(server, "POST", f"{server.root}verdict", "{}") == (400, "The disk is full.")


@pytest.mark.slow
def test_a_served_result_is_looked_at_and_judged_in_a_browser(tmp_path: Path) -> None:
    case = a_larger_ball()
    doubt = case.image.with_voxels(np.zeros(case.image.shape_kji, np.float32))
    found = Segmentation(case.labels, doubt, (Structure(3, "ball"),))
    result = tmp_path / "result"
    reported(case.image, found, {"foundation_model": None}, torch.device("cpu"), 1.0).write(result)
    command = [sys.executable, "-m", "uncol", "view", str(result), "--serve", "--no-open"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as serving:
        try:
            assert serving.stderr is not None
            address = re.search("http://[^ ]+", serving.stderr.readline())
            assert address is not None
            with browser() as running, opened(running, address.group()) as page:
                page.page.click("#uv-verdict button[data-verdict=usable]")
                page.page.fill("#uv-comment", "Nothing to correct.")
                page.page.click("#uv-save")
                page.page.wait_for_selector("#uv-saved:not(:empty)")
                assert {urlsplit(each).netloc for each in page.asked if each.startswith("http")} == {
                    urlsplit(address.group()).netloc
                }
                assert page.errors == []
        finally:
            serving.send_signal(signal.SIGINT)
            said = serving.communicate(timeout=60)[1]
    assert said.strip() == "The command was cancelled."
    assert serving.returncode == CancelledError.exit_code
    verdict = json.loads((result / VERDICT_FILE).read_text(encoding="utf-8"))
    assert (verdict["verdict"], verdict["comment"]) == ("usable", "Nothing to correct.")
