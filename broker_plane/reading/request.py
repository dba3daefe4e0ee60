"""A request to read a part of a body: which part, and how many tokens it may take. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from broker_plane.errors import WireError
from broker_plane.reading.tokens import DEFAULT_TOKENS, LEAST_TOKENS, MOST_TOKENS
from broker_plane.wire.bounds import MAX_COLUMNS, MAX_SAFE_INT

PAGE_ROWS = 50
PAGE_LINES = 100
PAGE_BYTES = 512
"""What a page has, whatever the budget: page 7 has the same rows for every reader. A page that does not fit is cut, and
`next` goes on within it."""

MOST_PATTERN = 500
"""Maximum length of a regular expression, in characters."""

MOST_PATH = 1_000
"""Maximum length of a JSON path, in characters."""

MOST_ROWS_TEXT = 4_000
"""Maximum length of `rows`, in characters."""

_WAYS = ("page", "rows", "head", "tail", "grep", "json_path")
_NUMBERS = ("page", "head", "tail")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadRequest:
    """What to read: one of `page`, `rows`, `head`, `tail`, `grep` and `json_path`; none of them is page 1.

    `rows` names rows by `_row_id`, lines of a text from 1 on, or bytes from 0 on: "10-20" (both included), "5", "3,7",
    "30-" (as many as fit). With `grep` and `json_path` it says which rows, lines or results to look at.
    """

    page: int | None = None
    """From 1 on."""
    rows: str | None = None
    head: int | None = None
    tail: int | None = None
    grep: str | None = None
    """A regular expression in the syntax of RE2, which takes time linear in the text."""
    json_path: str | None = None
    columns: tuple[str, ...] | None = None
    max_tokens: int = DEFAULT_TOKENS

    @property
    def bare(self) -> bool:
        """Whether it names no part."""
        return all(getattr(self, name) is None for name in _WAYS)

    def to_wire(self) -> dict[str, Any]:
        """The members of the JSON object that `parse_read_request` reads."""
        named = {name: getattr(self, name) for name in _WAYS if getattr(self, name) is not None}
        columns = {} if self.columns is None else {"columns": list(self.columns)}
        return {**named, **columns, "max_tokens": self.max_tokens}


def parse_read_request(fields: Mapping[str, Any]) -> ReadRequest:
    """The request of a JSON object.

    Raises:
        WireError: a member is unknown, malformed or out of bounds, or two members exclude each other.
    """
    named = {name: value for name, value in fields.items() if value is not None}
    if unknown := sorted(set(named) - {*_WAYS, "columns", "max_tokens"}):
        raise WireError(f"A read has no member {unknown[0]:.40}; there are {', '.join(_WAYS)}, columns and max_tokens")
    request = ReadRequest(
        **{name: _number(name, named[name]) for name in _NUMBERS if name in named},
        rows=_text("rows", named.get("rows"), MOST_ROWS_TEXT),
        grep=_text("grep", named.get("grep"), MOST_PATTERN),
        json_path=_text("json_path", named.get("json_path"), MOST_PATH),
        columns=_columns(named.get("columns")),
        max_tokens=_budget(named.get("max_tokens", DEFAULT_TOKENS)),
    )
    _check_single(request)
    return request


def _check_single(request: ReadRequest) -> None:
    given = [name for name in _WAYS if getattr(request, name) is not None]
    allowed = len(given) < 2 or (len(given) == 2 and "rows" in given and {"grep", "json_path"} & set(given))
    if not allowed:
        raise WireError(
            f"Give one of {', '.join(_WAYS)}, and not {' and '.join(given)}; only rows may go with grep or json_path"
        )


def _number(name: str, value: Any) -> int:
    if type(value) is not int or not 1 <= value < MAX_SAFE_INT:
        raise WireError(f"{name} is a whole number from 1 on")
    return value


def _budget(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise WireError(f"max_tokens is a whole number from {LEAST_TOKENS} to {MOST_TOKENS:,}")
    if value > MOST_TOKENS:
        raise WireError(f"max_tokens is at most {MOST_TOKENS:,}; read on with what `next` names")
    return max(value, LEAST_TOKENS)


def _text(name: str, value: Any, most: int) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise WireError(f"{name} is a text that is not empty")
    if len(value) > most:
        raise WireError(f"{name} has more than {most:,} characters")
    return value


def _columns(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > MAX_COLUMNS or not all(isinstance(name, str) for name in value):
        raise WireError(f"columns is a list of at most {MAX_COLUMNS:,} names")
    return tuple(dict.fromkeys(value)) or None
