"""Tests of model folders and checkpoints: bit-equal, checked, never a pickle, and whole whatever interrupts them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from full_disk import full_disk
from safetensors.torch import load_file
from torch import Tensor

from uncol.core.config import Config, DataConfig, StudentConfig
from uncol.core.errors import CheckpointError, OutputError
from uncol.core.jobs import Structure
from uncol.core.model_card import ModelCard
from uncol.core.model_folder import CHECKPOINT_FILE, DISCLAIMER, MODEL_FILE, SUMS_FILE, WEIGHTS_FILE
from uncol.models.build import build_student
from uncol.models.card import Model
from uncol.models.checkpoints import (
    has_checkpoint,
    load_checkpoint,
    load_model,
    remove_checkpoint,
    save_checkpoint,
    save_model,
)

ENGINE_FOLDER = Path(__file__).resolve().parents[3] / "UnCoLSegment"
CARD = ModelCard(
    structures=(Structure(7, "Leber, übergroß"), Structure(3, "spleen")),
    plane="coronal",
    pixel_mm=0.78125,
    slice_mm=2.5,
    window=(-160.0, 240.0),
    config=Config(data=DataConfig(neighbor_count=3), student=StudentConfig(channels=(2, 2, 2, 2, 2), dropout=0.1)),
    training={"steps": 20, "curve": [{"step": 10, "supervised": 1.25}]},
)
SLICES = torch.linspace(0, 1, 2 * 3 * 32 * 64).reshape(2, 3, 32, 64)


def model_of(seed: int) -> Model:
    torch.manual_seed(seed)
    return Model(CARD, build_student(CARD))


def same_weights(first: Model, second: Model) -> bool:
    ours, theirs = first.student.state_dict(), second.student.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder with the weights of seed 0."""
    save_model(model_of(0), tmp_path / "model")
    return tmp_path / "model"


class TestModel:
    def test_weights_come_back_bit_equal_and_the_card_whole(self, folder: Path) -> None:
        assert same_weights(load_model(folder), model_of(0))
        assert load_model(folder).card == CARD

    def test_the_loaded_student_predicts_the_same(self, folder: Path) -> None:
        original = model_of(0).student.eval()

        with torch.no_grad():
            assert torch.equal(load_model(folder).student(SLICES), original(SLICES))

    def test_the_loaded_student_is_ready_for_prediction(self, folder: Path) -> None:
        student = load_model(folder).student

        assert not any(module.training for module in student.modules())
        assert not any(parameter.requires_grad for parameter in student.parameters())

    def test_a_student_in_another_memory_layout_comes_back_bit_equal(self, tmp_path: Path) -> None:
        model = Model(CARD, model_of(4).student.to(memory_format=torch.channels_last))

        save_model(model, tmp_path / "model")

        assert same_weights(load_model(tmp_path / "model"), model_of(4))

    def test_the_card_tells_a_person_what_the_model_is_for(self, folder: Path) -> None:
        document = json.loads((folder / MODEL_FILE).read_text(encoding="utf-8"))

        assert document["intended_use"] == DISCLAIMER == "Research use only. Not a medical device."
        assert document["structures"][0] == {"value": 7, "name": "Leber, übergroß"}

    def test_saving_replaces_an_older_model_and_leaves_other_files_alone(self, folder: Path) -> None:
        (folder / "notes.txt").write_text("mine", encoding="utf-8")

        save_model(model_of(1), folder)

        assert same_weights(load_model(folder), model_of(1))
        assert (folder / "notes.txt").read_text(encoding="utf-8") == "mine"

    def test_a_new_folder_is_made_with_its_parents(self, tmp_path: Path) -> None:
        save_model(model_of(0), tmp_path / "a" / "b" / "model")

        assert load_model(tmp_path / "a" / "b" / "model").card == CARD

    def test_a_copied_folder_is_the_same_model(self, folder: Path, tmp_path: Path) -> None:
        shutil.copytree(folder, tmp_path / "at home")

        assert same_weights(load_model(tmp_path / "at home"), model_of(0))


class TestFiles:
    def test_a_model_is_three_files_a_checkpoint_one_and_nothing_is_left(self, folder: Path, tmp_path: Path) -> None:
        save_checkpoint(tmp_path / "run", {"a": torch.ones(2)}, {})

        assert sorted(each.name for each in folder.iterdir()) == sorted([MODEL_FILE, WEIGHTS_FILE, SUMS_FILE])
        assert [each.name for each in (tmp_path / "run").iterdir()] == [CHECKPOINT_FILE]

    def test_weights_are_safetensors(self, folder: Path) -> None:
        assert WEIGHTS_FILE.endswith(".safetensors")
        assert load_file(folder / WEIGHTS_FILE).keys() == model_of(0).student.state_dict().keys()

    def test_no_file_is_a_pickle_or_an_archive(self, folder: Path) -> None:
        save_checkpoint(folder, {"a": torch.ones(2)}, {"step": 1})

        for file in folder.iterdir():
            # a pickle of protocol 2 and later starts with 0x80 and its number, torch's with a zip's PK
            assert not file.read_bytes().startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK"))

    def test_checksums_are_those_of_sha256sum(self, folder: Path) -> None:
        if shutil.which("sha256sum") is None:
            pytest.skip("needs the program sha256sum")

        checked = subprocess.run(
            ["sha256sum", "--check", "--strict", SUMS_FILE], cwd=folder, capture_output=True, check=False
        )

        assert (checked.returncode, checked.stderr) == (0, b"")


class TestDamagedModel:
    def test_one_flipped_byte_in_the_weights_is_noticed(self, folder: Path) -> None:
        content = bytearray((folder / WEIGHTS_FILE).read_bytes())
        content[-3] ^= 1
        (folder / WEIGHTS_FILE).write_bytes(content)

        with pytest.raises(CheckpointError, match=rf"is damaged: {WEIGHTS_FILE} does not match its checksum\. Import"):
            load_model(folder)

    def test_an_edited_card_is_noticed(self, folder: Path) -> None:
        card = (folder / MODEL_FILE).read_text(encoding="utf-8")
        (folder / MODEL_FILE).write_text(card.replace("spleen", "kidney"), encoding="utf-8")

        with pytest.raises(CheckpointError, match=rf"is damaged: {MODEL_FILE} does not match its checksum\. Import"):
            load_model(folder)

    @pytest.mark.parametrize("name", [SUMS_FILE, WEIGHTS_FILE])
    def test_a_missing_file_is_noticed(self, folder: Path, name: str) -> None:
        (folder / name).unlink()

        with pytest.raises(CheckpointError, match=rf"is incomplete \(.*{name}.*\)\. Import it again, fine-tune"):
            load_model(folder)

    @pytest.mark.parametrize("content", [b"", b"no sums", b"\xff\xfe\x00"])
    def test_unreadable_checksums_are_refused(self, folder: Path, content: bytes) -> None:
        (folder / SUMS_FILE).write_bytes(content)

        with pytest.raises(CheckpointError, match=r"(is incomplete|is damaged).*Import it again"):
            load_model(folder)

    @pytest.mark.parametrize("name", ["", "nowhere"])
    def test_a_foreign_folder_is_refused(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "weights.pth").write_bytes(b"\x80\x02")

        with pytest.raises(CheckpointError, match=rf"is not a model folder: it has no {MODEL_FILE}\. Name a folder"):
            load_model(tmp_path / name)

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            pytest.param({"format": 99}, r"has format 99, this version reads 1\. Update", id="newer format"),
            pytest.param({"structures": [{"value": 0, "name": "x"}]}, r"cannot be read .*use 1 to 254", id="label 0"),
            pytest.param({"config": {"sead": 1}}, r"cannot be read .*no field \"sead\"", id="unknown setting"),
            pytest.param({"window": None}, r"cannot be read ", id="no window"),
        ],
    )
    def test_a_card_that_does_not_fit_is_refused(self, folder: Path, change: dict[str, Any], expected: str) -> None:
        document = json.loads((folder / MODEL_FILE).read_text(encoding="utf-8")) | change
        self.rewrite(folder, document)

        with pytest.raises(CheckpointError, match=expected):
            load_model(folder)

    def test_weights_of_another_size_are_refused_in_one_line(self, folder: Path) -> None:
        document = json.loads((folder / MODEL_FILE).read_text(encoding="utf-8")) | {"structures": []}
        self.rewrite(folder, document)

        with pytest.raises(CheckpointError, match=r'Model ".*" .*Import it again') as refused:
            load_model(folder)

        assert "\n" not in str(refused.value)

    @pytest.mark.parametrize("document", [[], 5, {}, None])
    def test_what_is_no_card_is_refused(self, folder: Path, document: object) -> None:
        self.rewrite(folder, document)

        with pytest.raises(CheckpointError, match=r"cannot be read .*Import it again, fine-tune it anew"):
            load_model(folder)

    @staticmethod
    def rewrite(folder: Path, document: object) -> None:
        """Put another card into the folder, with the right checksums."""
        (folder / MODEL_FILE).write_text(json.dumps(document), encoding="utf-8")
        names = (MODEL_FILE, WEIGHTS_FILE)
        sums = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
        (folder / SUMS_FILE).write_text("".join(sums), encoding="utf-8")


class TestCheckpoint:
    TENSORS = {  # noqa: RUF012  # read only
        "student.weight": torch.tensor([[0.1, -2.5]]),
        "random.sampling": torch.arange(5, dtype=torch.uint8),
        "optimizer.0.step": torch.tensor(3.0),
        "half": torch.tensor([1.5], dtype=torch.bfloat16),
        "counter": torch.tensor(2**40),
        "nothing": torch.zeros(0, 4),
    }
    RECORD = {"step": 41, "stage": 2, "elapsed_s": 12.5, "stage2_began_s": None, "notes": ["über"], "curve": {"a": []}}  # noqa: RUF012  # read only

    def test_tensors_and_record_come_back_as_they_were(self, tmp_path: Path) -> None:
        save_checkpoint(tmp_path, self.TENSORS, self.RECORD)

        tensors, record = load_checkpoint(tmp_path)

        assert record == self.RECORD
        assert tensors.keys() == self.TENSORS.keys()
        for key, tensor in self.TENSORS.items():
            assert tensors[key].dtype == tensor.dtype
            assert torch.equal(tensors[key], tensor)

    def test_tensors_that_share_memory_or_are_transposed_are_saved_each(self, tmp_path: Path) -> None:
        base = torch.arange(6.0).reshape(2, 3)

        save_checkpoint(tmp_path, {"base": base, "again": base, "turned": base.T}, {})
        tensors, _ = load_checkpoint(tmp_path)

        assert torch.equal(tensors["base"], base)
        assert torch.equal(tensors["again"], base)
        assert torch.equal(tensors["turned"], base.T)

    def test_a_later_checkpoint_replaces_the_earlier(self, tmp_path: Path) -> None:
        save_checkpoint(tmp_path, {"a": torch.zeros(9), "b": torch.ones(1)}, {"step": 1})
        save_checkpoint(tmp_path, {"a": torch.ones(2)}, {"step": 2})

        tensors, record = load_checkpoint(tmp_path)

        assert record == {"step": 2}
        assert {key: value.tolist() for key, value in tensors.items()} == {"a": [1, 1]}

    def test_a_run_can_be_resumed_until_its_checkpoint_is_removed(self, tmp_path: Path) -> None:
        assert not has_checkpoint(tmp_path / "run")
        save_checkpoint(tmp_path / "run", {"a": torch.ones(2)}, {})
        assert has_checkpoint(tmp_path / "run")

        remove_checkpoint(tmp_path / "run")

        assert not has_checkpoint(tmp_path / "run")
        remove_checkpoint(tmp_path / "run")  # a second time is no error

    def test_without_a_checkpoint_there_is_nothing_to_resume(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match=r"nothing to resume in .*Start without --resume\."):
            load_checkpoint(tmp_path)

    @pytest.mark.parametrize("kept_bytes", [0, 7, 60, -1])
    def test_a_truncated_checkpoint_is_refused(self, tmp_path: Path, kept_bytes: int) -> None:
        save_checkpoint(tmp_path, self.TENSORS, self.RECORD)
        content = (tmp_path / CHECKPOINT_FILE).read_bytes()
        (tmp_path / CHECKPOINT_FILE).write_bytes(content[:kept_bytes])

        with pytest.raises(CheckpointError, match=r"is damaged .*Delete the folder and start again\."):
            load_checkpoint(tmp_path)

    def test_foreign_safetensors_are_refused(self, folder: Path) -> None:
        shutil.copy(folder / WEIGHTS_FILE, folder / CHECKPOINT_FILE)

        with pytest.raises(CheckpointError, match=r"is damaged .*Delete the folder"):
            load_checkpoint(folder)


class TestUnwritableFolder:
    @pytest.fixture
    def below_a_file(self, tmp_path: Path) -> Path:
        (tmp_path / "file").write_text("not a folder", encoding="utf-8")
        return tmp_path / "file" / "run"

    def test_what_is_below_a_regular_file_is_an_output_error(self, below_a_file: Path) -> None:
        sentence = r"could not be written \(.*\)\. Free some space there, or make the folder writable, and try again"

        with pytest.raises(OutputError, match=sentence):
            save_model(model_of(0), below_a_file)
        for folder in (below_a_file, below_a_file.parent):
            with pytest.raises(OutputError, match=sentence):
                save_checkpoint(folder, {"a": torch.ones(2)}, {})
        assert not has_checkpoint(below_a_file)

    def test_a_full_disk_is_an_output_error_and_leaves_the_older_model(self, folder: Path) -> None:
        with full_disk(), pytest.raises(OutputError, match=r"could not be written .*Free some space"):
            save_model(model_of(1), folder)

        assert same_weights(load_model(folder), model_of(0))
        assert sorted(each.name for each in folder.iterdir()) == sorted([MODEL_FILE, WEIGHTS_FILE, SUMS_FILE])

    def test_a_full_disk_leaves_the_older_checkpoint(self, tmp_path: Path) -> None:
        save_checkpoint(tmp_path, {"a": torch.ones(2)}, {"step": 1})

        with full_disk(), pytest.raises(OutputError, match=r"could not be written \([A-Z][a-z ]+\)\. Free some space"):
            save_checkpoint(tmp_path, {"a": torch.ones(100_000)}, {"step": 2})

        assert load_checkpoint(tmp_path)[1] == {"step": 1}
        assert [each.name for each in tmp_path.iterdir()] == [CHECKPOINT_FILE]


# Saves again and again into copies of a folder, each time in a process that ends without warning, like a killed one,
# when it is about to touch the file system for the first, second, third ... time.
KILLED_WRITER = """
import itertools, os, shutil, sys
from pathlib import Path

import torch
from uncol.models.checkpoints import load_checkpoint, load_model, save_checkpoint, save_model

torch.set_num_threads(1)
older, newer, killed = map(Path, sys.argv[1:])
model, (tensors, record) = load_model(newer), load_checkpoint(newer)
TOUCHES = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink"}

def save_and_die(save, moment):
    left = moment
    def count(event, arguments):
        nonlocal left
        left -= event in TOUCHES
        if left < 0:
            os._exit(9)
    sys.addaudithook(count)
    save()
    os._exit(0)

for kind in ("model", "checkpoint"):
    for moment in itertools.count():
        folder = killed / f"{kind}-{moment}"
        shutil.copytree(older, folder)
        saves = {
            "model": lambda: save_model(model, folder),
            "checkpoint": lambda: save_checkpoint(folder, tensors, record),
        }
        child = os.fork()
        if child == 0:
            save_and_die(saves[kind], moment)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
            break
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Copies of a folder with model and checkpoint 0 in which saving model and checkpoint 1 was cut short."""
    base = tmp_path_factory.mktemp("killed")
    for seed in (0, 1):
        card = replace(CARD, training={"steps": seed})
        save_model(Model(card, model_of(seed).student), base / str(seed))
        save_checkpoint(base / str(seed), {"a": torch.full((3,), float(seed))}, {"step": seed})
    (base / "killed").mkdir()
    subprocess.run(
        [sys.executable, "-c", KILLED_WRITER, base / "0", base / "1", base / "killed"],
        env=os.environ | {"PYTHONPATH": str(ENGINE_FOLDER), "PYTHONDONTWRITEBYTECODE": "1"},
        check=True,
        timeout=120,
    )
    yield base / "killed"
    shutil.rmtree(base)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that can be forked")
class TestKilledWhileSaving:
    @staticmethod
    def folders(killed: Path, kind: str) -> list[Path]:
        return sorted(killed.glob(f"{kind}-*"), key=lambda each: int(each.name.rpartition("-")[2]))

    def test_there_were_several_moments_to_be_killed_at(self, killed: Path) -> None:
        assert len(self.folders(killed, "model")) > 5
        assert len(self.folders(killed, "checkpoint")) > 2

    def test_the_older_or_the_newer_model_can_always_be_loaded(self, killed: Path) -> None:
        found = []
        for folder in self.folders(killed, "model"):
            try:
                loaded = load_model(folder)
            except CheckpointError as error:
                found.append(f"{folder.name}: {error}")
            else:
                steps = loaded.card.training["steps"]
                assert same_weights(loaded, model_of(steps))
                found.append(("older", "newer")[steps])

        assert set(found) == {"older", "newer"}

    def test_the_older_or_the_newer_checkpoint_can_always_be_loaded(self, killed: Path) -> None:
        found = []
        for folder in self.folders(killed, "checkpoint"):
            tensors, record = load_checkpoint(folder)
            assert tensors["a"].tolist() == [record["step"]] * 3
            found.append(record["step"])

        assert found == sorted(found)
        assert set(found) == {0, 1}

    def test_the_next_save_succeeds_and_clears_what_was_left(self, killed: Path, tmp_path: Path) -> None:
        for folder in self.folders(killed, "model"):
            again = Path(shutil.copytree(folder, tmp_path / folder.name))

            save_model(model_of(2), again)

            assert same_weights(load_model(again), model_of(2))
            names = {each.name for each in again.iterdir()}
            assert names == {MODEL_FILE, WEIGHTS_FILE, SUMS_FILE, CHECKPOINT_FILE}


def test_what_an_interrupted_save_left_does_not_disturb_loading(folder: Path) -> None:
    left_behind = folder / ".partial-abc123"
    left_behind.mkdir()
    (left_behind / WEIGHTS_FILE).write_bytes(b"half")

    assert same_weights(load_model(folder), model_of(0))


def test_saving_leaves_the_students_tensors_alone(tmp_path: Path) -> None:
    model = model_of(3)
    before: dict[str, Tensor] = {key: value.clone() for key, value in model.student.state_dict().items()}
    was_training = model.student.training

    save_model(model, tmp_path)

    assert all(torch.equal(value, before[key]) for key, value in model.student.state_dict().items())
    assert model.student.training == was_training
