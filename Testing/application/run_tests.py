"""Runs the tests of this folder in a Slicer: `Slicer --testing --python-script run_tests.py`; see docs/slicer.md."""

from __future__ import annotations

import sys
import unittest
from pathlib import Path

import slicer.util


def main() -> int:
    """Return the exit code: 0 if all tests passed and at least one ran."""
    folder = Path(__file__).resolve().parent
    suite = unittest.TestLoader().discover(str(folder), pattern="test_*.py", top_level_dir=str(folder))
    outcome = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(suite)
    ran = outcome.testsRun - len(outcome.skipped)
    return 0 if outcome.wasSuccessful() and ran else 1


if __name__ == "__main__":
    slicer.util.exit(main())
