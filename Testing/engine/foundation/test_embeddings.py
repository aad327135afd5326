"""Tests of the embedding cache: every slice is encoded once, also across restarts, and no disk error stops the work."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from doubles import ThresholdTeacher
from full_disk import full_disk
from hypothesis import strategies as st
from mutated import counted, mutated
from safetensors.torch import save_file

from uncol.core.errors import NotFiniteError
from uncol.foundation import embeddings
from uncol.foundation.embeddings import EmbeddingCache
from uncol.foundation.prompting import SlicePredictor

ONE_MM = (1.0, 1.0)


@pytest.fixture
def teacher() -> ThresholdTeacher:
    return ThresholdTeacher(16)


def slices(count: int = 3, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 100, (count, 8, 8)).astype(np.int16)


def prompted(
    teacher: ThresholdTeacher,
    cache: EmbeddingCache,
    stack: np.ndarray | None = None,
    window: tuple[float, float] = (0.0, 100.0),
    spacing_mm: tuple[float, float] = ONE_MM,
) -> SlicePredictor:
    return SlicePredictor(slices() if stack is None else stack, spacing_mm, window, teacher, cache)


def files_in(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


class TestEncodingOnce:
    def test_a_slice_is_encoded_at_the_first_question_only(self, teacher: ThresholdTeacher) -> None:
        stack = prompted(teacher, EmbeddingCache(None))

        first, again = stack.embedding(1), stack.embedding(1)

        assert teacher.encoded == 1
        assert torch.equal(first, again)

    def test_every_slice_is_encoded_on_its_own(self, teacher: ThresholdTeacher) -> None:
        stack = prompted(teacher, EmbeddingCache(None))

        found = [stack.embedding(index) for index in (0, 1, 2, 1, 0)]

        assert teacher.encoded == 3
        assert torch.equal(found[1], found[3])
        assert not torch.equal(found[0], found[1])

    def test_asking_about_boxes_encodes_nothing_twice(self, teacher: ThresholdTeacher) -> None:
        stack = prompted(teacher, EmbeddingCache(None))
        box = np.array([[0, 0, 8, 8]], dtype=np.float32)

        for _ in range(3):
            stack.predict(2, box)

        assert teacher.encoded == 1

    def test_a_slice_is_found_by_its_content_not_by_its_place(self, teacher: ThresholdTeacher) -> None:
        cache, stack = EmbeddingCache(None), slices()
        prompted(teacher, cache, stack).embedding(0)

        prompted(teacher, cache, stack[::-1]).embedding(2)

        assert teacher.encoded == 1

    @pytest.mark.parametrize(
        "change",
        [
            pytest.param({"window": (0.0, 50.0)}, id="window"),
            pytest.param({"spacing_mm": (2.0, 1.0)}, id="spacing"),
            pytest.param({"stack": slices(seed=1)}, id="content"),
        ],
    )
    def test_a_slice_that_looks_different_is_encoded_anew(
        self, teacher: ThresholdTeacher, change: dict[str, object]
    ) -> None:
        cache = EmbeddingCache(None)
        prompted(teacher, cache).embedding(0)

        prompted(teacher, cache, **change).embedding(0)  # type: ignore[arg-type]  # one of its options

        assert teacher.encoded == 2

    def test_slices_of_the_same_bytes_but_another_shape_are_told_apart(self, teacher: ThresholdTeacher) -> None:
        cache = EmbeddingCache(None)
        flat = np.zeros((1, 8, 16), dtype=np.int16)

        wide = prompted(teacher, cache, flat).embedding(0)
        tall = prompted(teacher, cache, flat.reshape(1, 16, 8)).embedding(0)

        assert wide.shape == (1, 8, 16)
        assert tall.shape == (1, 16, 8)

    def test_another_teacher_does_not_get_these_embeddings(self, teacher: ThresholdTeacher) -> None:
        cache, other = EmbeddingCache(None), ThresholdTeacher(16, "threshold-2")
        prompted(teacher, cache).embedding(0)

        prompted(other, cache).embedding(0)

        assert (teacher.encoded, other.encoded) == (1, 1)

    def test_memory_is_limited(self) -> None:
        cache = EmbeddingCache(None)
        for index in range(5000):
            cache.keep(str(index), torch.tensor([index]).half())

        assert cache.find("0", (1,)) is None
        assert cache.find("4999", (1,)) is not None


class TestOnDisk:
    def test_embeddings_survive_a_restart(self, teacher: ThresholdTeacher, tmp_path: Path) -> None:
        first = prompted(teacher, EmbeddingCache(tmp_path / "cache")).embedding(0)

        after_restart = prompted(ThresholdTeacher(16), EmbeddingCache(tmp_path / "cache"))
        again = after_restart.embedding(0)

        assert after_restart._model.encoded == 0  # type: ignore[attr-defined]  # the test's own teacher
        assert torch.equal(first, again)
        assert again.dtype == torch.float16

    def test_the_disk_keeps_what_memory_had_to_forget(self, tmp_path: Path) -> None:
        cache = EmbeddingCache(tmp_path / "cache")
        for index in range(400):
            cache.keep(str(index), torch.tensor([index]).half())

        assert [cache.find(key, (1,)).item() for key in ("0", "399")] == [0, 399]  # type: ignore[union-attr]  # both are kept

    def test_files_are_safetensors_in_a_private_folder(self, tmp_path: Path) -> None:
        EmbeddingCache(tmp_path / "a" / "cache").keep("key", torch.ones(2))

        assert [each.name for each in files_in(tmp_path / "a" / "cache")] == ["key.safetensors"]
        if os.name == "posix":
            assert stat.S_IMODE((tmp_path / "a" / "cache").stat().st_mode) == 0o700

    @pytest.mark.parametrize(
        "damage",
        [
            pytest.param(lambda content: content[: len(content) // 2], id="cut off"),
            pytest.param(lambda content: b"", id="empty"),
            pytest.param(lambda content: b"\x80\x02 a pickle", id="something else"),
            pytest.param(lambda content: content.replace(b"embedding", b"embodding"), id="without the embedding"),
        ],
    )
    def test_a_damaged_file_is_encoded_again_with_a_warning(
        self, teacher: ThresholdTeacher, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: object
    ) -> None:
        whole = prompted(teacher, EmbeddingCache(tmp_path)).embedding(0)
        (file,) = files_in(tmp_path)
        file.write_bytes(damage(file.read_bytes()))  # type: ignore[operator]  # one of the functions above

        with caplog.at_level(logging.WARNING):
            again = prompted(teacher, EmbeddingCache(tmp_path)).embedding(0)

        assert torch.equal(again, whole)
        assert teacher.encoded == 2
        assert "damaged embedding" in caplog.text
        assert "encoded again" in caplog.text

    def test_a_repaired_file_is_whole_again(self, teacher: ThresholdTeacher, tmp_path: Path) -> None:
        prompted(teacher, EmbeddingCache(tmp_path)).embedding(0)
        files_in(tmp_path)[0].write_bytes(b"")
        prompted(teacher, EmbeddingCache(tmp_path)).embedding(0)

        prompted(teacher, EmbeddingCache(tmp_path)).embedding(0)

        assert teacher.encoded == 2

    def test_the_original_image_is_not_in_the_file_names(self, teacher: ThresholdTeacher, tmp_path: Path) -> None:
        prompted(teacher, EmbeddingCache(tmp_path)).embedding(0)

        # a SHA-256 in hexadecimal
        assert len(files_in(tmp_path)[0].stem) == 64


KEYS = {name: hashlib.sha256(name.encode()).hexdigest() for name in "abc"}


class TestTrim:
    @pytest.fixture(autouse=True)
    def small_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Room for two embeddings of 512 KiB and their headers, not for three."""
        monkeypatch.setattr(embeddings, "_ON_DISK_MIB", 1.25)

    @staticmethod
    def filled(folder: Path) -> EmbeddingCache:
        """A cache with a, b and c, each 512 KiB, of which a is the oldest."""
        cache = EmbeddingCache(folder)
        for age, key in enumerate("cba"):
            cache.keep(KEYS[key], torch.zeros(2**18).half())
            os.utime(folder / f"{KEYS[key]}.safetensors", (1e9 - age, 1e9 - age))
        return cache

    def test_the_least_recently_kept_embedding_goes_first(self, tmp_path: Path) -> None:
        self.filled(tmp_path).trim()

        assert {each.stem for each in files_in(tmp_path)} == {KEYS["b"], KEYS["c"]}

    def test_one_that_was_used_again_after_a_restart_stays(self, tmp_path: Path) -> None:
        self.filled(tmp_path)
        after_restart = EmbeddingCache(tmp_path)
        after_restart.find(KEYS["a"], (2**18,))

        after_restart.trim()

        assert {each.stem for each in files_in(tmp_path)} == {KEYS["a"], KEYS["c"]}

    def test_one_that_was_used_from_memory_stays(self, tmp_path: Path) -> None:
        cache = self.filled(tmp_path)
        cache.find(KEYS["a"], (2**18,))

        cache.trim()

        assert {each.stem for each in files_in(tmp_path)} == {KEYS["a"], KEYS["c"]}

    def test_below_the_limit_everything_stays(self, tmp_path: Path) -> None:
        cache = EmbeddingCache(tmp_path)
        cache.keep(KEYS["a"], torch.zeros(2**18).half())

        cache.trim()

        assert [each.stem for each in files_in(tmp_path)] == [KEYS["a"]]

    def test_files_of_others_neither_count_nor_go(self, tmp_path: Path) -> None:
        self.filled(tmp_path).trim()
        (tmp_path / "model.safetensors").write_bytes(bytes(2**22))
        (tmp_path / f"{'0' * 64}.safetensors").symlink_to(tmp_path / "model.safetensors")
        os.utime(tmp_path / "model.safetensors", (0, 0))
        before = files_in(tmp_path)

        EmbeddingCache(tmp_path).trim()

        assert files_in(tmp_path) == before
        assert len(before) == 4

    def test_a_cache_in_memory_has_nothing_to_trim(self) -> None:
        EmbeddingCache(None).trim()


Content = dict[str, torch.Tensor]


def with_digest(embedding: torch.Tensor) -> Callable[[str], Content]:
    """What a stranger writes who knows how digests are made."""
    return lambda key: {"embedding": embedding, "digest": embeddings._digest(key, embedding)}


class TestPoisoned:
    """A file under the right name whose content is not what was kept under it."""

    @pytest.mark.parametrize(
        "content",
        [
            pytest.param({"embedding": torch.zeros(1, 2, 3).half()}, id="another shape"),
            pytest.param({"embedding": torch.full((1, 12, 16), torch.nan).half()}, id="no numbers"),
            pytest.param({"other": torch.zeros(3)}, id="another name"),
            pytest.param({"embedding": torch.zeros(1, 12, 16).half(), "digest": torch.zeros(3)}, id="a wrong digest"),
            pytest.param(with_digest(torch.zeros(1, 2, 3).half()), id="another shape with its digest"),
            pytest.param(with_digest(torch.full((1, 16, 16), torch.nan).half()), id="no numbers with their digest"),
            pytest.param(with_digest(torch.zeros(1, 16, 16)), id="another precision with its digest"),
            pytest.param(with_digest(torch.zeros(1, 16, 16, dtype=torch.int64)), id="whole numbers with their digest"),
            pytest.param(None, id="a folder"),
        ],
    )
    def test_it_is_encoded_anew(
        self, teacher: ThresholdTeacher, tmp_path: Path, content: Content | Callable[[str], Content] | None
    ) -> None:
        expected = prompted(teacher, EmbeddingCache(tmp_path)).embedding(0)
        (path,) = files_in(tmp_path)
        path.unlink()
        if content is None:
            path.mkdir()
        else:
            save_file(content(path.stem) if callable(content) else content, path)

        found = prompted(teacher, EmbeddingCache(tmp_path)).embedding(0)

        assert teacher.encoded == 2
        assert torch.equal(found, expected)

    def test_a_pipe_is_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / f"{KEYS['a']}.safetensors")

        assert EmbeddingCache(tmp_path).find(KEYS["a"], (1,)) is None

    @pytest.mark.parametrize("count", [100, pytest.param(10_000, marks=pytest.mark.soak)])
    def test_mutated_files_are_what_was_kept_or_nothing(
        self, tell: Callable[[str], None], tmp_path: Path, count: int
    ) -> None:
        kept = torch.arange(192.0).reshape(1, 12, 16).half()
        EmbeddingCache(tmp_path).keep(KEYS["a"], kept)
        (path,) = files_in(tmp_path)

        def use(content: bytes) -> None:
            path.write_bytes(content)
            found = EmbeddingCache(tmp_path).find(KEYS["a"], (1, 12, 16))
            if found is None:
                raise LookupError
            assert torch.equal(found, kept)

        tell(f"mutated embeddings: {counted(count, mutated(path.read_bytes()), use, LookupError)}")

    @pytest.mark.parametrize("count", [100, pytest.param(10_000, marks=pytest.mark.soak)])
    def test_mutated_numbers_with_their_digest_are_of_the_right_kind_or_nothing(
        self, tell: Callable[[str], None], tmp_path: Path, count: int
    ) -> None:
        kept = torch.arange(192.0).reshape(1, 12, 16).half()
        path, numbers = tmp_path / f"{KEYS['a']}.safetensors", kept.numpy().tobytes()
        kinds = st.sampled_from([np.float16, np.float32, np.int64, np.uint8])

        def use(given: tuple[bytes, type[np.generic]]) -> None:
            content, kind = given
            flat = np.frombuffer(content[: len(content) // 8 * 8], kind).copy()
            is_whole = kind is np.float16 and flat.size == kept.numel()
            embedding = torch.from_numpy(flat.reshape(kept.shape if is_whole else -1))
            save_file(with_digest(embedding)(KEYS["a"]), path)
            found = EmbeddingCache(tmp_path).find(KEYS["a"], (1, 12, 16))
            if found is None:
                raise LookupError
            assert found.dtype is torch.float16
            assert found.shape == kept.shape
            assert bool(found.isfinite().all())

        ends = counted(count, st.tuples(mutated(numbers) | st.just(b"\xff" * 384), kinds), use, LookupError)
        tell(f"mutated embeddings with a right digest: {ends}")

    def test_what_the_foundation_model_gives_must_be_finite(self, tmp_path: Path) -> None:
        with pytest.raises(NotFiniteError, match=r"What was computed from the image is not finite: "):
            EmbeddingCache(tmp_path).keep(KEYS["a"], torch.tensor([1.0, torch.inf]))

        assert files_in(tmp_path) == []


class TestUnwritableFolder:
    def test_a_folder_that_cannot_be_made_leaves_the_memory(
        self, teacher: ThresholdTeacher, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "file").write_text("not a folder", encoding="utf-8")

        with caplog.at_level(logging.WARNING):
            stack = prompted(teacher, EmbeddingCache(tmp_path / "file" / "cache"))
        stack.embedding(0)
        stack.embedding(0)

        assert teacher.encoded == 1
        assert "in memory only" in caplog.text

    def test_a_folder_that_vanishes_leaves_the_memory(
        self, teacher: ThresholdTeacher, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        cache = EmbeddingCache(tmp_path / "cache")
        (tmp_path / "cache").rmdir()

        with caplog.at_level(logging.WARNING):
            stack = prompted(teacher, cache)
            stack.embedding(0)
            stack.embedding(0)
        cache.trim()

        assert teacher.encoded == 1
        assert "no longer kept on disk" in caplog.text

    def test_a_full_disk_leaves_the_memory(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        cache, embedding = EmbeddingCache(tmp_path), torch.ones(100_000)

        with full_disk():
            cache.keep("key", embedding)

        assert cache.find("key", (100_000,)) is embedding
        assert "no longer kept on disk" in caplog.text
        assert files_in(tmp_path) == []
