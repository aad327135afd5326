"""`uncol models`: the commands that list, share and manage the models in the store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from platformdirs import user_data_path

from uncol.cli.console import loading, print_result, print_table, say
from uncol.cli.groups import PlainCommand, PlainGroup
from uncol.core.errors import CheckpointError, ConfigError, UncolError
from uncol.core.grey_values import KINDS
from uncol.core.model_folder import DISCLAIMER, MODEL_FILE, has_model
from uncol.core.model_hash import name_of, stated_hash
from uncol.core.model_store import NameTakenError, Store

commands = typer.Typer(cls=PlainGroup, no_args_is_help=True, help="List, share and manage your models.")
_command = partial(commands.command, cls=PlainCommand)

ModelsFolder = Annotated[
    Path | None, typer.Option("--models", metavar="DIR", rich_help_panel="Advanced", help="Folder with your models.")
]
_TAKE_IN = "`uncol models import FOLDER` takes in what `uncol fine-tune` wrote."
ModelName = Annotated[str, typer.Argument(metavar="NAME", help="Name of a model.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


def models_folder(chosen: Path | None) -> Path:
    """Return the folder of models that was chosen, or the user's own.

    Earlier versions kept models among the settings; a folder there is used as long as it is the only one.
    """
    own, former = user_data_path("uncol", appauthor=False) / "models", Path(typer.get_app_dir("uncol")) / "models"
    return chosen or (former if former.is_dir() and not own.exists() else own)


def store_in(chosen: Path | None) -> Store:
    """Return the models of the folder that was chosen, or the user's own."""
    return Store(models_folder(chosen), _check_usable)


def _check_usable(folder: Path) -> None:
    with loading():
        from uncol.models.checkpoints import check_usable
    check_usable(folder)


@_command("list")
def list_models(models: ModelsFolder = None, as_json: JsonFlag = False) -> None:
    """List the models, and the runs that have not come to their end."""
    store = store_in(models)
    entries, unfinished = store.list(), store.unfinished()
    documents = [each.as_document() for each in entries]
    if _told(store, as_json=as_json, models=documents, unfinished=[each.as_document() for each in unfinished]):
        return
    if not entries and not unfinished:
        say(f"{store.says_empty} {_TAKE_IN}")
        return
    rows = [
        ["*" if each.is_active else "", each.name, each.title, str(each.training.get("steps", "")), each.created]
        for each in entries
    ]
    print_table(f"Models in {store.folder}", ["active", "name", "structures", "steps", "written"], rows)
    if unfinished:
        runs = [[each.name, each.origin.volume, str(each.steps), each.saved] for each in unfinished]
        print_table("Unfinished, until they are resumed or removed", ["name", "volume", "steps", "saved"], runs)


@_command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a model, or the hash of it in a result.")],
    models: ModelsFolder = None,
    as_json: JsonFlag = False,
) -> None:
    """Show what a model knows, and how it was trained."""
    store = store_in(models)
    name = name_of(store, name)
    card, sha256 = store.show(name), stated_hash(store.path_of(name))
    if _told(store, as_json=as_json, name=name, sha256=sha256, card=card):
        return
    entry = store.entry(name)
    images, plane = KINDS[entry.grey_values], card.get("plane")
    facts = {"structures": entry.title, "images": images, "written": entry.created, "plane": plane, "sha256": sha256}
    facts |= entry.training
    rows = [[key.replace("_", " "), _fact(key, value)] for key, value in facts.items() if key != "curve"]
    rows = [row for row in rows if row[1]]
    print_table(f"Model {name}", ["what", "value"], rows)
    say(DISCLAIMER)


@_command()
def rename(
    name: ModelName,
    new_name: Annotated[str, typer.Argument(metavar="NEW_NAME", help="Small letters, digits, - and _.")],
    models: ModelsFolder = None,
    as_json: JsonFlag = False,
) -> None:
    """Give a model another name."""
    _change(models, lambda store: store.rename(name, new_name), f"{name} is now called {new_name}.", as_json=as_json)


@_command()
def activate(name: ModelName, models: ModelsFolder = None, as_json: JsonFlag = False) -> None:
    """Make a model the one that is proposed first."""
    _change(models, lambda store: store.activate(name), f"{name} is active.", as_json=as_json)


@_command("roll-back")
def roll_back(models: ModelsFolder = None, as_json: JsonFlag = False) -> None:
    """Make the model active that was active before."""
    _change(models, Store.roll_back, "The model before is active again.", as_json=as_json)


@_command()
def remove(name: ModelName, models: ModelsFolder = None, as_json: JsonFlag = False) -> None:
    """Delete a model or an unfinished run."""
    _change(models, lambda store: store.remove(name), f"{name} was deleted.", as_json=as_json)


@_command()
def verify(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="Name of a model; else all.")] = None,
    models: ModelsFolder = None,
    as_json: JsonFlag = False,
) -> None:
    """Check that a model, or every model, is whole."""
    store = store_in(models)
    names = store.names() if name is None else [name]
    damaged = {each: why for each in names if (why := _damage(store, each)) is not None}
    whole, why_not = [each for each in names if each not in damaged], {each: str(why) for each, why in damaged.items()}
    is_told = _told(store, as_json=as_json, verified=whole, damaged=why_not)
    if damaged:
        *others, last = damaged.values()
        for each in others:
            say(str(each))
        raise last
    if not is_told:
        say(_whole(store, names))


@_command("import")
def import_model(
    path: Annotated[
        Path,
        typer.Argument(metavar="PATH", help="Folder of a model that fine-tuning wrote, or zip that `export` wrote."),
    ],
    name: Annotated[str | None, typer.Option(help="Name to give it; else the one it has.")] = None,
    models: ModelsFolder = None,
    as_json: JsonFlag = False,
) -> None:
    """Take a model in among yours, from its folder or from one zip file."""
    store = store_in(models)
    try:
        imported = _take_in(store, path, name)
    except (NameTakenError, ConfigError) as error:
        message = f"{error} Give the new name with --name."
        raise CheckpointError(message) from error
    if not _told(store, as_json=as_json, name=imported):
        say(f"{imported} was imported.")


@_command("export")
def export_model(
    name: ModelName,
    file: Annotated[Path, typer.Argument(metavar="ZIP", help="File to write.")],
    models: ModelsFolder = None,
    as_json: JsonFlag = False,
) -> None:
    """Write a model as one zip file."""
    _change(models, lambda store: store.export_zip(name, file), f"{name} was written to {file}.", as_json=as_json)


def _take_in(store: Store, path: Path, name: str | None) -> str:
    if not path.is_dir():
        return store.import_zip(path, name)
    if has_model(path):
        return store.import_folder(path, name)
    message = f'"{path}" holds no model (there is no {MODEL_FILE}). Give the folder that fine-tuning wrote, or a zip.'
    raise CheckpointError(message)


def _fact(key: str, value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {each}" for name, each in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else f"{value} s" if key == "seconds" else str(value)


def _whole(store: Store, names: Sequence[str]) -> str:
    if not names:
        return store.says_empty
    return f"{names[0]} is whole." if len(names) == 1 else f"{len(names)} models are whole."


def _damage(store: Store, name: str) -> UncolError | None:
    try:
        store.verify(name)
    except UncolError as error:
        return error
    return None


def _change(models: Path | None, change: Callable[[Store], object], done: str, *, as_json: bool) -> None:
    store = store_in(models)
    change(store)
    if not _told(store, as_json=as_json):
        say(done)


def _told(store: Store, *, as_json: bool, **content: Any) -> bool:
    return print_result({"active": store.active, **content}, as_json=as_json)
