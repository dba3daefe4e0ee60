"""Reads the selector of a request: which rows and columns of a body, and in which format."""

from __future__ import annotations

from urllib.parse import parse_qs

from starlette.types import Scope

from broker_plane.errors import SelectorError
from broker_plane.wire.selector import Selector, parse_selector_texts, selector_of_json

MOST_SELECTOR_BYTES = 8 << 20
"""Largest body of a POST that is a selector: more than a million row ids."""


def selector_of_query(scope: Scope) -> tuple[Selector, str | None, bool]:
    """The selector, the media type and whether `csv=safe` is set: `?columns=a,b&row_ids=0,2&format=text/csv`.

    The URL of a descriptor names its format, because not every client sends Accept. `csv=safe` implies `text/csv` if no
    format is named.

    Raises:
        SelectorError: a field is malformed, unknown or repeated.
    """
    if not scope["query_string"]:
        return Selector(), None, False
    try:
        given = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=16)
    except ValueError as error:
        raise SelectorError("The query has more than 16 fields") from error
    for name, values in given.items():
        # A misspelled name must not widen the answer to everything.
        if name not in ("columns", "row_ids", "format", "csv") or len(values) > 1:
            raise SelectorError(
                "The query may contain columns, row_ids, format and csv, each once: ?columns=event,area&row_ids=0,2"
            )
    selector = parse_selector_texts(given.get("columns", [None])[0], given.get("row_ids", [None])[0])
    media_type, safe = given.get("format", [None])[0], given.get("csv", [None])[0]
    if safe is None:
        return selector, media_type, False
    if safe != "safe" or media_type not in (None, "text/csv", "text/tab-separated-values"):
        raise SelectorError(
            "csv=safe requires the format text/csv or text/tab-separated-values, and safe is the only value of csv"
        )
    return selector, media_type or "text/csv", True


def selector_of_body(raw: bytes) -> Selector:
    """The selector in a request body; an empty body selects everything."""
    return selector_of_json(raw) if raw.strip() else Selector()
