"""One normalisation of Python values: what is compared and shown is what the store gives back."""

from __future__ import annotations

import enum
from collections import ChainMap, Counter, OrderedDict, UserDict, defaultdict, namedtuple
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType, SimpleNamespace
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy
import pandas
import polars
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_plane.errors import TabularError
from broker_plane.tabular.codec import FrameReader
from broker_plane.tabular.delta import by_key, delta_of
from broker_plane.tabular.json_values import json_bytes, json_value
from broker_plane.tabular.plain import plain, plain_rows
from broker_plane.tabular.rows import RowsEncoder, encode_rows
from broker_plane.tabular.schema import schema_of
from broker_plane.tabular.types import pack, unpack
from broker_plane.wire.nesting import MAX_DEPTH
from broker_plane.wire.selector import WHOLE


class Stage(str, enum.Enum):  # noqa: UP042  # as many have it; a StrEnum has another __str__
    lead = "lead"


class Right(enum.IntFlag):
    read = 1
    write = 2


class Plain(enum.Enum):
    pair = (1, numpy.int64(2))
    number = 4


class Text(str):
    def __str__(self) -> str:
        return "another"


class Whole(int):
    def __int__(self) -> int:
        return 99

    __index__ = __int__


class Broken(float):
    def __float__(self) -> float:
        return 99.0


class Day(date):
    pass


class Moment(datetime):
    def isoformat(self, *_: Any, **__: Any) -> str:
        return "never"


class Id(UUID):
    pass


Point = namedtuple("Point", "x y")
BERLIN = ZoneInfo("Europe/Berlin")
SUMMER = timezone(timedelta(hours=2))
SAME: dict[str, tuple[Any, Any]] = {
    "a str enumeration": (Stage.lead, "lead"),
    "an int enumeration": (enum.IntEnum("Level", "low high").high, 2),  # type: ignore[attr-defined]
    "flags": (Right.read | Right.write, 3),
    "an enumeration of tuples": (Plain.pair, [1, 2]),
    "an enumeration as a key": ({Plain.number: Stage.lead}, {4: "lead"}),
    "a subclass of str": (Text("own"), "own"),
    "a subclass of int": (Whole(3), 3),
    "a subclass of float": (Broken(1.5), 1.5),
    "a subclass of date": (Day(2026, 1, 2), date(2026, 1, 2)),
    "a subclass of datetime": (Moment(2026, 1, 2, 3), datetime(2026, 1, 2, 3)),
    "a subclass of UUID": (Id(int=5), UUID(int=5)),
    "bytearray": (bytearray(b"ab"), b"ab"),
    "memoryview": (memoryview(b"abc")[1:], b"bc"),
    "a tuple": ((1, (2, "x")), [1, [2, "x"]]),
    "a namedtuple": (Point(1, numpy.int8(2)), [1, 2]),
    "OrderedDict": (OrderedDict(b=1, a=(2,)), {"b": 1, "a": [2]}),
    "defaultdict": (defaultdict(list, a=[1]), {"a": [1]}),
    "Counter": (Counter("aab"), {"a": 2, "b": 1}),
    "UserDict": (UserDict({"a": Stage.lead}), {"a": "lead"}),
    "ChainMap": (ChainMap({"a": 1}, {"b": 2}), {"b": 2, "a": 1}),
    "a mapping proxy": (MappingProxyType({"a": Text("own")}), {"a": "own"}),
    "a zone": (datetime(2026, 7, 1, 10, tzinfo=BERLIN), datetime(2026, 7, 1, 10, tzinfo=SUMMER)),
    "numpy int64": (numpy.int64(-3), -3),
    "numpy uint64": (numpy.uint64(2**64 - 1), 2**64 - 1),
    "numpy float16": (numpy.float16(1.5), 1.5),
    "numpy float32": (numpy.float32(1.1), 1.100000023841858),
    "numpy float64": (numpy.float64(0.1), 0.1),
    "an exact longdouble": (numpy.longdouble(0.5), 0.5),
    "numpy bool": (numpy.True_, True),
    "numpy str": (numpy.str_("ü"), "ü"),
    "numpy bytes": (numpy.bytes_(b"a"), b"a"),
    "numpy void": (numpy.void(b"abc"), b"abc"),
    "datetime64[us]": (numpy.datetime64("2026-01-02T03:04:05.000006"), datetime(2026, 1, 2, 3, 4, 5, 6)),
    "datetime64[ns]": (numpy.datetime64("2026-01-02T03:04:05.123456000"), datetime(2026, 1, 2, 3, 4, 5, 123456)),
    "datetime64[D]": (numpy.datetime64("2026-01-02"), date(2026, 1, 2)),
    "datetime64 NaT": (numpy.datetime64("NaT"), None),
    "timedelta64[ns]": (numpy.timedelta64(2000, "ns"), timedelta(microseconds=2)),
    "timedelta64[h]": (numpy.timedelta64(3, "h"), timedelta(hours=3)),
    "a record": (numpy.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")])[0], {"a": 1, "b": 2.5}),
    "an array": (numpy.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
    "an array without axes": (numpy.array(5), 5),
    "an array of datetime64[ns]": (numpy.array(["2026-01-02"], "datetime64[ns]"), [datetime(2026, 1, 2)]),
    "an array of objects": (numpy.array(["a", None, (1,)], dtype=object), ["a", None, [1]]),
    "a masked array": (numpy.ma.array([1, 2], mask=[False, True]), [1, None]),
    "masked": (numpy.ma.masked, None),
    "a Timestamp": (pandas.Timestamp("2026-01-02 03:04"), datetime(2026, 1, 2, 3, 4)),
    "a Timestamp with a zone": (
        pandas.Timestamp("2026-07-01 10:00", tz="Europe/Berlin"),
        datetime(2026, 7, 1, 10, tzinfo=SUMMER),
    ),
    "a Timedelta": (pandas.Timedelta(days=1, microseconds=2), timedelta(days=1, microseconds=2)),
    "NaT": (pandas.NaT, None),
    "NA": (pandas.NA, None),
    "a Series": (pandas.Series([1, None], dtype="Int64"), [1, None]),
    "a Series of times": (pandas.Series(pandas.to_datetime(["2026-01-02", None])), [datetime(2026, 1, 2), None]),
    "a Categorical": (pandas.Categorical(["a", None]), ["a", None]),
    "a polars Series": (polars.Series([[1], [2]]), [[1], [2]]),
    "deep inside": ({"a": [{"b": (pandas.NaT, numpy.int8(1))}]}, {"a": [{"b": [None, 1]}]}),
}
CANNOT: dict[str, Callable[[], Any]] = {
    "set": lambda: {1},
    "object": object,
    "complex": lambda: [numpy.complex64(1)],
    "Fraction": lambda: Fraction(1, 3),
    "SimpleNamespace": SimpleNamespace,
    "longdouble": lambda: numpy.longdouble(1) / 3,
    "datetime64": lambda: numpy.datetime64("2026-01-01T00:00:00.000000001"),
    "timedelta64": lambda: numpy.timedelta64(1, "M"),
    "Timestamp": lambda: pandas.Timestamp("2026-01-01T00:00:00.000000001"),
    "Timedelta": lambda: pandas.Timedelta(1, "ns"),
    "Period": lambda: pandas.Period("2026-01"),
    "Interval": lambda: pandas.Interval(1, 2),
    "DataFrame": lambda: polars.DataFrame({"a": [1]}),
    "range": lambda: range(3),
    "type": lambda: int,
    "function": lambda: lambda: 1,
    "time": lambda: time(1, tzinfo=BERLIN),
    "deep": lambda: {"x": [frozenset({1})]},
}


def _decoded(raw: bytes) -> list[dict[str, Any]]:
    return [row for frame in FrameReader().feed(raw) for row in frame.decode(WHOLE).rows()]


def _typed(value: Any) -> Any:
    """The value with the types of all its parts."""
    if isinstance(value, dict):
        return dict, [(_typed(key), _typed(member)) for key, member in value.items()]
    if isinstance(value, list):
        return list, list(map(_typed, value))
    return type(value), repr(value)


@pytest.mark.parametrize("name", SAME)
def test_every_way_gives_the_plain_value(name: str) -> None:
    given_value, expected = SAME[name]
    assert _typed(plain(given_value)) == _typed(expected)
    rows = [{"n": 1, "v": given_value}, {"n": 2, "v": None}]
    wanted = [{"n": 1, "v": expected}, {"n": 2, "v": None}]
    assert _typed(plain_rows(rows)) == _typed(wanted)
    assert _typed(_decoded(b"".join(encode_rows(rows)))) == _typed(wanted)
    assert unpack(pack(given_value)) == expected
    assert json_bytes(given_value) == json_bytes(expected)
    assert json_value(given_value) == json_value(expected)
    frame, _ = RowsEncoder().frame(list(rows))  # what the abstract is made of
    assert _typed(frame.rows() if type(expected) is not bytes else wanted) == _typed(wanted)
    assert rows[0]["v"] is given_value  # nothing of the caller's is changed


@pytest.mark.parametrize("name", SAME)
def test_a_feed_sees_no_change_and_no_other_type(name: str) -> None:
    given_value, expected = SAME[name]
    after = by_key(plain_rows([{"id": numpy.int64(1), "v": given_value}]), ["id"])
    before = by_key([{"id": 1, "v": expected}], ["id"])
    assert not len(delta_of(before, after, ["id"]))
    assert schema_of(list(after.values())) == schema_of(list(before.values()))


@pytest.mark.parametrize("name", CANNOT)
@pytest.mark.parametrize("way", [lambda rows: list(encode_rows(rows)), plain_rows])
def test_what_cannot_travel_is_named_by_row_column_and_type(name: str, way: Callable[[Any], Any]) -> None:
    rows = [{"id": number, "odd": 1} for number in range(600)] + [{"id": 600, "odd": CANNOT[name]()}]
    with pytest.raises(TabularError, match=r"Row 600, column 'odd': .*") as raised:
        way(rows)
    assert (name if name != "deep" else "frozenset") in str(raised.value)


@pytest.mark.parametrize(
    "value",
    [
        {(1, 2): "x"},
        {1: "a", "1": "b"},
        {None: 1, "None": 2},
        {Plain.number: 1, numpy.int64(4): 2},
        {True: 1, "True": 2},
    ],
)
def test_keys_that_would_become_one_or_none_are_an_error(value: dict[Any, Any]) -> None:
    with pytest.raises(TabularError):
        plain(value)


@pytest.mark.parametrize(("digits", "kind"), [(4_300, int), (70_000, Decimal)])
def test_a_number_that_is_too_long_is_named_by_row_and_column(digits: int, kind: Any) -> None:
    number = 10 ** (digits - 1) if kind is int else Decimal("1." + "1" * digits)
    with pytest.raises(TabularError, match="Row 1, column 'n'"):
        list(encode_rows([{"id": 0, "n": 1}, {"id": 1, "n": number}]))


@pytest.mark.parametrize("wrap", [lambda value: [value], lambda value: {"x": value}, lambda value: (value,)])
@pytest.mark.parametrize("inner", [1, numpy.int64(1), None])
def test_one_limit_of_nesting(wrap: Callable[[Any], Any], inner: Any) -> None:
    value = inner
    for _ in range(MAX_DEPTH):
        value = wrap(value)
    for rows in ([{"v": value}], [{"v": value}, {}], [{"v": 1, "w": 1}, {"v": value, "w": 2}]):
        assert len(_decoded(b"".join(encode_rows(rows)))) == len(rows)
        assert plain_rows(rows)
        json_bytes(plain_rows(rows))
        deeper: list[dict[str, Any]] = [{**row, "v": wrap(row["v"])} if "v" in row else row for row in rows]
        for way in (encode_rows, plain_rows):
            with pytest.raises(TabularError, match=f"column 'v'.*{MAX_DEPTH} levels"):
                list(way(deeper))


def test_a_value_that_holds_itself_is_an_error() -> None:
    ring: list[Any] = []
    ring.append(ring)
    with pytest.raises(TabularError):
        list(encode_rows([{"v": ring}]))


def test_columns_are_named_by_plain_texts() -> None:
    rows = [{Stage.lead: 1, Text("own"): 2, numpy.str_("n"): 3}]
    encoder = RowsEncoder()
    frame, _ = encoder.frame(list(rows))
    assert _typed(list(frame.columns)) == _typed(encoder.writer.table.columns) == _typed(["lead", "own", "n"])
    assert _typed(plain_rows(rows)) == _typed([{"lead": 1, "own": 2, "n": 3}])
    for name in (1, None, numpy.int64(1), ("a",), b"a"):
        with pytest.raises(TabularError, match="Column names"):
            list(encode_rows([{name: 1}]))


def test_rows_that_are_plain_are_the_same_objects() -> None:
    rows = [{"a": 1, "b": [1, {"c": None}], "t": datetime(2026, 1, 1, tzinfo=UTC)}]
    assert plain_rows(rows)[0] is rows[0]


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**90), 2**90)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=8)
    | st.datetimes(timezones=st.none() | st.just(UTC) | st.just(SUMMER)).map(lambda when: when.replace(fold=0))
    | st.dates()
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.uuids()
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def disguised(value: Any, draw: Callable[[Any], Any]) -> Any:
    """The same value in another Python type."""
    if isinstance(value, list):
        members = [disguised(member, draw) for member in value]
        return draw(st.sampled_from([tuple, list, lambda found: polars_or_array(found)]))(members)
    if isinstance(value, dict):
        pairs = [(Text(name), disguised(member, draw)) for name, member in value.items()]
        return draw(st.sampled_from([OrderedDict, UserDict, lambda found: MappingProxyType(dict(found))]))(pairs)
    if type(value) is int and -(2**63) <= value < 2**63:
        return draw(st.sampled_from([numpy.int64, Whole]))(value)
    if type(value) is float:
        return draw(st.sampled_from([numpy.float64, numpy.longdouble, Broken]))(value)
    if type(value) is datetime and value.tzinfo is None:
        return Moment.fromisoformat(datetime.isoformat(value))
    return {str: Text, bytes: bytearray, bool: numpy.bool_}.get(type(value), lambda same: same)(value)


def polars_or_array(members: list[Any]) -> Any:
    array = numpy.empty(len(members), dtype=object)
    array[:] = members
    return array


@given(TREES, st.data())
def test_the_same_tree_in_other_types_is_the_same_tree(tree: Any, data: st.DataObject) -> None:
    other = disguised(tree, data.draw)
    assert _typed(plain(other)) == _typed(plain(tree)) == _typed(tree)
    stored = _decoded(b"".join(encode_rows([{"v": other}])))
    assert _typed(stored) == _typed([{"v": tree}])
    before, after = by_key([{"id": 1, **stored[0]}], ["id"]), by_key(plain_rows([{"id": 1, "v": other}]), ["id"])
    assert not len(delta_of(before, after, ["id"]))
