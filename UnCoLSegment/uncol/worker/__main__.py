"""The engine as the panel of 3D Slicer starts it: `python -m uncol.worker` (docs/worker.md)."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from pathlib import Path
from typing import get_args

from uncol.core.errors import UncolError
from uncol.core.foundation_choice import Family, FoundationChoice
from uncol.core.freed_memory import keep_freed_memory
from uncol.worker.server import WorkerSettings, run_worker


def main() -> None:
    """Serve; leave with 0 in the end and with 2 where the user can do something about it."""
    logging.basicConfig(format="%(levelname)s: %(message)s", stream=sys.stderr, level=logging.WARNING)
    keep_freed_memory()
    options = _options()
    try:
        foundation = FoundationChoice.of(options.foundation_model, options.foundation_weights)
        run_worker(WorkerSettings(options.models, options.cache, options.jobs, foundation))
    except UncolError as error:
        print(error, file=sys.stderr)  # noqa: T201  # there is no other channel yet
        sys.exit(error.exit_code)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m uncol.worker", description=__doc__)
    parser.add_argument("--models", type=Path, required=True, help="folder of models")
    parser.add_argument("--cache", type=Path, required=True, help="folder for the foundation model's embeddings")
    parser.add_argument(
        "--jobs", type=Path, default=tempfile.gettempdir(), help="folder in which the private job folder is made"
    )
    parser.add_argument("--foundation-model", choices=get_args(Family), default="LiteMedSAM")
    parser.add_argument("--foundation-weights", type=Path, help="its file of weights")
    return parser.parse_args()


if __name__ == "__main__":
    main()
