"""Merging an abstract with its body, and what a model may not do to it."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_plane.errors import MappingError, MergeError
from broker_plane.tabular.abstract import AbstractBuilder
from broker_plane.tabular.frame import frame_of
from broker_plane.tabular.json_values import json_value
from broker_plane.tabular.merge import (
    check_mapping,
    merge,
    parse_abstract,
    parse_mapping,
    remap,
)

ROWS = [{"event": "Flood", "n": 1, "day": date(2026, 1, 1)}, {"event": "Wind", "n": 2, "day": date(2026, 1, 2)}]
BODY = ([0, 1], ROWS)


@given(st.lists(st.fixed_dictionaries({"a": st.integers(), "b": st.text(), "c": st.floats()}), max_size=20))
def test_merging_what_was_projected_gives_the_rows(rows: list[dict[str, Any]]) -> None:
    builder = AbstractBuilder(["a", "b", "c"], None)
    builder.add(frame_of(rows, 0))
    shown = [json_value(row) for row in builder.rows]
    assert repr(merge(shown, range(len(rows)), rows)) == repr(rows)


def test_the_order_is_the_abstracts_and_the_values_are_the_sources() -> None:
    abstract = [{"_row_id": 1, "day": "2026-01-02"}, {"_row_id": 0, "event": "Flood"}]
    assert merge(abstract, *BODY) == [ROWS[1], ROWS[0]]


@pytest.mark.parametrize("changed", ["Hail", "flood", None, 1, ["Flood"]])
def test_an_abstract_that_came_back_changed_is_an_error_that_names_row_and_column(changed: Any) -> None:
    with pytest.raises(MergeError, match="Row 0, column 'event'"):
        merge([{"_row_id": 0, "event": changed}], *BODY)


def test_true_is_not_one_and_a_text_is_not_a_number() -> None:
    for changed in (True, "1", 1.5):
        with pytest.raises(MergeError, match="column 'n'"):
            merge([{"_row_id": 0, "n": changed}], *BODY)


def test_a_trusted_agent_may_change_values_and_add_columns() -> None:
    merged = merge([{"_row_id": 0, "event": "Hail", "note": "x"}], *BODY, trust="agent")
    assert merged == [{**ROWS[0], "event": "Hail", "note": "x"}]
    assert ROWS[0]["event"] == "Flood"


def test_a_column_that_the_source_does_not_have_is_an_error() -> None:
    with pytest.raises(MergeError, match="'score'"):
        merge([{"_row_id": 0, "score": 1}], *BODY)


def test_in_sync_mode_the_abstracts_columns_come_from_it() -> None:
    assert merge([{"_row_id": 0, "a": 1}], [0], [{"b": 2}], complete=False) == [{"b": 2, "a": 1}]


def test_a_row_that_the_body_lacks_is_an_error_that_names_it() -> None:
    with pytest.raises(MergeError, match="row 7"):
        merge([{"_row_id": 7}], *BODY)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ('{"a": 1}', "JSON array"),
        ("[1]", "JSON array"),
        ('[{"a": 1}]', "row 0 needs its _row_id"),
        ('[{"_row_id": "0"}]', "not a whole number"),
        ('[{"_row_id": 0.0}]', "not a whole number"),
        ('[{"_row_id": true}]', "not a whole number"),
        ('[{"_row_id": 1}, {"_row_id": 1}]', "occurs twice"),
    ],
)
def test_an_abstract_that_is_none_says_why(text: str, said: str) -> None:
    with pytest.raises(MergeError, match=said):
        parse_abstract(text)


def test_json_views_of_dates_and_decimals_count_as_unchanged() -> None:
    assert merge([{"_row_id": 0, "d": "1.10"}], [0], [{"d": Decimal("1.10")}]) == [{"d": Decimal("1.10")}]


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ({"event": "n"}, "both 'n'"),
        ({"event": "x", "n": "x"}, "both 'x'"),
        ({"_row_id": "id"}, "_row_id"),
        ({"event": "_row_id"}, "_row_id"),
        ({"nothing": "x"}, "renames 'nothing'"),
    ],
)
def test_a_mapping_that_collides_or_touches_row_ids_is_an_error(mapping: dict[str, str], said: str) -> None:
    with pytest.raises(MappingError, match=said):
        check_mapping(mapping, ["event", "n"])


def test_two_columns_may_swap_their_names() -> None:
    check_mapping({"event": "n", "n": "event"}, ["event", "n"])
    assert remap([{"event": 1, "n": 2}], {"event": "n", "n": "event"}) == [{"n": 1, "event": 2}]


@pytest.mark.parametrize("text", ["[", "[]", '{"a": 1}', '{"a": ""}'])
def test_a_mapping_that_is_none_is_an_error(text: str) -> None:
    with pytest.raises(MappingError):
        parse_mapping(text)
