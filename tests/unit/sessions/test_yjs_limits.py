"""Updates of Yjs that would take long to apply, however small they are."""

from __future__ import annotations

import random

import pytest
from pycrdt import Doc, Text

from broker_plane.errors import TooLargeError
from broker_plane.sessions.replicas.factory import new_replica
from broker_plane.sessions.replicas.yjs_limits import MOST_STRUCTS, MOST_UNJOINED
from broker_plane.sessions.replicas.yjs_sync import SyncPoint, merged

LIMIT = 1 << 24


def number(value: int) -> bytes:
    """A number as Yjs writes it: 7 bits a byte, the lowest first."""
    out = bytearray()
    while value > 127:
        out.append(128 | value & 127)
        value >>= 7
    return bytes([*out, value])


def list_items(count: int) -> bytes:
    """An update that makes a list in an object, whose items are `count` structs that each continue the one before."""
    head = [b"\x27\x01\x08artifact\x01k\x00", b"\x08\x00\x09\x00\x01\x7e"]
    structs = head + [b"\x88\x09" + number(clock) + b"\x01\x7e" for clock in range(1, count)]
    return number(1) + number(len(structs)) + number(9) + number(0) + b"".join(structs) + number(0)


def deletions(count: int) -> bytes:
    """An update that deletes the clocks of one client one by one."""
    ranges = b"".join(number(clock) + number(1) for clock in range(count))
    return number(0) + number(1) + number(9) + number(count) + ranges


@pytest.mark.parametrize(
    ("update", "named"),
    [
        (list_items(30_000), f"at most {MOST_STRUCTS}"),
        (list_items(MOST_UNJOINED + 5), f"more than {MOST_UNJOINED} structs"),
        (deletions(MOST_STRUCTS + 1), f"at most {MOST_STRUCTS}"),
    ],
)
def test_an_update_that_would_take_long_is_refused(update: bytes, named: str) -> None:
    with pytest.raises(TooLargeError, match=named):
        new_replica("json", "crdt", {}).check(update, LIMIT)
    with pytest.raises(TooLargeError, match=named):
        SyncPoint(new_replica("json", "crdt", {}).pack()).news(update)


def test_what_is_in_the_log_is_applied_whatever_its_size() -> None:
    replica = new_replica("json", "crdt", {})
    replica.apply(list_items(MOST_UNJOINED + 5))
    assert len(replica.value["k"]) == MOST_UNJOINED + 5


@pytest.mark.parametrize("run", [5, 20, 20_000])
def test_20_000_characters_typed_without_a_connection_are_taken_at_once(run: int) -> None:
    """In runs at random places, with a typing error that is deleted in every other run."""
    chance = random.Random(run)
    doc: Doc[Text] = Doc()
    text = doc.get("artifact", type=Text)
    with doc.transaction():
        for _ in range(20_000 // run):
            at = chance.randrange(len(text) + 1) if len(text) else 0
            text.insert(at, "x" * run)
            if chance.random() < 0.5:
                del text[at : at + 1]
    replica = new_replica("text", "crdt", "start")
    replica.check(doc.get_update(), LIMIT)
    replica.apply(doc.get_update())
    assert replica.value in ("start" + str(text), str(text) + "start")


def test_keystrokes_that_a_bridge_writes_as_one_update_are_taken() -> None:
    doc: Doc[Text] = Doc()
    updates: list[bytes] = []
    doc.observe(lambda event: updates.append(event.update))
    text = doc.get("artifact", type=Text)
    for _ in range(400):
        text += "x"
    replica = new_replica("text", "crdt", "")
    replica.check(merged(updates), LIMIT)
    replica.apply(merged(updates))
    assert replica.value == "x" * 400
