"""The body encoding of rows: what goes in comes out, in any pieces, by any projection, or not at all."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from hashlib import sha256
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker_plane.errors import DigestMismatchError, EncodingError, TabularError
from broker_plane.tabular.chunks import FEW, ZSTD, Chunk, chunk_digest
from broker_plane.tabular.codec import FrameReader, FrameWriter, read_table
from broker_plane.tabular.frame import frame_of
from broker_plane.tabular.rows import RowsEncoder, encode_rows
from broker_plane.tabular.types import pack, unpack
from broker_plane.wire.selector import WHOLE, Selector
from tests.examples import examples

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=20),
    st.binary(max_size=20),
    st.datetimes(timezones=st.none() | st.just(UTC)),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.decimals(allow_nan=False),
    st.uuids(),
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)
tables = st.lists(st.dictionaries(st.sampled_from(["a", "b", "c", "ü", ""]), values, max_size=5), max_size=30)


def decode(raw: bytes, selector: Selector = WHOLE, step: int = 1 << 20) -> list[dict[str, Any]]:
    reader = FrameReader()
    rows = []
    for start in range(0, len(raw), step):
        for frame in reader.feed(raw[start : start + step]):
            rows.extend(frame.decode(selector).rows())
    assert reader.ended
    return rows


@settings(max_examples=examples(3))
@given(tables, st.integers(1, 2000))
def test_rows_come_back_as_they_were_in_any_pieces(rows: list[dict[str, Any]], step: int) -> None:
    assert decode(b"".join(encode_rows(rows)), step=step) == rows


@given(tables, st.sets(st.sampled_from(["a", "b", "c"])))
def test_a_projection_of_columns_is_that_of_the_rows(rows: list[dict[str, Any]], columns: set[str]) -> None:
    raw = b"".join(encode_rows(rows))
    expected = [{name: value for name, value in row.items() if name in columns} for row in rows]
    assert decode(raw, Selector(columns=tuple(columns))) == expected


def test_every_type_of_the_contract_comes_back_exactly() -> None:
    aware = datetime(2026, 5, 1, 12, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    row = {
        "big": 2**200,
        "negative": -(2**64),
        "infinite": math.inf,
        "bytes": b"\x00\xff",
        "aware": aware,
        "naive": datetime(2026, 5, 1, 12, 0, 0, 1),
        "date": date(2026, 5, 1),
        "time": time(1, 2, 3, 4),
        "span": timedelta(days=-1, microseconds=1),
        "decimal": Decimal("1.10"),
        "uuid": UUID(int=2**100),
        "nested": {"list": [1, {"deep": None}], "flag": True},
        "surrogate": "\ud800",
    }
    (back,) = decode(b"".join(encode_rows([row])))
    assert back == row
    assert [type(value) for value in back.values()] == [type(value) for value in row.values()]
    assert back["aware"].utcoffset() == timedelta(hours=5, minutes=30)
    assert str(back["decimal"]) == "1.10"
    (nan,) = decode(b"".join(encode_rows([{"x": math.nan}])))
    assert math.isnan(nan["x"])


def test_absent_is_not_none() -> None:
    rows = [{"a": None}, {}, {"a": 1, "b": None}]
    assert decode(b"".join(encode_rows(rows))) == rows


def test_the_rows_that_are_encoded_are_not_touched() -> None:
    rows = [{"a": [1], "b": {"c": 1}}]
    before = repr(rows)
    list(encode_rows(rows))
    assert repr(rows) == before


def test_two_columns_of_many_decode_two() -> None:
    writer = FrameWriter()
    raw = writer.begin() + writer.frame(frame_of([{f"c{place}": place for place in range(29)}] * 100, 0)) + writer.end()
    (frame,) = FrameReader().feed(raw)
    for chunk in frame.chunks:
        if chunk.name not in ("c3", "c7"):
            chunk.raw = b"not to be looked at"
    assert frame.decode(Selector(columns=("c3", "c7"))).columns == {"c3": [3] * 100, "c7": [7] * 100}


def test_a_damaged_column_is_an_error_and_never_other_values() -> None:
    raw = bytearray(b"".join(encode_rows([{"a": "value", "b": "other"}])))
    raw[raw.index(b"value")] ^= 1
    with pytest.raises(DigestMismatchError):
        decode(bytes(raw))


def test_a_table_that_is_not_vouched_for_is_refused() -> None:
    encoder = RowsEncoder()
    encoder.frame([{"a": 1}])
    encoder.writer.end()
    table = encoder.writer.table_bytes
    assert read_table(table, sha256(table).hexdigest()).rows == 1
    with pytest.raises(DigestMismatchError):
        read_table(table + b" ", sha256(table).hexdigest())


@given(st.binary(max_size=200))
def test_bytes_that_are_no_rows_are_refused_or_wait_for_more(junk: bytes) -> None:
    reader = FrameReader()
    try:
        assert list(reader.feed(b"BPR1" + junk)) == []
    except EncodingError:
        return
    except (KeyError, TypeError, ValueError) as error:
        pytest.fail(f"{error!r} instead of an EncodingError")


def test_values_and_columns_that_cannot_travel_are_named() -> None:
    with pytest.raises(TabularError, match="type object"):
        list(encode_rows([{"a": object()}]))
    with pytest.raises(TabularError, match="_row_id"):
        list(encode_rows([{"_row_id": 1}]))
    with pytest.raises(TabularError, match="names are texts"):
        list(encode_rows([{1: 2}]))
    with pytest.raises(TabularError, match="Row 0 is a set"):
        list(encode_rows([{1, 2}]))


def test_a_repeating_column_is_compressed_and_a_random_one_is_not() -> None:
    writer = FrameWriter()
    rows = [
        {"same": f"{'x' * 100} {number}", "own": sha256(str(number).encode()).hexdigest()} for number in range(1000)
    ]
    raw = writer.begin() + writer.frame(frame_of(rows, 0)) + writer.end()
    (frame,) = FrameReader().feed(raw)
    assert [chunk.coding for chunk in frame.chunks] == [ZSTD, 0]
    assert frame.decode(WHOLE).rows() == rows


FEW_AND_OTHERS = [
    (["a", "b", None, 7], FEW),
    (["a", "\ud800", "", "a"], FEW),
    ([1, True, 1, True], 0),  # equal, and not the same
    ([0.0, -0.0, 1.0, 1], 0),
    ([["a"], ["b"], ["a"], ["b"]], 0),
]


@pytest.mark.parametrize(("few", "coding"), FEW_AND_OTHERS)
def test_values_that_recur_are_stored_once_and_come_back_as_what_they_were(few: list[Any], coding: int) -> None:
    rows = [{"few": value} for value in few * 100]
    (frame,) = FrameReader().feed(b"".join(encode_rows(rows)))
    assert frame.chunks[0].coding & ~ZSTD == coding
    assert list(map(repr, frame.decode(WHOLE).columns["few"])) == list(map(repr, few * 100))


def test_many_values_are_not_taken_for_few_because_the_first_recur() -> None:
    rows = [{"late": f"value {max(100, number)}"} for number in range(500)]
    assert decode(b"".join(encode_rows(rows))) == rows


@pytest.mark.parametrize(
    ("raw", "coding"),
    [(pack([["a"], b"\x01"]), FEW), (pack(["a"]), FEW), (pack([3, b"\x00"]), FEW), (pack(["a"]), 64)],
)
def test_a_chunk_that_is_not_what_its_coding_says_is_refused(raw: bytes, coding: int) -> None:
    with pytest.raises(EncodingError):
        Chunk("c", coding, chunk_digest(raw), raw).values(1)


@pytest.mark.parametrize("text", ["x" * 500, "".join(map(chr, range(32, 532)))])
def test_frames_grow_to_about_a_mebibyte_of_values_however_well_they_compress(text: str) -> None:
    encoder = RowsEncoder()
    sizes = []
    for _ in range(8):
        encoder.frame([{"text": text} for _ in range(encoder.rows_wanted)])
        sizes.append(encoder.writer.plain_size)
    assert 0.9 * (1 << 20) <= sizes[-1] <= 1.1 * (1 << 20)


def test_a_subclass_travels_as_what_it_is_made_of() -> None:
    class Text(str):
        __slots__ = ()

    assert unpack(pack([Text("a"), (1, 2), {3: 4}])) == ["a", [1, 2], {3: 4}]
