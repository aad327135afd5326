"""What the help of all commands says: groups, an example for each, and the version."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from uncol import __version__
from uncol.cli.options import FLAG

START, WORK, MEASURE = "Start here", "Segment", "Measure"
"""How the commands are grouped."""
EXAMPLES = {
    "demo": "uncol demo -o demo-output",
    "doctor": "uncol doctor",
    "segment": "uncol segment ct.nii.gz --box kidney=120,80,30,180,150,36 -o first",
    "fine-tune": "uncol fine-tune --case ct.nii.gz labels.nii.gz --annotated-slices K:0,16,32 -o kidney-model",
    "view": "uncol view first",
    "models": "uncol models list",
    "evaluate": "uncol evaluate --prediction first/segmentation.nii.gz --reference labels.nii.gz",
    "benchmark": "uncol benchmark hippocampus --data DATA --out comparison --labeled 8",
}
"""One for each command, shown with its help."""
_Command = Callable[..., None]
_VALUES = {"<path>": "FILE", "<int>": "N", "<float>": "NUMBER", "<str>": "NAME"}
"""What stands for the value of an option that names none itself."""


class PlainCommand(TyperCommand):
    """A command whose help names what a value is, and no type of a programming language."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, as the help shows them."""
        return _without_types(super().get_params(ctx), ctx)


class PlainGroup(TyperGroup):
    """The same for commands that have commands."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, as the help shows them."""
        return _without_types(super().get_params(ctx), ctx)


def _without_types(parameters: list[Any], context: Any) -> list[Any]:
    for each in parameters:
        if isinstance(each, TyperArgument):  # its name says it
            vars(each)["display_type_rich"] = lambda **_: None
        elif isinstance(each, TyperOption) and each.metavar is None:
            each.metavar = _VALUES.get(each.display_type(context), FLAG)
    return parameters


def make_app() -> typer.Typer:
    """Return the command line without its commands."""
    app = typer.Typer(
        cls=PlainGroup,
        add_completion=True,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        help="Segment, annotate a few slices, fine-tune on site, see the uncertainty. "
        "Research use only. Not a medical device.",
    )
    app.callback()(_before_commands)
    return app


def command_of(app: typer.Typer, name: str, group: str) -> Callable[[_Command], _Command]:
    """Return what makes a function a command of a group, with its example."""
    return app.command(name, cls=PlainCommand, rich_help_panel=group, epilog=f"Example: {EXAMPLES[name]}")


def _say_version(wanted: bool | None) -> None:
    if wanted:
        sys.stdout.write(f"uncol {__version__}\n")
        raise typer.Exit


def _before_commands(
    _version: Annotated[
        bool | None,
        typer.Option(
            "--version", metavar=FLAG, is_eager=True, callback=_say_version, help="Say which version this is."
        ),
    ] = None,
) -> None:
    """Take the options that stand before every command."""
