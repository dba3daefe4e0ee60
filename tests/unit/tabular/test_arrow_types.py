"""Every Arrow type that tables commonly have travels as the values that it has, or is an error that names it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import numpy
import pandas
import polars
import pyarrow
import pyarrow.compute
import pytest

from broker_plane.errors import TabularError
from broker_plane.tabular import arrow
from broker_plane.tabular.arrow_types import travelling
from broker_plane.tabular.codec import FrameReader
from broker_plane.tabular.json_values import json_bytes
from broker_plane.tabular.plain import plain
from broker_plane.tabular.rows import RowsEncoder
from broker_plane.wire.selector import WHOLE

pa = pyarrow
TEXTS = ["a", None, "b", "a"]
VIEWS = pa.array(["a", "b"], pa.string_view())
DICTIONARY = pa.DictionaryArray.from_arrays(pa.array([0, None, 1], pa.int32()), VIEWS)
RUNS = pyarrow.compute.run_end_encode(pa.array(["a", "a", "b"]))
TRAVELS: dict[str, Any] = {
    "string": pa.array(TEXTS),
    "large_string": pa.array(TEXTS, pa.large_string()),
    "string_view": pa.array(TEXTS, pa.string_view()),
    "binary": pa.array([b"a", None]),
    "large_binary": pa.array([b"a", None], pa.large_binary()),
    "binary_view": pa.array([b"a", None], pa.binary_view()),
    "fixed_size_binary": pa.array([b"ab", None], pa.binary(2)),
    "bool": pa.array([True, None, False]),
    "int8": pa.array([-1, None], pa.int8()),
    "uint64": pa.array([2**64 - 1, None], pa.uint64()),
    "halffloat": pa.array([numpy.float16(1.5), None], pa.float16()),
    "float": pa.array([0.1, None], pa.float32()),
    "double": pa.array([0.1, None]),
    "null": pa.array([None, None]),
    "date32": pa.array([date(2026, 1, 2), None]),
    "date64": pa.array([date(2026, 1, 2), None], pa.date64()),
    "time32": pa.array([time(1, 2, 3), None], pa.time32("s")),
    "time64[ns]": pa.array([time(1, 2, 3, 4), None], pa.time64("ns")),
    "timestamp[s]": pa.array([datetime(2026, 1, 2), None], pa.timestamp("s")),
    "timestamp[ns]": pa.array([datetime(2026, 1, 2, 3, 4, 5, 6), None], pa.timestamp("ns")),
    "a zone": pa.array([datetime(2026, 7, 1, tzinfo=UTC), None], pa.timestamp("us", "Europe/Berlin")),
    "an offset": pa.array([datetime(2026, 7, 1, tzinfo=UTC), None], pa.timestamp("ms", "+02:00")),
    "duration[ns]": pa.array([timedelta(microseconds=3), None], pa.duration("ns")),
    "decimal32": pa.array([Decimal("1.50"), None], pa.decimal32(5, 2)),
    "decimal128": pa.array([Decimal("1.50"), None], pa.decimal128(20, 2)),
    "decimal256": pa.array([Decimal("1.50"), None], pa.decimal256(50, 2)),
    "list": pa.array([[1], None, [], [2, None]]),
    "large_list of views": pa.array([["x"], None, [], ["y", None]], pa.large_list(pa.string_view())),
    "fixed_size_list of views": pa.array([["x", "y"], None, ["z", None]], pa.list_(pa.string_view(), 2)),
    "list_view": pa.array([["x"], None, ["y", "z"], []], pa.list_view(pa.string_view())),
    "large_list_view": pa.array([[1], None, [2, 3], []], pa.large_list_view(pa.int8())),
    "list of lists": pa.array(
        [[["x"]], None, [["y", None], None], [], [["w"], []]], pa.list_(pa.list_(pa.string_view()))
    ),
    "list of timestamp[ns]": pa.array([[1000], None, [2000, 3000]], pa.list_(pa.timestamp("ns"))),
    "list of date64": pa.array([[date(2026, 1, 2)], None], pa.list_(pa.date64())),
    "struct": pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": "z"}]),
    "struct of views": pa.array([{"a": "x"}, None, {"a": None}], pa.struct([("a", pa.string_view())])),
    "map": pa.array([[("a", 1)], None, [], [("b", None), ("c", 2)]], pa.map_(pa.string(), pa.int8())),
    "map of views": pa.array([[("a", "1"), ("b", None)], None, []], pa.map_(pa.string_view(), pa.string_view())),
    "dictionary": pa.array(TEXTS).dictionary_encode(),
    "dictionary of views": DICTIONARY,
    "dictionary of numbers": pa.array([5, 5, None]).dictionary_encode(),
    "dictionary with a null": pa.DictionaryArray.from_arrays(pa.array([0, 1], pa.int8()), pa.array(["a", None])),
    "list of dictionaries": pa.ListArray.from_arrays([0, 2, 3], DICTIONARY),
    "struct of a dictionary": pa.StructArray.from_arrays([DICTIONARY], ["d"]),
    "runs": RUNS,
    "list of runs": pa.ListArray.from_arrays([0, 3], RUNS),
    "arrow.json": pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a":1}'])),
    "arrow.bool8": pa.ExtensionArray.from_storage(pa.bool8(), pa.array([1, 0, 2], pa.int8())),
}
DEEP: list[Any] = [1]
DEEP_TYPE = pa.list_(pa.int64())
for _ in range(70):
    DEEP, DEEP_TYPE = [DEEP], pa.list_(DEEP_TYPE)
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "nanoseconds": (lambda: pa.array([1001], pa.timestamp("ns")), "timestamp.*microseconds"),
    "nanoseconds of a duration": (lambda: pa.array([1], pa.duration("ns")), "duration.*microseconds"),
    "nanoseconds of a day": (lambda: pa.array([1], pa.time64("ns")), "time64.*microseconds"),
    "nanoseconds in a list": (lambda: pa.array([[1001]], pa.list_(pa.timestamp("ns"))), "timestamp.*microseconds"),
    "a time in a date": (lambda: pa.array([1], pa.int64()).view(pa.date64()), "date64"),
    "a year too late": (lambda: pa.array([2**40], pa.timestamp("s")), "timestamp"),
    "a year too late in a list": (lambda: pa.array([[2**40]], pa.list_(pa.timestamp("s"))), "timestamp"),
    "a day too late": (lambda: pa.array([10**7], pa.int32()).view(pa.date32()), "date32"),
    "an unknown zone": (lambda: pa.array([0], pa.timestamp("s", "Mars/Olympus")), "Mars"),
    "an interval": (lambda: pa.array([(1, 2, 3)], pa.month_day_nano_interval()), "interval"),
    "a union": (
        lambda: pa.UnionArray.from_dense(
            pa.array([0, 1], pa.int8()), pa.array([0, 0], pa.int32()), [pa.array([1]), pa.array(["a"])]
        ),
        "union",
    ),
    "arrow.uuid": (lambda: pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"a" * 16], pa.binary(16))), "uuid"),
    "two fields of one name": (
        lambda: pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]),
        "same name",
    ),
    "71 levels": (lambda: pa.array([DEEP], DEEP_TYPE), "list"),
}
FRAMES: dict[str, tuple[Callable[[], Any], list[Any]]] = {
    "polars Categorical": (lambda: polars.Series(TEXTS, dtype=polars.Categorical).to_frame("c"), TEXTS),
    "polars Enum": (lambda: polars.Series(TEXTS, dtype=polars.Enum(["a", "b"])).to_frame("c"), TEXTS),
    "polars List(Categorical)": (
        lambda: polars.Series([["a", None], ["b"]], dtype=polars.List(polars.Categorical)).to_frame("c"),
        [["a", None], ["b"]],
    ),
    "polars Struct(Categorical)": (
        lambda: polars.Series([{"x": "a"}, None], dtype=polars.Struct({"x": polars.Categorical})).to_frame("c"),
        [{"x": "a"}, None],
    ),
    "polars Array": (lambda: polars.Series([[1, 2]], dtype=polars.Array(polars.Int8, 2)).to_frame("c"), [[1, 2]]),
    "polars Time": (lambda: polars.DataFrame({"c": [time(1, 2, 3)]}), [time(1, 2, 3)]),
    "polars Duration": (lambda: polars.DataFrame({"c": [timedelta(1)]}), [timedelta(1)]),
    "polars Decimal": (lambda: polars.DataFrame({"c": [Decimal("1.5")]}), [Decimal("1.5")]),
    "polars Null": (lambda: polars.DataFrame({"c": [None]}), [None]),
    "pandas Categorical": (lambda: pandas.DataFrame({"c": pandas.Categorical(TEXTS)}), TEXTS),
    "pandas Int64": (lambda: pandas.DataFrame({"c": pandas.array([1, None], dtype="Int64")}), [1, None]),
    "pandas text": (lambda: pandas.DataFrame({"c": TEXTS}), TEXTS),
    "pandas dates": (lambda: pandas.DataFrame({"c": [date(2026, 1, 2), None]}), [date(2026, 1, 2), None]),
    "pandas datetime64[ns]": (
        lambda: pandas.DataFrame({"c": pandas.to_datetime(["2026-01-02"]).astype("datetime64[ns]")}),
        [datetime(2026, 1, 2)],
    ),
    "duckdb hugeint": (lambda: duckdb.sql("select 1::hugeint c"), [Decimal(1)]),
    "duckdb enum": (lambda: duckdb.sql("select 'a'::enum('a', 'b') c"), ["a"]),
    "duckdb struct": (lambda: duckdb.sql("select {'a': [1, 2]} c"), [{"a": [1, 2]}]),
    "duckdb map": (lambda: duckdb.sql("select map {'k': 1} c"), [[["k", 1]]]),
    "duckdb blob": (lambda: duckdb.sql("select '\\x01'::blob c"), [b"\x01"]),
}
NOT_FRAMES: dict[str, tuple[Callable[[], Any], str]] = {
    "polars Object": (lambda: polars.DataFrame({"c": polars.Series([object()], dtype=polars.Object)}), "'c'.*Object"),
    "pandas Period": (
        lambda: pandas.DataFrame({"c": pandas.period_range("2026-01", periods=2, freq="M")}),
        "'c'.*period",
    ),
    "pandas Interval": (lambda: pandas.DataFrame({"c": pandas.interval_range(0, 2)}), "'c'.*interval"),
    "pandas mixed": (lambda: pandas.DataFrame({"c": [1, "a"]}), "column c"),
    "pandas sparse": (lambda: pandas.DataFrame({"c": pandas.arrays.SparseArray([0, 1])}), "column c"),
    "pandas names twice": (lambda: pandas.DataFrame([[1, 2]], columns=["c", "c"]), "two columns 'c'"),
    "duckdb interval": (lambda: duckdb.sql("select interval 1 day c"), "'c'.*interval"),
    "duckdb union": (lambda: duckdb.sql("select union_value(a := 1) c"), "'c'.*union"),
}


def _listed(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_listed(member) for member in value]
    return {name: _listed(member) for name, member in value.items()} if isinstance(value, dict) else value


def stored(data: Any) -> tuple[list[Any], Any]:
    """The column `c` of a table once it is encoded and read again: as values, and as an Arrow column."""
    encoder = RowsEncoder()
    raw = encoder.writer.begin()
    for part in arrow.parts(arrow.as_table(data)):
        raw += encoder.table(part, None)[1]
    raw += encoder.writer.end()
    frames = list(FrameReader().feed(raw))
    values = [value for frame in frames for value in frame.decode(WHOLE).columns["c"]]
    return values, arrow.table_of([frame.arrays(WHOLE).columns for frame in frames]).column("c")


@pytest.mark.parametrize("name", TRAVELS)
def test_a_column_travels_as_its_values(name: str) -> None:
    column = TRAVELS[name]
    expected = list(map(plain, column.to_pylist()))  # pyarrow gives pandas' types where there are nanoseconds
    values, back = stored(pa.table({"c": column}))
    assert values == expected
    assert list(map(type, values)) == list(map(type, expected))
    assert _listed(back.to_pylist()) == expected
    assert json_bytes(values)
    assert [row["c"] for row in arrow.rows_of(pa.table({"c": column}))] == expected


@pytest.mark.parametrize("name", TRAVELS)
def test_every_part_of_a_column_travels(name: str) -> None:
    column = TRAVELS[name]
    for start, stop in itertools.combinations_with_replacement(range(len(column) + 1), 2):
        part = column.slice(start, stop - start)
        found = travelling("c", part)
        found.validate(full=True)
        assert _listed(found.to_pylist()) == _listed(part.to_pylist())


@pytest.mark.parametrize("name", REFUSED)
def test_a_column_that_cannot_travel_is_named(name: str) -> None:
    make, said = REFUSED[name]
    with pytest.raises(TabularError, match=said):
        stored(pa.table({"c": make()}))


@pytest.mark.parametrize("name", FRAMES)
def test_frames_of_other_libraries_travel(name: str) -> None:
    make, expected = FRAMES[name]
    values, back = stored(make())
    assert values == expected
    assert _listed(back.to_pylist()) == expected


@pytest.mark.parametrize("name", NOT_FRAMES)
def test_frames_that_cannot_travel_say_why(name: str) -> None:
    make, said = NOT_FRAMES[name]
    with pytest.raises(TabularError, match=said):
        stored(make())


@pytest.mark.parametrize("name", TRAVELS)
def test_a_table_without_rows_keeps_its_columns_and_types(name: str) -> None:
    values, back = stored(pa.table({"c": TRAVELS[name].slice(0, 0)}))
    assert values == [] and len(back) == 0
    assert back.type == travelling("c", TRAVELS[name]).type


@pytest.mark.parametrize(
    "values",
    [
        [2**63, 1],
        [date(2026, 1, 2), datetime(2026, 1, 2, 10, 30)],
        [datetime(2026, 1, 2), datetime(2026, 1, 2, tzinfo=UTC)],
        [b"a", "a"],
        ["\ud800"],
    ],
)
def test_a_column_is_no_array_if_a_value_would_change(values: list[Any]) -> None:
    with pytest.raises(TabularError, match="'a' has values of several types"):
        arrow.array_of("a", values)
