"""Cells of a CSV: their text, and the escaping of texts that a spreadsheet would take for formulas. Pure.

Spreadsheets evaluate a cell that begins with `=`, `+`, `-` or `@` (OWASP, "CSV Injection"), some of them also after
spaces, quotes and invisible characters, and in the full-width and small forms of these signs.
"""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal
from typing import Any

from broker_plane.tabular.json_values import json_bytes, json_value

_SIGNS = frozenset("=+-@\N{MINUS SIGN}")
_QUOTES = frozenset("\"'`\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}\N{LEFT DOUBLE QUOTATION MARK}")
_MORE_QUOTES = frozenset("\N{RIGHT DOUBLE QUOTATION MARK}\N{FULLWIDTH QUOTATION MARK}\N{FULLWIDTH APOSTROPHE}")
_NUMBER = re.compile(r"[+-]?(?:\d|[.,]\d)[\d.,]*(?:[eE][+-]?\d{1,4})?%?", re.ASCII)


def cell(value: Any) -> Any:
    """The field for a value: nested values as JSON text, true and false, None as an empty field."""
    viewed = json_value(value)
    if isinstance(viewed, (dict, list)):
        return json_bytes(viewed).decode()
    return str(viewed).lower() if isinstance(viewed, bool) else viewed


def safe_cell(value: Any) -> Any:
    """As `cell`, but never a formula."""
    return escaped(value, cell(value))


def escaped(value: Any, shown: Any) -> Any:
    """`shown`, the field for `value`, with an apostrophe before a text that a spreadsheet would evaluate.

    Numbers stay as they are, also those in texts.
    """
    if not isinstance(shown, str) or isinstance(value, (int, float, Decimal)) or not _is_formula(shown):
        return shown
    return f"'{shown}"


def _is_formula(text: str) -> bool:
    if text[:1] in ("\t", "\r", "\n"):
        return True
    first = next((letter for letter in text if not _is_skipped(letter)), "")
    return unicodedata.normalize("NFKC", first) in _SIGNS and not _NUMBER.fullmatch(text)


def _is_skipped(letter: str) -> bool:
    quote = letter in _QUOTES or letter in _MORE_QUOTES
    return quote or letter.isspace() or unicodedata.category(letter) in ("Cc", "Cf")
