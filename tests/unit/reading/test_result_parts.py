"""The parts of a small result: what is left out of a summary, and what never is. Pure."""

from __future__ import annotations

from typing import Any

import pytest

from broker_plane.reading.held_back import summary_by_column
from broker_plane.reading.result_parts import fields_of, summary_of


@pytest.mark.parametrize("values", [[0, 5], [-5, 0], [0.0, 0.5], [False, True], ["", "b"], [0, 0]])
def test_a_summary_has_the_extremes_also_if_they_are_zero_false_or_empty(values: list[Any]) -> None:
    summary = summary_of(summary_by_column([{"a": value} for value in values], ["a"]))["summary"]
    assert (summary["a"]["min"], summary["a"]["max"]) == (values[0], values[1])
    assert type(summary["a"]["min"]) is type(values[0])
    assert "nulls" not in summary["a"]


def test_a_column_of_nulls_has_their_number_and_no_empty_members() -> None:
    assert summary_of(summary_by_column([{"a": None}] * 3, ["a"])) == {"summary": {"a": {"type": "null", "nulls": 3}}}


def test_fields_keep_zero_false_and_empty_values() -> None:
    fields = {"count": 0, "more": False, "cursor": "", "share": 0.0, "next": None}
    assert fields_of(fields) == {"fields": fields}
