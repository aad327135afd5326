"""Tests of devices: which one is taken, in which precision, and what happens when its memory is full."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from worker_child import ENGINE_FOLDER

from uncol.core.config import Config, DataConfig, StudentConfig
from uncol.core.errors import ConfigError, UncolError
from uncol.core.jobs import Structure
from uncol.core.model_card import ModelCard
from uncol.core.volume import Volume
from uncol.inference.student import segment_with_model
from uncol.models.build import build_student
from uncol.models.card import Model
from uncol.models.devices import (
    autocast,
    available_devices,
    graphics_cards,
    reduced_precision,
    select_device,
    with_memory_fallback,
)

CPU, GPU = torch.device("cpu"), torch.device("cuda")


class TestSelectDevice:
    def test_the_cpu_is_always_there(self) -> None:
        assert select_device("cpu") == CPU
        assert available_devices()[-1] == "cpu"

    def test_auto_takes_the_best_one_there_is(self) -> None:
        assert select_device("auto").type == available_devices()[0]

    @pytest.mark.parametrize("wanted", ["cuda", "mps"])
    def test_a_missing_gpu_is_refused_with_advice(self, wanted: str) -> None:
        if wanted in available_devices():
            pytest.skip(f"this machine has {wanted}")

        expected = rf'Device "{wanted}" is not available here \(available: .*cpu\)\. Choose --device auto'
        with pytest.raises(ConfigError, match=expected):
            select_device(wanted)  # type: ignore[arg-type]  # a device's name

    def test_an_unknown_device_is_refused_with_advice(self) -> None:
        with pytest.raises(ConfigError, match=r'Device "tpu" is not available here .*Choose --device auto'):
            select_device("tpu")  # type: ignore[arg-type]  # what a user may have typed


class TestPrecision:
    def test_a_cpu_computes_in_bfloat16_or_float32_never_in_float16(self) -> None:
        assert reduced_precision(CPU) in (None, torch.bfloat16)

    @pytest.mark.parametrize("training", [False, True])
    def test_autocast_uses_the_devices_precision(self, *, training: bool) -> None:
        with autocast(CPU, training=training):
            product = torch.ones(4, 4) @ torch.ones(4, 4)

        assert product.dtype == (reduced_precision(CPU) or torch.float32)

    def test_an_apple_gpu_is_trained_in_float32(self) -> None:
        with autocast(torch.device("mps"), training=True):
            assert not torch.is_autocast_enabled("mps")

    def test_a_cpu_trains_volumes_in_float32(self) -> None:
        with autocast(CPU, dims=3, training=True):
            assert not torch.is_autocast_enabled("cpu")

    @pytest.mark.parametrize("dims", [2, 3])
    def test_gradients_do_not_depend_on_what_memory_held_before(self, dims: int) -> None:
        convolution = torch.nn.Conv3d(32, 64, 3, padding=1) if dims == 3 else torch.nn.Conv2d(32, 64, 3, padding=1)
        with autocast(CPU, dims=dims, training=True):
            features = convolution(torch.rand(2, 32, *(2, 3, 2)[:dims]))
        _ = [torch.full((2**power,), torch.nan) for power in range(4, 22) for _ in range(6)]  # freed at once

        features.float().sum().backward()

        assert convolution.weight.grad is not None
        assert convolution.weight.grad.isfinite().all()

    def test_outside_autocast_everything_is_float32(self) -> None:
        with autocast(CPU):
            pass

        assert (torch.ones(4, 4) @ torch.ones(4, 4)).dtype == torch.float32


class SmallMemory:
    """Work that fits a device only up to a number of slices at once."""

    def __init__(self, gpu_slices: int, cpu_slices: int) -> None:
        self._fits = {"cuda": gpu_slices, "cpu": cpu_slices}
        self.tried: list[tuple[str, int]] = []

    def __call__(self, device: torch.device, size: int) -> str:
        self.tried.append((device.type, size))
        if size > self._fits[device.type]:
            message = "out of memory"
            raise torch.OutOfMemoryError(message)
        return f"done with {size} on {device.type}"


@pytest.mark.skipif(available_devices() != ["cpu"], reason="there is a GPU here; TestGpu looks at it")
def test_without_a_gpu_no_graphics_card_is_told() -> None:
    assert graphics_cards() == []


class TestMemoryFallback:
    def test_work_that_fits_is_done_once_and_nothing_is_said(self) -> None:
        work, said = SmallMemory(8, 8), []

        assert with_memory_fallback(work, GPU, 8, said.append) == "done with 8 on cuda"
        assert (work.tried, said) == ([("cuda", 8)], [])

    def test_the_size_is_halved_until_it_fits(self) -> None:
        work, said = SmallMemory(2, 8), []

        assert with_memory_fallback(work, GPU, 8, said.append) == "done with 2 on cuda"
        assert work.tried == [("cuda", 8), ("cuda", 4), ("cuda", 2)]
        assert said == [
            "The CUDA memory is full; going on in smaller batches (4 at a time).",
            "The CUDA memory is full; going on in smaller batches (2 at a time).",
        ]

    def test_at_last_the_cpu_takes_over_and_every_step_is_told(self) -> None:
        work, said = SmallMemory(0, 8), []

        assert with_memory_fallback(work, GPU, 8, said.append).endswith("on cpu")
        assert work.tried[:4] == [("cuda", 8), ("cuda", 4), ("cuda", 2), ("cuda", 1)]
        assert [device for device, _ in work.tried[4:]] == ["cpu"]
        assert len(said) == 4
        assert said[-1] == (
            "The GPU memory is full even for the smallest batch; going on with the CPU, which is slower."
        )

    def test_an_odd_size_is_halved_to_whole_slices(self) -> None:
        work, said = SmallMemory(1, 1), []

        with_memory_fallback(work, GPU, 7, said.append)

        assert [size for _, size in work.tried] == [7, 3, 1]

    def test_when_not_even_one_slice_fits_the_cpu_the_user_is_told_what_to_do(self) -> None:
        tried, said = [], []

        def work(device: torch.device, size: int) -> None:
            tried.append(size)
            torch.empty(size * 2**46, device=device)  # 256 TiB for every slice

        with pytest.raises(
            UncolError, match=r"^The memory is full\. Close other programs, or crop the volume, and try"
        ):
            with_memory_fallback(work, CPU, 4, said.append)

        assert tried == [4, 2, 1]
        assert len(said) == 2

    def test_a_cpu_whose_memory_is_really_full_gets_smaller_work(self) -> None:
        said: list[str] = []

        def work(device: torch.device, size: int) -> int:
            torch.empty((size - 1) * 2**46, device=device)  # 256 TiB for every slice but the last
            return size

        assert with_memory_fallback(work, CPU, 4, said.append) == 1
        assert len(said) == 2

    @pytest.mark.skipif(sys.platform != "linux", reason="needs a limit on the memory of a process")
    def test_with_too_little_memory_for_its_library_a_cpu_gets_no_work(self) -> None:
        """In a process of its own: this one may hold memory that it was given back."""
        program = f"""
import resource
from pathlib import Path
import torch
from uncol.models.devices import with_memory_fallback
taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + {64 << 20}, resource.getrlimit(resource.RLIMIT_AS)[1]))
with_memory_fallback(lambda _, size: print("worked", size), torch.device("cpu"), 4, lambda _: None)
"""
        environment = os.environ | {"PYTHONPATH": str(ENGINE_FOLDER)}
        ended = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
        )

        assert ended.returncode == 1
        assert "UncolError: The memory is full. Close other programs" in ended.stderr
        assert ended.stdout == ""

    def test_other_errors_are_not_taken_for_a_full_memory(self) -> None:
        def work(device: torch.device, size: int) -> None:
            message = "shapes do not fit"
            raise RuntimeError(message)

        with pytest.raises(RuntimeError, match="shapes do not fit"):
            with_memory_fallback(work, GPU, 8, lambda _: None)


@pytest.mark.gpu
class TestGpu:
    def test_auto_takes_the_gpu(self) -> None:
        assert select_device("auto").type in ("cuda", "mps")

    def test_it_is_told_by_name_and_memory(self) -> None:
        [card] = [each for each in graphics_cards() if each.device == select_device("auto").type]

        assert card.name
        assert 1 < card.memory_gib < 1000

    def test_networks_run_in_reduced_precision(self) -> None:
        device = select_device("auto")
        with autocast(device):
            product = torch.ones(4, 4, device=device) @ torch.ones(4, 4, device=device)

        assert product.dtype == (reduced_precision(device) or torch.float32)

    def test_gradients_stay_finite_in_reduced_precision(self) -> None:
        device = select_device("auto")
        weight = torch.full((8, 8), 1e-4, device=device, requires_grad=True)
        with autocast(device, training=True):
            (weight @ torch.full((8, 8), 1e-4, device=device)).float().sum().mul(1e-3).backward()

        # 8 columns of 1e-4, times 1e-3: 8e-7, which float16 could not hold exactly
        assert weight.grad is not None
        assert weight.grad.cpu().flatten().tolist() == pytest.approx([8e-7] * 64, rel=0.01)

    def test_a_volume_is_segmented_as_on_the_cpu(self) -> None:
        torch.manual_seed(0)
        config = Config(data=DataConfig(neighbor_count=3), student=StudentConfig(channels=(4, 4, 8, 8, 8)))
        card = ModelCard((Structure(1, "a"), Structure(2, "b")), "axial", 1.0, 2.0, (0.0, 1.0), config)
        voxels = np.random.default_rng(0).random((5, 40, 50), dtype=np.float32)
        image = Volume(voxels, np.diag([-1.0, -1.0, 2.0, 1.0]))

        student = build_student(card).eval().requires_grad_(False)
        on_gpu = segment_with_model(image, Model(card, student), select_device("auto"))
        on_cpu = segment_with_model(image, Model(card, student), CPU)

        assert on_gpu.labels.shares_grid_with(image)
        assert on_gpu.notes == on_cpu.notes
        assert (on_gpu.labels.voxels == on_cpu.labels.voxels).mean() > 0.95
        assert np.abs(on_gpu.uncertainty.voxels - on_cpu.uncertainty.voxels).mean() < 0.01

    def test_a_gpu_whose_memory_is_really_full_gets_smaller_work(self) -> None:
        device, said = select_device("auto"), []

        def work(place: torch.device, size: int) -> int:
            torch.empty((size - 1) * 2**46, device=place)
            return size

        assert with_memory_fallback(work, device, 4, said.append) == 1
        assert len(said) == 2
