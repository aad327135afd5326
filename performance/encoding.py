"""Time the foundation model: encode one slice in float32 and in the device's reduced precision, decode one box.

python performance/encoding.py                     as the command line does it: freed memory is kept
python performance/encoding.py --allocator-as-it-is
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext

import torch

from uncol.core.freed_memory import keep_freed_memory
from uncol.foundation.lite_medsam import load_lite_medsam
from uncol.models.devices import reduced_precision, select_device

REPEATS = 7


def main() -> None:
    """Print the median seconds of each operation and how much the precisions differ."""
    if "--allocator-as-it-is" not in sys.argv:
        keep_freed_memory()
    device = select_device("auto")
    teacher = load_lite_medsam(device)
    image = torch.rand(256, 256)
    batch = image.to(device).expand(1, 3, 256, 256).contiguous(memory_format=torch.channels_last)
    encoder = teacher.network.image_encoder

    def encode(context: Callable[[], object]) -> torch.Tensor:
        with torch.inference_mode(), context():  # type: ignore[attr-defined]
            return encoder(batch).float()

    exact, seconds = timed(lambda: encode(nullcontext))
    print(f"device {device.type}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"encode, float32: {seconds:.3f} s")
    precision = reduced_precision(device) or torch.bfloat16  # also where the product computes in float32
    reduced, seconds = timed(lambda: encode(lambda: torch.autocast(device.type, dtype=precision)))
    likeness = torch.cosine_similarity(exact.flatten(), reduced.flatten(), dim=0)
    print(f"encode, {precision}: {seconds:.3f} s, cosine to float32 {likeness:.5f}")
    embedding = teacher.encode(image)
    frame = teacher.frame_of(256, 256, (1.0, 1.0))
    for count in (1, 6):
        boxes = torch.tensor([[60.0, 60.0, 150.0, 170.0]]).repeat(count, 1)
        _, seconds = timed(lambda boxes=boxes: teacher.decode(embedding, boxes, frame).probabilities)
        print(f"decode, {count} box(es): {seconds:.3f} s")


def timed(work: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, float]:
    """Return the result of some work and the median of its seconds, after one warm-up."""
    work()
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - started)
    return result, statistics.median(seconds)


if __name__ == "__main__":
    main()
