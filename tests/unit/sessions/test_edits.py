"""Edits in all forms that participants may send."""

from __future__ import annotations

from typing import Any

import pytest

from broker_plane.errors import ChangeError
from broker_plane.sessions import json_patch, text_ops
from broker_plane.sessions.edits import edit_change
from broker_plane.sessions.replicas.factory import new_replica
from broker_plane.sessions.replicas.port import ArtifactKind, Sync

TEXT = "one 🌴 three\n"
DOCUMENT = {"a": {"b": 1}, "l": [1, 2]}
ROWS = [{"n": 1}, {"n": 2}]


@pytest.mark.parametrize(
    ("region", "edit", "result"),
    [
        ({"start": 4, "end": 5}, {"text": "two"}, "one two three\n"),
        ({"start": 4, "end": 5}, "two", "one two three\n"),
        ({"start": 3, "end": 5}, None, "one three\n"),
        ({"start": 0, "end": 0}, "zero ", "zero one 🌴 three\n"),
        (None, "new", "new"),
        (None, None, ""),
        (None, [4, {"d": 1}, "two"], "one two three\n"),
        (None, {"ops": [4, {"d": "🌴"}, "two"]}, "one two three\n"),
        (None, {"diff": "@@ -1 +1 @@\n-one 🌴 three\n+1 🌴 3\n"}, "1 🌴 3\n"),
    ],
)
def test_an_edit_of_a_text(region: Any, edit: Any, result: str) -> None:
    assert text_ops.apply(edit_change("text", TEXT, region, edit), TEXT) == result


@pytest.mark.parametrize(
    ("kind", "region", "edit", "result"),
    [
        ("json", {"path": "/a/b"}, {"value": 2}, {"a": {"b": 2}, "l": [1, 2]}),
        ("json", {"path": "/a/c"}, {"value": None}, {"a": {"b": 1, "c": None}, "l": [1, 2]}),
        ("json", {"path": "/l/-"}, {"value": 3}, {"a": {"b": 1}, "l": [1, 2, 3]}),
        ("json", {"path": "/l/2"}, {"value": 3}, {"a": {"b": 1}, "l": [1, 2, 3]}),
        ("json", {"path": "/l"}, None, {"a": {"b": 1}}),
        ("json", None, {"value": {"x": 1}}, {"x": 1}),
        ("json", None, [{"op": "remove", "path": "/a"}], {"l": [1, 2]}),
        ("json", None, {"patch": [{"op": "move", "from": "/a/b", "path": "/l/0"}]}, {"a": {}, "l": [1, 1, 2]}),
        ("table", {"path": "/1/n"}, {"value": 5}, [{"n": 1}, {"n": 5}]),
        ("table", {"path": "/0"}, None, [{"n": 2}]),
        ("table", {"path": "/-"}, {"value": {"n": 3}}, [{"n": 1}, {"n": 2}, {"n": 3}]),
        ("table", None, {"value": []}, []),
    ],
)
@pytest.mark.parametrize("sync", ["patch", "crdt"])
def test_an_edit_of_a_document_or_a_table(sync: Sync, kind: ArtifactKind, region: Any, edit: Any, result: Any) -> None:
    replica = new_replica(kind, sync, DOCUMENT if kind == "json" else ROWS)
    change = replica.change_for(edit_change(kind, replica.value, region, edit))
    replica.check(change, 10_000)
    replica.apply(change)
    assert replica.value == result


@pytest.mark.parametrize(
    ("kind", "region", "edit", "says"),
    [
        ("text", {"start": 3, "end": 99}, "x", "3 to 99 is not in the text, which has 12"),
        ("text", {"start": 3, "end": 2}, "x", "is not in the text"),
        ("text", {"path": "/a"}, "x", "A region of a text"),
        ("text", None, {"value": 1}, "An edit of a text is"),
        ("text", None, 5, "An edit of a text is"),
        ("text", None, "\ud83c", "surrogate"),
        ("text", None, [99, "x"], "position 99"),
        ("text", {"start": 0, "end": 1}, [1, "x"], "Leave the region out"),
        ("text", {"start": 0, "end": 1}, {"diff": ""}, "Leave the region out"),
        ("text", None, {"diff": "none"}, "hunk"),
        ("json", {"path": "/x/y"}, {"value": 1}, "nothing at '/x'"),
        ("json", {"path": "x"}, {"value": 1}, "JSON Pointer"),
        ("json", {"start": 0, "end": 1}, {"value": 1}, "A region of JSON"),
        ("json", None, {"text": "x"}, "An edit of JSON"),
        ("json", None, None, "cannot be removed"),
        ("json", {"path": "/a"}, [{"op": "remove", "path": "/a"}], "Leave the region out"),
        ("table", {"path": "/0"}, {"value": 5}, "not an object of columns"),
        ("table", None, {"value": [1]}, "Row 0"),
        ("table", None, {"value": {"n": 1}}, "list of rows"),
    ],
)
def test_an_edit_that_does_not_fit_is_refused(kind: ArtifactKind, region: Any, edit: Any, says: str) -> None:
    value = {"text": TEXT, "json": DOCUMENT, "table": ROWS}[kind]
    with pytest.raises(ChangeError, match=says):
        edit_change(kind, value, region, edit)


def test_a_patch_that_is_checked_is_the_one_that_is_stored() -> None:
    change = edit_change("json", DOCUMENT, {"path": "/l/-"}, {"value": 3})
    assert change == [{"op": "add", "path": "/l/2", "value": 3}]
    assert json_patch.parse(change, DOCUMENT) == change


@pytest.mark.parametrize(
    ("kind", "value", "region", "edit"),
    [
        ("text", TEXT, {"start": 0, "end": 3}, {"text": "one"}),
        ("text", TEXT, None, TEXT),
        ("json", DOCUMENT, {"path": "/a"}, {"value": {"b": 1}}),
        ("table", ROWS, {"path": "/1/n"}, {"value": 2}),
    ],
)
def test_an_edit_that_puts_what_is_there_already_is_no_change(
    kind: ArtifactKind, value: Any, region: Any, edit: Any
) -> None:
    assert edit_change(kind, value, region, edit) == []


def test_a_number_of_another_type_is_a_change() -> None:
    assert edit_change("json", {"a": 1}, {"path": "/a"}, {"value": True}) != []
