"""Presence is what was heard last, and ends after a while without a word."""

from __future__ import annotations

import pytest

from broker_plane.plane.sessions.followers import Aware, Here
from broker_plane.plane.sessions.presence import GONE_SECONDS, Presence, awareness_message, presence_message

ANNA = {"id": "anna-aaaaaa", "name": "anna", "at": {"cursor": 3}, "state": None}


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_a_participant_is_here_until_it_says_otherwise() -> None:
    presence = Presence(Clock())
    assert presence.hear(presence_message([ANNA])) == Here(({**ANNA, "since": 1_000.0},))
    assert presence.hear(presence_message([ANNA])) is None, "nothing has changed"
    assert presence.state_of("anna-aaaaaa") == ANNA
    gone = {"id": "anna-aaaaaa", "name": "anna", "gone": True}
    assert presence.hear(presence_message([gone])) == Here((gone,))
    assert "anna-aaaaaa" not in presence


def test_without_a_word_a_participant_is_gone() -> None:
    clock = Clock()
    presence = Presence(clock)
    presence.hear(presence_message([ANNA, {"id": "ben", "name": "ben"}]))
    clock.now += GONE_SECONDS - 1
    presence.hear(presence_message([ANNA]))
    assert presence.expired() is None
    clock.now += 2
    assert presence.expired() == Here(({"id": "ben", "name": "ben", "gone": True},))
    assert "anna-aaaaaa" in presence


def test_awareness_is_relayed_as_it_is() -> None:
    update = bytes(range(256))
    assert Presence(Clock()).hear(awareness_message(update)) == Aware(update)


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"{}", b'{"presence": 3}', b'{"presence": [3, {"id": 4}]}', b'{"awareness": "?"}', b"\xff"]
)
def test_what_is_no_presence_changes_nothing(raw: bytes) -> None:
    presence = Presence(Clock())
    assert presence.hear(raw) is None
    assert presence.now_here() == Here(())
