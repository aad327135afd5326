"""Facts about Slicer, recorded as names: parameters of its Python functions, members of its Qt classes.

They let a stand-in refuse what the real thing would refuse. Neither Slicer nor Qt is needed here. The files and how
they were made are in Testing/architecture: `record_slicer_facts.py`, `record_qt_facts.py`.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

_FOLDER = Path(__file__).resolve().parents[1] / "architecture"
FUNCTIONS: dict[str, dict[str, str]] = json.loads((_FOLDER / "slicer_facts.json").read_text("utf-8"))["functions"]
"""{name: {versions: parameters}}; of methods `self` is the first parameter."""
CLASSES: dict[str, Any] = json.loads((_FOLDER / "qt_facts.json").read_text("utf-8"))["classes"]
VERSIONS = ("5.10", "5.12", "5.13")
_TOLD_BY = ({*VERSIONS}, {"Qt 5.15", "Qt 6"})
"""A member must be in all versions of the library that it belongs to."""


@dataclass(frozen=True)
class Members:
    """What Python may use of a class, with what it inherits; only what every version has."""

    properties: frozenset[str]
    readOnly: frozenset[str]
    methods: frozenset[str]
    signals: frozenset[str]
    """With the normalized types of their arguments, as `clicked(bool)`."""


@cache
def signatureOf(parameters: str) -> inspect.Signature:
    """Return a signature from recorded parameters, as `self, text, title=, *, parent=`."""
    kind, found = inspect.Parameter.POSITIONAL_OR_KEYWORD, []
    for each in filter(None, parameters.split(", ")):
        name = each.strip("*=")
        default = None if each.endswith("=") else inspect.Parameter.empty
        if each.startswith("**"):
            found.append(inspect.Parameter(name, inspect.Parameter.VAR_KEYWORD))
        elif each.startswith("*"):
            kind = inspect.Parameter.KEYWORD_ONLY
            found += [inspect.Parameter(name, inspect.Parameter.VAR_POSITIONAL)] if name else []
        else:
            found.append(inspect.Parameter(name, kind, default=default))
    return inspect.Signature(found)


def function(name: str, action: Callable[[dict[str, Any]], Any]) -> Callable[..., Any]:
    """Return a function that takes what Slicer's function of that name takes, in each version that has it.

    Args:
        name: The function's full name, as `slicer.util.pip_install`.
        action: What it does instead; gets the arguments by name.

    Raises:
        KeyError: If the function is not recorded.
    """
    signatures = [signatureOf(parameters) for parameters in FUNCTIONS[name].values()]

    def standIn(*arguments: Any, **options: Any) -> Any:
        bound = [each.bind(*arguments, **options).arguments for each in signatures]  # TypeError, as from the real one
        return action({key: value for key, value in bound[-1].items() if key != "self"})

    return standIn


def module(name: str, actions: dict[str, Callable[[dict[str, Any]], Any]]) -> ModuleType:
    """Return a module of Slicer that holds some of its functions, each doing something else.

    Args:
        name: The module's name, as `SampleData`.
        actions: What each does, see `function`; by the names `function` or `Class.method`.
    """
    made = ModuleType(name)
    for path, action in actions.items():
        owner, _, last = path.rpartition(".")
        if owner and not hasattr(made, owner):
            setattr(made, owner, type(owner, (), {"__init__": function(f"{name}.{owner}.__init__", lambda _: None)}))
        standIn = function(f"{name}.{path}", action)
        isMethod = all(each.startswith("self") for each in FUNCTIONS[f"{name}.{path}"].values())
        setattr(
            getattr(made, owner) if owner else made, last, standIn if isMethod or not owner else staticmethod(standIn)
        )
    return made


def isRecorded(className: str) -> bool:
    """Return whether the members of a class of Qt, CTK or Slicer are known."""
    return className in CLASSES


@cache
def membersOf(className: str) -> Members:
    """Return what a class and those above it have.

    Raises:
        KeyError: If the class is not recorded.
    """
    found: dict[str, set[str]] = {"properties": set(), "read-only": set(), "methods": set(), "signals": set()}
    while className not in ("", "object"):
        for versions, members in CLASSES[className]["in"].items():
            if any(all_ <= set(versions.split(", ")) for all_ in _TOLD_BY):
                for kind, names in members.items():
                    found[kind] |= set(names)
        className = CLASSES[className]["base"]
    found["read-only"] -= found["properties"]  # a class may let set what the one above does not
    return Members(*(frozenset(found[kind]) for kind in ("properties", "read-only", "methods", "signals")))
