"""The limits of recognition, checked before memory is taken; a text or value beyond them is not a table. Pure."""

from __future__ import annotations

from broker_plane.wire.bounds import MAX_COLUMNS, MAX_NAMES_BYTES

MAX_TEXT = 256 << 20
"""Maximum length of a text that is parsed, in characters."""

MAX_LITERAL_TEXT = 4 << 20
"""Maximum length of Python literals and HTML, in characters: Python parses them far more slowly than JSON."""

MAX_ROWS = 4_000_000
MAX_VALUES = 20_000_000
"""Maximum number of values in a text, counted by its separators."""

MAX_FIELDS_BYTES = 16 << 10
"""Maximum size of the members beside a table, as JSON: they are shown to the model."""

MAX_DIGITS = 4_000
"""Maximum length of a whole number among Python literals; `sys.set_int_max_str_digits` allows 4,300."""

MAX_NESTED = 60
"""Maximum nesting of Python literals: the parser's stack is C's."""


def fits(names: list[str]) -> bool:
    """Whether a body can have columns of these names."""
    if len(names) > MAX_COLUMNS:
        return False
    return sum(len(name.encode("utf-8", "surrogatepass")) + 5 for name in names) <= MAX_NAMES_BYTES
