"""Reads a request: its headers, the fields of its query, and a JSON body within limits."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from starlette.types import Receive, Scope

from broker_plane.errors import SelectorError, TooLargeError, UnsupportedCodingError, WireError
from broker_plane.wire.exact_json import MALFORMED, loads
from broker_plane.wire.urls import quoted

MOST_REQUEST_BYTES = 64 << 10
"""Largest request body that is read as JSON, except selectors."""

_REQUEST_SECONDS = 30
_MOST_NUMBER = 2**63 - 1


def headers_of(scope: Scope) -> dict[str, str]:
    """Headers by lower-case name; repeated ones are joined into one list (RFC 9110, section 5.3)."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key = name.decode("latin-1")
        text = value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def base_of(scope: Scope) -> str:
    """The base URL that the client used; the guard has checked its host."""
    return f"{scope['scheme']}://{headers_of(scope).get('host', '')}"


def query_fields(scope: Scope, *names: str) -> dict[str, str]:
    """The fields of the query, each of `names` at most once.

    Raises:
        SelectorError: there is another field, or one twice: a misspelled name must not widen the answer.
    """
    given = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    found = dict(given)
    if len(found) < len(given) or not found.keys() <= set(names):
        raise SelectorError(f"The query may contain {', '.join(names)}, each once")
    return found


def whole_number(text: str, name: str) -> int:
    """The non-negative integer that `text` spells. Raises WireError, which calls it `name`."""
    if not (text.isascii() and text.isdigit() and int(text) < _MOST_NUMBER):
        raise WireError(f"{name} must be a whole number, not {quoted(text)}")
    return int(text)


def check_coding(headers: Mapping[str, str]) -> None:
    """Raise UnsupportedCodingError (415) if the request's content has a coding: none is decoded here."""
    named = {coding.strip().lower() for coding in headers.get("content-encoding", "").split(",")}
    if named - {"", "identity"}:
        raise UnsupportedCodingError("Send the content as it is, without a Content-Encoding")


def declared_size(scope: Scope) -> int:
    """The Content-Length of a request; -1 if it has none."""
    declared = headers_of(scope).get("content-length", "")
    return int(declared) if declared.isdigit() else -1


async def read_body(scope: Scope, receive: Receive, max_bytes: int = MOST_REQUEST_BYTES) -> bytes:
    """The request body, up to `max_bytes` and within a deadline.

    Raises:
        TooLargeError, UnsupportedCodingError, WireError.
    """
    check_coding(headers_of(scope))
    if declared_size(scope) > max_bytes:
        raise _too_large(max_bytes)
    raw = bytearray()
    try:
        async with asyncio.timeout(_REQUEST_SECONDS):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise WireError("The request ended before its body was complete")
                raw += message.get("body", b"")
                if len(raw) > max_bytes:
                    raise _too_large(max_bytes)
                if not message.get("more_body", False):
                    return bytes(raw)
    except TimeoutError as error:
        raise WireError(f"The request body did not arrive within {_REQUEST_SECONDS} s") from error


def json_object(raw: bytes) -> dict[str, Any] | None:
    """The JSON object in a request body; None for an empty body.

    Raises:
        SelectorError: it is not a JSON object.
    """
    if not raw.strip():
        return None
    try:
        fields = loads(raw)
    except MALFORMED as error:
        raise SelectorError(f"The request body is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise SelectorError('The request body must be a JSON object such as {"columns": ["event"], "row_ids": [0, 2]}')
    return fields


def _too_large(max_bytes: int) -> TooLargeError:
    return TooLargeError(f"The body of this request may have at most {max_bytes} bytes")
