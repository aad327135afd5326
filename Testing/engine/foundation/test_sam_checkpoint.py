"""SAM checkpoints: sizes read off the weights, strict loading, and one sentence for every wrong file."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from torch import Tensor

from uncol.core.errors import CheckpointError
from uncol.foundation.sam_checkpoint import EncoderSize, build_sam, encoder_size, load_sam

segment_anything = pytest.importorskip("segment_anything", reason="needs the optional package segment-anything")

TINY = EncoderSize(width=32, depth=4, heads=2, patch=8, grid=8, window=3, global_blocks=(1, 3), embedding_width=16)


@pytest.fixture(scope="module")
def tiny_state() -> dict[str, Tensor]:
    return build_sam(TINY).state_dict()


@pytest.fixture
def save(tmp_path: Path):
    """Write anything the way training programs do."""

    def write(content: object, name: str = "weights.pth") -> Path:
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return write


class TestSizes:
    @pytest.mark.parametrize(
        ("published", "kind", "expected"),
        [
            ("vit_b", "ViT-B", EncoderSize(768, 12, 12, 16, 64, 14, (2, 5, 8, 11), 256)),
            ("vit_l", "ViT-L", EncoderSize(1024, 24, 16, 16, 64, 14, (5, 11, 17, 23), 256)),
            ("vit_h", "ViT-H", EncoderSize(1280, 32, 16, 16, 64, 14, (7, 15, 23, 31), 256)),
        ],
    )
    def test_the_published_models_are_told_apart_and_rebuilt(
        self, published: str, kind: str, expected: EncoderSize
    ) -> None:
        with torch.device("meta"):  # shapes without numbers: nothing is allocated
            state = segment_anything.sam_model_registry[published]().state_dict()
            rebuilt = build_sam(expected).state_dict()

        size = encoder_size(state)

        assert size == expected
        assert (size.kind, size.side) == (kind, 1024)
        assert {name: each.shape for name, each in rebuilt.items()} == {
            name: each.shape for name, each in state.items()
        }

    def test_any_other_size_is_read_off_the_weights(self, tiny_state: dict[str, Tensor]) -> None:
        assert encoder_size(tiny_state) == TINY
        assert (TINY.kind, TINY.side) == ("ViT with 4 blocks of width 32", 64)


class TestLoading:
    def test_every_weight_of_the_file_is_in_the_network(self, tiny_state: dict[str, Tensor], save) -> None:
        network, size = load_sam(save(tiny_state))

        assert size == TINY
        loaded = network.state_dict()
        assert loaded.keys() == tiny_state.keys()
        assert all(torch.equal(loaded[name], each) for name, each in tiny_state.items())

    @pytest.mark.parametrize("wrapper", ["model", "state_dict"])
    def test_weights_beside_an_optimizer_are_found(self, tiny_state: dict[str, Tensor], save, wrapper: str) -> None:
        _, size = load_sam(save({wrapper: tiny_state, "epoch": 3, "optimizer": {"state": {}}}))

        assert size == TINY


class TestWrongFiles:
    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match=r'missing.pth" could not be read \(.+\)\. Name an existing file\.'):
            load_sam(tmp_path / "missing.pth")

    @pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 no zip"], ids=["empty", "text", "zip"])
    def test_a_file_of_another_kind_is_refused(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "weights.pth"
        path.write_bytes(content)

        with pytest.raises(CheckpointError, match=r'weights.pth" is no checkpoint file of tensors alone, or it is dam'):
            load_sam(path)

    def test_a_file_that_could_run_code_is_refused(self, save) -> None:
        with pytest.raises(CheckpointError, match="files that could run code are never opened"):
            load_sam(save({"image_encoder.pos_embed": Path("anything but a tensor")}))

    def test_a_single_tensor_is_refused(self, save) -> None:
        with pytest.raises(CheckpointError, match="holds a Tensor instead of named weights"):
            load_sam(save(torch.zeros(3)))

    def test_another_network_is_refused(self, save) -> None:
        expected = r"is no checkpoint of SAM or MedSAM .*: it has no weights named image_encoder.pos_embed\. Choose a"
        with pytest.raises(CheckpointError, match=expected):
            load_sam(save({"conv.weight": torch.zeros(2, 2)}))

    def test_one_missing_weight_is_refused_and_named(self, tiny_state: dict[str, Tensor], save) -> None:
        state = {name: each for name, each in tiny_state.items() if name != "mask_decoder.iou_token.weight"}

        with pytest.raises(CheckpointError, match=r'Missing key.*"mask_decoder.iou_token.weight"'):
            load_sam(save(state))

    def test_one_weight_too_many_is_refused_and_named(self, tiny_state: dict[str, Tensor], save) -> None:
        with pytest.raises(CheckpointError, match=r'Unexpected key.*"adapter.weight"'):
            load_sam(save(tiny_state | {"adapter.weight": torch.zeros(1)}))

    def test_a_weight_of_another_shape_is_refused(self, tiny_state: dict[str, Tensor], save) -> None:
        with pytest.raises(CheckpointError, match=r"size mismatch for mask_decoder.mask_tokens.weight"):
            load_sam(save(tiny_state | {"mask_decoder.mask_tokens.weight": torch.zeros(2, 16)}))

    def test_a_volume_encoder_is_refused(self, tiny_state: dict[str, Tensor], save) -> None:
        with pytest.raises(CheckpointError, match="is no checkpoint of SAM or MedSAM"):
            load_sam(save(tiny_state | {"image_encoder.pos_embed": torch.zeros(1, 8, 8, 8, 32)}))


def test_without_the_package_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uncol.foundation.sam_checkpoint.find_spec", lambda name: None)
    assert importlib.util.find_spec("segment_anything") is not None

    with pytest.raises(CheckpointError, match=r"not installed\. Install it with `pip install segment-anything`, or"):
        load_sam(tmp_path / "weights.pth")
