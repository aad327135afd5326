"""How a command does its work, once its options are read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uncol.cli import options
from uncol.cli.console import loading, monitored, print_result, say
from uncol.core.foundation_choice import FoundationChoice

if TYPE_CHECKING:  # loading it takes seconds
    from uncol.pipelines.context import Context


def carry_out(
    work: Callable[[Context], dict[str, Any]],
    tell: Callable[[Mapping[str, Any]], None],
    cache: Path | None,
    foundation: FoundationChoice,
    *,
    as_json: bool,
) -> dict[str, Any]:
    """Do a piece of work and tell what came of it, a program or a person."""
    with loading():
        from uncol.pipelines.context import Context
    with monitored(as_json=as_json) as monitor:
        told = (lambda _: None) if as_json else say
        command = options.without_names(sys.argv[1:])
        document = work(Context(monitor, options.cache_folder(cache), foundation, say=told, command=command))
    if not print_result(document, as_json=as_json):
        tell(document)
    return document
