"""What a reader refuses and what a writer refuses are the same; anything else comes back, in bounded memory."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any

import msgpack
import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker_plane.errors import BrokerPlaneError, EncodingError, TabularError, TooLargeError, WireError
from broker_plane.tabular.arrow import as_table, parts, to_list
from broker_plane.tabular.chunks import Chunk, chunk_digest
from broker_plane.tabular.codec import FrameReader, FrameWriter, read_table
from broker_plane.tabular.frame import Frame
from broker_plane.tabular.rows import RowsEncoder, encode_rows
from broker_plane.tabular.views import CsvRows, JsonLines, JsonRows, MsgpackRows, View
from broker_plane.tabular.weighing import exact_weight, quick_weight
from broker_plane.wire.body import BodyInfo, unpack_body_info
from broker_plane.wire.bounds import FRAME_MEMORY, MAX_COLUMNS, MAX_FRAME_BYTES, MAX_FRAME_ROWS
from broker_plane.wire.names import body_id
from broker_plane.wire.selector import WHOLE
from tests.examples import examples

MIB, MANY = 1 << 20, 1 << 16
BOUNDED = settings(max_examples=examples(1.5), deadline=None, suppress_health_check=[HealthCheck.too_slow])
TABLE = [
    {"id": n, "name": f"n{n}", "few": "ab"[n % 2], "x": n / 3, "at": datetime(2026, 1, 1), "list": [n, {"k": [None]}]}
    | ({"gap": Decimal(n)} if n % 3 else {})
    for n in range(300)
]
VALID = b"".join(encode_rows(TABLE))


def decode(raw: bytes) -> list[dict[str, Any]]:
    return [row for frame in FrameReader().feed(raw) for row in frame.decode(WHOLE, verify=False).rows()]


def frames_of(rows: list[dict[str, Any]]) -> list[Frame]:
    return [frame.decode(WHOLE) for frame in FrameReader().feed(b"".join(encode_rows(rows)))]


@BOUNDED
@given(st.integers(0, 15), st.binary(max_size=400), st.integers(0, 1000))
def test_any_chunk_decodes_or_is_an_error_of_ours(coding: int, raw: bytes, count: int) -> None:
    with suppress(BrokerPlaneError):
        assert len(Chunk("c", coding, chunk_digest(raw), raw).values(count)) == count


@BOUNDED
@given(st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_a_valid_body_that_was_changed_decodes_or_is_an_error_of_ours(changes: list[tuple[int, int]]) -> None:
    raw = bytearray(VALID)
    for place, value in changes:
        raw[place] = value
    with suppress(BrokerPlaneError):
        decode(bytes(raw))


msgpack_like = st.recursive(
    st.none() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=4) | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3) | st.integers(0, 9), inner),
    max_leaves=12,
)


@settings(BOUNDED, max_examples=examples(0.5))
@given(st.dictionaries(st.sampled_from(["columns", "rows", "frames", "n", "f", "c", "i", "id", "size"]), msgpack_like))
def test_any_table_header_and_meta_is_one_or_an_error_of_ours(fields: dict[str, Any]) -> None:
    raw = msgpack.packb(fields)
    for read in (
        lambda: read_table(raw, sha256(raw).hexdigest(), 1000),
        lambda: list(FrameReader().feed(b"BPR1" + len(raw).to_bytes(4, "big") + raw)),
        lambda: unpack_body_info(raw),
    ):
        with suppress(BrokerPlaneError):
            read()


@settings(BOUNDED, max_examples=examples(0.5))
@given(st.lists(msgpack_like, max_size=20))
def test_the_quick_weight_is_an_upper_bound_of_the_exact_one(values: list[Any]) -> None:
    raw = msgpack.packb(values)
    assert exact_weight(raw, 1 << 40) <= quick_weight(raw)


@pytest.mark.parametrize(
    "one",
    [[], {}, -20, 1.5, "ab", {"a": 1}, [1] * 9],
    ids=["lists", "maps", "negative", "floats", "texts", "maps of one", "lists of nine"],
)
def test_the_exact_weight_is_about_what_the_values_take(one: Any) -> None:
    value = [one] * MANY
    raw = msgpack.packb(value)
    tracemalloc.start()
    made = msgpack.unpackb(raw)
    took = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(made) == len(value)
    assert took < 2 * exact_weight(raw, 1 << 40) < 10 * took


# ── what the writer makes, every reader takes ────────────────────────────────────────────────────────────────

HONEST: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "10,000 columns": lambda: [{f"c{place}": place * row for place in range(10_000)} for row in range(40)],
    "512 large texts that repeat": lambda: [{"text": "long " * 40_000, "n": row} for row in range(60)],
    "512 large texts that do not": lambda: [{"text": f"{row} " * 40_000} for row in range(60)],
    "one text of 20 MiB": lambda: [{"text": "x" * (20 * MIB), "after": "y"}, {"text": "", "after": "z"}],
    "one text of 20 MiB in three alphabets": lambda: [{"text": "aé日" * (20 * MIB // 6)}],
    "one list of many maps": lambda: [{"list": [{"k": n, "v": "x"} for n in range(150_000)]}, {"list": []}],
    "many empty lists": lambda: [{"list": [[]] * 500} for _ in range(2_000)],
    "rows without columns": lambda: [{} for _ in range(40_000)],
    "wide gaps": lambda: [{f"c{row}": row, "all": 1} for row in range(700)],
    "numbers as keys": lambda: [{"map": {n: str(n) for n in range(2_000)}} for _ in range(20)],
    "small numbers": lambda: [{f"c{place}": 1 for place in range(40)} for _ in range(30_000)],
    "surrogates": lambda: [{"text": "\ud800" * 10, "n": row} for row in range(1_000)],
    "deep lists": lambda: [{"deep": eval("[" * 90 + "]" * 90)}],  # noqa: S307  # a literal of ours
}


@pytest.mark.parametrize("name", HONEST)
def test_whatever_the_writer_takes_is_read_back(name: str) -> None:
    rows = HONEST[name]()
    frames = frames_of(rows)
    assert [row for frame in frames for row in frame.rows()] == rows
    assert all(len(frame) == 1 or frame.weight <= FRAME_MEMORY for frame in frames)


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (lambda: [{"text": "x" * (MAX_FRAME_BYTES + 1)}], "too large|MiB"),
        (lambda: [{"bytes": bytes(MAX_FRAME_BYTES + 1)}], "too large|MiB"),
        (lambda: [{"list": [[]] * (20 * MIB)}], "too large|more values"),
        (lambda: [{f"c{place}": 1 for place in range(MAX_COLUMNS + 1)}], "columns"),
        (lambda: [{f"c{place}" + "x" * 1_000: 1 for place in range(3_000)}], "names"),
        (lambda: [{"n": 10**5_000}], "text"),
        (lambda: [{"n": Decimal("1" * 70_000)}], "text"),
        (lambda: [{"a\ud800": 1}], "lone surrogate"),
    ],
    ids=["text", "bytes", "values", "columns", "names", "int", "decimal", "surrogate"],
)
def test_the_writer_refuses_what_no_reader_would_decode(rows: Callable[[], list[dict[str, Any]]], problem: str) -> None:
    with pytest.raises((TooLargeError, TabularError), match=problem):
        list(encode_rows(rows()))


def test_a_wide_or_nested_arrow_table_is_cut_into_frames_that_are_read_back() -> None:
    tables = [
        pyarrow.table({f"c{n}": pyarrow.array([1, 2, None] * 20_000, pyarrow.int8()) for n in range(60)}),
        pyarrow.table({"list": [[1, 2, 3], [], None] * 40_000}),
        pyarrow.table({"s": [{"a": 1, "b": ["x"]}] * 50_000, "text": ["y" * 100] * 50_000}),
        pyarrow.table({"words": pyarrow.array([["a", "b"], ["a"]]).cast(_DICTIONARIES)}),
    ]
    for table in tables:
        encoder = RowsEncoder()
        raw = encoder.writer.begin()
        for columns in parts(as_table(table)):
            raw += encoder.table(columns, [])[1]
        got = FrameReader().feed(raw + encoder.writer.end())
        frames = [frame.decode(WHOLE) for frame in got]
        for name in table.column_names:
            assert [value for frame in frames for value in frame.columns[name]] == to_list(table.column(name))
        assert all(len(frame) <= MAX_FRAME_ROWS and frame.weight <= 2 * FRAME_MEMORY for frame in frames)


_DICTIONARIES = pyarrow.list_(pyarrow.dictionary(pyarrow.int32(), pyarrow.string()))


# ── views ────────────────────────────────────────────────────────────────────────────────────────────────────

LARGE: dict[str, Any] = {
    "text": 'a "quoted"\n, é日\x00' * 400_000,
    "bytes": random.Random(5).randbytes(3 * MIB + 1),
    "nested": [{"k": ["x" * 300_000] * 3}, [1, None, True], {}],
    "surrogate": "\ud800" * 100_000,
    "odd": {1: "x" * 100_000},
    "none": None,
    "number": 10**20,
    "empty": "",
}


@pytest.mark.parametrize("view", [JsonRows, JsonLines, CsvRows, MsgpackRows])
def test_a_large_row_is_shown_by_parts_as_it_is_shown_at_once(view: Any) -> None:
    (frame,) = frames_of([LARGE])
    assert frame.size > 4 * MIB
    made = list(_view(view).pieces(frame))
    small = Frame(frame.columns, frame.ids, frame.ragged)
    assert b"".join(made) == b"".join(_view(view).pieces(small))
    if view is not MsgpackRows:
        assert max(map(len, made)) < 2 * MIB


@pytest.mark.parametrize("view", [JsonRows, JsonLines, CsvRows, MsgpackRows])
def test_a_view_comes_in_pieces_of_bounded_size(view: Any) -> None:
    rows = [{f"c{place}": "é" * 30 for place in range(3_000)} for _ in range(40)]
    for frame in frames_of(rows):
        assert max(map(len, _view(view).pieces(frame))) < 4 * MIB


def _view(view: Any) -> View:
    info = BodyInfo(
        id=body_id(bytes(16)),
        owner="local",
        kind="rows",
        size=0,
        digest="",
        media_type="",
        created=0,
        expires=0,
        rows=1,
        columns=tuple(LARGE),
        chunks=0,
        chunk_bytes=1,
    )
    made: View = view(info, WHOLE)
    return made


def test_a_reader_stops_at_the_bounds_of_a_frame_before_its_bytes_are_there() -> None:
    header = msgpack.packb({"n": 1, "f": 0, "c": [[name, MAX_FRAME_BYTES // 2 + 1, 0, b"x" * 16] for name in "ab"]})
    with pytest.raises(EncodingError, match="the most is"):
        list(FrameReader().feed(b"BPR1" + len(header).to_bytes(4, "big") + header))
    with pytest.raises(EncodingError, match="the most is"):
        list(FrameReader().feed(b"BPR1\xff\xff\xff\xff"))


def test_a_frame_that_is_split_keeps_its_row_ids() -> None:
    writer = FrameWriter()
    count = 60
    raw = writer.frame(Frame({"text": [f"{row} " * 300_000 for row in range(count)]}, range(7, 7 + count)))
    frames = list(FrameReader(from_start=False).feed(raw))
    assert len(frames) > 1
    assert [row_id for frame in frames for row_id in frame.ids] == list(range(7, 7 + count))


@pytest.mark.parametrize("name", ["created", "expires", "size", "rows", "chunks", "chunk_bytes"])
@pytest.mark.parametrize("value", [-1, 2**64 - 1, float("nan"), float("inf"), 1e300, "1", None, [], {}])
def test_a_number_of_a_meta_that_cannot_be_is_an_error_of_ours(name: str, value: Any) -> None:
    if (name, value) == ("rows", None):
        return
    fields = {"id": "A" * 22, "owner": "o", "kind": "bytes", "size": 1, "digest": "", "media_type": "a/b"}
    fields |= {"created": 1.0, "expires": 2, "chunks": 1, "chunk_bytes": 1}
    with pytest.raises(WireError):
        unpack_body_info(msgpack.packb(fields | {name: value}))
