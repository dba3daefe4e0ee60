"""In a `patch` session nothing is lost without a conflict's entry, and no stale base is merged silently."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker_plane.sessions.participants import Participant
from tests.examples import examples
from tests.unit.sessions.rooms import ANNA, BOB, EVA, Room

_INTENTS = ("docs", "fix", "security")
_EDITS = st.lists(
    st.tuples(
        st.sampled_from([ANNA, BOB, EVA]),
        st.integers(0, 4),
        st.integers(0, 30),
        st.integers(0, 30),
        st.sampled_from(_INTENTS),
        st.booleans(),
    ),
    min_size=1,
    max_size=12,
)


def records(room: Room) -> str:
    """Both sides of the conflict that the last request led to, if it did; that is at most three entries."""
    conflicts = [entry.content for entry in room.log[-3:] if entry.kind == "conflict"]
    return repr([(each["ours"], each["theirs"]) for each in conflicts])


def tokens(value: Any) -> set[str]:
    """The marks in a value: each is one character that was inserted once."""
    return {each for each in repr(value) if ord(each) >= 0x4E00}


class Marks:
    """A new mark for each edit."""

    def __init__(self) -> None:
        self._next = count(0x4E00)

    def __call__(self) -> str:
        return chr(next(self._next))


def check(room: Room, before: set[str], seen: set[str], mark: str, answer: dict[str, Any], stale: bool) -> None:
    """`before` is what the artifact had, `seen` what the author had before it."""
    kept = tokens(room.value) | tokens(records(room))
    assert mark in kept
    # Others' marks that the author had not seen are in the artifact still, or in a conflict.
    assert before - seen <= kept
    if stale:
        assert answer["stale"] is True and answer["diff"]
        assert answer["merged"] or "conflict" in answer


@settings(deadline=None, max_examples=examples(1.5))
@given(_EDITS)
def test_edits_of_a_text(edits: list[tuple[Participant, int, int, int, str, bool]]) -> None:
    room, mark = Room("0123456789"), Marks()
    for who, back, first, second, intent, keeps in edits:
        base = max(1, room.revision - back)
        seen = room.show(revision=base)["value"]
        start, end = sorted((first % (len(seen) + 1), second % (len(seen) + 1)))
        new, before = mark(), room.value
        text = seen[start:end] + new if keeps else new
        stale = base < room.folded.state.changed
        answer = room.edit(who, text, start, end, base=base, intent=intent)
        check(room, tokens(before), tokens(seen), new, answer, stale)


@settings(deadline=None, max_examples=examples(1))
@given(_EDITS)
def test_edits_of_a_table(edits: list[tuple[Participant, int, int, int, str, bool]]) -> None:
    room, mark = Room([{"a": 0, "b": 0}, {"a": 1, "b": 1}, {"a": 2, "b": 2}], "table"), Marks()
    for who, back, first, second, intent, inserts in edits:
        base = max(1, room.revision - back)
        seen = room.show(revision=base)["value"]
        row, new, before = first % len(seen), mark(), room.value
        stale = base < room.folded.state.changed
        if inserts:
            edit: Any = [{"op": "add", "path": f"/{row}", "value": {"a": new}}]
            answer = room.ask(who, "propose", base=base, edit=edit, intent=intent)
        else:
            region = {"path": f"/{row}/{'ab'[second % 2]}"} if second % 3 else {"path": f"/{row}"}
            value = {"value": new if second % 3 else {"a": new}}
            answer = room.ask(who, "propose", base=base, region=region, edit=value, intent=intent)
        check(room, tokens(before), tokens(seen), new, answer, stale)


@pytest.mark.parametrize(("first", "second"), [(0, 5), (5, 0), (2, 2)])
def test_two_inserts_are_both_kept(first: int, second: int) -> None:
    room = Room("0123456789")
    room.edit(ANNA, "A", first, first, base=1)
    room.edit(BOB, "B", second, second, base=1)
    assert set(room.value) >= {"A", "B"} and "conflict" not in {entry.kind for entry in room.log}
