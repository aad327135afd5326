"""`uncol models ...` and models by name: what a person reads, what a program reads, and exit codes."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813  # the abbreviation of SimpleITK's own documentation
import torch
from pydicom import Dataset, dcmread
from safetensors.torch import save
from small_models import files_of
from written_dicom import clinical, save_slices

from uncol.cli import main as cli
from uncol.cli.models import models_folder
from uncol.core.config import Config, DataConfig, StudentConfig
from uncol.core.jobs import Structure
from uncol.core.model_card import ModelCard
from uncol.core.model_folder import LIMITS_BYTES
from uncol.core.model_hash import stated_hash
from uncol.core.model_store import Store
from uncol.core.unfinished import RunOrigin
from uncol.core.volume import Volume
from uncol.data.io import write_results
from uncol.models.build import build_student
from uncol.models.card import Model
from uncol.models.checkpoints import save_checkpoint, save_model

CONFIG = Config(student=StudentConfig(channels=(2, 2, 2, 2, 2)), data=DataConfig(neighbor_count=3))
CARD = ModelCard(
    (Structure(7, "spleen"), Structure(2, "liver")),
    "axial",
    1.0,
    3.0,
    (-160.0, 240.0),
    CONFIG,
    {"steps": 12, "curve": [{"step": 1}]},
    (True, True),
)

IMAGE = Volume(np.arange(3 * 32 * 40, dtype=np.int16).reshape(3, 32, 40), np.diag([-1.0, -1.0, 3.0, 1.0]))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with the models first and second."""
    torch.manual_seed(0)
    for name in ("first", "second"):
        save_model(Model(CARD, build_student(CARD)), tmp_path / "models" / name)
    return Store(tmp_path / "models")


@pytest.fixture
def uncol(monkeypatch: pytest.MonkeyPatch, capfd: Any, tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    """Return a function that runs `cli.main.main` with the store; it gives (exit code, stdout, stderr)."""
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["uncol", *map(str, arguments), "--models", str(tmp_path / "models")])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capfd.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


def test_the_list_shows_what_each_model_segments(store: Store, uncol: Callable[..., Any]) -> None:
    store.activate("second")

    code, out, _ = uncol("models", "list")

    assert code == 0
    lines = {line.split("│")[2].strip(): line for line in out.splitlines() if "│" in line}
    assert "spleen, liver" in lines["first"]
    assert "*" in lines["second"]
    assert "*" not in lines["first"]


def test_the_list_shows_what_is_unfinished_and_from_which_volume(store: Store, uncol: Callable[..., Any]) -> None:
    folder = store.folder / store.claim("Liver", RunOrigin("CT of Smith", "digest"))
    save_checkpoint(folder, {"a": torch.ones(2)}, {"step": 31})

    code, out, _ = uncol("models", "list")
    listed = json.loads(uncol("models", "list", "--json")[1])

    assert code == 0
    [line] = [line for line in out.splitlines() if "CT of Smith" in line]
    assert [cell.strip() for cell in line.split("│")[1:4]] == ["liver", "CT of Smith", "31"]
    assert [each["name"] for each in listed["models"]] == ["first", "second"]
    [run] = listed["unfinished"]
    assert {**run, "saved": ""} == {"name": "liver", "volume": "CT of Smith", "base": "", "steps": 31, "saved": ""}
    assert uncol("models", "remove", "liver")[0] == 0
    assert json.loads(uncol("models", "list", "--json")[1])["unfinished"] == []


def test_the_list_as_json_is_one_object(store: Store, uncol: Callable[..., Any]) -> None:
    store.activate("second")

    _, out, _ = uncol("models", "list", "--json")

    document = json.loads(out)
    assert document["active"] == "second"
    assert [each["name"] for each in document["models"]] == ["first", "second"]
    assert document["models"][0]["training"] == {"steps": 12}


def test_show_tells_how_a_model_was_trained_and_what_it_is_not_for(store: Store, uncol: Callable[..., Any]) -> None:
    code, out, err = uncol("models", "show", "first")

    assert code == 0
    assert "spleen, liver" in out
    assert "CT (Hounsfield units)" in out
    assert "12" in out
    assert "Research use only. Not a medical device." in err
    assert json.loads(uncol("models", "show", "first", "--json")[1])["card"]["plane"] == "axial"


def test_models_are_managed_by_name(store: Store, uncol: Callable[..., Any], tmp_path: Path) -> None:
    assert uncol("models", "activate", "first")[2] == "first is active.\n"
    assert uncol("models", "activate", "second")[0] == 0
    assert uncol("models", "roll-back")[0] == 0
    assert store.active == "first"
    assert json.loads(uncol("models", "rename", "first", "best", "--json")[1]) == {"event": "result", "active": "best"}
    assert uncol("models", "export", "best", tmp_path / "best.zip")[0] == 0
    assert json.loads(uncol("models", "import", tmp_path / "best.zip", "--name", "copy", "--json")[1])["name"] == "copy"
    assert uncol("models", "remove", "second")[0] == 0
    assert store.names() == ("best", "copy")
    assert uncol("models", "verify") == (0, "", "2 models are whole.\n")


def test_verify_counts_one_and_none_in_words(store: Store, uncol: Callable[..., Any]) -> None:
    assert uncol("models", "verify", "second") == (0, "", "second is whole.\n")
    for name in store.names():
        store.remove(name)

    empty = f'There is no model in "{store.folder}" yet. Fine-tune one or import one.\n'
    assert uncol("models", "verify") == (0, "", empty)


def test_an_import_under_a_taken_name_says_how_to_give_another(
    store: Store, uncol: Callable[..., Any], tmp_path: Path
) -> None:
    store.export_zip("first", tmp_path / "first.zip")

    code, out, err = uncol("models", "import", tmp_path / "first.zip")

    assert (code, out) == (2, "")
    assert err == (
        '"first" is taken already. Choose another name; nothing was changed. Give the new name with --name.\n'
    )


def test_verify_names_the_damaged_model_and_fails(store: Store, uncol: Callable[..., Any]) -> None:
    (store.folder / "second" / "weights.safetensors").write_bytes(b"1")

    code, out, err = uncol("models", "verify", "--json")

    assert code == 2
    assert json.loads(out)["verified"] == ["first"]
    assert list(json.loads(out)["damaged"]) == ["second"]
    assert "weights.safetensors does not match its checksum" in err
    assert uncol("models", "verify", "first")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["show", "nobody"], 'There is no model "nobody"'),
        (["rename", "first", "second"], '"second" is taken already'),
        (["rename", "first", "No Name"], '"No Name" is no name for a model'),
        (["roll-back"], "There is no earlier model to go back to"),
        (["import", "none.zip"], '"none.zip" does not exist'),
        (["remove", "../models"], '"../models" is no name for a model'),
    ],
)
def test_what_does_not_work_is_one_sentence_with_exit_code_2(
    store: Store, uncol: Callable[..., Any], arguments: list[str], sentence: str
) -> None:
    code, out, err = uncol("models", *arguments)

    assert code == 2
    assert out == ""
    assert sentence in err
    assert "Traceback" not in err


@pytest.mark.parametrize("chosen", ["first", "models/first"])
def test_segment_takes_a_model_by_name_or_folder(
    store: Store, uncol: Callable[..., Any], tmp_path: Path, chosen: str
) -> None:
    write_results(tmp_path, {"ct.nrrd": IMAGE}, {})

    code, _, err = uncol("segment", "ct.nrrd", "--model", chosen, "--out", "out")

    assert code == 0, err
    assert json.loads((tmp_path / "out" / "report.json").read_text())["model"] == "first"


def test_a_result_as_dicom_names_the_model_and_the_model_is_found_by_its_hash(
    store: Store, uncol: Callable[..., Any], tmp_path: Path
) -> None:
    store.remove("second")  # the same weights
    save_slices(tmp_path / "ct", IMAGE.voxels.astype(float), edit=lambda _n, header: clinical(header))

    code, _, err = uncol("segment", "ct", "--model", "first", "--dicom", "--out", "out")

    assert code == 0, err
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert {"segmentation.dcm", "uncertainty.dcm"} < set(report["files"])
    segmentation = dcmread(tmp_path / "out" / "segmentation.dcm")
    told = dict(part.split("=", 1) for part in parameters_of(segmentation).split(",") if "=" in part)
    assert told["model_sha256"] == report["model_sha256"] == segmentation.DeviceSerialNumber
    weights = (store.folder / "first" / "weights.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == report["model_sha256"]
    assert segmentation.ContentDescription.endswith(f"model {report['model_sha256'][:12]}")
    for known in (report["model_sha256"], segmentation.ContentDescription[-12:]):
        assert json.loads(uncol("models", "show", known, "--json")[1])["name"] == "first"
    assert uncol("segment", "ct", "--model", "first", "--out", "out")[0] == 0
    assert not (tmp_path / "out" / "segmentation.dcm").exists()  # it would be of another run


def parameters_of(segmentation: Dataset) -> str:
    return str(segmentation.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0].AlgorithmParameters)


def test_a_hash_that_no_model_has_is_told(store: Store, uncol: Callable[..., Any]) -> None:
    code, _, err = uncol("models", "show", "0123456789ab")

    assert code == 2
    assert "has weights with the SHA-256 0123456789ab. Look in another folder with --models" in err


def test_an_unknown_model_is_told_with_those_that_there_are(store: Store, uncol: Callable[..., Any]) -> None:
    code, _, err = uncol("segment", "ct.nrrd", "--model", "third", "--out", "out")

    assert code == 2
    assert '"third" is not a model folder' in err
    assert "models there: first, second" in err


def rewrite(folder: Path, card: dict[str, Any], weights: bytes | None = None) -> None:
    """Put another card, and other weights, into a model's folder, with the right checksums."""
    document = json.loads((folder / "model.json").read_text(encoding="utf-8")) | card
    for name, each in files_of(document, weights or (folder / "weights.safetensors").read_bytes()).items():
        (folder / name).write_bytes(each)


STRANGER = {
    "structures": [{"value": 7, "name": "sple\x1b[2Jen\x1b]0;owned\x07"}, {"value": 2, "name": "li\u202ever\r\n"}],
    "intended_use": "CE-marked medical device",
    "training": {"steps": 12, "not\x1b[31me": "\x9bred", "notes": ["a\x1bb"]},
}


@pytest.mark.parametrize("arguments", [("list",), ("show", "first"), ("verify",)], ids=lambda each: each[0])
def test_texts_of_a_stranger_do_nothing_on_the_terminal(
    store: Store, uncol: Callable[..., Any], arguments: tuple[str, ...]
) -> None:
    rewrite(store.folder / "first", STRANGER)

    code, out, err = uncol("models", *arguments)

    assert code == 0, err
    assert not {each for each in out + err if unicodedata.category(each) == "Cc"} - {"\n"}
    assert "\u202e" not in out + err
    assert ("sple [2Jen ]0;owned" in out) == (arguments[0] != "verify")


def test_the_disclaimer_is_ours_whatever_a_card_says(store: Store, uncol: Callable[..., Any]) -> None:
    rewrite(store.folder / "first", STRANGER)

    _, out, err = uncol("models", "show", "first")
    card = json.loads(uncol("models", "show", "first", "--json")[1])["card"]

    assert err == "Research use only. Not a medical device.\n"
    assert "CE-marked" not in out
    assert card["intended_use"] == "Research use only. Not a medical device."


def test_a_model_that_no_command_can_use_is_not_called_whole(
    store: Store, uncol: Callable[..., Any], tmp_path: Path
) -> None:
    config = CONFIG.as_document()
    rewrite(store.folder / "first", {"config": config | {"student": config["student"] | {"channels": [2, 2, 2, 2, 4]}}})
    store.export_zip("first", tmp_path / "first.zip")

    assert uncol("models", "verify", "first")[0] == 2
    code, _, err = uncol("models", "import", tmp_path / "first.zip", "--name", "copy")

    assert code == 2
    assert (
        '"first.zip" was not imported. Model "first.zip" has weights that do not fit its card. Export it again.' in err
    )
    assert store.names() == ("first", "second")


@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        pytest.param(float("nan"), 'first" is broken: its weights', id="weights that are no numbers"),
        pytest.param(3e38, "The probabilities in slice 0 are not finite", id="weights that overflow"),
    ],
)
def test_a_broken_model_gives_a_sentence_and_no_map(
    store: Store, uncol: Callable[..., Any], tmp_path: Path, number: float, sentence: str
) -> None:
    write_results(tmp_path, {"ct.nrrd": IMAGE}, {})
    weights = {name: torch.full_like(each, number) for name, each in build_student(CARD).state_dict().items()}
    rewrite(store.folder / "first", {}, save(weights))

    code, out, err = uncol("segment", "ct.nrrd", "--model", "first", "--out", "out")

    assert (code, out) == (2, "")
    assert sentence in err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


def test_nothing_found_is_a_warning_in_sight_and_a_map_that_knows_nothing(
    store: Store, uncol: Callable[..., Any], tmp_path: Path
) -> None:
    write_results(tmp_path, {"ct.nrrd": IMAGE}, {})
    weights = {name: each.clone() for name, each in build_student(CARD).state_dict().items()}
    *_, last_weight, last_bias = weights.values()
    last_weight.zero_()
    last_bias.copy_(torch.tensor([20.0, 0.0, 0.0]))  # background, and very sure of it
    rewrite(store.folder / "first", {}, save(weights))

    code, _, err = uncol("segment", "ct.nrrd", "--model", "first", "--out", "out")
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))

    assert code == 0, err
    assert "Warning: nothing was found anywhere in this image. That is no finding" in err
    assert report["notes"][0].startswith("Warning: nothing was found")
    uncertainty = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / "uncertainty.nii.gz")))
    assert uncertainty.min() == uncertainty.max() == 1


@pytest.mark.skipif(sys.platform != "linux", reason="the folders are named by variables")
class TestFolder:
    @pytest.fixture(autouse=True)
    def at_home(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    def test_models_are_kept_where_data_is(self, tmp_path: Path) -> None:
        assert models_folder(None) == tmp_path / "data" / "uncol" / "models"

    def test_models_among_the_settings_are_found_as_long_as_there_are_no_others(self, tmp_path: Path) -> None:
        former, own = (tmp_path / each / "uncol" / "models" for each in ("config", "data"))
        former.mkdir(parents=True)

        assert models_folder(None) == former
        own.mkdir(parents=True)
        assert models_folder(None) == own

    def test_a_chosen_folder_is_the_one(self, tmp_path: Path) -> None:
        (tmp_path / "config" / "uncol" / "models").mkdir(parents=True)

        assert models_folder(Path("mine")) == Path("mine")


def test_a_folder_that_fine_tuning_wrote_is_taken_in(store: Store, uncol: Callable[..., Any], tmp_path: Path) -> None:
    for name in ("liver-model", "Leber Modell"):
        shutil.copytree(store.path_of("first"), tmp_path / name)
    (tmp_path / "liver-model" / "report.html").write_text("a page", encoding="utf-8")

    assert uncol("models", "import", "liver-model")[::2] == (0, "liver-model was imported.\n")
    assert {each.name for each in store.path_of("liver-model").iterdir()} == set(LIMITS_BYTES)
    assert (tmp_path / "liver-model" / "report.html").is_file()
    code, _, err = uncol("models", "import", "liver-model")
    assert (code, "is taken already" in err, err.endswith("Give the new name with --name.\n")) == (2, True, True)
    code, _, err = uncol("models", "import", "Leber Modell")
    assert (code, "is no name for a model" in err, err.endswith("Give the new name with --name.\n")) == (2, True, True)
    assert uncol("models", "import", "Leber Modell", "--name", "leber")[0] == 0
    (tmp_path / "empty").mkdir()
    code, _, err = uncol("models", "import", "empty")
    assert code == 2
    assert err == '"empty" holds no model (there is no model.json). Give the folder that fine-tuning wrote, or a zip.\n'
    (tmp_path / "liver-model" / "weights.safetensors").write_bytes(b"cut")
    code, _, err = uncol("models", "import", "liver-model", "--name", "cut")
    assert (code, "does not match its checksum" in err) == (2, True)
    assert store.names() == ("first", "leber", "liver-model", "second")


def test_an_empty_list_says_how_models_come_into_it(uncol: Callable[..., Any]) -> None:
    _, _, err = uncol("models", "list")

    assert err.endswith("`uncol models import FOLDER` takes in what `uncol fine-tune` wrote.\n")


def test_facts_are_shown_without_what_is_unknown_and_hashes_whole(
    store: Store, uncol: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")

    _, out, _ = uncol("models", "show", "first")

    cells = [[each.strip() for each in line.split("│")[1:3]] for line in out.splitlines() if line.startswith("│")]
    assert "None" not in [value for _, value in cells]
    assert not any("_" in name or "…" in value for name, value in cells)
    start = next(number for number, (name, _) in enumerate(cells) if name == "sha256")
    assert stated_hash(store.path_of("first")) in "".join(value for _, value in cells[start : start + 2])
