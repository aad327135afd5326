"""Several processes on one cache of embeddings, cut back all the time and poisoned: every slice gets its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from worker_child import ENGINE_FOLDER

# Each process asks for slices at random, keeps what it does not find, and cuts the folder back every few operations;
# now and then it spoils a file of the others, as a damaged disk or a stranger would.
USER = """
import random, sys
from pathlib import Path

import torch
from uncol.foundation import embeddings
from uncol.foundation.embeddings import EmbeddingCache

embeddings._ON_DISK_MIB, embeddings._IN_MEMORY = 0.02, 1
folder, chance = Path(sys.argv[1]), random.Random(int(sys.argv[2]))
cache, found, wrong = EmbeddingCache(folder), 0, 0
for operation in range(300):
    number = chance.randrange(12)
    key, right = f"{number:064x}", torch.full((2, 16, 16), float(number), dtype=torch.float16)
    kept = cache.find(key, (2, 16, 16))
    if kept is None:
        cache.keep(key, right)
    else:
        found += 1
        wrong += not torch.equal(kept, right)
    if operation % 7 == 0:
        cache.trim()
    if operation % 11 == 0:
        for file in [*folder.glob("*.safetensors")][:1]:
            try:
                content = bytearray(file.read_bytes())
                content[-1 - chance.randrange(40)] ^= 1
                file.write_bytes(content if chance.random() < 0.5 else content[:-9])
            except (OSError, IndexError):  # it was trimmed
                continue
print(found, wrong)
"""


@pytest.mark.slow
def test_two_processes_on_one_cache_get_their_own_embeddings_or_none(
    tell: Callable[[str], None], tmp_path: Path
) -> None:
    environment = os.environ | {"PYTHONPATH": str(ENGINE_FOLDER), "OMP_NUM_THREADS": "1"}
    users = [
        subprocess.Popen(
            [sys.executable, "-c", USER, str(tmp_path), str(seed)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in (1, 2)
    ]

    said = [user.communicate(timeout=300) for user in users]

    assert [user.returncode for user in users] == [0, 0], [errors[-2000:] for _, errors in said]
    found, wrong = (sum(int(out.split()[place]) for out, _ in said) for place in (0, 1))
    tell(f"600 operations of two processes on one cache: {found} found, {wrong} of another slice")
    assert found > 50
    assert wrong == 0
