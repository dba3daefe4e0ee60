"""Three-way merges in which one side wins."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker_plane.sessions.text_ops import apply
from broker_plane.sessions.three_way import applied, merged, winning_edit
from tests.unit.sessions.texts import TWO_EDITS

_LEAVES = st.none() | st.booleans() | st.integers(0, 3) | st.text(st.sampled_from("ab"), max_size=3)
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


def same(first: Any, second: Any) -> bool:
    return repr(first) == repr(second)


@settings(deadline=None)
@given(_VALUES, _VALUES)
def test_a_change_of_one_side_is_kept(base: Any, other: Any) -> None:
    assert merged(base, other, base) == other
    assert merged(base, base, other) == other
    assert merged(base, other, other) == other


@settings(deadline=None)
@given(TWO_EDITS)
def test_an_edit_that_wins_is_in_the_text(edits: Any) -> None:
    text, losing, winning = edits
    result = applied("text", apply(losing, text), winning_edit("text", text, [losing], winning) or [])
    assert all(each in result for each in winning if isinstance(each, str))
    assert apply(winning_edit("text", text, [], winning) or [], text) == apply(winning, text)
    assert winning_edit("text", text, [losing], []) is None


@pytest.mark.parametrize(
    ("base", "loser", "winner", "result"),
    [
        ("one two three", "1 two three", "one two 3", "one two 3"),
        ("one two three", "one 2 three", "one TWO three", "one TWO three"),
        ({"a": 1, "b": 2}, {"a": 9, "b": 2}, {"a": 1, "b": 8}, {"a": 9, "b": 8}),
        ({"a": 1}, {"a": 2}, {"a": 3}, {"a": 3}),
        ({"a": 1}, {}, {"a": 3}, {"a": 3}),
        ({"a": 1}, {"a": 2}, {}, {}),
        ({"a": 1}, {}, {"a": 1, "b": 2}, {"b": 2}),
        ({}, {"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({}, {"a": {"x": 1}}, {"a": {"y": 2}}, {"a": {"y": 2}}),
        ({"a": {"x": 1, "y": 1}}, {"a": {"x": 2, "y": 1}}, {"a": {"x": 1, "y": 2}}, {"a": {"x": 2, "y": 2}}),
        ([1, 2, 3], [0, 1, 2, 3], [1, 2, 3, 4], [0, 1, 2, 3, 4]),
        ([1, 2, 3], [1, 9, 3], [1, 8, 3], [1, 8, 3]),
        ([1, 2, 3], [1, 3], [1, 2, 4], [1, 4]),
        ([{"a": 1, "b": 1}], [{"a": 2, "b": 1}], [{"a": 1, "b": 2}], [{"a": 2, "b": 2}]),
        ([1], [2, 1], [3, 1], [2, 3, 1]),
        ([1], [1, 2], [1, 2], [1, 2]),
        (1, True, 1, True),
        ([1], [True], [1], [True]),
        (None, {"a": 1}, [1], [1]),
    ],
)
def test_both_sides_are_kept_where_they_do_not_meet(base: Any, loser: Any, winner: Any, result: Any) -> None:
    assert same(merged(base, loser, winner), result)
