"""What nodes of a saved scene say in JSON; a scene may be damaged, or written by somebody else."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from uncol.core.strict_json import read_json


def jsonOf(node: Any, attribute: str) -> Any:
    """Return what an attribute says; None where it is not there or cannot be read."""
    with suppress(ValueError):
        return read_json(node.GetAttribute(attribute) or "null")
    return None


def textsOf(node: Any, attribute: str) -> list[str]:
    """Return the texts that an attribute lists; none where it cannot be read."""
    listed = jsonOf(node, attribute)
    return [each for each in listed if isinstance(each, str)] if isinstance(listed, list) else []
