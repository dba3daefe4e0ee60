"""Rows of any values become columns of Parquet and Arrow files: the same values, or what docs/files.md says."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker_plane.formats.arrow_tables import SchemaFinder
from broker_plane.formats.arrow_writers import arrow_writer
from broker_plane.formats.kinds import Format
from broker_plane.tabular.codec import FrameReader, Held
from broker_plane.tabular.rows import encode_rows
from broker_plane.wire.names import ROW_ID
from broker_plane.wire.selector import WHOLE
from tests.examples import examples
from tests.unit.formats.columns import COLUMNS, draws

FORMATS: dict[Format, Callable[[bytes], Any]] = {
    Format.parquet: lambda raw: pq.read_table(io.BytesIO(raw)),
    Format.arrow: lambda raw: pa.ipc.open_file(raw).read_all(),
    Format.arrows: lambda raw: pa.ipc.open_stream(raw).read_all(),
}


def stored(rows: list[dict[str, Any]]) -> list[Held]:
    """The frames of a body of these rows, as a reader has them."""
    reader = FrameReader()
    return [raw.held(WHOLE) for piece in encode_rows(rows) for raw in reader.feed(piece)]


def written(frames: Sequence[Held], form: Format, columns: Sequence[str]) -> Any:
    """The table in the file of these frames."""
    finder = SchemaFinder()
    for frame in frames:
        finder.see(frame)
    writer = arrow_writer(form, finder.schema(columns))
    return FORMATS[form](b"".join([*map(writer.write, frames), writer.end()]))


def exactly(value: Any) -> Any:
    """A value that is equal to another only if both are the same; times in any zone, Decimals of any scale."""
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return list(map(exactly, value))
    if isinstance(value, dict):
        return {name: exactly(inner) for name, inner in value.items()}
    return value


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_of_one_kind_is_what_it_was(name: str) -> None:
    column = COLUMNS[name]

    @settings(max_examples=examples(0.12), database=None)
    @given(draws(name), st.sampled_from(list(FORMATS)))
    def check(values: list[Any], form: Format) -> None:
        found = written(stored([{"c": value} for value in values]), form, ["c"])
        some = [value for value in values if value is not None]
        if column.kind is not None and some:
            assert found.schema.field("c").type == column.kind
        if name == "int or text" and len(set(map(type, some))) == 1:
            return
        becomes = column.becomes if name != "int or float" or float in map(type, some) else int
        expected = [None if value is None else becomes(value) for value in values]
        assert exactly(found.column("c").to_pylist()) == exactly(expected)

    check()


def test_what_is_absent_is_null_and_a_late_column_is_there() -> None:
    rows: list[dict[str, Any]] = [{"a": 1}] * 3_000 + [{"b": "x"}, {"a": None}]
    for form in FORMATS:
        found = written(stored(rows), form, ["b", "a", "never", ROW_ID])
        assert found.column_names == ["b", "a", "never", ROW_ID]
        assert found.slice(2_999).to_pylist() == [
            {"b": None, "a": 1, "never": None, ROW_ID: 2_999},
            {"b": "x", "a": None, "never": None, ROW_ID: 3_000},
            {"b": None, "a": None, "never": None, ROW_ID: 3_001},
        ]


ZONED = [datetime(2026, 1, 2, 3, tzinfo=timezone(timedelta(hours=hours))) for hours in (1, 2)]
TEXTS: list[tuple[list[Any], list[str | None]]] = [
    ([1, "x", None, "é"], ["1", "x", None, "é"]),
    ([True, 1], ["true", "1"]),
    ([1.5, Decimal("1.5"), math.nan], ["1.5", "1.5", None]),
    ([2**53 + 1, 0.5], ["9007199254740993", "0.5"]),
    ([[1], {"a": 1}], ["[1]", '{"a":1}']),
    ([[1], ["x"]], ["[1]", '["x"]']),
    ([{"a": [1]}, {"a": {"b": 1}}], ['{"a":[1]}', '{"a":{"b":1}}']),
    ([{"id": UUID(int=1)}], ['{"id":"00000000-0000-0000-0000-000000000001"}']),
    ([datetime(2026, 1, 2), ZONED[0]], ["2026-01-02T00:00:00", "2026-01-02T03:00:00+01:00"]),
    ([datetime(1, 1, 1, tzinfo=UTC)], ["0001-01-01T00:00:00+00:00"]),
]


@pytest.mark.parametrize(("values", "texts"), TEXTS, ids=range(len(TEXTS)))
def test_values_without_a_common_type_are_texts_as_in_a_csv(values: list[Any], texts: list[str | None]) -> None:
    frames = stored([{"c": value} for value in values])
    for form in FORMATS:
        found = written(frames, form, ["c"])
        assert (found.schema.field("c").type, found.column("c").to_pylist()) == (pa.string(), texts)


def test_times_of_several_offsets_are_the_same_times_in_utc() -> None:
    found = written(stored([{"c": at} for at in ZONED]), Format.parquet, ["c"])
    assert found.schema.field("c").type == pa.timestamp("us", "UTC")
    assert found.column("c").to_pylist() == ZONED


def test_a_map_of_very_many_names_or_levels_is_text() -> None:
    deep: Any = 1
    for _ in range(60):
        deep = [deep]
    wide = [{f"k{place}": 1} for place in range(1_001)]
    for value in ([deep], wide):
        found = written(stored([{"c": each} for each in value]), Format.parquet, ["c"])
        assert found.schema.field("c").type == pa.string()


SIMPLE = [
    *(pa.bool_(), pa.int8(), pa.uint16(), pa.int64(), pa.uint64(), pa.float16(), pa.float32(), pa.float64()),
    *(pa.string(), pa.binary(), pa.binary(3), pa.date32(), pa.time64("us"), pa.duration("us"), pa.null()),
    *(pa.timestamp("us"), pa.timestamp("us", "UTC"), pa.timestamp("us", "Europe/Berlin"), pa.timestamp("us", "-03:00")),
    *(pa.decimal128(20, 4), pa.decimal256(60, 5)),
]
NESTED = [
    *(pa.list_(pa.int16()), pa.large_list(pa.string()), pa.list_(pa.float64(), 2), pa.map_(pa.string(), pa.int64())),
    *(pa.struct([("a", pa.int8()), ("b", pa.list_(pa.date32()))]), pa.list_(pa.struct([("x", pa.string())]))),
]
OF_TYPE: dict[str, list[Any]] = {
    "list<item: int16>": [[1, None], [], None],
    "large_list<item: string>": [["x"], None, []],
}


def some_values(kind: Any) -> list[Any]:
    """Three values of a type, one of them null."""
    types = pa.types
    if types.is_struct(kind):
        return [{"a": 1, "b": None}, {"a": None, "b": [datetime(2026, 1, 2).date()]}, None]
    if types.is_map(kind):
        return [[("k", 1)], [], None]
    if types.is_fixed_size_list(kind):
        return [[1.0, 2.0], [3.0, None], None]
    if types.is_list(kind) and types.is_struct(kind.value_type):
        return [[{"x": "y"}, None], [], None]
    if types.is_list(kind) or types.is_large_list(kind):
        return OF_TYPE[str(kind)]
    for test, values in _BY_TEST:
        if test(kind):
            return [*values, None]
    return [1, 0, None]


_BY_TEST: list[tuple[Callable[[Any], bool], list[Any]]] = [
    (pa.types.is_null, [None, None]),
    (pa.types.is_string, ["é", ""]),
    (pa.types.is_fixed_size_binary, [b"abc", b"\0\0\0"]),
    (pa.types.is_binary, [b"\0\xff", b""]),
    (pa.types.is_decimal, [Decimal("1.25"), Decimal("-99999.5")]),
    (pa.types.is_timestamp, [10**15 + 1, -1]),
    (pa.types.is_floating, [1.5, float("inf")]),
    (pa.types.is_boolean, [True, False]),
]


@pytest.mark.parametrize("kind", [*SIMPLE, *NESTED], ids=str)
def test_a_column_of_a_published_table_keeps_its_type_exactly(kind: Any) -> None:
    array = pa.array(some_values(kind), kind)
    for form in FORMATS:
        found = written([Held({"c": array}, range(3)), Held({"c": array.slice(1)}, range(3, 5))], form, ["c"])
        assert found.schema.field("c").type == kind
        assert exactly(found.column("c").to_pylist()) == exactly(array.to_pylist() + array.slice(1).to_pylist())


def test_a_struct_without_fields_is_text_because_parquet_has_none() -> None:
    array = pa.array([{}, None], pa.struct([]))
    assert written([Held({"c": array}, range(2))], Format.parquet, ["c"]).column("c").to_pylist() == ["{}", None]


def test_groups_of_rows_are_gathered() -> None:
    frames = stored([{"n": place, "text": "x" * 50} for place in range(40_000)])
    assert len(frames) > 2
    finder = SchemaFinder()
    for frame in frames:
        finder.see(frame)
    writer = arrow_writer(Format.parquet, finder.schema(["n", "text"]))
    raw = b"".join([*map(writer.write, frames), writer.end()])
    assert pq.ParquetFile(io.BytesIO(raw)).metadata.num_row_groups == 1
