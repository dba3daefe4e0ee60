"""Whole numbers of any size stay what they are in JSON that comes from elsewhere."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_plane.cli.formats import Format, read_rows
from broker_plane.errors import EncodingError, MergeError, TabularError
from broker_plane.proxy.tables import table_of
from broker_plane.tabular.json_values import dumps as json_view
from broker_plane.tabular.merge import parse_abstract
from broker_plane.wire.exact_json import MALFORMED, dumps, loads

LARGE = [2**63, 2**64, 2**64 + 1, -(2**63) - 1, 10**25, 10**25 + 1, 10**25 + 2, -(10**40), 7 * 10**200]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda members: st.lists(members) | st.dictionaries(st.text(), members),
)


@pytest.mark.parametrize("number", LARGE)
def test_a_number_is_the_same_through_every_door(number: int) -> None:
    text = json.dumps([{"_row_id": 0, "n": number}])
    assert loads(text)[0]["n"] == number
    assert loads(dumps(loads(text))) == json.loads(text)
    assert parse_abstract(text)[0]["n"] == number
    assert read_rows(io.BytesIO(text.encode()), Format.json)[0]["n"] == number
    assert next(iter(read_rows(io.BytesIO(text[1:-1].encode()), Format.ndjson)))["n"] == number
    found = table_of({"content": [{"type": "text", "text": text}]})
    assert found is not None and found[0]["n"] == number


@given(VALUES)
def test_it_reads_what_python_reads(value: object) -> None:
    text = json.dumps(value)
    assert loads(text) == json.loads(text)
    assert json.loads(dumps(loads(text))) == json.loads(text)


@pytest.mark.parametrize(
    "text", ["", "[1,]", "nan", "+Infinity", "{'a': 1}", "[" * 100_000, "9" * 100_000, '"\\ud8"', "1e999", "\ufeff[]"]
)
def test_what_is_no_json_is_an_error_that_is_named(text: str) -> None:
    with pytest.raises(MALFORMED):
        loads(text)
    with pytest.raises(MergeError):
        parse_abstract(text)
    if text.startswith("\ufeff"):  # a file may begin so, as those of Windows do
        assert read_rows(io.BytesIO(text.encode()), Format.json) == []
        return
    with pytest.raises(TabularError):
        read_rows(io.BytesIO(text.encode()), Format.json)


@pytest.mark.parametrize("depth", [100, 254, 300, 900])
def test_a_deep_value_has_a_json_view(depth: int) -> None:
    value: list[object] = []
    for _ in range(depth):
        value = [value]
    assert json_view(value) == b"[" * (depth + 1) + b"]" * (depth + 1)


@pytest.mark.parametrize("depth", [10_000, 100_000])
def test_a_value_that_is_too_deep_is_an_error_of_ours(depth: int) -> None:
    value: list[object] = []
    for _ in range(depth):
        value = [value]
    with pytest.raises(EncodingError):
        json_view(value)
