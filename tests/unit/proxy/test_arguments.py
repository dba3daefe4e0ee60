"""A pulled body as the value of an argument: schema and body in, value or refusal out."""

from __future__ import annotations

from typing import Any

import pytest

from broker_plane.errors import SelectorError
from broker_plane.proxy.arguments import fitted

ROWS = [{"a": 1}, {"a": 2}]


def schema(**argument: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"x": argument}}


FITTED = [
    pytest.param(ROWS, "", schema(type="array"), ROWS, id="rows as an array"),
    pytest.param(ROWS, "", schema(), ROWS, id="rows for any type"),
    pytest.param(ROWS[:1], "", schema(type="object"), {"a": 1}, id="one row as an object"),
    pytest.param(ROWS, "", schema(type="string"), '[{"a":1},{"a":2}]', id="rows as JSON text"),
    pytest.param(ROWS, "", schema(anyOf=[{"type": "string"}, {"type": "array"}]), ROWS, id="one of several types"),
    pytest.param(b"text", "text/plain", schema(type="string"), "text", id="text"),
    pytest.param(b"[1]", "application/json", schema(type="array"), [1], id="JSON"),
    pytest.param(b"[1]", "application/json", schema(type="string"), "[1]", id="JSON as text"),
    pytest.param(b"\xff", "image/png", schema(type="string", contentEncoding="base64"), "/w==", id="base64"),
    pytest.param(b"7", "text/plain", schema(type="integer"), 7, id="a number in text"),
]
REFUSED = [
    pytest.param(ROWS, "", schema(type="object"), "a table of 2 rows", id="two rows for an object"),
    pytest.param(ROWS, "", schema(type="integer"), "x takes integer", id="rows for a number"),
    pytest.param(b"\xff", "image/png", schema(type="string"), "image/png", id="an image for text"),
    pytest.param(b"\xff", "text/plain", schema(type="string"), "not UTF-8", id="text that is not UTF-8"),
    pytest.param(b"{}", "application/json", schema(type="array"), "application/json", id="an object for an array"),
]


@pytest.mark.parametrize(("body", "media_type", "given", "value"), FITTED)
def test_bodies_that_fit(body: Any, media_type: str, given: dict[str, Any], value: Any) -> None:
    assert fitted(body, media_type, "x", given) == value


@pytest.mark.parametrize(("body", "media_type", "given", "said"), REFUSED)
def test_bodies_that_are_refused(body: Any, media_type: str, given: dict[str, Any], said: str) -> None:
    with pytest.raises(SelectorError, match=said):
        fitted(body, media_type, "x", given)
