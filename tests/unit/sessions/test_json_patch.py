"""JSON Patch: the normal form does what the library does, is undone by its inverse, and shares what it leaves alone."""

from __future__ import annotations

import copy
from typing import Any

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_plane.errors import ChangeError, TooLargeError
from broker_plane.sessions.json_differences import from_documents, same
from broker_plane.sessions.json_patch import MOST_OPERATIONS, apply, invert, parse, parse_and_apply, tokens, touched
from tests.unit.sessions.documents import VALUES, patches, places


def equal(first: Any, second: Any) -> bool:
    return from_documents(first, second) == []


@given(VALUES, st.data())
def test_the_normal_form_does_what_the_library_does(document: Any, data: st.DataObject) -> None:
    before = copy.deepcopy(document)
    where = st.sampled_from(list(places(document)))
    operation = {
        "op": data.draw(st.sampled_from(["add", "remove", "replace", "move", "copy"])),
        "path": data.draw(where),
        "from": data.draw(where),
        "value": data.draw(VALUES),
    }
    try:
        normal, after = parse_and_apply([operation], document)
    except ChangeError:
        return
    assert equal(jsonpatch.apply_patch(document, [operation]), after)
    assert equal(apply(normal, document), after)
    assert {each["op"] for each in normal} <= {"add", "remove", "replace"}
    assert same(document, before)


@given(VALUES, st.data())
def test_the_inverse_of_a_patch_undoes_it(document: Any, data: st.DataObject) -> None:
    patch, after = data.draw(patches(document))
    assert equal(apply(invert(patch, document), after), document)


@given(VALUES, VALUES)
def test_the_difference_of_two_documents_turns_one_into_the_other(old: Any, new: Any) -> None:
    patch = from_documents(old, new)
    assert equal(apply(patch, old), new)
    assert parse(patch, old) == patch


def test_a_difference_names_what_changed_and_nothing_else() -> None:
    old = {"title": "x", "tags": ["a", "b", "c"], "author": {"name": "n", "age": 1}}
    new = {"title": "x", "tags": ["a", "new", "b", "c"], "author": {"name": "m", "age": 1.0}, "year": 2026}
    assert from_documents(old, new) == [
        {"op": "add", "path": "/tags/1", "value": "new"},
        {"op": "replace", "path": "/author/name", "value": "m"},
        {"op": "add", "path": "/year", "value": 2026},
    ]
    assert from_documents(1, True) != []


def test_a_difference_of_very_many_places_replaces_the_document() -> None:
    old, new = [[n] for n in range(MOST_OPERATIONS + 1)], [[-n - 1] for n in range(MOST_OPERATIONS + 1)]
    assert from_documents(old, new) == [{"op": "replace", "path": "", "value": new}]


def test_what_a_patch_leaves_alone_is_shared_and_what_it_changes_is_not() -> None:
    document = {"left": {"x": 1}, "right": [1, 2, 3]}
    after = apply([{"op": "add", "path": "/right/0", "value": 0}], document)
    assert after["left"] is document["left"]
    assert (document["right"], after["right"]) == ([1, 2, 3], [0, 1, 2, 3])


def test_a_patch_becomes_positions_and_values() -> None:
    document = {"list": [1, 2], "a": {"b": 1}}
    raw = [
        {"op": "add", "path": "/list/-", "value": 3},
        {"op": "move", "from": "/list/0", "path": "/a/c"},
        {"op": "copy", "from": "/a", "path": "/a2"},
        {"op": "add", "path": "/a/b", "value": 2, "note": "ignored"},
        {"op": "test", "path": "/list", "value": [2, 3]},
    ]
    patch = parse(raw, document)
    assert patch == [
        {"op": "add", "path": "/list/2", "value": 3},
        {"op": "remove", "path": "/list/0"},
        {"op": "add", "path": "/a/c", "value": 1},
        {"op": "add", "path": "/a2", "value": {"b": 1, "c": 1}},
        {"op": "replace", "path": "/a/b", "value": 2},
        {"op": "test", "path": "/list", "value": [2, 3]},
    ]
    assert touched(patch) == ["/list/2", "/list/0", "/a/c", "/a2", "/a/b"]


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        ("patch", "list of operations"),
        (["x"], "Operation 0 of the patch: it has no 'op'"),
        ([{"op": "grow", "path": ""}], "no 'op' of add"),
        ([{"op": "add", "path": "/a"}], "members that it needs"),
        ([{"op": "remove", "path": "/missing"}], "nothing at '/missing'"),
        ([{"op": "remove", "path": ""}], "cannot be removed"),
        ([{"op": "test", "path": "/n", "value": True}], "test expects"),
        ([{"op": "add", "path": "/list/3", "value": 1}], "no position '3'"),
        ([{"op": "add", "path": "/list/01", "value": 1}], "no position '01'"),
        ([{"op": "replace", "path": "/list/-1", "value": 1}], "nothing at"),
        ([{"op": "replace", "path": "/list/-", "value": 1}], "nothing at"),
        ([{"op": "add", "path": "/n/x", "value": 1}], "has no members"),
        ([{"op": "add", "path": "n", "value": 1}], "JSON Pointer"),
        ([{"op": "add", "path": 5, "value": 1}], "JSON Pointer"),
        ([{"op": "move", "from": "/list", "path": "/list/0"}], "into itself"),
        ([{"op": "move", "from": "", "path": "/list/0"}], "into itself"),
        ([{"op": "add", "path": "/x", "value": float("nan")}], "not finite"),
        ([{"op": "add", "path": "/x", "value": {1: 2}}], "not a text"),
        ([{"op": "add", "path": "/a" * 65, "value": 1}], "at most 64 parts"),
    ],
)
def test_a_patch_that_does_not_fit_is_refused_with_its_operation(raw: Any, says: str) -> None:
    with pytest.raises(ChangeError, match=says):
        parse(raw, {"list": [1, 2], "n": 1})


def test_patches_have_bounds() -> None:
    with pytest.raises(TooLargeError, match="at most"):
        parse([{"op": "test", "path": "", "value": 1}] * (MOST_OPERATIONS + 1), 1)
    doubling = [{"op": "copy", "from": "", "path": f"/{n}"} for n in range(60)]
    with pytest.raises((TooLargeError, ChangeError)):
        parse(doubling, {"text": "x" * 1000})
    deep: Any = 1
    for _ in range(60):
        deep = [deep]
    with pytest.raises(ChangeError, match="deeper"):
        parse([{"op": "add", "path": "/a/b/c/d/e", "value": deep}], {"a": {"b": {"c": {"d": {}}}}})


def test_names_are_escaped() -> None:
    assert tokens("/~01/~1/") == ("~1", "/", "")
