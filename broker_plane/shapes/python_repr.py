"""The text that `str` makes of a list of tuples or dicts, as mcp-server-sqlite and many small servers write rows. Pure.

A scanner that knows brackets and strings cuts the list into its rows, and bounds their nesting and size. Then rows are
parsed some at a time, since Python's parser takes 150 bytes of memory for a byte of text, and a stack of C for nesting.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

from broker_plane.shapes import columnar, json_rows
from broker_plane.shapes.bounds import MAX_DIGITS, MAX_LITERAL_TEXT, MAX_NESTED
from broker_plane.shapes.literals import UNREADABLE, value_of
from broker_plane.shapes.table import Found

_ESCAPE = r"\\(?:[\\'\"nrt]|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})"
_TOKEN = re.compile(
    rf"""(?P<code>[^'"\[\](){{}}]++)|(?P<open>[\[({{])|(?P<close>[\])}}])
    |(?P<string>'(?:[^'\\\n]|{_ESCAPE})*+'|"(?:[^"\\\n]|{_ESCAPE})*+")""",
    re.VERBOSE,
)
_NUMBER = r"-?[0-9]++(?:\.[0-9]*+)?(?:e[+-]?[0-9]++)?(?![\w.])"
_NAME = r"-?[A-Za-z_]\w{0,40}(?:\.\w{1,40}){0,3}(?![\w.])"
_CODE = re.compile(rf"(?:[ ,:=]|{_NUMBER}|{_NAME})*+", re.ASCII)
_LONG = re.compile(rf"[0-9]{{{MAX_DIGITS},}}")
_PAIRS = {"[": "]", "(": ")", "{": "}"}
_PIECE = 1 << 16
_MAX_ROW = 1 << 20


def table(text: str) -> Found | None:
    """The rows of a list of dicts, or of tuples of one width, whose columns are `column_1`, `column_2`, …"""
    text = text.strip()
    if len(text) > MAX_LITERAL_TEXT or not text.startswith("[") or not text.endswith("]"):
        return None
    nodes: list[ast.expr] = []
    rows: list[Any] = []
    kinds: set[type] = set()
    try:
        for piece in _pieces(text):
            nodes = _elements(piece)
            kinds |= set(map(_row_kind, nodes))
            if len(kinds) > 1:
                return None
            rows += map(value_of, nodes)
    except UNREADABLE:
        return None
    if kinds == {tuple}:
        return columnar.unnamed("repr", rows)
    if set(map(type, rows)) != {dict} or not all(set(map(type, row)) <= {str} for row in rows):
        return None
    found = json_rows.rows(rows)
    return None if found is None else Found("repr", found.columns, found.rows)


def _elements(piece: str) -> list[ast.expr]:
    body = ast.parse(f"[{piece}]", mode="eval").body
    if not isinstance(body, ast.List):
        raise ValueError("not a list")
    return body.elts


def _row_kind(node: ast.expr) -> type:
    if isinstance(node, ast.Tuple):
        return tuple
    if isinstance(node, ast.Dict | ast.Call):
        return dict
    raise ValueError("neither a tuple nor a dict")


def _pieces(text: str) -> Iterator[str]:
    """The text within the outer brackets, cut between rows. Raises ValueError if it is not a list of literals."""
    start = 1
    for end in _row_ends(text):
        if end - start > _MAX_ROW:
            raise ValueError("a row is too long")
        if end - start >= _PIECE or end == len(text) - 1:
            yield text[start:end]
            start = end + 1


def _row_ends(text: str) -> Iterator[int]:
    """The places of the commas between rows, and of the last bracket."""
    stack: list[str] = []
    place, before = 0, ""
    for token in _TOKEN.finditer(text):
        kind, found = token.lastgroup, token.group()
        if token.start() != place or (kind == "string" and before == "string"):
            break
        place, before = token.end(), kind or ""
        if kind == "code":
            _check_code(found)
            if len(stack) == 1 and found.startswith(","):
                yield token.start()
        elif kind == "open":
            stack.append(_PAIRS[found])
            if len(stack) > MAX_NESTED:
                break
        elif kind == "close":
            if not stack or stack.pop() != found:
                break
            if not stack and place == len(text):
                yield place - 1
                return
    raise ValueError("not a list of literals")


def _check_code(found: str) -> None:
    if not _CODE.fullmatch(found) or (len(found) > MAX_DIGITS and _LONG.search(found)):
        raise ValueError("not literals")
