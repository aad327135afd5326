"""Runs that have not ended: claimed names, what is known of each, and when their folders go."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_models import FILES, write_model

from uncol.core.errors import CheckpointError
from uncol.core.model_store import Store
from uncol.core.unfinished import LOCK_FILE, RUN_FILE, RunOrigin, run_held, volume_digest
from uncol.core.volume import Volume

ENGINE_FOLDER = Path(__file__).resolve().parents[3] / "UnCoLSegment"
SMITH = RunOrigin("CT of Smith", "d1", "base")
CLAIMER = """
import sys
from pathlib import Path
from uncol.core.model_store import Store
from uncol.core.unfinished import RunOrigin
print("ready", flush=True)
sys.stdin.readline()
print([Store(Path(sys.argv[1])).claim("Liver", RunOrigin()) for _ in range(50)], flush=True)
"""


@pytest.fixture
def empty(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


def learn(folder: Path, steps: int) -> None:
    """Write a checkpoint as safetensors does: the length of a JSON header, the header with the record, data."""
    header = json.dumps({"__metadata__": {"record": json.dumps({"step": steps})}, "a": {"dtype": "U8"}}).encode()
    (folder / "checkpoint.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0")


def test_an_unfinished_run_is_listed_with_volume_steps_and_time(empty: Store) -> None:
    for number, name in enumerate((empty.claim("Liver", SMITH), empty.claim("Liver", RunOrigin()))):
        learn(empty.folder / name, steps=120 + number)
        os.utime(empty.folder / name / "checkpoint.safetensors", (0, 1_000_000_000 + number))

    second, first = empty.unfinished()

    assert (first.name, first.origin, first.steps) == ("liver", SMITH, 120)
    assert (second.name, second.origin, second.steps) == ("liver-2", RunOrigin(), 121)
    assert first.saved == "2001-09-09T01:46:40+00:00"
    assert first.as_document()["volume"] == "CT of Smith"


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, b"\x02\0\0\0\0\0\0\0{}", b"half an hour of learning"])
def test_a_checkpoint_that_cannot_be_read_is_listed_all_the_same(empty: Store, content: bytes) -> None:
    folder = empty.folder / empty.claim("liver", SMITH)
    (folder / "checkpoint.safetensors").write_bytes(content)
    (folder / RUN_FILE).write_bytes(content)

    assert [(each.steps, each.origin) for each in empty.unfinished()] == [(0, RunOrigin())]


def test_a_run_under_way_is_not_offered_and_cannot_be_removed(empty: Store) -> None:
    name = empty.claim("liver", SMITH)
    learn(empty.folder / name, 5)

    with run_held(empty.folder / name):
        assert empty.unfinished() == []
        with pytest.raises(CheckpointError, match=r'"liver" is being learned by another program\. Wait for its end'):
            empty.remove(name)
        with pytest.raises(CheckpointError, match=r"is being learned"), run_held(empty.folder / name):
            pass

    assert len(empty.unfinished()) == 1
    empty.remove(name)
    assert empty.unfinished() == []


def test_two_programs_never_claim_the_same_name(empty: Store) -> None:
    running = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIMER, str(empty.folder)],
            env=os.environ | {"PYTHONPATH": str(ENGINE_FOLDER)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for each in running:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    for each in running:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    names = [name for each in running for name in json.loads(each.communicate()[0].replace("'", '"'))]

    assert len(names) == len(set(names)) == 100


def test_a_name_is_given_back_unless_something_was_learned(empty: Store) -> None:
    nothing, learned, busy = (empty.claim(name, SMITH) for name in ("nothing", "learned", "busy"))
    learn(empty.folder / learned, 5)
    (empty.folder / nothing / LOCK_FILE).touch()  # of a killed process

    with run_held(empty.folder / busy):
        for name in (nothing, learned, busy):
            empty.release(name)

    assert sorted(each.name for each in empty.folder.iterdir()) == ["busy", "learned"]
    empty.release(busy)
    assert sorted(each.name for each in empty.folder.iterdir()) == ["learned"]


def test_what_the_user_put_there_is_not_given_back(empty: Store) -> None:
    folder = empty.folder / empty.claim("liver", SMITH)
    (folder / "notes.txt").touch()

    empty.release("liver")

    assert (folder / "notes.txt").exists()


def test_a_model_does_not_say_which_volume_it_learned_from(empty: Store, tmp_path: Path) -> None:
    write_model(empty.folder / "liver")
    (empty.folder / "liver" / RUN_FILE).write_text(json.dumps({"volume": "CT of Smith"}))

    empty.export_zip("liver", tmp_path / "liver.zip")

    assert b"Smith" not in (tmp_path / "liver.zip").read_bytes()
    assert empty.import_zip(tmp_path / "liver.zip", "copy") == "copy"
    assert not (empty.folder / "copy" / RUN_FILE).exists()


def test_what_killed_programs_left_is_swept_a_day_later_and_nothing_else(empty: Store) -> None:
    write_model(empty.folder / "model")
    write_model(empty.folder / "finished")
    learn(empty.folder / "finished", 5)
    (empty.folder / "finished" / "run.json").touch()
    os.utime(empty.folder / "finished" / "checkpoint.safetensors", (0, 0))
    worthless, fresh, learned, busy, of_others = (
        empty.folder / empty.claim(name, SMITH) for name in ("worthless", "fresh", "learned", "busy", "of-others")
    )
    learn(learned, 5)
    (of_others / "notes.txt").touch()
    (worthless / ".uncol-half").mkdir()
    of_before = empty.folder / ".partial-x"
    of_before.mkdir()
    with run_held(busy):
        for folder in (
            worthless,
            learned,
            busy,
            of_others,
            of_before,
            empty.folder / "model",
            empty.folder / "finished",
        ):
            os.utime(folder, (0, 0))
        empty.activate("model")

    left = {each.name for each in empty.folder.iterdir() if each.is_dir()}
    assert left == {"model", "finished", "fresh", "learned", "busy", "of-others"}
    assert {each.name for each in (empty.folder / "finished").iterdir()} == FILES
    assert (learned / "checkpoint.safetensors").exists()
    assert fresh.exists()


@pytest.mark.skipif(os.name != "posix", reason="has its locks always")
def test_where_a_file_system_has_no_locks_nothing_is_deleted_below_a_run(
    empty: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_locks(_descriptor: int, _what: int) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr("fcntl.flock", without_locks)
    write_model(empty.folder / "saved")
    learn(empty.folder / "saved", 5)
    os.utime(empty.folder / "saved" / "checkpoint.safetensors", (0, 0))
    begun = empty.folder / empty.claim("begun", SMITH)
    with run_held(begun), run_held(empty.folder / "saved"):
        for folder in (begun, empty.folder / "saved"):
            os.utime(folder, (0, 0))
        empty.release("begun")
        empty.activate("saved")

        assert (begun / RUN_FILE).exists()
        assert (empty.folder / "saved" / "checkpoint.safetensors").exists()

    empty.release("begun")  # its end was its own
    assert not begun.exists()


def test_nothing_is_swept_through_a_link(empty: Store, tmp_path: Path) -> None:
    of_others = tmp_path / "of-others"
    write_model(of_others)
    learn(of_others, 5)
    (of_others / RUN_FILE).touch()
    os.utime(of_others / "checkpoint.safetensors", (0, 0))
    os.utime(of_others, (0, 0))
    write_model(empty.folder / "model")
    (empty.folder / "link").symlink_to(of_others)

    empty.activate("model")

    assert {each.name for each in of_others.iterdir()} == {*FILES, RUN_FILE, "checkpoint.safetensors"}


@pytest.mark.parametrize(
    "change",
    [
        lambda volume: Volume(volume.voxels + 1, volume.ijk_to_ras),
        lambda volume: Volume(volume.voxels.astype(np.float32), volume.ijk_to_ras),
        lambda volume: Volume(volume.voxels.reshape(3, 2, 4), volume.ijk_to_ras),
        lambda volume: Volume(volume.voxels, volume.ijk_to_ras @ np.diag([1, 1, 2, 1.0])),
    ],
    ids=["voxels", "type", "shape", "grid"],
)
def test_a_digest_tells_volumes_apart(make_volume: Any, change: Any) -> None:
    volume = make_volume(dtype=np.int16)

    assert volume_digest(volume) == volume_digest(Volume(volume.voxels.copy(), volume.ijk_to_ras + 1e-9))
    assert volume_digest(volume) != volume_digest(change(volume))
