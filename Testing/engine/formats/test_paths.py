"""Paths that name nothing readable: one sentence with the reason, and nothing is waited for."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from uncol.core.errors import DataError
from uncol.formats.paths import beside, check_path, is_text, printable, unreadable

SUBJECT = 'Image "x"'
needs_posix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such files")


def said(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        check_path(path, SUBJECT)
    return str(caught.value)


def test_files_and_folders_that_can_be_read_pass(tmp_path: Path) -> None:
    (tmp_path / "größe 肺").write_bytes(b"")

    check_path(tmp_path, SUBJECT)
    check_path(tmp_path / "größe 肺", SUBJECT)


def test_a_name_that_is_no_text_is_refused_before_it_is_looked_for() -> None:
    assert said(Path("M\udcfcller.nii")) == (
        f"{SUBJECT} cannot be read: a name in its path is not valid text (UTF-8). Rename the file or folder."
    )
    assert "not valid text" in said(Path("a\0b"))
    assert not is_text("M\udcfcller")
    assert is_text("Müller 肝")
    assert printable("M\udcfcller") == "M?ller"


@pytest.mark.parametrize("name", ["gone", "file/below"])
def test_a_path_to_nothing_is_told(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    assert said(tmp_path / name) == f'{SUBJECT} does not exist. Check the path "{tmp_path / name}".'


@needs_posix
def test_names_that_are_too_long_and_links_in_a_circle_are_told(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")

    assert "cannot be read: its name is too long." in said(tmp_path / ("y" * 300))
    assert "cannot be read: its links lead in a circle." in said(tmp_path / "loop")


@needs_posix
def test_pipes_and_devices_are_refused_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    for path in (tmp_path / "pipe", Path("/dev/zero")):
        assert said(path) == (
            f"{SUBJECT} cannot be read: it is neither a file nor a folder, but a pipe or a device. "
            "Save the image to a file."
        )


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (errno.EACCES, "reading it is not permitted"),
        (errno.EIO, "the disk reports an error"),
        (errno.ESTALE, os.strerror(errno.ESTALE)),
    ],
)
def test_a_reason_of_the_system_is_told_and_never_damage(number: int, reason: str) -> None:
    assert unreadable(SUBJECT, OSError(number, os.strerror(number))) == (
        f"{SUBJECT} cannot be read: {reason}. Copy it to a folder of your own, or ask whoever owns it."
    )


@pytest.mark.parametrize(
    "name", ["", ".", "..", "/etc/passwd", "../x", "sub/x", "sub\\x", "C:x", "C:\\x", "\\\\host\\x"]
)
def test_a_header_reads_no_file_of_another_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="keeps its voxels in another folder"):
        beside(tmp_path / "header.nhdr", name, SUBJECT)


@pytest.mark.parametrize("name", ["x.raw", "./x.raw"])
def test_a_header_reads_a_file_beside_it(name: str, tmp_path: Path) -> None:
    (tmp_path / "x.raw").write_bytes(b"1")

    assert beside(tmp_path / "header.nhdr", name, SUBJECT) == tmp_path / "x.raw"
