"""The limits of recognition, checked before memory is taken; a text or value beyond them is not a table. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from broker_plane.wire.bounds import MAX_COLUMNS, MAX_NAMES_BYTES
from broker_plane.wire.exact_json import dumps

MAX_TEXT = 256 << 20
"""Maximum length of a text that is parsed, in characters."""

MAX_LITERAL_TEXT = 4 << 20
"""Maximum length of Python literals and HTML, in characters: Python parses them far more slowly than JSON."""

MAX_ROWS = 4_000_000
MAX_VALUES = 10_000_000
"""Maximum number of values in a text, counted by its separators."""

MAX_FIELDS_BYTES = 16 << 10
"""Maximum size of the members beside a table, as JSON: they are shown to the model."""

MAX_DIGITS = 4_000
"""Maximum length of a whole number among Python literals; `sys.set_int_max_str_digits` allows 4,300."""

MAX_NESTED = 60
"""Maximum nesting of Python literals: the parser's stack is C's."""


_PER_NAME = 5
"""Bytes around a name in a body's header."""


def fits(names: Sequence[str]) -> bool:
    """Whether a body can have columns of these names."""
    if len(names) > MAX_COLUMNS:
        return False
    try:
        return len("".join(names).encode()) + _PER_NAME * len(names) <= MAX_NAMES_BYTES
    except UnicodeEncodeError:  # a lone surrogate
        return False


def are_few(fields: Any) -> bool:
    """Whether the members beside a table are small enough to be shown to the model."""
    return size_of(fields) <= MAX_FIELDS_BYTES


def size_of(value: Any) -> int:
    """The size of a value as JSON, in bytes; 0 if it is empty, and more than any limit if it is nested too deeply."""
    try:
        return len(dumps(value)) if value else 0
    except RecursionError:
        return 1 << 62
