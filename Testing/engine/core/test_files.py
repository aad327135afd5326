"""Tests of files and folders that appear whole or not at all."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from pathlib import Path

import pytest

from uncol.core.errors import DataError, OutputError
from uncol.core.files import (
    atomic_folder,
    atomic_write,
    is_file,
    is_real_folder,
    place_together,
    private_folder,
    read_limited,
    resolved,
    sha256_of,
)


def fail_after_writing(path: Path) -> None:
    path.write_text("half")
    raise ZeroDivisionError


class TestFile:
    def test_a_file_takes_the_place_of_the_older_one_when_the_block_ends(self, tmp_path: Path) -> None:
        path = tmp_path / "a.nii.gz"
        path.write_text("old")

        with atomic_write(path) as partial:
            partial.write_text("new")
            assert path.read_text() == "old"

        assert path.read_text() == "new"
        assert [each.name for each in tmp_path.iterdir()] == ["a.nii.gz"]

    def test_it_is_written_under_its_own_name_where_only_the_user_can_look(self, tmp_path: Path) -> None:
        with atomic_write(tmp_path / "a.nii.gz") as partial:
            partial.touch()
            assert partial.name == "a.nii.gz"
            assert partial.parent.parent == tmp_path
            if os.name == "posix":
                assert stat.S_IMODE(partial.parent.stat().st_mode) == 0o700

    @pytest.mark.skipif(os.name != "posix", reason="Windows knows no umask")
    def test_it_has_the_permissions_of_any_new_file(self, tmp_path: Path) -> None:
        (tmp_path / "other").touch()

        with atomic_write(tmp_path / "a") as partial:
            partial.touch()

        assert (tmp_path / "a").stat().st_mode == (tmp_path / "other").stat().st_mode

    def test_an_error_leaves_what_was_there_and_nothing_else(self, tmp_path: Path) -> None:
        path = tmp_path / "a"
        path.write_text("old")

        with pytest.raises(ZeroDivisionError), atomic_write(path) as partial:
            fail_after_writing(partial)

        assert path.read_text() == "old"
        assert [each.name for each in tmp_path.iterdir()] == ["a"]

    @pytest.mark.parametrize("kind", [atomic_write, atomic_folder])
    def test_a_folder_that_is_not_there_is_an_error_of_the_system(self, kind: object, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError), kind(tmp_path / "none" / "a"):  # type: ignore[operator]
            pass

    def test_a_folder_in_its_place_stays(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()

        with pytest.raises(OSError, match=r"."), atomic_write(tmp_path / "a") as partial:
            partial.touch()

        assert [(each.name, each.is_dir()) for each in tmp_path.iterdir()] == [("a", True)]


class TestFolder:
    def test_a_folder_appears_with_all_its_files_when_the_block_ends(self, tmp_path: Path) -> None:
        with atomic_folder(tmp_path / "a") as partial:
            (partial / "one").write_text("1")
            (partial / "two").write_text("2")
            assert not (tmp_path / "a").exists()

        assert {each.name: each.read_text() for each in (tmp_path / "a").iterdir()} == {"one": "1", "two": "2"}
        assert [each.name for each in tmp_path.iterdir()] == ["a"]

    def test_an_error_leaves_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "a") as partial:
            fail_after_writing(partial / "one")

        assert list(tmp_path.iterdir()) == []

    def test_a_folder_with_files_in_its_place_stays(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "old").touch()

        with pytest.raises(OSError, match=r"."), atomic_folder(tmp_path / "a") as partial:
            (partial / "new").touch()

        assert [each.name for each in tmp_path.rglob("*")] == ["a", "old"]

    def test_what_is_left_in_a_private_folder_is_deleted(self, tmp_path: Path) -> None:
        with private_folder(tmp_path) as folder:
            (folder / "inside").mkdir()
            (folder / "inside" / "file").touch()

        assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="links need no permission there")
def test_private_folders_of_killed_programs_are_swept_a_day_later_and_nothing_else(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    folder = tmp_path / "results"
    for each in (elsewhere, folder, *(folder / name for name in (".uncol-old", ".uncol-new", "mine"))):
        each.mkdir()
        (each / "file").touch()
    (folder / ".uncol-link").symlink_to(elsewhere)
    for name, age_h in ((".uncol-old", 25), (".uncol-new", 23), ("mine", 25)):
        then = time.time() - age_h * 3600
        os.utime(folder / name, (then, then))
    os.utime(folder / ".uncol-link", (0, 0), follow_symlinks=False)

    with atomic_write(folder / "report.json") as partial:
        partial.touch()

    assert {each.name for each in folder.iterdir()} == {".uncol-new", ".uncol-link", "mine", "file", "report.json"}
    assert (elsewhere / "file").exists()


def test_the_checksum_is_that_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")

    assert sha256_of(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()


class TestFilesOfOthers:
    """What is opened must be a regular file, and only so large; what is no folder itself is none of ours."""

    def test_a_file_is_read_up_to_its_limit(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(b"abc")

        assert read_limited(tmp_path / "a", 3) == b"abc"
        with pytest.raises(OSError, match=r'^"a" has 3 bytes, which is too large$'):
            read_limited(tmp_path / "a", 2)

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes")
    def test_nobody_waits_for_a_pipe_or_a_device(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")

        for path in (tmp_path / "pipe", Path("/dev/zero")):
            with pytest.raises(OSError, match=r"is no regular file"):
                sha256_of(path)
            assert not is_file(path)

    @pytest.mark.parametrize("name", ["x" * 300, "a\0b", "\udcff" * 200])
    def test_a_name_that_no_system_takes_is_no_file(self, tmp_path: Path, name: str) -> None:
        assert not is_file(tmp_path / name)
        assert not is_real_folder(tmp_path / name)

    def test_links_in_a_circle_and_names_that_are_none_are_one_sentence(self, tmp_path: Path) -> None:
        (tmp_path / "loop").symlink_to("loop")

        for path in (tmp_path / "loop", tmp_path / "loop" / "deeper", tmp_path / "a\0b"):
            with pytest.raises(DataError, match=r"leads nowhere: its links go in a circle"):
                resolved(path)
        assert resolved(tmp_path / "x" / "..") == tmp_path.resolve()

    def test_a_link_is_no_real_folder(self, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(tmp_path)

        assert is_real_folder(tmp_path)
        assert not is_real_folder(tmp_path / "link")


class TestFilesTogether:
    @pytest.fixture
    def files(self, tmp_path: Path) -> list[Path]:
        (tmp_path / "from").mkdir()
        (tmp_path / "to").mkdir()
        for name in ("a.dcm", "b.dcm"):
            (tmp_path / "from" / name).write_text(name)
        return sorted((tmp_path / "from").iterdir())

    def test_they_come_under_their_names(self, files: list[Path], tmp_path: Path) -> None:
        placed = place_together(files, tmp_path / "to")

        assert placed == [tmp_path / "to" / "a.dcm", tmp_path / "to" / "b.dcm"] == sorted((tmp_path / "to").iterdir())
        assert [each.read_text() for each in placed] == ["a.dcm", "b.dcm"]
        assert all(each.exists() for each in files)

    def test_where_one_name_is_taken_all_get_the_same_number(self, files: list[Path], tmp_path: Path) -> None:
        (tmp_path / "to" / "b.dcm").touch()
        (tmp_path / "to" / "a-2.dcm").symlink_to(tmp_path / "nowhere")

        placed = place_together(files, tmp_path / "to")

        assert [each.name for each in placed] == ["a-3.dcm", "b-3.dcm"]

    def test_when_the_second_one_fails_the_first_one_goes(
        self, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rename = Path.rename

        def full(path: Path, target: Path) -> Path:
            if target.name == "b.dcm":
                raise OSError(28, "No space left on device")
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", full)

        with pytest.raises(OutputError, match=r"cannot be written to \(No space left on device\)\. Choose another"):
            place_together(files, tmp_path / "to")
        assert [*(tmp_path / "to").iterdir()] == []

    def test_none_comes_after_a_cancel_or_to_a_folder_that_is_none(self, files: list[Path], tmp_path: Path) -> None:
        assert place_together(files, tmp_path / "to", lambda: True) == []
        assert [*(tmp_path / "to").iterdir()] == []
        with pytest.raises(OutputError, match="No such file or directory"):
            place_together(files, tmp_path / "nowhere")
