"""The types of values: as a database would find them, and never another value."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from broker_plane.shapes.recognise import Table, recognise_text, recognise_value

HOUR = timezone(timedelta(hours=1))

COLUMNS: dict[str, tuple[list[str], list[Any]]] = {
    "integers": (["0", "-12", "123456789012345678"], [0, -12, 123456789012345678]),
    "integers and nothing": (["1", ""], [1, None]),
    "leading zeros": (["007", "1"], ["007", "1"]),
    "long digits": (["1234567890123456789", "1"], ["1234567890123456789", "1"]),
    "phone numbers": (["+4915112345678", "+1"], ["+4915112345678", "+1"]),
    "groups of digits": (["1,000", "2,000"], ["1,000", "2,000"]),
    "exponents of people": (["1e5", "2e5"], ["1e5", "2e5"]),
    "infinity": (["inf", "1.5"], ["inf", "1.5"]),
    "NaN": (["NaN", "1.5"], ["NaN", "1.5"]),
    "floats": (["1.5", "2.25", "3"], [1.5, 2.25, 3.0]),
    "floats of Python": (["0.1", "1.5e-07", "1e+16"], [0.1, 1.5e-07, 1e16]),
    "amounts": (["12.50", "3.00"], [12.5, 3.0]),
    "versions": (["1.10", "1.9"], ["1.10", "1.9"]),
    "decimals": (
        ["0.12345678901234567891", "1.5"],
        [Decimal("0.12345678901234567891"), Decimal("1.5")],
    ),
    "padded decimals": (["0.12345678901234567890", "1.5"],) * 2,
    "long amounts": (["12345678901234567.89", "0.01"], [Decimal("12345678901234567.89"), Decimal("0.01")]),
    "decimals of 39 digits": (["0." + "1" * 39, "1.5"], ["0." + "1" * 39, "1.5"]),
    "decimals and exponents": (["0.12345678901234567891", "1e-07"], ["0.12345678901234567891", "1e-07"]),
    "booleans": (["true", "False", "TRUE"], [True, False, True]),
    "yes and no": (["yes", "no"], ["yes", "no"]),
    "booleans and numbers": (["true", "1"], ["true", "1"]),
    "dates": (["2026-01-02", "0001-01-01"], [date(2026, 1, 2), date(1, 1, 1)]),
    "dates that are none": (["2026-02-30", "2026-01-02"], ["2026-02-30", "2026-01-02"]),
    "German dates": (["02.01.2026", "03.01.2026"], ["02.01.2026", "03.01.2026"]),
    "datetimes": (
        ["2026-01-02T03:04:05", "2026-01-02 03:04"],
        [datetime(2026, 1, 2, 3, 4, 5), datetime(2026, 1, 2, 3, 4)],
    ),
    "datetimes with offsets": (
        ["2026-01-02T03:04:05Z", "2026-01-02 03:04:05.5+01:00", "2026-01-02 03:04:05+01"],
        [
            datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
            datetime(2026, 1, 2, 3, 4, 5, 500_000, tzinfo=HOUR),
            datetime(2026, 1, 2, 3, 4, 5, tzinfo=HOUR),
        ],
    ),
    "offsets for some": (["2026-01-02T03:04:05Z", "2026-01-02T03:04:05"],) * 2,
    "nanoseconds": (["2026-01-02T03:04:05.123456789", "2026-01-02T03:04:05"],) * 2,
    "a time that is none": (["2026-01-02T25:00:00", "2026-01-02T03:04:05"],) * 2,
    "dates and datetimes": (["2026-01-02", "2026-01-02T03:04:05"],) * 2,
    "times": (["03:04:05", "23:59:59.5"], [time(3, 4, 5), time(23, 59, 59, 500_000)]),
    "hours and minutes": (["03:04", "23:59"], ["03:04", "23:59"]),
    "numbers and texts": (["1", "x"], ["1", "x"]),
    "texts and nothing": (["x", ""], ["x", ""]),
    "nothing": (["", ""], [None, None]),
    "blanks around": ([" 1", "2"], [" 1", "2"]),
    "digits of other scripts": (["\u0661", "\u0662"], ["\u0661", "\u0662"]),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_of_texts_has_one_type_or_stays_text(name: str) -> None:
    texts, values = COLUMNS[name]
    text = "\n".join(["key\tcolumn", *(f"{place}\t{text}" for place, text in enumerate(texts))])
    found = recognise_text(text)
    assert isinstance(found, Table)
    column = [row["column"] for row in found.rows]
    assert column == values and list(map(type, column)) == list(map(type, values))
    plain = recognise_text(text, types=False)
    assert isinstance(plain, Table) and [row["column"] for row in plain.rows] == texts


JSON_COLUMNS: dict[str, tuple[list[Any], list[Any]]] = {
    "numbers in quotes": (["1", "2"], ["1", "2"]),
    "booleans in quotes": (["true", "false"], ["true", "false"]),
    "decimals in quotes": (["1.50", "2.25"], ["1.50", "2.25"]),
    "dates": (["2026-01-02", None], [date(2026, 1, 2), None]),
    "datetimes": (["2026-01-02T03:04:05Z"], [datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)]),
    "times": (["03:04:05"], [time(3, 4, 5)]),
    "an empty text": (["2026-01-02", ""], ["2026-01-02", ""]),
    "a number": (["2026-01-02", 1], ["2026-01-02", 1]),
    "another text": (["2026-01-02", "soon"], ["2026-01-02", "soon"]),
    "null first": ([None] * 200 + ["2026-01-02"], [None] * 200 + [date(2026, 1, 2)]),
    "large integers": ([2**53 + 1, 10**30], [2**53 + 1, 10**30]),
    "integers and floats": ([1, 1.5], [1, 1.5]),
}


@pytest.mark.parametrize("name", JSON_COLUMNS)
def test_texts_of_json_may_be_dates_and_times_but_nothing_else(name: str) -> None:
    given, values = JSON_COLUMNS[name]
    rows = [{"key": place, "column": value} for place, value in enumerate(given)]
    found = recognise_value(rows)
    assert found is not None
    column = [row["column"] for row in found.rows]
    assert column == values and list(map(type, column)) == list(map(type, values))
    assert [row["column"] for row in rows] == given, "the caller's rows are left alone"
    plain = recognise_value(rows, types=False)
    assert plain is not None and plain.rows == rows


DECLARED = [
    ("DATE", "2026-01-02", date(2026, 1, 2)),
    ("TIMESTAMP", "2026-01-02 03:04:05.123456", datetime(2026, 1, 2, 3, 4, 5, 123456)),
    ("TIMESTAMP WITH TIME ZONE", "2026-01-02 03:04:05+00:00", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
    ("TIME", "03:04:05", time(3, 4, 5)),
    ("DECIMAL(18,3)", "1.500", Decimal("1.500")),
    ("NUMBER", "12345678901234567890.12", Decimal("12345678901234567890.12")),
    ("VARCHAR", "2026-01-02", "2026-01-02"),
    ("STRING", "1", "1"),
    ("BIGINT", 7, 7),
    ("DOUBLE", 1.5, 1.5),
    ("DATE", "infinity", "infinity"),
    ("DECIMAL(9,2)", "NaN", "NaN"),
    ("NUMBER", "00123", "00123"),
    ("TIMESTAMP", "2026-01-02T03:04:05,1234567", "2026-01-02T03:04:05,1234567"),
    ("TIMESTAMP", "2026-01-02 03:04:05.1234567", "2026-01-02 03:04:05.1234567"),
    ("DATE", None, None),
]


@pytest.mark.parametrize(("declared", "given", "value"), DECLARED)
def test_a_declared_type_comes_first(declared: str, given: Any, value: Any) -> None:
    found = recognise_value({"columns": ["a"], "columnTypes": [declared], "rows": [[given]]})
    assert found is not None and found.rows == [{"a": value}] and type(found.rows[0]["a"]) is type(value)
    heads = recognise_value({"columns": [{"name": "a", "type": declared}], "rows": [[given]]})
    assert heads is not None and heads.rows == [{"a": value}]
