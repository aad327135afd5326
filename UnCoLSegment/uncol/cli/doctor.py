"""`uncol doctor`: the command that looks at this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from uncol.cli import options
from uncol.cli.console import loading, print_result, say
from uncol.cli.summary import print_diagnosis
from uncol.core.foundation_choice import FoundationChoice


def doctor(
    everything: Annotated[bool, typer.Option("--all", metavar=options.FLAG, help="Also tell what is well.")] = False,
    cache: options.CacheFolder = None,
    foundation_model: options.FoundationFamily = "LiteMedSAM",
    foundation_weights: options.WeightsFile = None,
    as_json: options.JsonFlag = False,
) -> None:
    """Say what this machine can do, how fast it learns, and what to do about what is missing."""
    foundation = FoundationChoice.of(foundation_model, foundation_weights)
    if not as_json:
        say("Looking at this machine, and learning for a few seconds.")
    with loading():
        from uncol.cli.examination import examine
    document = examine(options.cache_folder(cache), foundation)
    if not print_result(document, as_json=as_json):
        print_diagnosis(document, everything=everything)
