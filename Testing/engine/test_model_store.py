"""The store of models: names, the active one and those before, and zips that nobody should have to trust."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from uncol.errors import CheckpointError, ConfigError, OutputError, UncolError
from uncol.job import Structure
from uncol.model_files import read_card, verify_sums
from uncol.model_store import ACTIVE_FILE, Store, find_model, is_model_name

ENGINE_FOLDER = Path(__file__).resolve().parents[2] / "UnCoLSegment"
FILES = {"model.json", "weights.safetensors", "SHA256SUMS"}
HEADER = b"{}      "
WEIGHTS = len(HEADER).to_bytes(8, "little") + HEADER + bytes(range(256))
CARD = {
    "format": 1,
    "structures": [{"value": 3, "name": "spleen"}, {"value": 1, "name": "liver"}],
    "training": {"steps": 40, "notes": [], "curve": [{"step": 4, "supervised": 1.5}]},
    "intended_use": "Research use only. Not a medical device.",
}


def files_of(card: Any = CARD, weights: bytes = WEIGHTS) -> dict[str, bytes]:
    """The three files of a small model whose sums fit."""
    texts = {"model.json": json.dumps(card).encode(), "weights.safetensors": weights}
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in texts.items())
    return {**texts, "SHA256SUMS": sums.encode()}


def write_model(folder: Path, files: dict[str, bytes] | None = None) -> None:
    folder.mkdir(parents=True)
    for name, content in (files or files_of()).items():
        (folder / name).write_bytes(content)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with the models a, b and c."""
    for name in "abc":
        write_model(tmp_path / "models" / name)
    return Store(tmp_path / "models")


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content."""
    return {str(each.relative_to(folder)): each.read_bytes() for each in folder.rglob("*") if each.is_file()}


class TestList:
    def test_a_model_is_listed_with_what_it_segments(self, store: Store) -> None:
        store.activate("b")

        entries = store.list()

        assert [(each.name, each.is_active) for each in entries] == [("a", False), ("b", True), ("c", False)]
        assert entries[0].structures == (Structure(3, "spleen"), Structure(1, "liver"))
        assert entries[0].title == "spleen, liver"
        assert entries[0].training["steps"] == 40
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", entries[0].created)

    def test_a_line_is_json_without_the_learning_curve(self, store: Store) -> None:
        document = json.loads(json.dumps(store.entry("a").as_document()))

        assert document["structures"] == [{"name": "spleen", "value": 3}, {"name": "liver", "value": 1}]
        assert document["training"] == {"steps": 40, "notes": []}

    def test_a_store_that_was_never_made_is_empty(self, tmp_path: Path) -> None:
        store = Store(tmp_path / "none")

        assert store.list() == []
        assert store.active is None
        assert not (tmp_path / "none").exists()

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"[]",
            b"{}",
            b'{"format": 2}',
            b'{"format": 1, "structures": 5}',
            b"\xff",
            json.dumps(CARD).encode()[:-9],
        ],
    )
    def test_a_damaged_card_hides_one_model_only(self, store: Store, content: bytes) -> None:
        (store.folder / "b" / "model.json").write_bytes(content)

        assert [each.name for each in store.list()] == ["a", "c"]
        with pytest.raises(CheckpointError, match=re.escape(str(store.folder / "b"))):
            store.verify("b")

    def test_other_folders_and_files_are_no_models(self, store: Store) -> None:
        (store.folder / "empty").mkdir()
        write_model(store.folder / "Not A Name")
        write_model(store.folder / ".private-left")
        (store.folder / "notes.txt").write_text("mine")

        assert store.names() == ("a", "b", "c")

    def test_a_model_whose_files_were_kept_from_their_place_is_whole(self, store: Store) -> None:
        complete = store.folder / "b" / ".complete"
        complete.mkdir()
        for name in FILES:
            (store.folder / "b" / name).rename(complete / name)

        store.verify("b")
        assert store.names() == ("a", "b", "c")

    def test_an_unfinished_run_is_no_model_but_can_be_resumed_or_removed(self, store: Store) -> None:
        (store.folder / "run").mkdir()
        (store.folder / "run" / "checkpoint.safetensors").write_bytes(b"1")

        assert store.names() == ("a", "b", "c")
        assert store.unfinished() == ("run",)
        with pytest.raises(CheckpointError, match=r'no model "run"'):
            store.activate("run")
        store.remove("run")
        assert store.unfinished() == ()
        assert not (store.folder / "run").exists()


class TestNames:
    @pytest.mark.parametrize("name", ["a", "0", "liver-2", "left_kidney", "x" * 64])
    def test_plain_names_are_taken(self, name: str) -> None:
        assert is_model_name(name)

    @pytest.mark.parametrize(
        "name",
        [
            "",
            ".",
            "..",
            "-a",
            "_a",
            "A",
            "a b",
            "a/b",
            "a\\b",
            "../a",
            "/a",
            "a.b",
            "a\n",
            "ä",
            "x" * 65,
            "con",
            "lpt1",
        ],
    )
    def test_names_that_a_system_would_trip_over_are_refused(self, store: Store, name: str) -> None:
        before = tree(store.folder)

        assert not is_model_name(name)
        for action in (store.activate, store.remove, store.verify, store.show, store.path_of):
            with pytest.raises(ConfigError, match=r"is no name for a model. Use 1 to 64 small letters"):
                action(name)
        with pytest.raises(ConfigError, match=r"is no name for a model"):
            store.rename("a", name)
        assert tree(store.folder) == before

    @pytest.mark.parametrize(
        ("text", "name"),
        [
            ("Left kidney (CT)", "left-kidney-ct"),
            ("a", "a-2"),
            ("Übergroße Leber", "bergro-e-leber"),
            ("con", "model-con"),
            ("...", "model"),
            ("y" * 90, "y" * 56),
        ],
    )
    def test_any_text_gives_a_name_that_is_free(self, store: Store, text: str, name: str) -> None:
        assert store.free_name(text) == name
        assert is_model_name(name)

    def test_free_names_count_on(self, store: Store) -> None:
        (store.folder / "a-2").mkdir()

        assert store.free_name("A") == "a-3"

    def test_an_unknown_name_is_told_with_those_that_there_are(self, store: Store) -> None:
        with pytest.raises(CheckpointError, match=r'no model "d" in ".*models" \(models there: a, b, c\)'):
            store.path_of("d")


class TestActive:
    def test_roll_back_goes_through_the_models_that_were_active(self, store: Store) -> None:
        for name in ("a", "b", "c"):
            store.activate(name)

        assert [store.roll_back(), store.roll_back()] == ["b", "a"]
        assert store.active == "a"
        with pytest.raises(CheckpointError, match=r"no earlier model to go back to"):
            store.roll_back()
        assert store.active == "a"

    def test_activating_the_active_model_changes_nothing(self, store: Store) -> None:
        store.activate("a")
        store.activate("b")
        store.activate("b")

        assert store.roll_back() == "a"

    def test_roll_back_passes_over_models_that_were_removed(self, store: Store) -> None:
        for name in ("a", "b", "c"):
            store.activate(name)
        shutil.rmtree(store.folder / "b")

        assert store.roll_back() == "a"

    def test_a_renamed_model_stays_active_and_in_the_history(self, store: Store) -> None:
        store.activate("a")
        store.activate("b")
        store.rename("b", "better")
        store.rename("a", "first")

        assert store.active == "better"
        assert store.roll_back() == "first"
        assert store.names() == ("better", "c", "first")

    def test_a_removed_model_is_no_longer_active(self, store: Store) -> None:
        store.activate("a")
        store.activate("b")
        store.remove("b")

        assert store.active is None
        assert store.names() == ("a", "c")
        assert store.roll_back() == "a"

    def test_the_choice_is_kept_in_a_file_that_others_can_read(self, store: Store) -> None:
        store.activate("a")
        store.activate("c")

        assert json.loads((store.folder / ACTIVE_FILE).read_text()) == {"active": "c", "history": ["a"]}

    def test_the_history_does_not_grow_without_end(self, store: Store) -> None:
        for number in range(60):
            store.activate("ab"[number % 2])

        assert len(json.loads((store.folder / ACTIVE_FILE).read_text())["history"]) == 20

    @pytest.mark.parametrize(
        "content", ["", "[]", "{}", '{"active": 5, "history": []}', '{"active": null, "history": [1]}']
    )
    def test_a_damaged_choice_is_told_and_costs_no_model(self, store: Store, content: str) -> None:
        (store.folder / ACTIVE_FILE).write_text(content)

        with pytest.raises(
            CheckpointError, match=r"is damaged. Delete it and activate a model again; no model is lost"
        ):
            store.list()
        (store.folder / ACTIVE_FILE).unlink()
        assert len(store.list()) == 3

    def test_an_active_model_whose_folder_is_gone_is_not_active(self, store: Store) -> None:
        store.activate("a")
        shutil.rmtree(store.folder / "a")

        assert store.active is None


class TestChanges:
    def test_a_taken_name_is_refused_and_nothing_changes(self, store: Store) -> None:
        before = tree(store.folder)

        with pytest.raises(CheckpointError, match=r'"b" is taken already. Choose another name; nothing was changed'):
            store.rename("a", "b")
        assert tree(store.folder) == before

    @pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="nothing is read-only for this user")
    def test_a_store_that_cannot_be_written_is_one_sentence(self, store: Store) -> None:
        store.folder.chmod(0o500)
        try:
            for change in (lambda: store.remove("a"), lambda: store.rename("a", "d"), lambda: store.activate("a")):
                with pytest.raises(OutputError, match=r"could not be changed \(Permission denied\)"):
                    change()
        finally:
            store.folder.chmod(0o700)
        assert store.names() == ("a", "b", "c")

    def test_a_store_below_a_file_is_one_sentence(self, tmp_path: Path, zip_of: Callable[..., Path]) -> None:
        (tmp_path / "file").touch()

        with pytest.raises(OutputError, match=r"could not be changed \(Not a directory\)"):
            Store(tmp_path / "file" / "models").import_zip(zip_of())

    def test_verify_finds_a_single_changed_byte(self, store: Store) -> None:
        weights = store.folder / "a" / "weights.safetensors"
        content = bytearray(weights.read_bytes())
        content[100] ^= 1
        weights.write_bytes(content)

        with pytest.raises(CheckpointError, match=r"damaged: weights.safetensors does not match its checksum"):
            store.verify("a")
        store.verify("b")

    @pytest.mark.parametrize("file", sorted(FILES - {"model.json"}))
    def test_verify_misses_a_file(self, store: Store, file: str) -> None:
        (store.folder / "a" / file).unlink()

        with pytest.raises(CheckpointError, match=r"is incomplete"):
            store.verify("a")

    @pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
    def test_a_process_killed_while_it_changes_the_store_leaves_it_whole(self, store: Store) -> None:
        program = (
            "import sys; from pathlib import Path; from uncol.model_store import Store\n"
            "store = Store(Path(sys.argv[1]))\n"
            "while True:\n"
            "    store.activate('a'); store.rename('b', 'd'); store.activate('d'); store.rename('d', 'b')\n"
            "    print('.', flush=True)\n"
        )
        for rounds in range(1, 6):
            running = subprocess.Popen(
                [sys.executable, "-c", program, str(store.folder)],
                env=os.environ | {"PYTHONPATH": str(ENGINE_FOLDER)},
                stdout=subprocess.PIPE,
            )
            assert running.stdout is not None
            for _ in range(rounds):
                assert running.stdout.readline()
            running.kill()
            running.communicate()

            assert store.active in {None, "a", "b", "d"}
            assert len(store.list()) == 3
            for name in store.names():
                store.verify(name)
            if store.has("d"):
                store.rename("d", "b")

    def test_what_was_left_behind_long_ago_is_swept(self, store: Store) -> None:
        old, new = store.folder / ".private-old", store.folder / ".private-new"
        for folder in (old, new):
            folder.mkdir()
        os.utime(old, (0, 0))

        store.activate("a")

        assert not old.exists()
        assert new.exists()


@pytest.fixture
def zip_of(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes a zip of named contents; without any, of a good model called `good`."""

    def make(contents: dict[str | zipfile.ZipInfo, bytes] | None = None, name: str = "shared.zip") -> Path:
        path = tmp_path / name
        with zipfile.ZipFile(path, "w") as archive:
            for entry, content in (contents or _below("good", files_of())).items():  # type: ignore[arg-type]
                archive.writestr(entry, content)
        return path

    return make


def _below(folder: str, files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{folder}/{name}": content for name, content in files.items()}


def _entry(name: str, mode: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = mode << 16
    entry.create_system = 3
    return entry


LINK = _entry("good/weights.safetensors", stat.S_IFLNK | 0o777)
PIPE = _entry("good/weights.safetensors", stat.S_IFIFO | 0o666)
GOOD = files_of()
OTHER = files_of(weights=WEIGHTS + b"1")
REFUSED: list[Any] = [
    pytest.param({"../model.json": b"1", **_below("good", GOOD)}, r'"../model.json", which no model has', id="up"),
    pytest.param({"good/../../x": b"1", **_below("good", GOOD)}, r"which no model has", id="up from a folder"),
    pytest.param({"/model.json": b"1", **_below("good", GOOD)}, r'"/model.json", which no model has', id="absolute"),
    pytest.param({"C:model.json": b"1", **_below("good", GOOD)}, r"which no model has", id="drive"),
    pytest.param({"good/run.py": b"1", **_below("good", GOOD)}, r'"good/run.py", which no model has', id="other file"),
    pytest.param({"good/x/model.json": b"1", **_below("good", GOOD)}, r"which no model has", id="too deep"),
    pytest.param({**_below("good", GOOD), "model.json": b"{}"}, r'holds "model.json" twice', id="twice"),
    pytest.param(
        {**_below("good", {k: v for k, v in GOOD.items() if k != "model.json"}), "model.json": GOOD["model.json"]},
        r"files of several models",
        id="mixed folders",
    ),
    pytest.param({f"good/{k}": v for k, v in GOOD.items() if k != "SHA256SUMS"}, r"it has no SHA256SUMS", id="no sums"),
    pytest.param({"readme.txt": b"1"}, r'"readme.txt", which no model has', id="something else"),
    pytest.param(
        {"good/model.json": GOOD["model.json"], LINK: b"/etc/hosts", "good/SHA256SUMS": GOOD["SHA256SUMS"]},
        r'"good/weights.safetensors", which no model has',
        id="symbolic link",
    ),
    pytest.param(
        {"good/model.json": GOOD["model.json"], PIPE: b"", "good/SHA256SUMS": GOOD["SHA256SUMS"]},
        r'"good/weights.safetensors", which no model has',
        id="pipe",
    ),
    pytest.param(
        _below("good", {**OTHER, "SHA256SUMS": GOOD["SHA256SUMS"]}),
        r'"shared.zip" is damaged: weights.safetensors does not match its checksum',
        id="wrong sums",
    ),
    pytest.param(_below("good", {**GOOD, "SHA256SUMS": b"nonsense"}), r"is incomplete", id="no readable sums"),
    pytest.param(_below("good", files_of(weights=b"\x80\x04pickle")), r"weights are no safetensors file", id="pickle"),
    pytest.param(_below("good", files_of(weights=b"")), r"weights are no safetensors file", id="no weights"),
    pytest.param(_below("good", files_of({"format": 9})), r"has format 9, this version reads 1", id="other format"),
    pytest.param(_below("good", files_of({"format": 1})), r"a card that cannot be understood", id="empty card"),
    pytest.param(
        _below("good", {**GOOD, "SHA256SUMS": b" " * 5000}), r"5000 bytes, which is too large", id="too large"
    ),
    pytest.param(_below("Good Model", GOOD), r'"Good Model" is no name for a model', id="name"),
]


class TestZip:
    def test_a_model_is_the_same_after_export_and_import(self, store: Store, tmp_path: Path) -> None:
        store.export_zip("b", tmp_path / "b.zip")
        other = Store(tmp_path / "elsewhere" / "models")

        assert other.import_zip(tmp_path / "b.zip") == "b"

        assert tree(other.folder / "b") == tree(store.folder / "b")
        other.verify("b")
        assert [each.name for each in other.folder.iterdir()] == ["b"]

    def test_an_export_holds_three_files_and_says_what_they_are_for(self, store: Store, tmp_path: Path) -> None:
        store.export_zip("a", tmp_path / "a.zip")

        with zipfile.ZipFile(tmp_path / "a.zip") as archive:
            assert set(archive.namelist()) == {f"a/{name}" for name in FILES}
            assert archive.comment == b"Research use only. Not a medical device."

    def test_an_imported_model_can_be_given_another_name(self, store: Store, zip_of: Callable[..., Path]) -> None:
        assert store.import_zip(zip_of(), "mine") == "mine"
        assert store.names() == ("a", "b", "c", "mine")

    def test_files_at_the_top_of_a_zip_take_its_name(self, store: Store, zip_of: Callable[..., Path]) -> None:
        assert store.import_zip(zip_of(GOOD, "Liver-1.zip")) == "liver-1"

    def test_a_folder_entry_does_not_matter(self, store: Store, zip_of: Callable[..., Path]) -> None:
        assert store.import_zip(zip_of({"good/": b"", **_below("good", GOOD)})) == "good"

    def test_a_taken_name_is_refused_and_the_old_model_stays(self, store: Store, zip_of: Callable[..., Path]) -> None:
        before = tree(store.folder)

        with pytest.raises(CheckpointError, match=r'"a" is taken already'):
            store.import_zip(zip_of(_below("a", OTHER)))
        assert tree(store.folder) == before

    @pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
    @pytest.mark.parametrize(("contents", "sentence"), REFUSED)
    def test_a_zip_that_is_no_plain_model_is_refused_and_leaves_nothing(
        self, store: Store, zip_of: Callable[..., Path], tmp_path: Path, contents: dict[Any, bytes], sentence: str
    ) -> None:
        path = zip_of(contents)
        before = tree(tmp_path)

        with pytest.raises(UncolError, match=sentence) as refused:
            store.import_zip(path)

        assert tree(tmp_path) == before
        assert sorted(each.name for each in store.folder.iterdir()) == ["a", "b", "c"]
        assert ".private" not in str(refused.value)

    def test_a_backslash_is_no_way_out_on_any_system(self, store: Store, zip_of: Callable[..., Path]) -> None:
        path = zip_of({"good@model.json": b"1", **_below("good", GOOD)})
        path.write_bytes(path.read_bytes().replace(b"good@model.json", b"good\\model.json"))

        with pytest.raises(CheckpointError, match=r"which no model has"):
            store.import_zip(path)

    def test_a_zip_that_lies_about_its_sizes_is_refused(self, store: Store, zip_of: Callable[..., Path]) -> None:
        path = zip_of()
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in _below("good", {**GOOD, "weights.safetensors": bytes(5_000_000)}).items():
                archive.writestr(name, content)
        lie = path.read_bytes().replace((5_000_000).to_bytes(4, "little"), (500).to_bytes(4, "little"))
        path.write_bytes(lie)

        with pytest.raises(CheckpointError):
            store.import_zip(path)
        assert store.names() == ("a", "b", "c")

    @pytest.mark.parametrize("keep", [0, 10, 300, -1, -30])
    def test_a_cut_off_zip_is_refused(self, store: Store, zip_of: Callable[..., Path], keep: int) -> None:
        path = zip_of()
        path.write_bytes(path.read_bytes()[:keep])

        with pytest.raises(CheckpointError, match=r'"shared.zip" is no zip of a model, or it is damaged'):
            store.import_zip(path)

    def test_a_zip_with_a_changed_byte_is_refused(self, store: Store, zip_of: Callable[..., Path]) -> None:
        path = zip_of()
        content = bytearray(path.read_bytes())
        content[content.index(HEADER) + 40] ^= 1
        path.write_bytes(content)

        with pytest.raises(CheckpointError, match=r"is damaged"):
            store.import_zip(path)

    def test_an_encrypted_zip_is_refused(self, store: Store, zip_of: Callable[..., Path]) -> None:
        path = zip_of()
        content = bytearray(path.read_bytes())
        place = content.rindex(b"PK\x01\x02")  # the flags of the last entry in the zip's directory
        content[place + 8] |= 1
        path.write_bytes(content)

        with pytest.raises(CheckpointError, match=r"which no model has"):
            store.import_zip(path)

    def test_a_missing_zip_is_refused(self, store: Store, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match=r"none.zip.* does not exist. Choose the zip of a model"):
            store.import_zip(tmp_path / "none.zip")

    def test_a_damaged_model_is_not_exported(self, store: Store, tmp_path: Path) -> None:
        (store.folder / "a" / "weights.safetensors").write_bytes(b"1")

        with pytest.raises(CheckpointError, match=r"is damaged"):
            store.export_zip("a", tmp_path / "a.zip")
        assert not (tmp_path / "a.zip").exists()

    def test_an_export_that_cannot_be_written_leaves_nothing(self, store: Store, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match=r"a.zip.*could not be written \(No such file or directory\)"):
            store.export_zip("a", tmp_path / "none" / "a.zip")
        (tmp_path / "a.zip").mkdir()
        with pytest.raises(OutputError, match=r"a.zip.*could not be written \(Is a directory\)"):
            store.export_zip("a", tmp_path / "a.zip")
        assert sorted(each.name for each in tmp_path.iterdir()) == ["a.zip", "models"]

    def test_an_export_replaces_an_older_one(self, store: Store, tmp_path: Path) -> None:
        (tmp_path / "a.zip").write_bytes(b"old")

        store.export_zip("a", tmp_path / "a.zip")

        assert zipfile.is_zipfile(tmp_path / "a.zip")


class TestFindModel:
    def test_a_folder_or_a_name_is_found(self, store: Store, tmp_path: Path) -> None:
        write_model(tmp_path / "other")

        assert find_model(str(tmp_path / "other"), store) == tmp_path / "other"
        assert find_model("b", store) == store.folder / "b"

    def test_a_folder_comes_before_a_name(self, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_model(tmp_path / "b")
        monkeypatch.chdir(tmp_path)

        assert find_model("b", store) == Path("b")

    def test_what_is_neither_is_told(self, store: Store) -> None:
        with pytest.raises(CheckpointError, match=r'"none" is not a model folder .*\(models there: a, b, c\)'):
            find_model("none", store)


def test_what_the_engine_writes_is_what_the_store_reads(tmp_path: Path) -> None:
    from uncol.checkpoints import Model, ModelCard, build_student, load_model, save_model
    from uncol.config import Config, StudentConfig

    config = Config(student=StudentConfig(channels=(2, 2, 2, 2, 2)))
    card = ModelCard((Structure(5, "kidney"),), "axial", 1.0, 3.0, (-160.0, 240.0), config, {"steps": 1})
    store = Store(tmp_path / "models")
    save_model(Model(card, build_student(card)), store.folder / "kidney")

    store.verify("kidney")
    store.export_zip("kidney", tmp_path / "kidney.zip")
    store.import_zip(tmp_path / "kidney.zip", "copy")

    assert store.entry("copy").title == "kidney"
    assert load_model(store.path_of("copy")).card == card
    verify_sums(store.path_of("copy"))
    assert read_card(store.path_of("copy"))["plane"] == "axial"
