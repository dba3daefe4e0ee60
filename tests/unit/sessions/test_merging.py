"""Merges: what two sides did apart is kept, what they did to the same place is named, and nothing is silently lost."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_plane.sessions import json_patch
from broker_plane.sessions.json_differences import from_documents
from broker_plane.sessions.merging import Merged, merge
from broker_plane.sessions.text_differences import from_texts
from broker_plane.sessions.text_ops import Op, apply, replacement
from broker_plane.sessions.text_spans import spans
from tests.unit.sessions.documents import OBJECTS, patches
from tests.unit.sessions.texts import TEXTS, TWO_EDITS

TEXT = "one two three four"


def swap(word: str, new: str, text: str = TEXT) -> Op:
    start = text.index(word)
    return replacement(text, start, start + len(word), new)


def regions(merged: Merged) -> list[tuple[int, str]]:
    return [(each.index, str(each.region)) for each in merged.overlaps]


def test_edits_of_different_words_merge() -> None:
    since = [swap("one", "1"), swap("four", "4", "1 two three four")]
    merged = merge("text", TEXT, since, swap("three", "3"))
    assert (apply(merged.change, "1 two three 4"), merged.overlaps) == ("1 two 3 4", ())


def test_an_overlap_names_the_earlier_change_and_the_place_now() -> None:
    since = [swap("one", "first of all"), swap("two", "second", "first of all two three four")]
    now = "first of all second three four"
    merged = merge("text", TEXT, since, swap("two three", "2 3"))
    assert regions(merged) == [(1, "{'start': 13, 'end': 25}")]
    assert now[13:25] == "second three"
    assert apply(merged.change, now) == "first of all second2 3 four"


@pytest.mark.parametrize(
    ("ours", "theirs", "overlap"),
    [
        ((3, 3, "x"), (3, 3, "y"), False),  # two inserts at one place
        ((3, 3, "x"), (0, 3, ""), False),  # beside a deletion
        ((3, 3, "x"), (3, 7, ""), False),
        ((5, 5, "x"), (3, 7, ""), True),  # inside a deletion
        ((3, 7, ""), (5, 5, "x"), True),
        ((0, 5, ""), (3, 7, ""), True),
        ((0, 3, "a"), (3, 7, "b"), False),  # neighbours
        ((4, 7, "2"), (4, 7, "2"), False),  # the same edit on both sides
        ((4, 7, "2"), (4, 7, "II"), True),
    ],
)
def test_spans_overlap_when_they_share_a_character_or_an_insert_is_inside(
    ours: tuple[int, int, str], theirs: tuple[int, int, str], overlap: bool
) -> None:
    merged = merge("text", TEXT, [replacement(TEXT, *theirs)], replacement(TEXT, *ours))
    assert bool(merged.overlaps) is overlap


def test_an_edit_that_both_sides_made_is_done_once() -> None:
    merged = merge("text", TEXT, [swap("two", "2")], swap("two", "2"))
    assert merged == Merged([])


@given(TWO_EDITS)
def test_a_text_keeps_every_insert_of_both_sides_unless_they_are_the_same_edit(edits: tuple[str, Op, Op]) -> None:
    text, ours, theirs = edits
    merged = merge("text", text, [theirs], ours)
    result = apply(merged.change, apply(theirs, text))
    if not set(spans(ours)) & set(spans(theirs)):
        kept = len(result) - sum(len(each) for op in (ours, theirs) for each in op if isinstance(each, str))
        deleted = {at for op in (ours, theirs) for each in spans(op) for at in range(each.start, each.end)}
        assert kept == len(text) - len(deleted)


@given(TEXTS, TEXTS, TEXTS, TEXTS)
def test_a_change_is_rebased_over_any_number_of_changes(base: str, first: str, second: str, mine: str) -> None:
    since = [from_texts(base, first), from_texts(first, second)]
    merged = merge("text", base, since, from_texts(base, mine))
    apply(merged.change, second)
    assert all(0 <= each.region["start"] <= each.region["end"] <= len(second) for each in merged.overlaps)


def test_positions_in_lists_follow_inserts_and_removals() -> None:
    base = {"list": ["a", "b", "c", {"x": 1}]}
    since = [
        [{"op": "add", "path": "/list/0", "value": "new"}],
        [{"op": "remove", "path": "/list/2"}],
    ]
    change = [{"op": "replace", "path": "/list/3/x", "value": 2}, {"op": "add", "path": "/list/1", "value": "mine"}]
    merged = merge("json", base, since, change)
    assert merged.overlaps == ()
    assert json_patch.apply(merged.change, {"list": ["new", "a", "c", {"x": 1}]}) == {
        "list": ["new", "a", "mine", "c", {"x": 2}]
    }


@pytest.mark.parametrize(
    ("ours", "theirs", "place", "result"),
    [
        (("replace", "/a/b", 1), ("replace", "/a/b", 2), "/a/b", {"a": {"b": 1}, "l": [1, 2]}),
        (("replace", "/a/b", 1), ("replace", "/a", {"b": 3}), "/a", {"a": {"b": 1}, "l": [1, 2]}),
        (("replace", "/a", 5), ("replace", "/a/b", 2), "/a", {"a": 5, "l": [1, 2]}),
        (("replace", "/a/b", 1), ("remove", "/a", None), "", {"l": [1, 2]}),
        (("replace", "/a", 5), ("remove", "/a", None), "", {"a": 5, "l": [1, 2]}),
        (("add", "/n", 1), ("add", "/n", 2), "/n", {"a": {"b": 0}, "l": [1, 2], "n": 1}),
        (("replace", "/l/0", 9), ("remove", "/l/0", None), "/l", {"a": {"b": 0}, "l": [2]}),
        (("remove", "/l/0", None), ("replace", "/l/0", 9), "/l/0", {"a": {"b": 0}, "l": [2]}),
        (("replace", "/l", []), ("add", "/l/0", 9), "/l", {"a": {"b": 0}, "l": []}),
        (("replace", "/l/1", 9), ("remove", "/l/0", None), None, {"a": {"b": 0}, "l": [9]}),
        (("add", "/l/0", 8), ("add", "/l/0", 9), None, {"a": {"b": 0}, "l": [9, 8, 1, 2]}),
        (("add", "/l/1", 8), ("remove", "/l/1", None), None, {"a": {"b": 0}, "l": [1, 8]}),
        (("remove", "/a", None), ("remove", "/a", None), None, {"l": [1, 2]}),
        (("replace", "/a/b", 7), ("replace", "/a/b", 7), None, {"a": {"b": 7}, "l": [1, 2]}),
        (("test", "/a/b", 0), ("replace", "/a/b", 7), "/a/b", {"a": {"b": 7}, "l": [1, 2]}),
    ],
)
def test_the_same_and_nested_places_overlap(
    ours: tuple[str, str, Any], theirs: tuple[str, str, Any], place: str | None, result: Any
) -> None:
    base = {"a": {"b": 0}, "l": [1, 2]}
    mine, other = ([dict(zip(("op", "path", "value"), each, strict=True))] for each in (ours, theirs))
    merged = merge("json", base, [other], mine)
    assert [each.region for each in merged.overlaps] == ([] if place is None else [{"path": place}])
    assert json_patch.apply(merged.change, json_patch.apply(other, base)) == result


def inserts_in_one_list(first: json_patch.Patch, second: json_patch.Patch) -> bool:
    def lists(patch: json_patch.Patch) -> set[str]:
        return {each["path"].rpartition("/")[0] for each in patch if each["op"] == "add"}

    return bool(lists(first) and lists(second))


@given(OBJECTS, st.data())
def test_patches_without_overlaps_give_the_same_document_in_either_order(base: Any, data: st.DataObject) -> None:
    ours, left = data.draw(patches(base, most=2))
    theirs, right = data.draw(patches(base, most=2))
    one, other = merge("json", base, [theirs], ours), merge("json", base, [ours], theirs)
    assert bool(one.overlaps) == bool(other.overlaps)
    first, second = json_patch.apply(one.change, right), json_patch.apply(other.change, left)
    if not one.overlaps and not inserts_in_one_list(ours, theirs):
        assert from_documents(first, second) == []
