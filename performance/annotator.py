"""A simulated annotator: how many slices it takes where the next one is chosen by gain, by even spacing or by chance.

    python performance/annotator.py sparse-slices-development --rounds 10 --data ../shared/data

The annotator begins with the middle slice of every structure, copies the reference into one slice more in each round,
and registration alone segments anew. Told is the mean Dice over the structures on the slices that are not annotated.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from uncol.benchmark.cases import CaseReader
from uncol.benchmark.suites import BENCHMARKS, Benchmark
from uncol.core.jobs import AnnotatedSlices
from uncol.core.next_slices import drawn, farthest
from uncol.core.volume import UNKNOWN_LABEL, Volume, plane_of_axis
from uncol.evaluation.evaluate import evaluate
from uncol.foundation.embeddings import EmbeddingCache
from uncol.inference.few_slices import FewSlices

STRATEGIES = ("expected-gain", "even-spacing", "random")
PART_TO_REACH = 0.98
"""Of the Dice with every second slice."""


def main() -> None:
    """Simulate, write the curves and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "benchmark", choices=[each.name for each in BENCHMARKS.values() if each.supervision == "slices"]
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/annotator.json"))
    parser.add_argument("--cache", type=Path, help="folder for displacements")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--strategies", default=",".join(STRATEGIES))
    chosen = parser.parse_args()
    benchmark = BENCHMARKS[chosen.benchmark]
    reader, cache = CaseReader(benchmark, chosen.data), EmbeddingCache(chosen.cache)
    labeled = benchmark.labeled_counts[0]
    results = json.loads(chosen.out.read_text()) if chosen.out.exists() else {}
    for case_id, case in list(reader.cases(labeled).labeled.items()):
        annotator = Annotator(benchmark, case.image, reader.reference(case_id), cache)
        own = results.setdefault(f"{chosen.benchmark}, {case_id}", {})
        if "every second" not in own:
            own["every second"] = annotator.dice_and_next(list(range(0, len(case.labels.voxels), 2)))[0]
        for strategy in chosen.strategies.split(","):
            own[strategy] = annotator.curve(strategy, chosen.rounds)
            chosen.out.parent.mkdir(parents=True, exist_ok=True)
            chosen.out.write_text(json.dumps(results, indent=1) + "\n")
            wanted = PART_TO_REACH * own["every second"]
            reached = next((count for count, dice in own[strategy] if dice >= wanted), None)
            text = " ".join(f"{count}:{dice:.3f}" for count, dice in own[strategy])
            print(f"{case_id} {strategy}: {wanted:.3f} with {reached} slices; {text}", flush=True)


class Annotator:
    """Someone who knows the reference of one volume and hands over a slice at a time."""

    def __init__(self, benchmark: Benchmark, image: Volume, reference: Volume, cache: EmbeddingCache) -> None:
        self._structures, self._image, self._reference, self._cache = (
            benchmark.learned_structures, image, reference, cache
        )  # fmt: skip

    def start(self) -> list[int]:
        """Return the middle slice of every structure."""
        shown = [np.flatnonzero((self._reference.voxels == each.value).any(axis=(1, 2))) for each in self._structures]
        return sorted({int(each[len(each) // 2]) for each in shown})

    def dice_and_next(self, annotated: list[int]) -> tuple[float, int | None]:
        """Return the Dice on all other slices, and the slice with the largest expected gain."""
        known = np.full_like(self._reference.voxels, UNKNOWN_LABEL)
        known[annotated] = self._reference.voxels[annotated]
        plane, labels = plane_of_axis(self._image, "K"), self._reference.with_voxels(known)
        found = FewSlices(self._image, labels, self._structures, self._cache, plane=plane).by_registration()
        excluded = [AnnotatedSlices("K", tuple(annotated))]
        scores = evaluate(found.labels, self._reference, structures=self._structures, excluded=excluded)
        suggested = found.next_slices.slices[:1] if found.next_slices else ()
        return scores.mean_dice, suggested[0].index if suggested else None

    def curve(self, strategy: str, rounds: int) -> list[tuple[int, float]]:
        """Return pairs of a number of annotated slices and the Dice on all others."""
        annotated, generator, curve = self.start(), np.random.default_rng(0), []
        for _ in range(rounds + 1):
            dice, best = self.dice_and_next(annotated)
            curve.append((len(annotated), dice))
            count = len(self._reference.voxels)
            following = {
                "expected-gain": best,
                "even-spacing": farthest(annotated, count),
                "random": drawn(annotated, count, generator),
            }[strategy]
            if following is None:
                break
            annotated = sorted([*annotated, following])
        return curve


if __name__ == "__main__":
    main()
