"""Try settings of a benchmark on its labeled cases alone: some are learned from, the others are scored.

    python performance/trials.py acdc --labeled 3 --folds 3 supervised supervised+data.rotation_deg=12

A trial is a method and what it changes in the benchmark's configuration, joined by plus signs; ablations are changed as
a whole, as in uncol+ablations=["released"]. Fold 0 of three scores the labeled subjects 0, 3, 6, ... in the order of
the splits and learns from the rest. Unlabeled training cases are there as in the benchmark; no label of theirs or of a
test case is read. What stands in the results already, by the same commit, is left out, so an interrupted sitting goes
on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from uncol.benchmark.cases import CaseReader
from uncol.benchmark.runs import RunSpec
from uncol.benchmark.scores import score_case
from uncol.benchmark.suites import BENCHMARKS, Benchmark, config_document
from uncol.benchmark.trainers import train
from uncol.core.progress import UNWATCHED


@dataclass(frozen=True)
class Trial:
    """One training: a method with changed settings, and which of the labeled subjects it does not see."""

    text: str
    labeled: int
    fold: int
    folds: int
    seed: int
    steps: int

    @property
    def name(self) -> str:
        """What distinguishes it from other trials of the benchmark."""
        place = f"fold {self.fold} of {self.folds}, seed {self.seed}"
        return f"{self.text}, {self.labeled} labeled, {place}, {self.steps} steps"


def main() -> None:
    """Carry out the trials that are not in the results yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("benchmark", choices=[each.name for each in BENCHMARKS.values() if each.supervision == "cases"])
    parser.add_argument("trial", nargs="+", help="method, or method+section.field=value+...")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/trials-BENCHMARK.json")
    parser.add_argument("--cache", type=Path, help="folder for the foundation model's embeddings")
    parser.add_argument("--labeled", type=int, help="default: where the benchmark compares all methods")
    parser.add_argument("--folds", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, help="default: those of the benchmark")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    chosen = parser.parse_args()
    benchmark = BENCHMARKS[chosen.benchmark]
    out: Path = chosen.out or Path("benchmarks/results") / f"trials-{benchmark.name}.json"
    results: dict[str, Any] = json.loads(out.read_text()) if out.exists() else {}
    trials = [
        Trial(text, chosen.labeled or benchmark.must_count, fold, chosen.folds, seed, chosen.steps or benchmark.steps)
        for seed in range(chosen.seeds)
        for text in chosen.trial
        for fold in range(chosen.folds)
    ]
    commit = current_commit()
    missing = [
        (each, benchmark, chosen.data, chosen.cache)
        for each in trials
        if results.get(each.name, {}).get("commit") != commit
    ]
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # leaving the pool ends its processes
    with multiprocessing.get_context("spawn").Pool(chosen.jobs, torch.set_num_threads, [1]) as pool:
        for name, result in pool.imap_unordered(carry_out, missing, chunksize=1):
            results[name] = {"commit": commit, **result}
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(json.dumps(results, indent=1) + "\n")
            print(row_of(name, result), flush=True)
    print("\n| trial | Dice | per structure | volume | seconds |\n| --- | --- | --- | --- | --- |")
    print("\n".join(row_of(each.name, results[each.name]) for each in trials))


def current_commit() -> str:
    """Return the commit whose code runs, with "-dirty" where files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--exclude", "*"]
    return subprocess.run(command, check=True, text=True, capture_output=True, cwd=Path(__file__).parent).stdout.strip()


def carry_out(task: tuple[Trial, Benchmark, Path, Path | None]) -> tuple[str, dict[str, Any]]:
    """Train on the labeled subjects outside the fold, and score those inside.

    Args:
        task: Trial, benchmark, data folder, and folder for the foundation model's embeddings.

    Returns:
        Name of the trial, and mean Dice for each structure, predicted by reference volume, seconds of the training,
        and what the teachers were found to be worth in it.
    """
    trial, benchmark, data, cache = task
    method, *changes = trial.text.split("+")
    config = config_document(benchmark, method, trial.seed, trial.steps)
    for change in changes:
        place, _, value = change.partition("=")
        section, _, name = place.partition(".")
        if name:
            config[section][name] = json.loads(value)
        else:
            config[section] = json.loads(value)
    spec = RunSpec(benchmark.name, method, trial.labeled, trial.seed, trial.steps, config)
    reader = CaseReader(benchmark, data)
    subjects = reader.splits.labeled_subjects(trial.labeled)
    hidden = {case for each in subjects[trial.fold :: trial.folds] for case in reader.splits.case_ids[each]}
    cases = reader.cases(trial.labeled)
    seen = replace(
        cases,
        labeled={case_id: case for case_id, case in cases.labeled.items() if case_id not in hidden},
        test={case_id: case.image for case_id, case in cases.labeled.items() if case_id in hidden},
    )
    with tempfile.TemporaryDirectory() as folder:
        trained = train(spec, seen, Path(folder), UNWATCHED, cache=cache)
        scores = [
            score
            for case_id, prediction in trained.predictions
            for score in score_case(case_id, prediction, reader, trial.labeled).labels
        ]
    return trial.name, {
        "dice": {
            each.name: float(np.mean([score.dice for score in scores if score.structure == each.name]))
            for each in benchmark.learned_structures
        },
        "volume": sum(each.prediction_voxels for each in scores) / sum(each.reference_voxels for each in scores),
        "seconds": trained.record["seconds"],
        "reliability": {
            teacher: trained.record[f"{teacher}_reliability"] for teacher in ("generalized", "specialized")
        },
    }


def row_of(name: str, result: dict[str, Any]) -> str:
    """Return a trial as a row of the table."""
    dice = result["dice"]
    each = ", ".join(f"{structure} {value:.4f}" for structure, value in dice.items())
    mean = np.mean(list(dice.values()))
    return f"| {name} | {mean:.4f} | {each} | {result['volume']:.3f} | {result['seconds']:.0f} |"


if __name__ == "__main__":
    main()
