from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import socket
from threading import Thread

import pytest

from uncol.core.errors import CancelledError, DataError, OutputError
from uncol.core.jobs import Progress, ignore_progress
from uncol.demo.sample_data import CT_ABDOMEN, SampleSource, fetch_public_ct

CONTENT = bytes(range(256)) * 4096  # 1 MiB
CHECKSUM = hashlib.sha256(CONTENT).hexdigest()


class _SampleServer(ThreadingHTTPServer):
    requested: list[str]


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, _SampleServer)
        self.server.requested.append(self.path)
        if self.path == "/moved-to-an-insecure-host":
            self.send_response(302)
            self.send_header("Location", "http://sample.example/ct.nrrd")
            self.end_headers()
        elif self.path == "/ct.nrrd":
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT)
        else:
            self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test output quiet."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[_SampleServer]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    running = _SampleServer(("127.0.0.1", 0), _Handler)
    running.requested = []
    thread = Thread(target=running.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()
    thread.join()


@pytest.fixture
def source(server: _SampleServer) -> SampleSource:
    return SampleSource(
        name="a small test file",
        file_name="ct.nrrd",
        url=f"http://127.0.0.1:{server.server_port}/ct.nrrd",
        sha256=CHECKSUM,
        size_bytes=len(CONTENT),
        licence="made for this test",
    )


def agree(_question: str) -> bool:
    return True


def never_asked(question: str) -> bool:
    pytest.fail(f"nothing should be asked, but was: {question}")


def test_a_file_with_the_right_checksum_arrives_under_its_name(source: SampleSource, tmp_path: Path) -> None:
    path = fetch_public_ct(tmp_path / "new folder", agree, ignore_progress, source=source)

    assert path == tmp_path / "new folder" / "ct.nrrd"
    assert path.read_bytes() == CONTENT
    assert [each.name for each in path.parent.iterdir()] == ["ct.nrrd"]


def test_the_question_shows_origin_size_terms_and_checksum(source: SampleSource, tmp_path: Path) -> None:
    questions: list[str] = []

    fetch_public_ct(tmp_path, lambda question: not questions.append(question), ignore_progress, source=source)

    assert len(questions) == 1
    for fact in (source.url, "1 MB", "made for this test", CHECKSUM):
        assert fact in questions[0]


def test_nothing_is_requested_or_left_behind_when_the_user_declines(
    server: _SampleServer, source: SampleSource, tmp_path: Path
) -> None:
    with pytest.raises(CancelledError, match="declined; nothing was fetched"):
        fetch_public_ct(tmp_path / "folder", lambda _question: False, ignore_progress, source=source)

    assert server.requested == []
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_and_right_is_used_without_asking(
    server: _SampleServer, source: SampleSource, tmp_path: Path
) -> None:
    (tmp_path / "ct.nrrd").write_bytes(CONTENT)

    assert fetch_public_ct(tmp_path, never_asked, ignore_progress, source=source) == tmp_path / "ct.nrrd"
    assert server.requested == []


def test_a_file_that_is_there_but_damaged_is_fetched_again(source: SampleSource, tmp_path: Path) -> None:
    (tmp_path / "ct.nrrd").write_bytes(CONTENT[:-1])

    assert fetch_public_ct(tmp_path, agree, ignore_progress, source=source).read_bytes() == CONTENT


def test_a_wrong_checksum_is_refused_and_nothing_is_left_behind(source: SampleSource, tmp_path: Path) -> None:
    other = replace(source, sha256="0" * 64)

    with pytest.raises(DataError, match=rf"has SHA-256 {CHECKSUM}, expected 0000.* It was deleted"):
        fetch_public_ct(tmp_path, agree, ignore_progress, source=other)

    assert list(tmp_path.iterdir()) == []


def test_a_file_much_larger_than_stated_is_refused(source: SampleSource, tmp_path: Path) -> None:
    smaller = replace(source, size_bytes=len(CONTENT) // 2)

    with pytest.raises(DataError, match=r"^The server sends more than the 0\.5 MB that were expected"):
        fetch_public_ct(tmp_path, agree, ignore_progress, source=smaller)

    assert list(tmp_path.iterdir()) == []


def test_a_stopped_download_leaves_nothing_behind(source: SampleSource, tmp_path: Path) -> None:
    with pytest.raises(CancelledError, match="was stopped; nothing was kept"):
        fetch_public_ct(tmp_path, agree, ignore_progress, source=source, should_stop=lambda: True)

    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_down_gives_one_clear_sentence(source: SampleSource, tmp_path: Path) -> None:
    with socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody_listens = replace(source, url=f"http://127.0.0.1:{unused.getsockname()[1]}/ct.nrrd")

    with pytest.raises(DataError, match=r"^The download of a small test file from 127\.0\.0\.1 failed .*Check the net"):
        fetch_public_ct(tmp_path, agree, ignore_progress, source=nobody_listens)

    assert list(tmp_path.iterdir()) == []


def test_a_file_that_the_server_does_not_have_names_the_answer(source: SampleSource, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^The server answered 404 .*Try again later\."):
        fetch_public_ct(tmp_path, agree, ignore_progress, source=replace(source, url=source.url + ".gone"))


def test_an_insecure_address_is_refused_before_anybody_is_asked(source: SampleSource, tmp_path: Path) -> None:
    for url in ("http://sample.example/ct.nrrd", "ftp://sample.example/ct.nrrd", "file:///etc/hostname"):
        with pytest.raises(DataError, match="is not secure; downloads need https"):
            fetch_public_ct(tmp_path, never_asked, ignore_progress, source=replace(source, url=url))


def test_a_redirection_to_an_insecure_address_is_refused(source: SampleSource, tmp_path: Path) -> None:
    redirected = replace(source, url=source.url.replace("/ct.nrrd", "/moved-to-an-insecure-host"))

    with pytest.raises(DataError, match=r"http://sample\.example/ct\.nrrd.* is not secure"):
        fetch_public_ct(tmp_path, agree, ignore_progress, source=redirected)

    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_said(source: SampleSource, tmp_path: Path) -> None:
    (tmp_path / "in the way").write_text("a file")

    with pytest.raises(OutputError, match=r"could not be written .* Choose another folder"):
        fetch_public_ct(tmp_path / "in the way", agree, ignore_progress, source=source)


def test_progress_runs_to_the_end(source: SampleSource, tmp_path: Path) -> None:
    fractions: list[float] = []

    def note(progress: Progress) -> None:
        fractions.append(progress.fraction)

    fetch_public_ct(tmp_path, agree, note, source=source)

    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_the_public_ct_is_addressed_by_its_checksum_over_https() -> None:
    assert CT_ABDOMEN.url.startswith("https://")
    assert CT_ABDOMEN.url.endswith(CT_ABDOMEN.sha256)
    assert len(bytes.fromhex(CT_ABDOMEN.sha256)) == 32
