"""The table that a published version results in: snapshots, deltas, keys and schemas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from broker_plane.errors import FeedNotFoundError, SchemaError, TabularError
from broker_plane.plane.feeds.version import Version, removed_row, version_table
from broker_plane.wire.feeds import CHANGE, GONE
from tests.unit.plane.feeds.notices import KEY, notice, stored

Row = Mapping[str, Any]
COLUMNS = {"id": ("int",), "name": ("str",)}
ANN, BEN = {"id": 0, "name": "Ann"}, {"id": 1, "name": "Ben"}
LAST = notice(1, columns=COLUMNS)


def version(**fields: Any) -> Version:
    return Version(**{"feed": "crm.contacts", "key": KEY} | fields)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"kind": "patch"}, "'patch'"),
        ({"kind": "delta", "removed": "12"}, "list of keys"),
        ({"kind": "delta", "removed": 12}, "list of keys"),
        ({"removed": [12]}, 'kind="delta"'),
    ],
)
def test_fields_that_do_not_fit_together_are_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(TabularError, match=said):
        version(**fields).check()


@pytest.mark.parametrize("removed", [[12], (12,), {12}, []])
def test_removed_keys_come_in_any_collection(removed: Any) -> None:
    version(kind="delta", removed=removed).check()


def test_a_delta_needs_a_key_and_a_version_before_it() -> None:
    with pytest.raises(TabularError, match="key"):
        version(kind="delta", key=()).check_rows([], LAST)
    with pytest.raises(FeedNotFoundError, match="snapshot first"):
        version(kind="delta").check_rows([], None)
    version(kind="delta").check_rows([], LAST)


@pytest.mark.parametrize("name", [CHANGE, GONE])
def test_the_columns_of_a_delta_are_reserved(name: str) -> None:
    with pytest.raises(TabularError, match="reserved"):
        version().check_rows([{"id": 1}, {"id": 2, name: 1}], None)


@pytest.mark.parametrize("fields", [{}, {"key": (), "kind": "delta"}])
def test_an_opaque_version_has_neither_key_nor_delta(fields: dict[str, Any]) -> None:
    with pytest.raises(TabularError, match="opaque"):
        version(**fields).check_opaque()
    version(key=()).check_opaque()


@pytest.mark.parametrize(
    ("fields", "last", "compares"),
    [
        ({}, LAST, True),
        ({}, None, False),
        ({"key": ()}, LAST, False),
        ({"key": ("mail",)}, LAST, False),
        ({}, notice(1, body=stored(kind="bytes")), False),
    ],
)
def test_a_version_is_compared_with_rows_of_the_same_key(fields: dict[str, Any], last: Any, compares: bool) -> None:
    assert version(**fields).compares_with(last) is compares


@pytest.mark.parametrize(
    ("rows", "removed", "table", "delta"),
    [
        ([{"id": 0, "name": "Eve"}], [], [{"id": 0, "name": "Eve"}, BEN], 1),
        ([{"id": 2, "name": "Cat"}], [], [ANN, BEN, {"id": 2, "name": "Cat"}], 1),
        ([], [0], [BEN], 1),
        ([], [(0,)], [BEN], 1),
        ([], [{"id": 0}], [BEN], 1),
        ([], [7], [ANN, BEN], 0),  # was not there
        ([ANN], [], [ANN, BEN], 0),
    ],
)
def test_a_delta_is_applied_to_the_last_version(
    rows: list[Row], removed: list[Any], table: list[Row], delta: int
) -> None:
    made = version_table(rows, (), version(kind="delta", removed=removed), LAST, [ANN, BEN])
    assert made.rows == table
    assert made.delta is not None
    assert len(made.delta) == delta
    assert made.equals(LAST) is (delta == 0)


def test_a_key_is_not_both_removed_and_among_the_rows() -> None:
    with pytest.raises(TabularError, match="both"):
        version_table([ANN], (), version(kind="delta", removed=[0]), LAST, [ANN])


def test_a_delta_by_another_key_is_refused() -> None:
    with pytest.raises(SchemaError, match="key is id"):
        version_table([{"name": "Ann"}], (), version(kind="delta", key=("name",)), LAST, None)


@pytest.mark.parametrize(
    ("rows", "equal"),
    [([ANN, BEN], True), ([BEN, ANN], True), ([ANN], False), ([ANN, {"id": 1, "name": "Eve"}], False)],
)
def test_a_snapshot_of_the_same_rows_equals_the_last_version(rows: list[Row], equal: bool) -> None:
    assert version_table(rows, (), version(), LAST, [ANN, BEN]).equals(LAST) is equal


def test_without_a_version_to_compare_with_the_changes_are_unknown() -> None:
    made = version_table([ANN], (), version(), None, None)
    assert (made.delta, made.rows, made.equals(LAST)) == (None, [ANN], False)


@pytest.mark.parametrize("rows", [[{"id": 1}, {"id": 1}], [{"name": "Ann"}], [{"id": float("nan")}], [{"id": None}]])
def test_every_row_has_its_own_key(rows: list[Row]) -> None:
    with pytest.raises(TabularError):
        version_table(rows, (), version(), None, None)


def test_a_version_without_rows_has_the_columns_that_it_declares_or_the_feed_had() -> None:
    assert list(version_table([], ("id", "mail"), version(), None, None).columns) == ["id", "mail"]
    assert list(version_table([], (), version(), LAST, [ANN]).columns) == ["id", "name"]


@pytest.mark.parametrize(
    ("removed", "row"), [(12, {"id": 12}), ((12,), {"id": 12}), ([12], {"id": 12}), ({"id": 12}, {"id": 12})]
)
def test_a_removed_key_is_a_value_a_tuple_or_a_row(removed: Any, row: Row) -> None:
    assert removed_row(removed, KEY) == row


def test_a_removed_key_names_every_column_of_the_key() -> None:
    assert removed_row((1, "b"), ("id", "part")) == {"id": 1, "part": "b"}
    with pytest.raises(TabularError, match="id, part"):
        removed_row(1, ("id", "part"))
