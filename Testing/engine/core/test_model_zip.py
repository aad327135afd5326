"""Models as zips: what is exported can be imported, and a zip that nobody should have to trust changes nothing."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_models import FILES, HEADER, WEIGHTS, files_of, tree

from uncol.core.errors import CheckpointError, OutputError, UncolError
from uncol.core.model_store import Store


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
OTHER = files_of(weights=WEIGHTS[:-1] + b"\0")
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
        r'"shared.zip" is damaged: weights.safetensors does not match its checksum\. Export it again\.$',
        id="wrong sums",
    ),
    pytest.param(_below("good", {**GOOD, "SHA256SUMS": b"nonsense"}), r"is incomplete", id="no readable sums"),
    pytest.param(_below("good", files_of(weights=b"\x80\x04pickle")), r"weights are no safetensors file", id="pickle"),
    pytest.param(_below("good", files_of(weights=b"")), r"weights are no safetensors file", id="no weights"),
    pytest.param(_below("good", files_of({"format": 9})), r"has format 9, this version reads 1", id="other format"),
    pytest.param(_below("good", files_of({"format": 1})), r'The card lacks the field "structures"', id="empty card"),
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
        assert ".uncol" not in str(refused.value)
        assert "Import it again" not in str(refused.value)

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

    def test_a_store_below_a_file_is_one_sentence(self, tmp_path: Path, zip_of: Callable[..., Path]) -> None:
        (tmp_path / "file").touch()

        with pytest.raises(OutputError, match=r"could not be changed \(Not a directory\)"):
            Store(tmp_path / "file" / "models").import_zip(zip_of())

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
