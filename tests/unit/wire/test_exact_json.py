"""Whole numbers of any size stay what they are in JSON that comes from elsewhere."""

from __future__ import annotations

import io
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_plane.agent.dispatcher import parse_arguments
from broker_plane.agent.shapes import FoundBodies
from broker_plane.compat.mcp_sd.agent.buffer import DDIBuffer
from broker_plane.compat.mcp_sd.agent.dispatch import S2SPDispatcher
from broker_plane.compat.mcp_sd.direct_channel import DirectChannel
from broker_plane.errors import EncodingError, MergeError, SelectorError, TabularError
from broker_plane.formats.kinds import Format
from broker_plane.formats.text_rows import read_rows
from broker_plane.shapes.recognise import recognise
from broker_plane.shapes.table import Table
from broker_plane.tabular.abstract import parse_domains
from broker_plane.tabular.json_values import json_bytes as json_view
from broker_plane.tabular.merge import parse_abstract
from broker_plane.tools.signature import text_of
from broker_plane.web.request import json_object
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
    found = recognise({"content": [{"type": "text", "text": text}]})
    assert isinstance(found, Table) and found.rows[0]["n"] == number


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


LENIENT = [
    ("NaN", math.nan),
    ("[Infinity, -Infinity, null]", [math.inf, -math.inf, None]),
    ('{"a": NaN, "b": [18446744073709551617]}', {"a": math.nan, "b": [2**64 + 1]}),
    ('"cut \\ud83d"', "cut \ud83d"),
    ('{"\\udc00": "\\ud83d\\ude00 \\ud83d"}', {"\udc00": "\N{GRINNING FACE} \ud83d"}),
    ('["\\ud83d", NaN, 1e22, 12345678901234567890]', ["\ud83d", math.nan, 1e22, 12345678901234567890]),
]


@pytest.mark.parametrize(("text", "value"), LENIENT)
def test_what_many_programs_write_besides_json_is_read_and_written_as_it_is(text: str, value: object) -> None:
    for given_text in (text, text.encode()):
        assert repr(loads(given_text)) == repr(value)
    again = dumps(value)
    assert repr(loads(again)) == repr(json.loads(again)) == repr(value)
    rows = read_rows(io.BytesIO(f'[{{"v": {text}}}]'.encode()), Format.json)
    assert repr(rows) == repr([{"v": value}])


@given(st.recursive(VALUES | st.floats() | st.just("\ud83d"), lambda members: st.lists(members)))
def test_what_is_read_is_written_as_the_same(value: object) -> None:
    assert repr(loads(dumps(value))) == repr(value)


@pytest.mark.parametrize("text", ["1e999", "[-1e999]", '{"a": 1e400}', "9" * 4301, "[" * 3000, '{"a":' * 3000])
def test_what_python_cannot_hold_is_an_error_that_says_so(text: str) -> None:
    with pytest.raises(MALFORMED, match=r"range|limit|deeply"):
        loads(text)


JSON_TEXT = (
    '{"abstract": [{"_row_id": 0, "n": 1152921504606846977}], "body": [{"_row_id": 0, "big": 12345678901234567890123}]}'
)


def test_the_json_of_a_tool_keeps_its_numbers_on_the_way_through_an_agent() -> None:
    sighting = FoundBodies(JSON_TEXT)
    assert sighting.bodies == [[{"_row_id": 0, "big": 12345678901234567890123}]]
    left = json.loads(sighting.without(["ddi://x"]))
    assert left == {"abstract": [{"_row_id": 0, "n": 1152921504606846977}], "resource_url": "ddi://x"}
    text = '{"abstract": [], "body": [{"_row_id": 0, "n": %s}]}'
    both = FoundBodies([text % "1152921504606846977", text % '"1152921504606846977"', text % "NaN", text % "null"])
    assert len(both.bodies) == 4


@pytest.mark.parametrize("number", [2**53 + 1, 2**64 + 1, 10**30])
def test_arguments_of_a_call_keep_their_numbers(number: int) -> None:
    assert parse_arguments(f'{{"amount": {number}}}') == {"amount": number}
    assert json.loads(text_of([{"_row_id": 0, "amount": number}])) == [{"_row_id": 0, "amount": number}]
    buffer = DDIBuffer()
    dispatcher = S2SPDispatcher(buffer)
    row = f'{{"_row_id": 0, "n": {number}}}'
    shown = dispatcher.on_tool_result("t", f'{{"abstract": [{row}], "body": [{row}]}}')
    parsed = json.loads(shown)
    assert parsed["abstract"] == [{"_row_id": 0, "n": number}]
    filled = dispatcher.on_tool_call("c", {"resource_url": parsed["resource_url"]})
    assert json.loads(filled["body_data"]) == [{"_row_id": 0, "n": number}]


@pytest.mark.anyio
async def test_a_consumer_of_mcp_sd_keeps_its_numbers() -> None:
    rows = await DirectChannel.resolve(
        '[{"_row_id": 0, "n": 18446744073709551617}]', body_data='[{"_row_id": 0, "m": 100000000000000000001}]'
    )
    assert rows == [{"_row_id": 0, "n": 18446744073709551617, "m": 100000000000000000001}]
    for text in ("[1,]", "[" * 5000, "1e999"):
        with pytest.raises(ValueError, match="JSON"):
            await DirectChannel.resolve(text)


def test_the_object_of_a_request_keeps_its_numbers_and_no_other_text_is_one() -> None:
    assert json_object(b'{"bytes_received": 18446744073709551617}') == {"bytes_received": 18446744073709551617}
    for raw in (b"[1]", b"{", b"[" * 5000, b"\xff", b"1e999", b"NaN"):
        with pytest.raises(SelectorError):
            json_object(raw)


@pytest.mark.parametrize("text", ["[" * 5000, '["a"', "[NaN]", "[1]", '["a", 1e999]'])
def test_columns_that_are_no_json_array_of_names_are_an_error(text: str) -> None:
    with pytest.raises(SelectorError):
        parse_domains(text)
