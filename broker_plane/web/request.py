"""What a request says, parsed at the door: headers, selectors, a JSON body within its limits."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from starlette.types import Receive, Scope

from broker_plane.web.delivery import EXTENSION, Delivery
from broker_plane.errors import SelectorError, TooLargeError, UnsupportedCodingError, WireError
from broker_plane.wire.exact_json import MALFORMED, loads
from broker_plane.wire.selector import Selector, parse_selector_texts, selector_of_json

MOST_SELECTOR_BYTES = 8 << 20
"""Of a POST whose body is a selector: a million row ids and more."""

MOST_REQUEST_BYTES = 64 << 10
"""Of every other request body that is read as JSON."""

_REQUEST_SECONDS = 30


def delivery_of(scope: Scope) -> Delivery:
    """The delivery that our protocol class put there; no other server tells how an answer reached its reader."""
    delivery: Delivery = scope["extensions"][EXTENSION]
    return delivery


def headers_of(scope: Scope) -> dict[str, str]:
    """Headers by lower-case name; those that stand twice are one list (RFC 9110, section 5.3)."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key = name.decode("latin-1")
        text = value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def query_of(scope: Scope) -> tuple[Selector, str | None, bool]:
    """The selector, the media type and whether `csv=safe` is asked for: `?columns=a,b&row_ids=0,2&format=text/csv`.

    The URL of a descriptor names its format, because not every client sends Accept; `csv=safe` names one as well.

    Raises:
        SelectorError: it is none, or something else stands there.
    """
    if not scope["query_string"]:
        return Selector(), None, False
    try:
        asked = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=16)
    except ValueError as error:
        raise SelectorError("The query has more than 16 fields") from error
    for name, values in asked.items():
        # A misspelled name must not widen the answer to everything.
        if name not in ("columns", "row_ids", "format", "csv") or len(values) > 1:
            raise SelectorError(
                "The query takes columns, row_ids, format and csv, each once: ?columns=event,area&row_ids=0,2"
            )
    selector = parse_selector_texts(asked.get("columns", [None])[0], asked.get("row_ids", [None])[0])
    media_type, safe = asked.get("format", [None])[0], asked.get("csv", [None])[0]
    if safe is None:
        return selector, media_type, False
    if safe != "safe" or media_type not in (None, "text/csv"):
        raise SelectorError("csv=safe is for the format text/csv, and the only value of csv")
    return selector, "text/csv", True


def body_selector(raw: bytes) -> Selector:
    """The selector of a request body; an empty one selects everything."""
    return selector_of_json(raw) if raw.strip() else Selector()


def check_coding(headers: Mapping[str, str]) -> None:
    """Raise UnsupportedCodingError (415) where the content of a request has a coding: none is taken off here."""
    named = {coding.strip().lower() for coding in headers.get("content-encoding", "").split(",")}
    if named - {"", "identity"}:
        raise UnsupportedCodingError("Send the content as it is, without a Content-Encoding")


def declared_size(scope: Scope) -> int:
    """The size of a request body as its head says it; -1 where it does not."""
    declared = headers_of(scope).get("content-length", "")
    return int(declared) if declared.isdigit() else -1


async def read_body(scope: Scope, receive: Receive, most: int = MOST_REQUEST_BYTES) -> bytes:
    """The request body, of at most `most` bytes and within a deadline.

    Raises:
        TooLargeError, UnsupportedCodingError, WireError.
    """
    check_coding(headers_of(scope))
    if declared_size(scope) > most:
        raise _too_large(most)
    raw = bytearray()
    try:
        async with asyncio.timeout(_REQUEST_SECONDS):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise WireError("The request broke off")
                raw += message.get("body", b"")
                if len(raw) > most:
                    raise _too_large(most)
                if not message.get("more_body", False):
                    return bytes(raw)
    except TimeoutError as error:
        raise WireError(f"The request body was not here after {_REQUEST_SECONDS} s") from error


def _too_large(most: int) -> TooLargeError:
    return TooLargeError(f"The body of this request has at most {most} bytes")


def json_object(raw: bytes) -> dict[str, Any] | None:
    if not raw.strip():
        return None
    try:
        fields = loads(raw)
    except MALFORMED as error:
        raise SelectorError(f"The request body is no JSON: {error}") from error
    if not isinstance(fields, dict):
        raise SelectorError('The request body is a JSON object such as {"columns": ["event"], "row_ids": [0, 2]}')
    return fields
