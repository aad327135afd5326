"""Files of a stranger: each is refused with one sentence, at once, and nothing else on the disk changes."""

from __future__ import annotations

import json
import os
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hostile_files import CARDS, CONFIGURATIONS, STRANGE_FILES, TEXTS, WEIGHTS, model_zip, zip_with
from mutated import counted, mutated, mutated_document
from small_models import CARD, FILES, files_of, tree, write_model

from uncol.core.config import read_config
from uncol.core.errors import CheckpointError, ConfigError, OutputError, UncolError
from uncol.core.model_card import ModelCard, check_model
from uncol.core.model_folder import COMPLETE, MODEL_FILE, check_interrupted_save, model_written
from uncol.core.model_store import Store, find_model
from uncol.core.records import to_document
from uncol.report.outcome import Outcome
from uncol.report.report import write_run

LONGEST_S = 5.0
GOOD_WEIGHTS = files_of()["weights.safetensors"]


@contextmanager
def refused() -> Iterator[None]:
    """What happens inside must end with one line of a sentence or two, within seconds."""
    began = time.monotonic()
    with pytest.raises(UncolError) as told:
        yield
    assert time.monotonic() - began < LONGEST_S
    text = str(told.value)
    assert text.endswith(".")
    assert "\n" not in text
    assert len(text) < 1200


def one_wrong(part: dict[str, Any]) -> list[Any]:
    return [pytest.param(each, id=name) for name, each in part.items()]


class TestCards:
    @pytest.mark.parametrize("change", one_wrong(CARDS))
    def test_a_card_without_meaning_is_refused_and_hides_no_other_model(
        self, store: Store, tmp_path: Path, change: dict[str, Any]
    ) -> None:
        self.hides_nothing(store, tmp_path, json.dumps(CARD | change).encode())

    @pytest.mark.parametrize("text", one_wrong(TEXTS))
    def test_a_text_that_is_no_card_is_refused_and_hides_no_other_model(
        self, store: Store, tmp_path: Path, text: bytes
    ) -> None:
        self.hides_nothing(store, tmp_path, text)

    @staticmethod
    def hides_nothing(store: Store, tmp_path: Path, card: bytes) -> None:
        path = model_zip(tmp_path / "bad.zip", card)
        write_model(store.folder / "bad", files_of(card))
        before = tree(tmp_path)

        with refused():
            store.verify("bad")
        with refused():
            store.import_zip(path, "taken-in")

        assert {"a", "b", "c"} <= {each.name for each in store.list()}
        assert tree(tmp_path) == before

    def test_the_card_that_was_changed_is_good(self, store: Store, tmp_path: Path) -> None:
        assert store.import_zip(model_zip(tmp_path / "good.zip")) == "good"
        store.verify("good")


class TestFolders:
    @pytest.mark.parametrize("weights", one_wrong(WEIGHTS))
    def test_weights_that_are_none_or_not_finite_are_refused(
        self, store: Store, tmp_path: Path, weights: bytes
    ) -> None:
        write_model(store.folder / "bad", files_of(weights=weights))
        path = model_zip(tmp_path / "bad.zip", **files_of(weights=weights))
        before = tree(tmp_path)

        with refused():
            store.verify("bad")
        with refused():
            store.import_zip(path, "taken-in")

        assert tree(tmp_path) == before

    @pytest.mark.parametrize("make", one_wrong(STRANGE_FILES))
    @pytest.mark.parametrize("name", sorted(FILES))
    def test_what_is_no_regular_file_is_not_waited_for(
        self, store: Store, tmp_path: Path, name: str, make: Callable[[Path], None]
    ) -> None:
        write_model(store.folder / "bad")
        (store.folder / "bad" / name).unlink()
        make(store.folder / "bad" / name)

        with refused():
            check_model(store.folder / "bad")
        with refused():
            store.export_zip("bad", tmp_path / "bad.zip")

        assert not (tmp_path / "bad.zip").exists()
        assert {"a", "b", "c"} <= {each.name for each in store.list()}

    @pytest.mark.parametrize("make", one_wrong({**STRANGE_FILES, "file": Path.touch}))
    def test_what_is_no_folder_of_ours_is_never_moved(self, tmp_path: Path, make: Callable[[Path], None]) -> None:
        write_model(tmp_path / "model")
        make(tmp_path / "model" / COMPLETE)
        if (tmp_path / "model" / COMPLETE).is_dir():
            (tmp_path / "model" / COMPLETE / "letter.txt").write_text("mine")
        before, names = tree(tmp_path), sorted((tmp_path / "model").iterdir())

        with refused():
            check_interrupted_save(tmp_path / "model")
        with refused(), model_written(tmp_path / "model", CARD) as weights:
            weights.write_bytes(GOOD_WEIGHTS)

        assert tree(tmp_path) == before
        assert sorted((tmp_path / "model").iterdir()) == names
        check_model(tmp_path / "model")

    def test_a_link_to_a_folder_of_others_is_not_followed(self, tmp_path: Path) -> None:
        letters = tmp_path / "letters"
        write_model(letters)  # even if all names are known
        (letters / "letter.txt").write_text("mine")
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / COMPLETE).symlink_to(letters)
        before = tree(letters)

        with refused(), model_written(tmp_path / "run", CARD) as weights:
            weights.write_bytes(GOOD_WEIGHTS)

        assert tree(letters) == before
        assert not Store(tmp_path).has("run")

    def test_a_link_inside_an_unfinished_save_is_not_followed(self, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("mine")
        (tmp_path / "run" / COMPLETE).mkdir(parents=True)
        (tmp_path / "run" / COMPLETE / MODEL_FILE).symlink_to(tmp_path / "secret")

        with refused():
            check_interrupted_save(tmp_path / "run")

    @pytest.mark.parametrize("name", ["x" * 300, "\udcff", "a/" * 3000], ids=["300 letters", "no UTF-8", "deep"])
    def test_a_name_that_no_system_takes_is_no_model(self, store: Store, name: str) -> None:
        with pytest.raises(CheckpointError, match=r"is not a model folder"):
            find_model(name, store)
        with pytest.raises(CheckpointError, match=r"does not exist"):
            store.import_zip(Path(name))


class TestZips:
    @pytest.mark.parametrize("how", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2], ids=["lzma", "bzip2"])
    def test_another_way_of_packing_is_refused(self, store: Store, tmp_path: Path, how: int) -> None:
        with pytest.raises(CheckpointError, match=r'it holds "model.json" packed in another way than UnCoL does'):
            store.import_zip(model_zip(tmp_path / "bad.zip", how=how))

    def test_many_entries_are_refused(self, store: Store, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match=r"it holds 5000 entries"):
            store.import_zip(zip_with(tmp_path / "bad.zip", {f"{each}/": b"" for each in range(5000)}))

    @pytest.mark.parametrize("make", one_wrong({name: STRANGE_FILES[name] for name in ("device", "pipe", "folder")}))
    def test_what_is_no_regular_file_is_no_zip(
        self, store: Store, tmp_path: Path, make: Callable[[Path], None]
    ) -> None:
        make(tmp_path / "bad.zip")

        with pytest.raises(CheckpointError, match=r"is no file\. Choose the zip of a model"):
            store.import_zip(tmp_path / "bad.zip")

    def test_more_than_the_disk_holds_is_refused_before_it_is_unpacked(
        self, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("shutil.disk_usage", lambda _: os.terminal_size((0, 0)) and _Usage())

        with pytest.raises(CheckpointError, match=r'"good.zip" was not imported: it needs 0 MiB\. Free some space'):
            store.import_zip(model_zip(tmp_path / "good.zip"))

    def test_links_in_a_circle_are_no_place_for_a_zip(self, store: Store, tmp_path: Path) -> None:
        (tmp_path / "loop").symlink_to("loop")

        with refused():
            store.export_zip("a", tmp_path / "loop" / "a.zip")

    @pytest.mark.parametrize(
        "place", [Path("a/model.json"), Path("active.json"), Path("new.zip")], ids=["its file", "record", "new"]
    )
    def test_an_export_never_lands_among_the_models(self, store: Store, tmp_path: Path, place: Path) -> None:
        store.activate("a")
        (tmp_path / "link").symlink_to(store.folder)
        before = tree(store.folder)

        for folder in (store.folder, tmp_path / "link"):
            with pytest.raises(OutputError, match=r"lies among the models\. Choose another place"):
                store.export_zip("a", folder / place)

        assert tree(store.folder) == before


class _Usage:
    free = 10


class TestConfigurations:
    @pytest.mark.parametrize("content", one_wrong(CONFIGURATIONS))
    def test_a_configuration_without_meaning_is_refused(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "settings.json").write_bytes(content)

        with refused():
            read_config(tmp_path / "settings.json")

    @pytest.mark.parametrize("make", one_wrong(STRANGE_FILES))
    def test_what_is_no_regular_file_is_no_configuration(self, tmp_path: Path, make: Callable[[Path], None]) -> None:
        make(tmp_path / "settings.json")

        with refused():
            read_config(tmp_path / "settings.json")


FULL_CARD = json.loads(json.dumps(ModelCard.from_document(CARD).as_document()))


def check_card(content: bytes, folder: Path) -> None:
    """Whatever a card holds, the list of models never breaks; one that is taken reads back, and its results do."""
    for name, each in files_of(content).items():
        (folder / name).write_bytes(each)
    Store(folder.parent).list()
    card = check_model(folder)
    assert ModelCard.from_document(card.as_document()) == card
    training = {name: value for name, value in card.training.items() if name != "curve"}
    report = {"model": folder.name, "training": training, "structures": to_document(card.structures), "notes": []}
    write_run("What was found", Outcome.of_segmentation(report), None)


def check_config(content: bytes, folder: Path) -> None:
    """A configuration that is taken can be written as JSON."""
    (folder / "settings.json").write_bytes(content)
    json.dumps(read_config(folder / "settings.json").as_document(), allow_nan=False)


def check_zip(content: bytes, folder: Path) -> None:
    """A zip that is taken gives the store one good model more; one that is refused leaves it as it was."""
    store = Store(folder / "models")
    (folder / "x.zip").write_bytes(content)
    try:
        store.import_zip(folder / "x.zip", "new")
    except UncolError:
        assert not store.folder.exists() or not any(store.folder.iterdir())
        raise
    store.verify("new")
    store.remove("new")
    (store.folder / "active.json").unlink()


def zipped(path: Path) -> bytes:
    return model_zip(path / "good.zip").read_bytes()


class TestMutated:
    """Valid files with a few changes, of which some are still valid."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / "models" / "bad").mkdir(parents=True)
        return tmp_path / "models" / "bad"

    @pytest.mark.parametrize("count", [150, pytest.param(10_000, marks=pytest.mark.soak)])
    def test_cards(self, tell: Callable[[str], None], folder: Path, count: int) -> None:
        ends = counted(count, mutated_document(FULL_CARD), lambda content: check_card(content, folder), CheckpointError)
        tell(f"mutated model cards: {ends}")

    @pytest.mark.parametrize("count", [100, pytest.param(10_000, marks=pytest.mark.soak)])
    def test_configurations(self, tell: Callable[[str], None], folder: Path, count: int) -> None:
        configs = mutated_document(FULL_CARD["config"])
        ends = counted(count, configs, lambda content: check_config(content, folder), ConfigError)
        tell(f"mutated configurations: {ends}")

    @pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
    @pytest.mark.parametrize("count", [50, pytest.param(2_000, marks=pytest.mark.soak)])
    def test_zips(self, tell: Callable[[str], None], tmp_path: Path, count: int) -> None:
        good = model_zip(tmp_path / "good.zip").read_bytes()
        tell(f"mutated zips: {counted(count, mutated(good), lambda each: check_zip(each, tmp_path), UncolError)}")
