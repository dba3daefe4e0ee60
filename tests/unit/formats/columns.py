"""Columns of values of every kind, and what the pages say that files hold for them, written down once more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

Values = list[Any]

DAY_ZONE = timezone(timedelta(hours=5, minutes=30))
NAIVE = st.datetimes().map(lambda at: at.replace(fold=0))
AWARE = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31))
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
DECIMALS = st.decimals(-(10**12), 10**12, places=4, allow_nan=False)


@dataclass(frozen=True)
class Column:
    """Values of one kind; the Arrow type of a column of them if there is any, and what each becomes."""

    values: st.SearchStrategy[Any]
    kind: Any
    becomes: Callable[[Any], Any] = lambda value: value


INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
COLUMNS: dict[str, Column] = {
    "bool": Column(st.booleans(), pa.bool_()),
    "int64": Column(INT64, pa.int64()),
    "uint64": Column(st.integers(1 << 63, (1 << 64) - 1), pa.uint64()),
    "beyond 64 bits": Column(st.integers(10**20, 10**21 - 1), pa.decimal128(21, 0)),
    "beyond 128 bits": Column(st.integers(10**59, 10**60 - 1), pa.decimal256(60, 0)),
    "beyond 256 bits": Column(st.integers(10**80, 10**90), pa.string(), str),
    "float": Column(st.floats(), pa.float64()),
    "int or float": Column(st.sampled_from([1, -3, 2**53, 0.5]), None, float),
    "text": Column(WORDS, pa.string()),
    "half a surrogate": Column(st.just("a\ud800"), pa.string(), lambda value: "a?"),
    "bytes": Column(st.binary(max_size=9), pa.binary()),
    "date": Column(st.dates(), pa.date32()),
    "datetime": Column(NAIVE, pa.timestamp("us")),
    "datetime of one offset": Column(AWARE.map(lambda at: at.replace(tzinfo=DAY_ZONE)), pa.timestamp("us", "+05:30")),
    "datetime in UTC": Column(AWARE.map(lambda at: at.replace(tzinfo=UTC)), pa.timestamp("us", "UTC")),
    "time": Column(st.times().map(lambda at: at.replace(fold=0)), pa.time64("us")),
    "timedelta": Column(st.timedeltas(timedelta(days=-(10**8)), timedelta(days=10**8)), pa.duration("us")),
    "very long timedelta": Column(st.just(timedelta.max), pa.string(), lambda value: "P999999999DT86399.999999S"),
    "Decimal": Column(DECIMALS.map(lambda value: value.quantize(Decimal("0.0001"))), None),
    "Decimal or int": Column(st.sampled_from([7, Decimal("1.25"), Decimal("1E+3")]), None, Decimal),
    "Decimal NaN": Column(st.just(Decimal("NaN")), pa.string(), str),
    "UUID": Column(st.uuids(), pa.string(), str),
    "list": Column(st.lists(st.none() | INT64, min_size=1, max_size=3), None),
    "list of lists": Column(st.lists(st.lists(WORDS, max_size=2), max_size=2), None),
    "map": Column(st.fixed_dictionaries({"a": st.none() | INT64, "ä b": WORDS}), None),
    "map of lists": Column(st.fixed_dictionaries({"at": st.lists(st.dates(), min_size=1)}), None),
    "empty map": Column(st.just({}), pa.string(), lambda value: "{}"),
    "map with other keys": Column(st.just({1: "x"}), pa.string(), lambda value: '{"1":"x"}'),
    "int or text": Column(st.sampled_from([1]) | st.sampled_from(["x"]), None, str),
    "None": Column(st.none(), pa.null()),
}
"""By name; `kind` None: it depends on the values."""

ROWS_MOST = 6


def draws(name: str) -> st.SearchStrategy[Values]:
    """Columns of this kind with gaps."""
    return st.lists(st.none() | COLUMNS[name].values, min_size=1, max_size=ROWS_MOST)
