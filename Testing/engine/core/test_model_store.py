"""The store of models: names, the active one and those before, and what changes it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_models import CARD, FILES, tree, write_model

from uncol.core.active_model import ACTIVE_FILE
from uncol.core.errors import CheckpointError, ConfigError, OutputError
from uncol.core.jobs import Structure
from uncol.core.model_folder import is_model_name, read_card, verify_sums
from uncol.core.model_store import Store, find_model
from uncol.core.unfinished import RunOrigin

DAMAGED = "Import it again, fine-tune it anew, or choose another model."

ENGINE_FOLDER = Path(__file__).resolve().parents[3] / "UnCoLSegment"


class TestList:
    def test_a_model_is_listed_with_what_it_segments(self, store: Store) -> None:
        store.activate("b")

        entries = store.list()

        assert [(each.name, each.is_active) for each in entries] == [("a", False), ("b", True), ("c", False)]
        assert entries[0].structures == (Structure(3, "spleen"), Structure(1, "liver"))
        assert entries[0].title == "spleen, liver"
        assert entries[0].training["steps"] == 40
        assert entries[0].grey_values == "arbitrary"
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
        write_model(store.folder / ".uncol-left")
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
        assert store.has_unfinished("run")
        with pytest.raises(CheckpointError, match=r'no model "run"'):
            store.activate("run")
        store.remove("run")
        assert not store.has_unfinished("run")
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
        assert store.claim(text, RunOrigin()) == name
        assert is_model_name(name)

    def test_free_names_count_on(self, store: Store) -> None:
        (store.folder / "a-2").mkdir()

        assert [store.claim("A", RunOrigin()) for _ in range(2)] == ["a-3", "a-4"]

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

    def test_verify_finds_a_single_changed_byte(self, store: Store) -> None:
        weights = store.folder / "a" / "weights.safetensors"
        content = bytearray(weights.read_bytes())
        content[100] ^= 1
        weights.write_bytes(content)

        with pytest.raises(CheckpointError, match=rf"weights.safetensors does not match its checksum\. {DAMAGED}$"):
            store.verify("a")
        store.verify("b")

    @pytest.mark.parametrize("file", sorted(FILES - {"model.json"}))
    def test_verify_misses_a_file(self, store: Store, file: str) -> None:
        (store.folder / "a" / file).unlink()

        with pytest.raises(CheckpointError, match=rf"is incomplete \(.*\)\. {DAMAGED}$"):
            store.verify("a")

    @pytest.mark.parametrize("card", ["{", '{"format": 1}'], ids=["no JSON", "empty"])
    def test_a_damaged_card_is_told_with_what_can_be_done(self, store: Store, card: str) -> None:
        (store.folder / "a" / "model.json").write_text(card)

        with pytest.raises(CheckpointError, match=rf"cannot be (read|understood) \(.*\)\. {DAMAGED}$"):
            store.entry("a")

    def test_an_empty_store_says_how_a_model_comes_into_it(self, tmp_path: Path) -> None:
        store = Store(tmp_path / "models")
        message = re.escape(f'There is no model in "{store.folder}" yet. Fine-tune one or import one.')

        with pytest.raises(CheckpointError, match=f"^{message}$"):
            store.path_of("liver")
        with pytest.raises(CheckpointError, match=rf'^"liver" is not a model folder .*\. {message}$'):
            find_model("liver", store)

    @pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
    def test_a_process_killed_while_it_changes_the_store_leaves_it_whole(self, store: Store) -> None:
        program = (
            "import sys; from pathlib import Path; from uncol.core.model_store import Store\n"
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
        old, new = store.folder / ".uncol-old", store.folder / ".uncol-new"
        for folder in (old, new):
            folder.mkdir()
        os.utime(old, (0, 0))

        store.activate("a")

        assert not old.exists()
        assert new.exists()


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
    from uncol.core.config import Config, StudentConfig
    from uncol.core.model_card import ModelCard
    from uncol.models.build import build_student
    from uncol.models.card import Model
    from uncol.models.checkpoints import load_model, save_model

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
