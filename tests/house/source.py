"""The project's own source, as the tests of this folder read it."""

from __future__ import annotations

import ast
import gc
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "broker_plane"
OWN = (PACKAGE, ROOT / "servers", ROOT / "demos", ROOT / "tests")


_STRING_OR_COMMENT = re.compile(
    r'''"""(?:\\.|[^\\])*?"""|\'\'\'(?:\\.|[^\\])*?\'\'\'|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|#[^\n]*''', re.DOTALL
)
"""As the grammar has them: a quotation mark in a comment opens no string. The module tokenize takes 20 times longer."""


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
    gc.disable()  # the trees of all files are kept, and each collection would look at all of them
    try:
        return ast.parse(path.read_text(encoding="utf-8"), str(path))
    finally:
        gc.enable()


def module_of(path: Path) -> str:
    """The dotted name of a file of the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def docstrings(path: Path) -> tuple[Text, ...]:
    """The docstrings of a file, and the strings that stand below an attribute to describe it."""
    return tuple(
        Text(path, statement.lineno, "docstring", statement.value.value)
        for statement in _statements(tree_of(path))
        if isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _statements(within: ast.AST) -> Iterator[ast.stmt]:
    """Every statement, without a look at the expressions, which are most of a tree."""
    for name in ("body", "orelse", "finalbody", "handlers", "cases"):
        for each in getattr(within, name, ()) if not isinstance(within, ast.expr) else ():
            if isinstance(each, ast.stmt):
                yield each
            yield from _statements(each)


@cache
def comments(path: Path) -> tuple[Text, ...]:
    text = path.read_text(encoding="utf-8")
    return tuple(
        Text(path, text.count("\n", 0, found.start()) + 1, "comment", found[0].lstrip("#: "))
        for found in _STRING_OR_COMMENT.finditer(text)
        if found[0].startswith("#")
    )


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
