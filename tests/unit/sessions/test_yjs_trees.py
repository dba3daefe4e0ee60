"""JSON documents and tables in documents of Yjs: what merges, and what other programs may not put into them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycrdt import Array, Doc, Map, Text, TransactionEvent

from broker_plane.errors import ChangeError, TooLargeError
from broker_plane.sessions.canonical import DEEPEST, canonical
from broker_plane.sessions.replicas.factory import new_replica, unpack
from broker_plane.sessions.replicas.port import ArtifactKind, Replica, Sync
from tests.examples import examples
from tests.unit.sessions.documents import OBJECTS, ROWS

LIMIT = 1 << 20
JSON = {"a": {"b": 1, "c": [1, 2]}, "d": "text"}
TABLE = [{"n": 1, "m": "x"}, {"n": 2}]


class Client:
    """Another program's document, which keeps the update of each of its edits."""

    def __init__(self, replica: Replica) -> None:
        self.doc: Doc[Any] = Doc()
        self.doc.apply_update(replica.pack())
        self.root: Any = self.doc.get("artifact", type=Map if replica.kind == "json" else Array)
        self.updates: list[bytes] = []
        self.doc.observe(self._keep)

    def _keep(self, event: TransactionEvent) -> None:
        self.updates.append(event.update)


def change_to(replica: Replica, value: Any) -> Any:
    """The change, which the test needs."""
    change = replica.change_to(value)
    assert change is not None
    return change


def accept(replica: Replica, *updates: bytes) -> None:
    for update in updates:
        replica.check(update, LIMIT)
        replica.apply(update)


@pytest.mark.parametrize(("kind", "sync"), [("json", "crdt"), ("json", "patch"), ("table", "crdt"), ("table", "patch")])
@settings(deadline=None, max_examples=examples(0.25))
@given(data=st.data())
def test_changes_of_one_replica_lead_another_one_to_the_same_value(
    kind: ArtifactKind, sync: Sync, data: st.DataObject
) -> None:
    values = data.draw(st.lists(OBJECTS if kind == "json" else ROWS, min_size=1, max_size=4))
    author, reader = new_replica(kind, sync, values[0]), new_replica(kind, sync, values[0])
    for value in values[1:]:
        if (change := author.change_to(value)) is not None:
            author.change_to(values[0])
            accept(author, change)
            accept(reader, change)
        for replica in (author, reader, author.copy(), unpack(kind, sync, reader.pack())):
            assert canonical(kind, replica.value) == canonical(kind, value)


def test_edits_of_different_members_and_rows_merge() -> None:
    replica = new_replica("json", "crdt", JSON)
    one, two = Client(replica), Client(replica)
    one.root["a"]["b"] = 2
    two.root["a"]["c"].insert(0, 0)
    accept(replica, *one.updates, *two.updates)
    assert replica.value == {"a": {"b": 2, "c": [0, 1, 2]}, "d": "text"}
    table = new_replica("table", "crdt", TABLE)
    one, two = Client(table), Client(table)
    one.root[0]["n"] = 5
    two.root.insert(0, Map({"n": 0}))
    accept(table, *one.updates, *two.updates)
    assert table.value == [{"n": 0}, {"n": 5, "m": "x"}, {"n": 2}]


def test_members_are_in_the_same_order_whenever_they_are_read() -> None:
    names = [f"name {number}" for number in range(40)]
    for _ in range(3):
        replica = new_replica("json", "crdt", {name: {"b": 1, "a": 2} for name in reversed(names)})
        assert list(replica.value) == sorted(names)
        assert list(replica.value[names[0]]) == ["a", "b"]


def test_a_value_that_was_read_stays_as_it_was() -> None:
    for sync in ("crdt", "patch"):
        replica = new_replica("json", sync, JSON)
        before = replica.value
        replica.apply(replica.change_to({"a": {"b": 2}}))
        assert before == JSON


def test_a_change_names_only_what_it_changes() -> None:
    rows = [{"n": n, "text": "x" * 50} for n in range(500)]
    replica = new_replica("table", "crdt", rows)
    change = change_to(replica, [*rows[:250], rows[250] | {"n": -1}, *rows[251:]])
    assert len(change) < 60


def test_plain_values_and_shared_texts_of_others_are_replaced_as_a_whole() -> None:
    replica = new_replica("json", "crdt", {})
    client = Client(replica)
    client.root["plain"] = {"x": [1, {"y": 2}]}
    client.root["shared"] = Text("some text")
    accept(replica, *client.updates)
    value = replica.value
    assert value == {"plain": {"x": [1, {"y": 2}]}, "shared": "some text"}
    value = {"plain": {"x": [1, {"y": 3}, 4]}, "shared": "some other text"}
    accept(replica, change_to(replica, value))
    assert replica.value == value


def test_the_whole_artifact_can_be_replaced() -> None:
    replica = new_replica("json", "crdt", JSON)
    accept(replica, replica.change_for([{"op": "replace", "path": "", "value": {"a": {"b": 1}, "new": [1]}}]))
    assert replica.value == {"a": {"b": 1}, "new": [1]}
    with pytest.raises(ChangeError, match="is an object"):
        replica.change_for([{"op": "replace", "path": "", "value": [1]}])
    with pytest.raises(ChangeError, match="is an object"):
        new_replica("json", "crdt", [1])


@pytest.mark.parametrize(
    ("kind", "edit", "says"),
    [
        ("json", lambda client: client.root.update({"x": b"bytes"}), "bytes"),
        ("json", lambda client: client.root.update({"x": {"y": float("nan")}}), "not finite"),
        ("json", lambda client: client.root.update({"x": 2**60}), "beyond"),
        ("json", lambda client: client.root.update({"x": Doc()}), "kind doc"),
        ("json", lambda client: client.doc.get("other", type=Map).update({"x": 1}), "another shared type"),
        ("json", lambda client: client.doc.get("artifact", type=Array).append(1), "another shared type"),
        ("table", lambda client: client.doc.get("artifact", type=Map).update({"x": 1}), "another shared type"),
        ("table", lambda client: client.root.append(5), "a row that is not an object"),
        ("table", lambda client: client.root.append(Array([1])), "a row that is not an object"),
    ],
)
def test_content_that_is_no_json_or_no_table_is_refused(
    kind: ArtifactKind, edit: Callable[[Client], None], says: str
) -> None:
    replica = new_replica(kind, "crdt", {} if kind == "json" else [])
    client = Client(replica)
    edit(client)
    with pytest.raises(ChangeError, match=says):
        accept(replica, *client.updates)
    assert replica.value == ({} if kind == "json" else [])
    accept(replica, change_to(replica, {"x": 1} if kind == "json" else [{"x": 1}]))


def test_nesting_is_bounded_in_one_update_and_over_many() -> None:
    replica = new_replica("json", "crdt", {})
    client = Client(replica)
    inner = client.root
    for _ in range(DEEPEST - 1):
        inner["x"] = Map()
        inner = inner["x"]
    accept(replica, *client.updates)
    inner["x"] = 1
    inner["y"] = {"plain": 1}
    accept(replica, client.updates[-2])
    with pytest.raises(ChangeError, match="nested deeper"):
        accept(replica, client.updates[-1])
    once = Client(new_replica("json", "crdt", {}))
    with once.doc.transaction():
        inner = once.root
        for _ in range(3000):
            inner["x"] = Map()
            inner = inner["x"]
    with pytest.raises(ChangeError, match="deeper than"):
        new_replica("json", "crdt", {}).check(once.updates[0], LIMIT)


@pytest.mark.parametrize("sync", ["crdt", "patch"])
def test_a_document_has_a_limit_and_can_shrink_when_it_is_above_it(sync: Sync) -> None:
    replica = new_replica("json", sync, {"x": "y" * 1000})
    with pytest.raises(TooLargeError, match="this session allows"):
        replica.check(replica.change_to({"x": "y" * 1000, "z": "z" * 100}), replica.size + 10)
    replica.check(replica.change_to({"x": ""}), 100)
