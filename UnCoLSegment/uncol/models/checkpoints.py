"""Models and resumable checkpoints on disk: safetensors, JSON and checksums, written whole or not at all."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from uncol import __version__
from uncol.core.config import Config
from uncol.core.errors import CheckpointError, OutputError, UncolError
from uncol.core.files import flush_to_disk
from uncol.core.jobs import Structure
from uncol.core.model_folder import (
    CHECKPOINT_FILE,
    COMPLETE,
    DISCLAIMER,
    FORMAT,
    MODEL_FILE,
    SUMS_FILE,
    WEIGHTS_FILE,
    WHEN_DAMAGED,
    newest,
    sha256_of,
    verify_sums,
)
from uncol.core.volume import Plane
from uncol.models.paper_student import PaperStudent, PaperStudentConfig
from uncol.models.unet import Student2D, Student3D

_PARTIAL = ".partial-"
_PAPER_SIZES = {
    ("paper", 2): PaperStudentConfig.paper_2d,
    ("paper", 3): PaperStudentConfig.paper_3d,
    ("paper-small", 2): PaperStudentConfig.small_2d,
    ("paper-small", 3): PaperStudentConfig.small_3d,
}
"""By kind and dimensions of the student."""


@dataclass(frozen=True)
class ModelCard:
    """What a program must know to use a model, and a person to judge it.

    Attributes:
        structures: Label values and names, in the order of the output channels after background.
        plane: Anatomical plane of the slices.
        pixel_mm: Side of a pixel in the student's frame.
        slice_mm: Distance between neighboring input slices; in 3D between the slices of the student's frame.
        window: Lowest and highest grey value.
        config: The effective configuration.
        training: Record of the training: slices, hashes, steps, seconds, device, losses, versions.
        in_one_piece: For each structure whether its annotated slices show it in one piece; then islands are removed.
    """

    structures: tuple[Structure, ...]
    plane: Plane
    pixel_mm: float
    slice_mm: float
    window: tuple[float, float]
    config: Config
    training: dict[str, Any] = field(default_factory=dict)
    in_one_piece: tuple[bool, ...] = ()

    @property
    def class_count(self) -> int:
        """Structures and background."""
        return len(self.structures) + 1

    def as_document(self) -> dict[str, Any]:
        """Return the card as a JSON object."""
        document = {key: value for key, value in asdict(self).items() if key != "config"}
        return {
            "format": FORMAT,
            "uncol": __version__,
            **document,
            "config": self.config.as_document(),
            "intended_use": DISCLAIMER,
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> ModelCard:
        """Build a card from a JSON object.

        Raises:
            KeyError, TypeError, ValueError, UncolError: If the document is not a model card.
        """
        low, high = document["window"]
        return cls(
            structures=tuple(Structure(each["value"], each["name"]) for each in document["structures"]),
            plane=document["plane"],
            pixel_mm=float(document["pixel_mm"]),
            slice_mm=float(document["slice_mm"]),
            window=(float(low), float(high)),
            config=Config.from_document(document["config"]),
            in_one_piece=tuple(bool(each) for each in document["in_one_piece"]),
            training=dict(document["training"]),
        )


@dataclass(frozen=True)
class Model:
    """A trained student with its card."""

    card: ModelCard
    student: nn.Module


def build_student(card: ModelCard) -> nn.Module:
    """Return an untrained student of the card's kind and size."""
    config, neighbor_count = card.config.student, card.config.data.neighbor_count
    if config.kind != "unet":
        size = _PAPER_SIZES[config.kind, config.dims]()
        return PaperStudent(size, neighbor_count if config.dims == 2 else 1, card.class_count)
    if config.dims == 3:
        return Student3D(config, card.class_count)
    return Student2D(config, neighbor_count, card.class_count)


def save_model(model: Model, folder: Path) -> None:
    """Write a model folder; an older model there is replaced only when the new one is complete.

    Raises:
        OutputError: If the folder cannot be written.
    """
    with _replacing_files(folder) as partial:
        save_file(_contiguous(model.student.state_dict()), partial / WEIGHTS_FILE)
        (partial / MODEL_FILE).write_text(json.dumps(model.card.as_document(), indent=2) + "\n", encoding="utf-8")
        sums = [f"{sha256_of(partial / name)}  {name}\n" for name in (MODEL_FILE, WEIGHTS_FILE)]
        (partial / SUMS_FILE).write_text("".join(sums), encoding="utf-8")


def load_model(folder: Path) -> Model:
    """Read a model folder after checking its checksums.

    Raises:
        CheckpointError: If it is missing, damaged, or of another format.
    """
    card_path = newest(folder, MODEL_FILE)
    if not card_path.is_file():
        message = f'"{folder}" is not a model folder: it has no {MODEL_FILE}. Name a folder that fine-tuning wrote.'
        raise CheckpointError(message)
    verify_sums(folder)
    try:
        document = json.loads(card_path.read_text(encoding="utf-8"))
        _check_format(document["format"], folder)
        card = ModelCard.from_document(document)
        student = build_student(card)
        weights = load_file(newest(folder, WEIGHTS_FILE))
        _check_shapes(weights, student, folder)
        student.load_state_dict(weights, strict=True)
    except CheckpointError:
        raise
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, SafetensorError, UncolError) as error:
        message = f'Model "{folder}" cannot be read ({error}). {WHEN_DAMAGED}'
        raise CheckpointError(message) from error
    return Model(card, student.eval().requires_grad_(False))


def save_checkpoint(folder: Path, tensors: Mapping[str, Tensor], record: Mapping[str, Any]) -> None:
    """Write a resumable checkpoint as one file; the previous one is replaced only when it is complete.

    Raises:
        OutputError: If the folder cannot be written.
    """

    def write(path: Path) -> None:
        save_file(_contiguous(tensors), path, metadata={"record": json.dumps(dict(record))})

    _write_file(folder / CHECKPOINT_FILE, write)


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors and the record of a checkpoint.

    Raises:
        CheckpointError: If there is none or it is damaged.
    """
    path = folder / CHECKPOINT_FILE
    if not path.is_file():
        message = f'There is nothing to resume in "{folder}". Start without --resume.'
        raise CheckpointError(message)
    try:
        with safe_open(path, framework="pt") as file:
            record = json.loads(file.metadata()["record"])
            return {key: file.get_tensor(key) for key in file.keys()}, record  # noqa: SIM118  # not a mapping
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        message = f'The checkpoint in "{folder}" is damaged ({error}). Delete the folder and start again.'
        raise CheckpointError(message) from error


def has_checkpoint(folder: Path) -> bool:
    """Say whether an unfinished run can be resumed there."""
    return (folder / CHECKPOINT_FILE).is_file()


def remove_checkpoint(folder: Path) -> None:
    """Delete the checkpoint of a run that has ended."""
    (folder / CHECKPOINT_FILE).unlink(missing_ok=True)


def _check_format(found: object, folder: Path) -> None:
    if found != FORMAT:
        message = f'Model "{folder}" has format {found}, this version reads {FORMAT}. Update UnCoL.'
        raise CheckpointError(message)


@contextmanager
def _replacing_files(folder: Path) -> Iterator[Path]:
    """Give a folder to write into; its files come into force all at once when the block ends.

    They are flushed, then the folder is renamed to `.complete`: from that moment on it is what `newest`
    finds, file by file, whether or not the files have been moved to their place yet.
    """
    partial = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _finish_interrupted_save(folder)
        partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=folder))
        yield partial
        for file in partial.iterdir():
            flush_to_disk(file)
        partial.rename(folder / COMPLETE)
        _finish_interrupted_save(folder)
    except (OSError, SafetensorError) as error:
        raise _unwritable(folder, error) from error
    finally:
        if partial is not None:
            shutil.rmtree(partial, ignore_errors=True)


def _finish_interrupted_save(folder: Path) -> None:
    complete = folder / COMPLETE
    if complete.is_dir():
        for file in complete.iterdir():
            file.replace(folder / file.name)
        complete.rmdir()
    for left_behind in folder.glob(f"{_PARTIAL}*"):
        shutil.rmtree(left_behind, ignore_errors=True)


def _check_shapes(weights: Mapping[str, Tensor], student: nn.Module, folder: Path) -> None:
    expected = {name: tensor.shape for name, tensor in student.state_dict().items()}
    if {name: tensor.shape for name, tensor in weights.items()} != expected:
        message = f'Model "{folder}" has weights that do not fit its card. {WHEN_DAMAGED}'
        raise CheckpointError(message)


def _write_file(path: Path, write: Callable[[Path], None]) -> None:
    temporary = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        flush_to_disk(temporary)
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise _unwritable(path.parent, error) from error


def _unwritable(folder: Path, error: Exception) -> OutputError:
    return OutputError(
        f'"{folder}" could not be written ({error}). Free some space there or choose another folder; '
        "nothing half-written was left."
    )


def _contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        key: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
        for key, tensor in tensors.items()
    }
