"""Help, versions and refusals of the command line come at once: they load nothing that computes."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ENGINE_FOLDER = Path(__file__).resolve().parents[2] / "UnCoLSegment"
COMMANDS = ("demo", "doctor", "segment", "fine-tune", "view", "models", "evaluate", "benchmark")
PROGRAM = """
import sys
from uncol.cli.main import main
try:
    main()
except SystemExit as ended:
    heavy = {"torch", "monai", "SimpleITK", "matplotlib", "scipy", "nibabel", "pydicom", "joblib"} & set(sys.modules)
    print(ended.code, *sorted(heavy), file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ("--help", 0),
        ("--version", 0),
        *((f"{command} --help", 0) for command in COMMANDS),
        ("models list --models nowhere", 0),
        ("models show liver --models nowhere", 2),
        ("no-such-command", 2),
        ("demo --no-such-option", 2),
        ("demo --every 1", 2),
        ("doctor --foundation-model CLIP", 2),
        ("segment ct.nii.gz -o out", 2),
        ("segment ct.nii.gz -o out --box liver", 2),
        ("segment ct.nii.gz -o out --box liver=0,0,0,1,1,1 --device tpu", 2),
        ("segment ct.nii.gz -o out -m liver --models nowhere", 2),
        ("segment cts -o out --cohort", 2),
        ("fine-tune --case ct.nii.gz -o out", 2),
        ("fine-tune --case ct.nii.gz labels.nii.gz -o out --minutes 1 --steps 5", 2),
        ("fine-tune --case ct.nii.gz labels.nii.gz -o out --steps 0", 2),
        ("fine-tune --case ct.nii.gz labels.nii.gz -o out --method nothing", 2),
        ("view out --compare nothing", 2),
        ("evaluate --prediction a.nii.gz --reference b.nii.gz --only-slices nothing", 2),
        ("benchmark nothing --data data --out out", 2),
        ("benchmark hippocampus --data data --out out --seeds 0", 2),
        ("benchmark hippocampus --data data --out out --methods nothing", 2),
    ],
)
def test_the_command_line_answers_without_loading_what_computes(arguments: str, code: int, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, *shlex.split(arguments)],
        env=os.environ | {"PYTHONPATH": str(ENGINE_FOLDER)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )

    assert ended.stderr.splitlines()[-1].split() == [str(code)], ended.stderr
