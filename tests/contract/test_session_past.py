"""The past of a session is read from the log, wherever memory ends."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from broker_plane.errors import RevisionNotFoundError
from broker_plane.plane.sessions import pages
from broker_plane.plane.sessions.past import PastNeeded, RecentPast
from broker_plane.plane.sessions.ports import Group
from broker_plane.runtime.wiring import Wiring
from broker_plane.sessions.entries import Entry
from broker_plane.sessions.folded import Folded, created
from broker_plane.sessions.policy import Policy
from broker_plane.storage.sessions import NatsSessionLog

pytestmark = pytest.mark.anyio
REVISIONS = 700
KEPT = 40


@pytest.fixture
async def stored(wiring: Wiring) -> AsyncIterator[tuple[RecentPast, list[Entry]]]:
    """A past that has the newest entries in memory, and all of them."""
    log, session = NatsSessionLog(wiring.connection, wiring.store), uuid4().hex[:22]
    past = RecentPast(log, session, 0, kept=KEPT)
    entries = [created(session, "text", "ot", "", Policy(), now=1.0)]
    entries += [
        Entry(revision=each, at=1.0, participant="a", role="editor", kind="operation", content={"change": [f"{each} "]})
        for each in range(2, REVISIONS + 1)
    ]
    group = await log.create(session, "crm", entries[:1], 60)
    past.add(group)
    for start in range(1, REVISIONS, 7):
        group = await log.append(session, entries[start : start + 7], group.sequence)
        past.add(group)
    yield past, entries


async def test_entries_are_those_after_a_revision(stored: tuple[RecentPast, list[Entry]]) -> None:
    past, entries = stored
    for after in (REVISIONS, REVISIONS - 1, REVISIONS - KEPT + 10, 300, 0, 650):
        try:
            found = past.entries(after)
        except PastNeeded as need:
            assert after < REVISIONS - KEPT
            await past.load(need)
            found = past.entries(after)
        assert list(found) == entries[after:]


async def test_drafts_come_after_what_is_stored(stored: tuple[RecentPast, list[Entry]]) -> None:
    past, entries = stored
    past.drafts.append(Entry(revision=REVISIONS + 1, at=1.0, participant="a", role="editor", kind="confirmed"))
    assert list(past.entries(REVISIONS - 2)) == [*entries[-2:], *past.drafts]


async def test_the_artifact_of_any_revision_is_computed(stored: tuple[RecentPast, list[Entry]]) -> None:
    past, entries = stored
    dice = random.Random(7)
    for revision in [1, REVISIONS, *(dice.randint(1, REVISIONS) for _ in range(20))]:
        try:
            past.value_at(revision)
        except PastNeeded as need:
            await past.load(need)
        assert past.value_at(revision) == Folded.of(entries[:revision]).value
    with pytest.raises(RevisionNotFoundError):
        await past.load(PastNeeded(revision=REVISIONS + 1))


async def test_pages_follow_each_other_through_the_whole_log(stored: tuple[RecentPast, list[Entry]]) -> None:
    past, entries = stored
    for limit in (100, 33):
        found: list[Entry] = []
        while page := await past.page(len(found), limit):
            assert len(page) <= limit
            found += page
        assert found == entries


async def test_a_page_of_large_entries_is_short(
    stored: tuple[RecentPast, list[Entry]], monkeypatch: pytest.MonkeyPatch
) -> None:
    past, entries = stored
    monkeypatch.setattr(pages, "MOST_PAGE", 1)
    found = await past.page(1, 500)
    assert found == entries[1:8], "one group, however large it is"


async def test_what_was_loaded_makes_room_again(
    stored: tuple[RecentPast, list[Entry]], monkeypatch: pytest.MonkeyPatch
) -> None:
    past, _ = stored
    await past.load(PastNeeded(after=0))
    entry = Entry(revision=REVISIONS + 1, at=1.0, participant="a", role="editor", kind="confirmed")
    past.add(Group(10**9, (entry,)))
    assert len(past.entries(0)) == REVISIONS + 1, "a request is about to read it"
    monkeypatch.setattr(past, "_extended_until", 0.0)
    past.add(Group(10**9 + 1, (Entry(revision=REVISIONS + 2, at=1.0, participant="a", role="editor", kind="left"),)))
    with pytest.raises(PastNeeded):
        past.entries(0)
    assert len(past.entries(REVISIONS + 2 - KEPT)) == KEPT
