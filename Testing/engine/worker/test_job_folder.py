"""What killed workers leave is deleted by the next one, and never what a worker still needs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from uncol.core.errors import DataError
from uncol.worker.job_folder import JobFolder, file_of_job

GONE = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
GONE_PID = int(GONE.stdout)


def folder_of(root: Path, pid: int, *, days_old: float) -> Path:
    """Make a job folder without its lock, as where the system sweeps temporary files."""
    folder = root / f"uncol-worker-{pid}-0123abcd"
    (folder / "run-1").mkdir(parents=True)
    seconds = folder.stat().st_mtime - 86400 * days_old
    os.utime(folder, (seconds, seconds))
    return folder


@pytest.mark.skipif(os.name == "nt", reason="Windows deletes no lock that is held")
def test_old_folders_of_processes_that_are_gone_are_swept_and_no_others(tmp_path: Path) -> None:
    old, fresh = folder_of(tmp_path / "a", GONE_PID, days_old=1.1), folder_of(tmp_path / "b", GONE_PID, days_old=0.9)
    living = folder_of(tmp_path / "c", os.getpid(), days_old=1.1)
    of_others = tmp_path / "a" / "somebody-elses"
    of_others.mkdir()

    for name in "abc":
        JobFolder.make(tmp_path / name).close()

    assert (old.exists(), fresh.exists(), living.exists(), of_others.exists()) == (False, True, True, True)


def test_links_in_a_circle_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.npy").symlink_to("x.npy")

    with pytest.raises(DataError, match=r"leads nowhere"):
        file_of_job(tmp_path, Path("x.npy"), "image")


def test_the_folder_of_a_worker_that_lives_stays(tmp_path: Path) -> None:
    kept = JobFolder.make(tmp_path)
    os.utime(kept.path, (0, 0))

    JobFolder.make(tmp_path).close()

    assert kept.path.is_dir()
    kept.close()
    assert list(tmp_path.iterdir()) == []
