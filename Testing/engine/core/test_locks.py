"""Files that one process at a time holds, and that the system lets go of when it is killed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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
