"""A delta leads from one table to the other, by itself and joined with others, and through its rows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_plane.errors import SchemaError, TabularError
from broker_plane.tabular.codec import FrameReader
from broker_plane.tabular.delta import (
    Key,
    apply_delta,
    by_key,
    delta_of,
    delta_rows,
    joined,
    read_delta,
    same_value,
    settled,
)
from broker_plane.tabular.rows import encode_rows
from broker_plane.tabular.schema import check_compatible, schema_of
from broker_plane.wire.selector import WHOLE

VALUES = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from(["", "a"]), st.just(float("nan")))
ROWS = st.dictionaries(st.sampled_from(["name", "city", "n"]), VALUES)
TABLES = st.dictionaries(st.integers(0, 5), ROWS).map(
    lambda table: {(number,): {"id": number, **row} for number, row in table.items()}
)


def as_table(table: dict[Any, dict[str, Any]]) -> dict[Key, dict[str, Any]]:
    return {key: dict(row) for key, row in table.items()}


def through_a_body(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    reader = FrameReader()
    return [row for piece in encode_rows(rows) for frame in reader.feed(piece) for row in frame.decode(WHOLE).rows()]


@given(TABLES, TABLES)
def test_a_delta_leads_from_one_table_to_the_other(before: Any, after: Any) -> None:
    delta = read_delta(through_a_body(delta_rows(delta_of(before, after, ["id"]))), ["id"])
    table = as_table(before)
    apply_delta(table, delta)
    assert same_value(table, as_table(after))
    apply_delta(table, delta)
    assert same_value(table, as_table(after))


@given(TABLES, TABLES, TABLES, TABLES)
def test_joined_deltas_do_what_they_do_one_after_the_other(a: Any, b: Any, c: Any, d: Any) -> None:
    delta = joined(joined(delta_of(a, b, ["id"]), delta_of(b, c, ["id"])), delta_of(c, d, ["id"]))
    table = as_table(a)
    apply_delta(table, delta)
    assert same_value(table, as_table(d))


@given(TABLES, TABLES, TABLES)
def test_joined_deltas_of_which_rows_are_known_before_are_the_one_that_leads_there(a: Any, b: Any, c: Any) -> None:
    first, then = delta_of(a, b, ["id"]), delta_of(b, c, ["id"])
    keys = {*first.added, *first.changed, *first.removed} & {*then.added, *then.changed, *then.removed}
    found, wanted = settled(joined(first, then), keys, a, ["id"]), delta_of(a, c, ["id"])
    for part in ("added", "changed", "removed"):
        assert same_value(getattr(found, part), getattr(wanted, part)), part
    assert {key: set(names) for key, names in found.gone.items()} == {k: set(n) for k, n in wanted.gone.items()}


def test_a_changed_row_has_its_key_and_what_changed() -> None:
    before = by_key([{"id": 1, "name": "a", "city": "x"}, {"id": 2, "name": "b"}, {"id": 3}], ["id"])
    after = by_key([{"id": 1, "name": "A", "city": "x"}, {"id": 2}, {"id": 4, "name": "d"}], ["id"])
    assert delta_rows(delta_of(before, after, ["id"])) == [
        {"_change": "added", "id": 4, "name": "d"},
        {"_change": "changed", "id": 1, "name": "A"},
        {"_change": "changed", "id": 2, "_gone": ["name"]},
        {"_change": "removed", "id": 3},
    ]


@pytest.mark.parametrize("rows", [[{"id": 1}, {"id": 1}], [{"name": "a"}], [{"id": None}], [{"id": [1]}]])
def test_a_row_that_its_key_does_not_name_is_an_error(rows: list[dict[str, Any]]) -> None:
    with pytest.raises(TabularError):
        by_key(rows, ["id"])


def test_a_schema_may_grow_and_get_gaps_and_become_float() -> None:
    before = schema_of([{"id": 1, "n": 2}])
    assert before == {"id": ("int",), "n": ("int",)}
    after = schema_of([{"id": 1, "n": 2.5, "more": "x"}, {"id": 2, "n": None}])
    assert after == {"id": ("int",), "n": ("float", "null"), "more": ("absent", "str")}
    check_compatible(before, after, ["id"], ["id"])


@pytest.mark.parametrize("row", [{"id": 1}, {"id": 1, "n": "2"}, {"id": "1", "n": 2}])
def test_a_schema_may_not_lose_a_column_or_change_a_type(row: dict[str, Any]) -> None:
    with pytest.raises(SchemaError):
        check_compatible(schema_of([{"id": 1, "n": 2}]), schema_of([row]), ["id"], ["id"])
