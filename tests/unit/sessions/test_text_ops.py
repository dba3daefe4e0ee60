"""Operations on texts: what holds for any, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_plane.errors import ChangeError
from broker_plane.sessions.text_differences import MOST_EDITS, from_texts
from broker_plane.sessions.text_ops import Op, apply, carry, check_fits, compose, invert, parse, replacement, transform
from tests.unit.sessions.texts import TEXTS, TWO_EDITS


@given(TEXTS, TEXTS)
def test_the_difference_of_two_texts_turns_one_into_the_other_and_back(old: str, new: str) -> None:
    op = from_texts(old, new)
    assert apply(op, old) == new
    assert apply(invert(op), new) == old
    assert parse(op) == op
    assert check_fits(op, old) == len(new.encode()) - len(old.encode())


@given(TWO_EDITS)
def test_two_sides_converge_whichever_is_first(edits: tuple[str, Op, Op]) -> None:
    text, ours, theirs = edits
    one = apply(transform(theirs, ours, "right"), apply(ours, text))
    other = apply(transform(ours, theirs, "left"), apply(theirs, text))
    assert one == other


@given(TEXTS, TEXTS, TEXTS)
def test_a_composed_operation_does_both(first: str, second: str, third: str) -> None:
    both = compose(from_texts(first, second), from_texts(second, third))
    assert apply(both, first) == third


@given(TEXTS, TEXTS, st.integers(0, 16))
def test_a_position_that_is_carried_stays_between_the_same_kept_characters(old: str, new: str, at: int) -> None:
    op, at = from_texts(old, new), min(at, len(old))
    left, right = carry(op, at, "left"), carry(op, at, "right")
    assert 0 <= left <= right <= len(new)
    marked = transform([*([at] if at else []), "|"], op, "left")
    assert apply(marked, new).index("|") == left


def test_a_difference_is_as_small_as_it_can_be() -> None:
    assert from_texts("The cat sat.", "The fat cat sat!") == [4, "fat ", 7, {"d": "."}, "!"]
    assert from_texts("a🌴b", "a🌵b") == [1, {"d": "🌴"}, "🌵"]
    assert from_texts("same", "same") == []


def test_a_large_difference_keeps_the_lines_and_words_that_both_texts_have() -> None:
    old = "\n".join(f"line {n} of the old text" for n in range(MOST_EDITS))
    new = "\n".join(f"row {n} of the new text" for n in range(MOST_EDITS))
    op = from_texts(old, new)
    assert apply(op, old) == new
    assert sum(len(each["d"]) for each in op if isinstance(each, dict)) < len(old) / 2


def test_a_position_inside_a_replaced_range_goes_to_its_start_or_behind_the_new_text() -> None:
    op = replacement("one two three", 4, 7, "2")
    assert [carry(op, at, "left") for at in (3, 5, 7, 9)] == [3, 4, 4, 7]
    assert [carry(op, at, "right") for at in (3, 5, 7, 9)] == [3, 4, 5, 7]


def test_parts_of_one_sort_are_joined_and_a_skip_at_the_end_is_dropped() -> None:
    assert parse([1, 2, "a", "b", {"d": "x"}, {"d": "y"}, 4]) == [3, "ab", {"d": "xy"}]


def test_a_deletion_by_length_gets_its_text_from_the_base() -> None:
    assert parse([1, {"d": 2}], "a🌴bc") == [1, {"d": "🌴b"}]


@pytest.mark.parametrize(
    "raw",
    [
        "text", {"d": "x"}, [0], [-1], [True], [1.5], [""], [{"d": ""}], [{"d": 3}], [{"d": "x", "i": 1}], [None],
        [["a"]], ["\ud83c"], [{"d": "\udf34"}], [1 << 53], [1] * 100_001,
    ],
)  # fmt: skip
def test_a_value_that_is_no_operation_is_refused(raw: Any) -> None:
    with pytest.raises(ChangeError):
        parse(raw)


@pytest.mark.parametrize(
    ("op", "says"), [([5, "x"], "position 5"), ([{"d": "b"}], "not there"), ([2, {"d": "cd"}], "reaches position 4")]
)
def test_an_operation_that_does_not_fit_is_refused(op: Op, says: str) -> None:
    with pytest.raises(ChangeError, match=says):
        apply(op, "abc")
    with pytest.raises(ChangeError, match=says):
        check_fits(op, "abc")
