"""No import circle and no long function: what a reader may rely on in every file."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.house.source import PACKAGE, ROOT, module_of, python_files, tree_of

MOST_LINES = 40
"""Lines of code of one function: docstrings, comments and blank lines do not count."""


def imports_of(path: Path, modules: set[str]) -> set[str]:
    """Modules of the package that a file imports, also within functions and for type checkers only."""
    found: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            inner = {f"{node.module}.{name.name}" for name in node.names} & modules
            found |= inner or {node.module}
    return found & modules - {module_of(path)}


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines on which the function has code: from its first statement after the docstring on."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    lines: set[int] = set()
    for statement in body:
        for node in ast.walk(statement):
            if isinstance(node, ast.expr | ast.stmt | ast.excepthandler):
                lines |= {node.lineno, node.end_lineno or node.lineno}
    return len(lines)


def test_no_module_imports_itself_by_way_of_others() -> None:
    files = {module_of(path): path for path in python_files(PACKAGE)}
    facade = {"broker_plane"}  # it imports a name when that is first used
    graph = {name: imports_of(path, set(files)) - facade for name, path in files.items() if name not in facade}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_no_function_is_long() -> None:
    """In the code that is shipped; among the tests, long functions are tables."""
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {code_lines(node)}"
        for path in python_files(PACKAGE, ROOT / "servers", ROOT / "demos")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and code_lines(node) > MOST_LINES
    ]
    assert not long, "\n".join(long)


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("def f():\n    '''Doc.\n\n    More.\n    '''\n    # a reason\n\n    return 1\n", 1),
        ("def f():\n    x = [\n        1,\n        2,\n    ]\n    return x\n", 5),
        ("async def f():\n    if 1:\n        pass\n    else:\n        pass\n", 3),
    ],
)
def test_lines_of_code_are_counted_without_docstring_and_comments(source: str, lines: int) -> None:
    function = ast.parse(source).body[0]
    assert isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
    assert code_lines(function) == lines
