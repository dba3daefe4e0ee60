"""The project's own source, as the tests of this folder read it."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "broker_plane"
OWN = (PACKAGE, ROOT / "servers", ROOT / "demos", ROOT / "tests")


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of text that a person reads, and where it is."""

    path: Path
    line: int
    kind: str
    """"docstring", "comment", "string" or "page"."""
    text: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line} ({self.kind})"


def python_files(*folders: Path) -> list[Path]:
    """Every Python file below `folders`, sorted."""
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def module_of(path: Path) -> str:
    """The dotted name of a file of the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def docstrings(path: Path) -> Iterator[Text]:
    """The docstrings of a file, and the strings that stand below an attribute to describe it."""
    for node in ast.walk(tree_of(path)):
        body = getattr(node, "body", ())
        for statement in body if isinstance(body, list) else ():
            match statement:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    yield Text(path, statement.lineno, "docstring", text)


def comments(path: Path) -> Iterator[Text]:
    with io.StringIO(path.read_text(encoding="utf-8")) as source:
        for token in tokenize.generate_tokens(source.readline):
            if token.type == tokenize.COMMENT:
                yield Text(path, token.start[0], "comment", token.string.lstrip("#: "))


def messages(path: Path) -> Iterator[Text]:
    """Strings of at least two words that are no docstring: errors, help, log lines."""
    tree = tree_of(path)
    described = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in described and " " in text.strip():
                yield Text(path, node.lineno, "string", text)


def pages() -> Iterator[Text]:
    """Lines of the pages that people read, without their code blocks."""
    for path in [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "SECURITY.md",
        *sorted((ROOT / "docs").rglob("*.md")),
    ]:
        fenced = False
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if line.lstrip().startswith("```"):
                fenced = not fenced
            elif not fenced and line.strip():
                yield Text(path, number, "page", line)
