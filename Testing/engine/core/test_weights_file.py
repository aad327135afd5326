"""Headers of safetensors files and their numbers, read without torch, against files that safetensors wrote."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hostile_files import WEIGHTS
from mutated import counted, mutated
from safetensors import deserialize
from safetensors.torch import save, save_file

from uncol.core import weights_file
from uncol.core.weights_file import first_not_finite, header_of, read_header

TENSORS = {
    "half": torch.tensor([[1.5, -65504.0]], dtype=torch.float16),
    "brain": torch.tensor([3.38e38], dtype=torch.bfloat16),
    "single": torch.tensor([3.4e38, -1e-45, 0.0]),
    "double": torch.tensor(-1.7e308, dtype=torch.float64),
    "count": torch.tensor(2**62),
    "bytes": torch.arange(255, dtype=torch.uint8),
    "flags": torch.tensor([True, False]),
    "nothing": torch.zeros(0, 4),
}


def test_a_header_says_what_safetensors_wrote(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "a", {"record": "text"})

    header = header_of(tmp_path / "a")

    assert header.metadata == {"record": "text"}
    assert {name: each.shape for name, each in header.tensors.items()} == {
        n: tuple(t.shape) for n, t in TENSORS.items()
    }
    assert {header.tensors[name].dtype for name in TENSORS} == {"F16", "BF16", "F32", "F64", "I64", "U8", "BOOL"}


def test_the_largest_and_smallest_numbers_are_finite(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "a")

    assert first_not_finite(tmp_path / "a") == ""


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_one_number_that_is_not_finite_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, number: float
) -> None:
    monkeypatch.setattr(weights_file, "_BYTES_AT_ONCE", 64)
    broken = torch.ones(1000, dtype=dtype)
    broken[777] = number
    save_file({**TENSORS, "broken": broken}, tmp_path / "a")

    assert first_not_finite(tmp_path / "a") == "broken"


@pytest.mark.parametrize("name", [name for name in WEIGHTS if not name.endswith(("nan", "inf"))])
def test_what_is_no_safetensors_file_is_a_short_value_error(name: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as told:
        read_header(io.BytesIO(WEIGHTS[name]), len(WEIGHTS[name]))
    assert len(str(told.value)) < 250


def test_a_file_above_the_limit_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(save(TENSORS))

    with pytest.raises(OSError, match=r"which is too large"):
        header_of(tmp_path / "a", limit_bytes=100)


@pytest.mark.parametrize("count", [100, pytest.param(10_000, marks=pytest.mark.soak)])
def test_mutated_files_are_refused_or_read_as_safetensors_reads_them(
    tell: Callable[[str], None], tmp_path: Path, count: int
) -> None:
    def use(content: bytes) -> None:
        (tmp_path / "a").write_bytes(content)
        first_not_finite(tmp_path / "a")
        found = {name: (each.dtype, each.shape) for name, each in header_of(tmp_path / "a").tensors.items()}
        assert found == {name: (each["dtype"], tuple(each["shape"])) for name, each in deserialize(content)}

    tell(f"mutated weights: {counted(count, mutated(save(TENSORS)), use, ValueError)}")
