"""Paths from old disks and of others: real commands end with exit code 2, one sentence, and leave nothing behind."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from given import a_larger_ball

from uncol.core.errors import DataError, OutputError
from uncol.data.io import check_writable, read_image, write_results

NOT_UTF_8 = os.fsdecode(b"M\xfcller")  # an umlaut of Latin-1
ENGINE_FOLDER = Path(__file__).resolve().parents[2] / "UnCoLSegment"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems do not have such names or rights")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with ct.nrrd and labels.nrrd, an image that has no valid name, and a link to itself."""
    folder = tmp_path / "inputs"
    case = a_larger_ball()
    write_results(folder, {"ct.nrrd": case.image, "labels.nrrd": case.labels}, {})
    shutil.copy(folder / "ct.nrrd", folder / f"{NOT_UTF_8}.nrrd")
    (folder / "loop").symlink_to("loop")
    return folder


SEGMENT = ["segment", "--box", "x=5,5,2,40,35,9"]
WRONG = [
    pytest.param([*SEGMENT, f"{NOT_UTF_8}.nrrd", "--out", "out"], "not valid text", id="image"),
    pytest.param([*SEGMENT, "ct.nrrd", "--out", NOT_UTF_8], "Results cannot be written.*not valid text", id="out"),
    pytest.param(
        ["fine-tune", "--case", "ct.nrrd", "labels.nrrd", "--out", "y" * 300], "File name too long", id="long name"
    ),
]


@pytest.mark.parametrize(("arguments", "sentence"), WRONG)
def test_a_path_that_cannot_be_used_is_one_sentence_and_leaves_nothing(
    run_uncol: Callable[..., Any], folder: Path, arguments: list[str], sentence: str
) -> None:
    before = set(folder.iterdir())

    ended = run_uncol(*arguments, cwd=folder)

    said = [line for line in ended.stderr.splitlines() if "%" not in line]
    assert (ended.returncode, len(said)) == (2, 1), ended.stderr
    assert re.search(sentence, said[0]), said
    assert [each for each in set(folder.iterdir()) - before if any(each.iterdir())] == []


RIGHTS = "-dac_override,-dac_read_search"
"""What root has to give up to be refused like everybody else."""
TRY = """
import sys
from pathlib import Path
from uncol.core.errors import DataError, OutputError
from uncol.data.io import check_writable, read_image
for action, path in zip(sys.argv[1::2], sys.argv[2::2]):
    try:
        (read_image if action == "read" else check_writable)(Path(path))
        print("done")
    except (DataError, OutputError) as error:
        print(error)
"""


def test_what_is_not_permitted_is_told_as_such_and_never_as_damage(folder: Path) -> None:
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("root may read everything")
    for name in ("closed", "unreadable", "read-only"):
        shutil.copytree(folder, folder.parent / name, ignore=shutil.ignore_patterns("loop"))
    closed, unreadable, read_only = (folder.parent / name for name in ("closed", "unreadable", "read-only"))
    (unreadable / "ct.nrrd").chmod(0)
    closed.chmod(0)
    read_only.chmod(0o555)
    drop = [] if os.geteuid() != 0 else ["setpriv", f"--bounding-set={RIGHTS}", f"--inh-caps={RIGHTS}"]
    tries = [
        ("read", closed / "ct.nrrd"),
        ("read", closed),
        ("read", unreadable / "ct.nrrd"),
        ("write", closed / "out"),
        ("write", read_only / "out"),
    ]

    arguments = [str(each) for attempt in tries for each in attempt]
    ended = subprocess.run(
        [*drop, sys.executable, "-c", TRY, *arguments],
        env=os.environ | {"PYTHONPATH": str(ENGINE_FOLDER)},
        capture_output=True,
        text=True,
        check=True,
    )
    for each in (closed, unreadable / "ct.nrrd", read_only):
        each.chmod(0o755)

    advice = "reading it is not permitted. Copy it to a folder of your own, or ask whoever owns it."
    choose = "(Permission denied). Free some space or choose another folder."
    assert ended.stdout.splitlines() == [
        f'Image "ct.nrrd" cannot be read: {advice}',
        f'Image "closed" cannot be read: {advice}',
        f'Image "ct.nrrd" cannot be read: {advice}',
        f'Results cannot be written to "{closed / "out"}" {choose}',
        f'Results cannot be written to "{read_only / "out"}" {choose}',
    ]


def test_a_link_that_leads_to_itself_is_no_place_for_results(folder: Path) -> None:
    with pytest.raises(OutputError, match=r"Too many levels of symbolic links"):
        check_writable(folder / "loop" / "out")
    with pytest.raises(DataError, match=r"its links lead in a circle"):
        read_image(folder / "loop")


def test_a_name_that_no_disk_holds_is_no_place_for_results(folder: Path) -> None:
    with pytest.raises(OutputError, match=r"File name too long"):
        check_writable(folder / ("y" * 300))
    with pytest.raises(DataError, match=r"its name is too long"):
        read_image(folder / ("y" * 300))


def test_a_pipe_in_the_place_of_an_image_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "pipe.nrrd")

    with pytest.raises(DataError, match=r"neither a file nor a folder"):
        read_image(folder / "pipe.nrrd")
