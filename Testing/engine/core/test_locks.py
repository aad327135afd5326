"""Files that one process at a time holds, and that the system lets go of when it is killed."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from uncol.core import locks
from uncol.core.locks import HeldError, held, is_held

ENGINE_FOLDER = Path(__file__).resolve().parents[3] / "UnCoLSegment"
HOLDER = """
import sys, time
from pathlib import Path
from uncol.core.locks import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def holder(path: Path) -> subprocess.Popen[bytes]:
    """A process that holds the file."""
    environment = os.environ | {"PYTHONPATH": str(ENGINE_FOLDER)}
    running = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], env=environment, stdout=subprocess.PIPE)
    assert running.stdout is not None
    assert running.stdout.readline() == b"held\n" or os.name == "nt"
    return running


def test_a_file_is_held_as_long_as_the_block_lasts_and_gone_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not is_held(path)

    with held(path):
        assert is_held(path)

    assert not path.exists()
    assert not is_held(path)


def test_a_file_that_another_process_holds_is_refused_until_that_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "_PATIENCE_S", 0.1)
    path = tmp_path / "lock"
    running = holder(path)
    try:
        assert is_held(path)
        with pytest.raises(HeldError), held(path):
            pass
    finally:
        running.kill()
        running.communicate()

    assert not is_held(path)
    with held(path):
        assert is_held(path)


def test_who_asks_whether_a_file_is_held_does_not_keep_others_from_holding_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    for _ in range(50):
        assert not is_held(path)
        with held(path):
            pass


@pytest.mark.skipif(os.name != "posix", reason="links need privileges elsewhere")
@pytest.mark.parametrize("target", ["letter.txt", "not there yet"])
def test_a_link_is_never_followed(tmp_path: Path, target: str) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    path = tmp_path / "lock"
    path.symlink_to(tmp_path / target)

    assert not is_held(path)
    with pytest.raises(OSError, match="symbolic links"), held(path):
        pass

    assert (tmp_path / "letter.txt").read_text() == "mine"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["letter.txt", "lock"]


def as_another_user(action: Callable[[], None]) -> int:
    """The exit status of a process without privileges that did it: 0 if nothing was raised, else the number of it."""
    child = os.fork()
    if not child:
        try:
            if os.geteuid() == 0:
                os.setuid(65534)
            action()
            os._exit(0)
        except OSError as error:
            os._exit(error.errno or 255)
        finally:
            os._exit(255)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(os.name != "posix", reason="has no such rights")
def test_a_file_that_somebody_else_left_is_held_if_it_may_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_PATIENCE_S", 0.1)
    with TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        _check_of_others(Path(name) / "lock")


def _check_of_others(path: Path) -> None:
    def hold() -> None:
        with held(path):
            assert is_held(path)

    path.touch(0o444)
    with held(path):
        path.chmod(0o444)
        assert as_another_user(hold) == errno.EAGAIN
    path.touch(0o444)
    assert as_another_user(hold) == 0
    assert not path.exists()

    path.touch(0o000)
    assert as_another_user(hold) == errno.EACCES


@pytest.mark.skipif(os.name != "posix", reason="has its locks always")
def test_the_file_may_be_read_by_whoever_may_read_others_that_its_maker_writes(tmp_path: Path) -> None:
    (tmp_path / "another").touch()
    with held(tmp_path / "lock"):
        assert (tmp_path / "lock").stat().st_mode == (tmp_path / "another").stat().st_mode


@pytest.mark.skipif(os.name != "posix", reason="has its locks always")
def test_where_a_file_system_has_no_locks_nobody_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_locks(_descriptor: int, _what: int) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", without_locks)
    path = tmp_path / "lock"
    with held(path), held(path):
        assert not is_held(path)
    assert not path.exists()
