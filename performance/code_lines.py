"""Count lines of code: what is left without comments, docstrings and blank lines.

python performance/code_lines.py [FOLDER ...]     by default UnCoLSegment, room by room
"""

from __future__ import annotations

import ast
import sys
import tokenize
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def code_lines(path: Path) -> int:
    """Return how many lines of a Python file hold code."""
    with tokenize.open(path) as file:
        tokens = list(tokenize.generate_tokens(file.readline))
    lines = {line for token in tokens if token.type not in NO_CODE for line in range(token.start[0], token.end[0] + 1)}
    return len(lines - docstring_lines(ast.parse(path.read_text(encoding="utf-8"))))


def docstring_lines(tree: ast.Module) -> set[int]:
    """Return the lines of texts that stand alone: docstrings, also those beneath a field or a constant."""
    texts = [
        node for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    ]  # fmt: skip
    return {line for text in texts for line in range(text.lineno, (text.end_lineno or text.lineno) + 1)}


def main(folders: list[Path]) -> None:
    """Print the count of each room and of all."""
    counts: Counter[str] = Counter()
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            counts["/".join(path.relative_to(folder).parts[:2][: -1 or None]) or "."] += code_lines(path)
    for room, count in sorted(counts.items()):
        print(f"{count:7,}  {room}")
    print(f"{counts.total():7,}  all")


if __name__ == "__main__":
    main(
        [Path(each) for each in sys.argv[1:]] or [ROOT / "UnCoLSegment" / each for each in ("uncol", "UnCoLSegmentLib")]
    )
