"""The active model keeps its place however a change of names ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from full_disk import full_disk
from mutated import counted, mutated
from small_models import tree

from uncol.core.active_model import ACTIVE_FILE, ActiveModel
from uncol.core.errors import CheckpointError, OutputError
from uncol.core.model_store import Store

ENGINE_FOLDER = Path(__file__).resolve().parents[3] / "UnCoLSegment"
KILLED = """
import itertools, os, shutil, sys
from pathlib import Path
from uncol.core.model_store import Store

TOUCHES = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir"}
store, copies = map(Path, sys.argv[1:])
for moment in itertools.count():
    copy = shutil.copytree(store, copies / str(moment))
    child = os.fork()
    if child == 0:
        left = moment
        def count(event, arguments):
            global left
            left -= event in TOUCHES
            if left < 0:
                os._exit(9)
        sys.addaudithook(count)
        Store(copy).rename("b", "best")
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
        break
"""


def test_a_renamed_model_stays_active_and_in_the_history(store: Store) -> None:
    store.activate("a")
    store.activate("b")

    store.rename("b", "best")
    store.rename("a", "first")

    assert json.loads((store.folder / ACTIVE_FILE).read_text()) == {"active": "best", "history": ["first"]}


def test_on_a_full_disk_nothing_changes(store: Store) -> None:
    for name in "abcabcabcabcabcabcabc":
        store.activate(name)  # until the record is longer than what the disk holds
    before = tree(store.folder)
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"could not be changed \(File too large\)"):
            store.rename("c", "best")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert tree(store.folder) == before
    assert store.active == "c"
    with full_disk():  # 1 KiB is enough
        store.rename("c", "best")
    assert store.active == "best"


def test_a_folder_that_cannot_get_the_name_leaves_everything(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.activate("b")
    before = tree(store.folder)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", refuse)
        with pytest.raises(OutputError, match=r"could not be changed \(Permission denied\)"):
            store.rename("b", "best")

    assert tree(store.folder) == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that can be forked")
def test_whenever_a_renaming_is_killed_the_same_model_is_active(store: Store, tmp_path: Path) -> None:
    store.activate("a")
    store.activate("b")
    (tmp_path / "copies").mkdir()

    environment = os.environ | {"PYTHONPATH": str(ENGINE_FOLDER), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([sys.executable, "-c", KILLED, store.folder, tmp_path / "copies"], env=environment, check=True)

    copies = sorted((tmp_path / "copies").iterdir(), key=lambda each: int(each.name))
    found = [(Store(each).names(), Store(each).active) for each in copies]
    assert set(found) == {(("a", "b", "c"), "b"), (("a", "best", "c"), "best")}
    assert len(found) > 8
    for each in copies:
        assert Store(each).roll_back() == "a"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b'{"active": 5, "history": []}',
        b"[" * 100_000,
        b'{"active": "\\ud800", "history": []}',
        b"NaN",
    ],
)
def test_a_record_that_says_nothing_is_told_and_can_be_deleted(store: Store, content: bytes) -> None:
    (store.folder / ACTIVE_FILE).write_bytes(content)

    with pytest.raises(CheckpointError, match=r"is damaged\. Delete it and activate a model again; no model is lost"):
        store.list()


@pytest.mark.parametrize("count", [100, pytest.param(10_000, marks=pytest.mark.soak)])
def test_mutated_records_are_read_or_refused(
    tell: Callable[[str], None], store: Store, tmp_path: Path, count: int
) -> None:
    path = tmp_path / ACTIVE_FILE
    record = ActiveModel(tmp_path, store.has)
    record.write("a", ["b", "c"], ("c", "d"))
    good = path.read_bytes()

    def use(content: bytes) -> None:
        path.write_bytes(content)
        choice = record.read()
        record.write(choice.active, choice.history, choice.renaming)

    tell(f"mutated records of the active model: {counted(count, mutated(good), use, CheckpointError)}")
