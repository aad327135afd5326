"""Records the parameter names of Slicer's Python functions in slicer_facts.json. Facts only: no code is taken over.

Run it when a version of Slicer is added, with git clones of `Slicer/Slicer` and `fepegar/SlicerPyTorch`:

    python Testing/architecture/record_slicer_facts.py SLICER_CLONE PYTORCH_CLONE

A signature reads as in Python: `=` marks what may be left out, `*` what is given by name only; values are not recorded.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

FACTS = Path(__file__).with_name("slicer_facts.json")
SLICER_REVISIONS = {"5.10": "v5.10.0", "5.12": "v5.12.3", "5.13": "583e9b37d50ead7daf7b783dce465ccaecec8809"}
"""What each version is read from; 5.13 is the development branch of 2026-08-21."""
PYTORCH = "PyTorch extension"
PYTORCH_REVISION = "e1c85cc0a62e92fa6c38223cd88c611906adb60e"
"""Its main branch of 2024-04-24, the newest that could be had; which one a version of Slicer builds is not known."""

_LIBRARY = "Base/Python/slicer"
SLICER_FILES = {
    "slicer.util": f"{_LIBRARY}/util.py",
    "slicer.packaging": f"{_LIBRARY}/packaging.py",
    "slicer.i18n": f"{_LIBRARY}/i18n.py",
    "slicer.ScriptedLoadableModule": f"{_LIBRARY}/ScriptedLoadableModule.py",
    "slicer.parameterNodeWrapper": f"{_LIBRARY}/parameterNodeWrapper/wrapper.py",
    "slicer.parameterNodeWrapper validators": f"{_LIBRARY}/parameterNodeWrapper/validators.py",
    "SampleData": "Modules/Scripted/SampleData/SampleData.py",
}
PYTORCH_FILES = {"PyTorchUtils": "PyTorchUtils/PyTorchUtils.py"}
ONLY_CLASSES = {"SampleData": {"SampleDataLogic"}, "PyTorchUtils": {"PyTorchUtilsLogic"}}
"""Of a module's file: what is of use to other modules."""


def main(slicer: Path, pytorch: Path) -> None:
    """Write the facts of every version."""
    found: dict[str, dict[str, list[str]]] = {}
    sources = {
        version: _record(slicer, revision, version, SLICER_FILES, found)
        for version, revision in SLICER_REVISIONS.items()
    }
    sources[PYTORCH] = _record(pytorch, PYTORCH_REVISION, PYTORCH, PYTORCH_FILES, found)
    functions = {name: {", ".join(of): text for text, of in found[name].items()} for name in sorted(found)}
    facts = {
        "sources": sources,
        "files": SLICER_FILES | PYTORCH_FILES,
        "unknown": {module: sorted(SLICER_REVISIONS) for module in PYTORCH_FILES},
    }
    lines = [f"  {json.dumps(name)}: {json.dumps(functions[name])}" for name in functions]
    text = json.dumps(facts, indent=1).removesuffix("\n}") + ',\n "functions": {\n' + ",\n".join(lines) + "\n }\n}\n"
    FACTS.write_text(text, encoding="utf-8")


def _record(
    clone: Path, revision: str, version: str, files: dict[str, str], found: dict[str, dict[str, list[str]]]
) -> dict[str, str]:
    """Add the signatures of one version to `found`, {name: {signature: versions}}; return what they were read from."""
    for module, path in files.items():
        source = _git(clone, "show", f"{revision}:{path}")
        if source is None:
            continue  # a file that this version does not have yet
        for name, signature in _signatures(ast.parse(source), ONLY_CLASSES.get(module)):
            found.setdefault(f"{module.partition(' ')[0]}.{name}", {}).setdefault(signature, []).append(version)
    commit = _git(clone, "rev-parse", f"{revision}^{{commit}}")
    assert commit is not None, f"{clone} has no revision {revision}"
    return {"revision": revision, "commit": commit.strip()}


def _git(clone: Path, *arguments: str) -> str | None:
    ended = subprocess.run(["git", "-C", clone, *arguments], capture_output=True, text=True, check=False)
    return ended.stdout if ended.returncode == 0 else None


def _signatures(tree: ast.Module, only: set[str] | None) -> Iterator[tuple[str, str]]:
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    for name, node in functions.items():
        if not name.startswith("_") and only is None:
            yield name, signature_text(node.args)
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and (only is None or node.name in only):
            yield from _methods(node)
    yield from _methods_given_to_wrapped_classes(tree, functions)


def _methods(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    methods = [each for each in node.body if isinstance(each, ast.FunctionDef)]
    if "__init__" not in {each.name for each in methods}:
        yield f"{node.name}.__init__", "self" if not node.bases else "self, *args, **kwargs"
    for each in methods:
        is_property = any("property" in ast.unparse(decorator) for decorator in each.decorator_list)
        if not is_property and (each.name == "__init__" or not each.name.startswith("_")):
            yield f"{node.name}.{each.name}", signature_text(each.args)


def _methods_given_to_wrapped_classes(
    tree: ast.Module, functions: dict[str, ast.FunctionDef]
) -> Iterator[tuple[str, str]]:
    """Find what `parameterNodeWrapper` adds to a class: `checkedSetAttr(classtype, NAME, FUNCTION)`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "checkedSetAttr":
            _, name, function = node.args
            if isinstance(name, ast.Constant) and isinstance(function, ast.Lambda):
                yield f"wrapped.{name.value}", signature_text(function.args)
            elif isinstance(name, ast.Constant) and ast.unparse(function) in functions:
                yield f"wrapped.{name.value}", signature_text(functions[ast.unparse(function)].args)


def signature_text(arguments: ast.arguments) -> str:
    """Return the names of a function's parameters, `=` behind those that may be left out."""
    positional = [each.arg for each in [*arguments.posonlyargs, *arguments.args]]
    required = len(positional) - len(arguments.defaults)
    texts = [name if number < required else f"{name}=" for number, name in enumerate(positional)]
    if arguments.vararg or arguments.kwonlyargs:
        texts.append(f"*{arguments.vararg.arg if arguments.vararg else ''}")
    texts += [
        each.arg if default is None else f"{each.arg}="
        for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]
    return ", ".join([*texts, *([f"**{arguments.kwarg.arg}"] if arguments.kwarg else [])])


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
