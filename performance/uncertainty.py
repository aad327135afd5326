"""What the uncertainty and the promises of segmentations from annotated slices are worth, before any training.

    python performance/uncertainty.py sparse-slices-development:8 sparse-slices-development:16 --data ../shared/data

A task is a benchmark of slices and one of its label counts. Registration segments alone, or with `--foundation-model`
together with it, without and with calibration; both are scored on the slices that nobody annotated. Of several
volumes the mean is told, and the interval of one volume is over its slices. Results go into a JSON file, from which
another sitting goes on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from uncol.benchmark.cases import CaseReader
from uncol.benchmark.suites import BENCHMARKS
from uncol.core.foundation_choice import LITE_MEDSAM
from uncol.core.volume import plane_of_axis
from uncol.evaluation.evaluate import Evaluation, evaluate
from uncol.foundation.embeddings import EmbeddingCache
from uncol.foundation.loading import load_foundation_model
from uncol.inference.few_slices import FewSlices
from uncol.inference.result import Segmentation

COLUMNS = {
    "dice": "Dice",
    "auroc": "AUROC, 15 mm",
    "auprc": "AUPRC",
    "overlap": "overlap",
    "error_before": "ECE, 5 mm, before",
    "error": "after",
    "error_whole_before": "whole image, before",
    "error_whole": "after",
    "correlation": "Spearman of slice Dice",
    "top": "errors in top 20 % of slices",
    "top_by_boundary": "by boundary",
    "promise_error": "promised Dice, mean error",
    "covered": "intervals that hold",
}


def main() -> None:
    """Measure what is not in the results yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", nargs="+", help="BENCHMARK:LABELED, as in sparse-slices-development:8")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/uncertainty.json"))
    parser.add_argument("--cache", type=Path, help="folder for embeddings and displacements")
    parser.add_argument("--foundation-model", action="store_true", help="ask LiteMedSAM, too")
    parser.add_argument("--most", type=int, default=8, help="volumes of a benchmark at most")
    chosen = parser.parse_args()
    results: dict[str, Any] = json.loads(chosen.out.read_text()) if chosen.out.exists() else {}
    names = []
    for task in chosen.task:
        name = f"{task}, {'registration and LiteMedSAM' if chosen.foundation_model else 'registration'}"
        names.append(name)
        if name not in results:
            benchmark, _, labeled = task.partition(":")
            results[name] = measure(benchmark, int(labeled), chosen)
            chosen.out.parent.mkdir(parents=True, exist_ok=True)
            chosen.out.write_text(json.dumps(results, indent=1) + "\n")
        print(row_of(name, results[name]), flush=True)
    print("\n| task | volumes | " + " | ".join(COLUMNS.values()) + " |\n|" + " --- |" * (len(COLUMNS) + 2))
    print("\n".join(row_of(name, results[name]) for name in names))


def measure(name: str, labeled: int, chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """Return the numbers of every volume of a task."""
    benchmark = BENCHMARKS[name]
    reader, cache = CaseReader(benchmark, chosen.data), EmbeddingCache(chosen.cache)
    teacher = load_foundation_model(torch.device("cpu"), LITE_MEDSAM) if chosen.foundation_model else None
    numbers = []
    for case_id, case in list(reader.cases(labeled).labeled.items())[: chosen.most]:
        plane = plane_of_axis(case.image, "K")
        slices = FewSlices(case.image, case.labels, benchmark.learned_structures, cache, plane=plane)
        annotated = reader.annotated(case_id, labeled)

        def score(found: Segmentation, case_id: str = case_id, annotated: Any = annotated) -> Evaluation:
            return evaluate(
                found.labels,
                reader.reference(case_id),
                structures=found.structures,
                excluded=[annotated],
                uncertainty=found.uncertainty,
            )

        before = slices.by_registration(calibrates=False)
        after = slices.by_registration() if teacher is None else slices.with_foundation_model(teacher)
        if teacher is not None:
            before = slices.with_foundation_model(teacher, calibrates=False)
        numbers.append(numbers_of(score(before), score(after), after))
    return numbers


def numbers_of(before: Evaluation, after: Evaluation, found: Segmentation) -> dict[str, Any]:
    """Return the numbers of one volume."""
    first, then = before.uncertainty, after.uncertainty
    if first is None or then is None or then.detection is None or then.slices is None:
        message = "The maps were not scored."
        raise ValueError(message)
    real = {each.structure.name: each.scores.dice for each in after.structures}
    promised = [(each.structure, each.dice, real[each.structure]) for each in found.promises]
    return {
        "dice": after.mean_dice,
        "auroc": then.detection.auroc,
        "auprc": then.detection.auprc,
        "overlap": then.detection.overlap,
        "error_before": first.expected_calibration_error,
        "error": then.expected_calibration_error,
        "error_whole_before": first.expected_calibration_error_whole_image,
        "error_whole": then.expected_calibration_error_whole_image,
        "correlation": then.slices.correlation,
        "top": then.slices.top,
        "top_by_boundary": then.slices.top_by_boundary,
        "promise_error": fmean(abs(dice.value - found) for _, dice, found in promised) if promised else None,
        "covered": fmean(dice.low <= found <= dice.high for _, dice, found in promised) if promised else None,
        "promised": {name: [dice.value, dice.low, dice.high, found] for name, dice, found in promised},
        "without_promise": [each.structure for each in found.calibration if each.beside is None],
        "slices": then.slices.count,
        "intervals": {name: list(each) for name, each in then.intervals.items()},
    }


def row_of(name: str, volumes: list[dict[str, Any]]) -> str:
    """Return a task as a row of the table: means over volumes."""
    cells = []
    for key in COLUMNS:
        known = [each[key] for each in volumes if each[key] is not None]
        cells.append(f"{fmean(known):.3f}" if known else "undefined")
    return f"| {name} | {len(volumes)} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
