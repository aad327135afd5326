"""The command line among other processes, on disks without room, and with images about somebody."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from canaries import WORD, places_of, write_benchmark, write_clinical, write_cohort, write_inputs
from given import a_larger_ball
from small_models import tree
from worker_child import ENGINE_FOLDER, Child, file_fields, fine_tune_fields

from uncol.core.model_store import Store
from uncol.core.model_zip import pack_model
from uncol.core.unfinished import is_run_held
from uncol.data.io import write_results
from uncol.models.checkpoints import has_checkpoint

pytestmark = pytest.mark.slow

Run = Callable[..., Any]
SMALL = '{"student": {"channels": [4, 4, 4, 4, 4]}, "optimizer": {"batch_size": 1}, "teachers": {"generalized": false}}'


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    """A folder with ct.nii.gz, labels.nii.gz and a small configuration."""
    case = a_larger_ball((8, 24, 28))
    volumes = {"ct.nii.gz": case.image, "labels.nii.gz": case.labels}
    write_results(tmp_path / "in", volumes, {"small.json": SMALL})
    return tmp_path / "in"


def fine_tune(inputs: Path, out: Path, *, image: str = "ct.nii.gz", steps: int = 3) -> list[str]:
    case = ["--case", str(inputs / image), str(inputs / image.replace("ct", "labels"))]
    options = ["--annotated-slices", "K:0,3,6", "--config", "small.json", "--steps", str(steps), "--device", "cpu"]
    return ["fine-tune", *case, *options, "--out", str(out)]


def test_a_second_training_into_a_folder_is_told_and_the_first_goes_on(
    run_uncol: Run, inputs: Path, tmp_path: Path
) -> None:
    out = tmp_path / "ball"
    command = [sys.executable, "-m", "uncol", *fine_tune(inputs, out, steps=100_000)]
    environment = os.environ | {"PYTHONPATH": str(ENGINE_FOLDER), "HOME": str(tmp_path)}
    with subprocess.Popen(command, cwd=inputs, env=environment, stderr=subprocess.PIPE, text=True) as first:
        deadline = time.monotonic() + 120
        while not is_run_held(out) and time.monotonic() < deadline:
            time.sleep(0.1)

        second = run_uncol(*fine_tune(inputs, out), cwd=inputs)
        is_alive = first.poll() is None
        time.sleep(2)
        first.send_signal(signal.SIGINT)
        _, said = first.communicate(timeout=120)

    sentence = '"ball" is being learned by another program. Wait for its end, or cancel it there.'
    assert (second.returncode, second.stderr.splitlines()[-1]) == (2, sentence)
    assert is_alive
    assert first.returncode == 130, said
    assert has_checkpoint(out)


@contextmanager
def about_somebody(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Lend a folder of inputs about somebody, and one for everything that is written meanwhile."""
    inputs, written = write_inputs(tmp_path / "in"), tmp_path / "out"
    (inputs / "small.json").write_text(SMALL)
    written.mkdir()
    yield inputs, written


def carried_out(run_uncol: Run, inputs: Path, written: Path, *commands: list[object]) -> list[str]:
    """Run commands that write below one folder alone; return where they name somebody."""
    texts = []
    (written / "tmp").mkdir(exist_ok=True)
    for command in commands:
        ended = run_uncol(*command, cwd=inputs, TMPDIR=str(written / "tmp"), XDG_CACHE_HOME=str(written / "cache"))
        assert ended.returncode == 0, ended.stderr
        texts += [ended.stdout.encode(), ended.stderr.encode()]
    return places_of(written, tuple(texts))


def test_nothing_that_is_written_names_anybody(run_uncol: Run, tmp_path: Path) -> None:
    with about_somebody(tmp_path) as (inputs, written):
        tuning = fine_tune(inputs, written / "model", image=f"{WORD}-ct.nii.gz")
        segmenting = ["segment", inputs / f"{WORD}-dicom", "--model", written / "model", "--out", written / "a"]

        named = carried_out(
            run_uncol, inputs, written, [*tuning, "--proposal", written / "proposal", "--json"], segmenting
        )

    assert (written / "proposal" / "report.json").exists()
    assert named == []
    assert places_of(tmp_path / "in") != []


def test_nothing_that_a_worker_writes_or_says_names_anybody(start: Callable[..., Child], tmp_path: Path) -> None:
    child = start(cache=tmp_path / "cache")
    job = child.new_job()
    volumes = {name: file_fields(f"{WORD}-{name}") for name in ("image", "labels")}
    for name in volumes:
        (job / f"{name}.npy").rename(job / f"{WORD}-{name}.npy")

    number = child.request("fine_tune", **(fine_tune_fields(job, "m", steps=3) | {"cases": [volumes]}))
    events = [child.next_event()]
    while events[-1]["event"] not in ("fine_tune_result", "error"):
        events.append(child.next_event())
    boxes = [{"structure": "ball", "lower_ijk": [11, 7, 4], "upper_ijk": [37, 33, 6]}]
    events.append(child.ask("segment", out=job.name, image=volumes["image"], boxes=boxes))
    for name in volumes:
        (job / f"{WORD}-{name}.npy").unlink()

    assert (events[-2]["id"], events[-2]["event"]) == (number, "fine_tune_result")
    assert events[-1]["event"] == "segment_result"
    assert places_of(tmp_path, (str(events).encode(), bytes(child.errors))) == []


def interrupted(command: list[object], inputs: Path, written: Path) -> int:
    """Let a training learn something, then interrupt it as a user does; return its exit code."""
    environment = os.environ | {"PYTHONPATH": str(ENGINE_FOLDER), "HOME": str(written / "home")}
    out = Path(str(command[command.index("--out") + 1]))
    words = [sys.executable, "-m", "uncol", *map(str, command)]
    with subprocess.Popen(words, cwd=inputs, env=environment, stderr=subprocess.PIPE) as running:
        deadline = time.monotonic() + 300
        while not is_run_held(out) and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(3)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=300)
    assert WORD.encode() not in said
    return running.returncode


@pytest.mark.soak
def test_no_command_writes_or_says_who_it_was(run_uncol: Run, tell: Callable[[str], None], tmp_path: Path) -> None:
    with about_somebody(tmp_path) as (inputs, written):
        model, box = written / "model", ["--box", "ball=4,3,2,22,20,6"]
        clinic = write_clinical(inputs / f"{WORD}-clinic")
        cohort, data = write_cohort(tmp_path / "in" / "cohort"), write_benchmark(tmp_path / "in" / "data")
        image, labels = (inputs / f"{WORD}-{each}.nii.gz" for each in ("ct", "labels"))
        with_model = ["--model", model, "--out"]
        commands: list[list[object]] = [
            ["doctor"],
            [*fine_tune(inputs, model, image=image.name), "--proposal", written / "proposal"],
            *(
                ["segment", inputs / f"{WORD}-ct.{end}", *with_model, written / end]
                for end in ("nii.gz", "nrrd", "mha")
            ),
            ["segment", inputs / f"{WORD}-dicom", *with_model, written / "dicom"],
            ["segment", image, *box, "--out", written / "box"],
            ["segment", image, "--labels", labels, "--annotated-slices", "K:2,6", "--out", written / "slices"],
            ["evaluate", "--prediction", written / "nii.gz" / "segmentation.nii.gz", "--reference", labels, "--json"],
            ["models", "import", written / "model.zip", "--models", written / "store"],
            ["models", "list", "--models", written / "store"],
            ["models", "show", "model", "--models", written / "store"],
            ["models", "verify", "model", "--models", written / "store"],
            ["models", "export", "model", written / "again.zip", "--models", written / "store"],
            ["models", "import", written / "again.zip", "--name", "again", "--models", written / "store"],
            ["models", "rename", "again", "other", "--models", written / "store"],
            ["models", "activate", "other", "--models", written / "store"],
            ["models", "activate", "model", "--models", written / "store"],
            ["models", "roll-back", "--models", written / "store"],
            ["models", "remove", "other", "--models", written / "store"],
            ["view", written / "nii.gz", "--image", image, "--reference", labels, "--no-open"],
            ["view", written / "cohort" / "second", "--json"],
            [
                "benchmark",
                "sparse-slices",
                "--data",
                data,
                "--out",
                written / "benchmark",
                "--methods",
                "shape-interpolation",
                "--labeled",
                4,
                "--seeds",
                1,
            ],
            ["demo", "--image", image, "--labels", labels, "--every", 2, "--minutes", 0.1, "--out", written / "demo"],
        ]
        named = carried_out(run_uncol, inputs, written, *commands[:7])
        pack_model(model, "model", written / "model.zip")
        cohorts = [["segment", cohort, "--cohort", *with_model, written / "cohort", *more] for more in (["--json"], [])]
        of_cohort = carried_out(run_uncol, inputs, written, *cohorts)
        named += carried_out(run_uncol, inputs, written, *commands[7:])
        commands += cohorts
        timed = [*fine_tune(inputs, written / "resumed", image=image.name, steps=0), "--minutes", "0.3"]
        at = timed.index("--steps")
        resuming = [*timed[:at], *timed[at + 2 :]]
        assert interrupted(resuming, inputs, written) == 130
        named += carried_out(run_uncol, inputs, written, [*resuming, "--resume"])
        commands += [resuming, [*resuming, "--resume"]]

        # a DICOM result belongs to its study: it names whom the images name, and nothing beside it does
        as_dicom = ["segment", clinic, *with_model, written / "as-dicom", "--dicom"]
        of_study = carried_out(run_uncol, inputs, written, as_dicom)

    assert named == []
    assert of_cohort == ["text 1", "text 3"]  # the screen tells which files are no images; what is written does not
    assert sorted(of_study) == [f"as-dicom/{name}" for name in ("segmentation.dcm", "uncertainty.dcm")]
    files = sum(path.is_file() for path in written.rglob("*"))
    tell(f"{len(commands)} commands wrote {files} files about somebody: named in 0")


@contextmanager
def small_disk(place: Path, kib: int) -> Iterator[Path]:
    """A disk of so many KiB of its own; only root may mount one."""
    place.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(place)]
    if subprocess.run(["mount", *options], capture_output=True, check=False).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


DISKS_KIB = (4, 12, 24, 48, 100, 200, 400, 800, 8000)
"""A report with its viewer takes 2,400."""


def careful(run_uncol: Run, inputs: Path, ends: Counter[str]) -> Callable[..., None]:
    """Return what runs a command on a disk: it is done, or told in a sentence with nothing changed there."""

    def carry_out(disk: Path, name: str, *command: object, **variables: str) -> None:
        before = tree(disk)
        ended = run_uncol(*command, cwd=inputs, **variables)
        *_, last = ended.stderr.splitlines()
        assert "Traceback" not in ended.stderr, ended.stderr
        assert ended.returncode in (0, 2), (name, ended.stderr)
        if ended.returncode:
            assert last.endswith("."), last
            learned = {path for path in tree(disk) if path.startswith("tuned")}
            assert set(tree(disk)) - learned == set(before), (name, last)
        assert not list(disk.rglob(".uncol-*")), name
        ends[f"{name} {'done' if ended.returncode == 0 else 'told'}"] += 1

    return carry_out


@pytest.mark.soak
@pytest.mark.skipif(sys.platform != "linux", reason="mounts disks")
def test_a_full_or_read_only_disk_is_one_sentence_and_nothing_half_written(
    run_uncol: Run, tell: Callable[[str], None], inputs: Path, tmp_path: Path
) -> None:
    model = tmp_path / "store" / "model"
    assert run_uncol(*fine_tune(inputs, model), cwd=inputs).returncode == 0
    store = ["--models", model.parent]
    ends: Counter[str] = Counter()

    carry_out = careful(run_uncol, inputs, ends)

    def work_on(disk: Path) -> None:
        carry_out(disk, "segment", "segment", inputs / "ct.nii.gz", "--model", model, "--out", disk / "segmented")
        carry_out(disk, "export", "models", "export", "model", disk / "model.zip", *store)
        carry_out(disk, "fine-tune", *fine_tune(inputs, disk / "tuned"))

    for kib in DISKS_KIB:
        with small_disk(tmp_path / f"disk-{kib}", kib) as disk:
            work_on(disk)
    with small_disk(tmp_path / "read-only", 4000) as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        work_on(disk)

    tell(f"{len(DISKS_KIB)} small disks and a read-only one: {dict(ends)}; tracebacks 0, half-written 0")
    assert set(ends) == {f"{name} {end}" for name in ("segment", "export", "fine-tune") for end in ("told", "done")}


@pytest.mark.soak
@pytest.mark.skipif(sys.platform != "linux", reason="mounts disks")
def test_on_a_full_or_read_only_disk_models_stay_whole_and_embeddings_stay_in_memory(
    run_uncol: Run, tell: Callable[[str], None], inputs: Path, tmp_path: Path
) -> None:
    assert run_uncol(*fine_tune(inputs, tmp_path / "model"), cwd=inputs).returncode == 0
    pack_model(tmp_path / "model", "model", tmp_path / "model.zip")
    importing = ["models", "import", tmp_path / "model.zip", "--models"]
    ends: Counter[str] = Counter()
    carry_out = careful(run_uncol, inputs, ends)

    def rename_on_the_rest_of(disk: Path) -> None:
        if Store(disk / "store").has("model"):
            fill(disk)
            was = tree(disk / "store" / "model")
            carry_out(disk, "rename", "models", "rename", "model", "other", "--models", disk / "store")
            (found,) = Store(disk / "store").names()
            assert tree(disk / "store" / found) == was

    def find_no_place_for_embeddings_on(disk: Path) -> None:
        out = tmp_path / f"of-{disk.name}"
        boxed = ["segment", inputs / "ct.nii.gz", "--box", "ball=4,3,2,22,20,6", "--out", out]
        carry_out(disk, "cache", *boxed, XDG_CACHE_HOME=str(disk / "cache"))
        assert (out / "report.json").exists()

    for kib in DISKS_KIB:
        with small_disk(tmp_path / f"disk-{kib}", kib) as disk:
            carry_out(disk, "import", *importing, disk / "store")
            rename_on_the_rest_of(disk)
    with small_disk(tmp_path / "read-only", 4000) as disk:
        assert run_uncol(*importing, disk / "store").returncode == 0
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        rename_on_the_rest_of(disk)
        carry_out(disk, "import", *importing, disk / "other")
        find_no_place_for_embeddings_on(disk)
    with small_disk(tmp_path / "cache", 2500) as disk:
        find_no_place_for_embeddings_on(disk)

    tell(f"importing, renaming, keeping embeddings on such disks: {dict(ends)}; tracebacks 0, half-written 0")
    assert {"import told", "import done", "rename told", "cache done"} <= set(ends)
    assert "cache told" not in ends


def fill(disk: Path) -> None:
    """Leave no room on a disk; one that is read-only has none."""
    with suppress(OSError), (disk / "filler").open("wb") as filler:
        while True:
            filler.write(bytes(512))
            filler.flush()
