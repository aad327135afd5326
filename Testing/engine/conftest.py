"""What several files of this folder share: a real worker process, and a store of small models."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

if str(Path(__file__).resolve().parent) not in sys.path:
    sys.path.append(str(Path(__file__).resolve().parent))

from small_models import write_model  # only now it can be found
from worker_child import Child

from uncol.core.model_store import Store


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Return a function that prints a sentence at once, as `make soak` prints its counts."""

    def print_it(sentence: str) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n{sentence}\n")

    return print_it


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store with the models a, b and c."""
    for name in "abc":
        write_model(tmp_path / "models" / name)
    return Store(tmp_path / "models")


@pytest.fixture(scope="session")
def embeddings_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the foundation model's embeddings of the ball are kept, so that they are computed only once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def start(tmp_path: Path, embeddings_cache: Path) -> Iterator[Callable[..., Child]]:
    """Return a function that starts a worker of the test's own; it is killed at the end."""
    children: list[Child] = []

    def start_one(*, greet: bool = True, **options: Any) -> Child:
        child = Child(tmp_path, options.pop("cache", embeddings_cache), **options)
        children.append(child)
        if greet:
            assert child.greet()["event"] == "greeting"
        return child

    yield start_one
    for child in children:
        child.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, embeddings_cache: Path) -> Iterator[Child]:
    """One worker for the tests that leave it alive, as the panel keeps it."""
    child = Child(tmp_path_factory.mktemp("worker"), embeddings_cache)
    child.greet()
    yield child
    child.close()
