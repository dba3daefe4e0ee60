"""Ids of participants cannot be searched for: each has 60 bits of its grant, or of a pseudonym."""

from __future__ import annotations

from broker_plane.sessions.participants import hidden, participant_id
from tests.unit.sessions.rooms import ANNA, SESSION


def test_an_id_and_a_pseudonym_have_sixty_bits() -> None:
    assert len(participant_id("anna", "grant").removeprefix("anna-")) == 12
    assert len(hidden(ANNA, SESSION).id.removeprefix("p-")) == 12
