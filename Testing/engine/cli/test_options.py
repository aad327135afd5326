"""How the texts of shared options are read."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from uncol.cli.options import cache_folder, join_cases, parse_case, parse_device, parsed, without_names
from uncol.core.errors import ConfigError
from uncol.core.jobs import Case


def test_the_two_paths_of_a_case_travel_as_one_value_whatever_is_in_them() -> None:
    arguments = ["fine-tune", "--case", "my scan.nii", "a,b.nii", "--out", "m", "--case", "c", "d"]

    joined = join_cases(arguments)

    assert [len(joined), joined[0], joined[3:5]] == [7, "fine-tune", ["--out", "m"]]
    assert parsed([joined[2], joined[6]], parse_case) == (
        Case(Path("my scan.nii"), Path("a,b.nii")),
        Case(Path("c"), Path("d")),
    )


def test_a_case_without_its_label_map_is_refused() -> None:
    (_, value, *_) = join_cases(["--case", "scan.nii", "--out", "m"])

    with pytest.raises(ConfigError, match="--case needs two paths"):
        parse_case(value)


def test_an_option_left_out_has_no_values() -> None:
    assert parsed(None, parse_device) == ()


def test_a_device_is_one_of_four() -> None:
    assert parse_device("cuda") == "cuda"
    with pytest.raises(ConfigError, match=r'Device "abacus" is unknown\. Choose one of auto, cpu, cuda, mps'):
        parse_device("abacus")


def test_embeddings_are_kept_where_the_user_says() -> None:
    assert cache_folder(Path("here")) == Path("here")


@pytest.mark.skipif(sys.platform != "linux", reason="the folders are named by variables")
def test_else_embeddings_are_kept_where_caches_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    assert cache_folder(None) == tmp_path / "uncol" / "embeddings"


def test_a_command_line_is_shown_without_names_of_files():
    arguments = ["segment", "mueller.nii.gz", "--box", "liver=1,2,3,4,5,6", "--minutes", "0.5", "-o", "mueller"]

    assert without_names(arguments) == "uncol segment FILE --box liver=1,2,3,4,5,6 --minutes 0.5 -o FILE"
    assert without_names(["view", "a/b", "--out=mueller", "--structure=x y=1"]) == (
        "uncol view FILE --out=FILE '--structure=x y=1'"
    )
