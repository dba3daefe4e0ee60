"""Three failures that published work reports of agents on CRDTs, and what happens here instead.

Agents write from a context that is out of date, rewrite a large span over what others do there, and lose the place
that a reviewer's question is about. Each test plays it with guests that have nothing but a grant.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal

import pytest

from broker_plane import Plane
from broker_plane.errors import RegionLeasedError, StaleBaseError
from broker_plane.runtime.joined_session import JoinedSession
from broker_plane.runtime.session_offers import CreatedSession
from broker_plane.testing.processes import until
from tests.deploy.running import Running

pytestmark = pytest.mark.anyio

FIRST, SECOND = "The moon pulls the sea.\n", "So it rises twice a day. 🌊\n"
TEXT = FIRST + SECOND
WHOLE_FIRST = {"start": 0, "end": len(FIRST)}
WHOLE_SECOND = {"start": len(FIRST), "end": len(TEXT)}
SYNCS: tuple[Literal["crdt", "ot", "patch"], ...] = ("crdt", "ot", "patch")


@asynccontextmanager
async def guest(broker: Running, plane: Plane, session: CreatedSession, name: str) -> AsyncIterator[JoinedSession]:
    """An editor that has no user of NATS and no settings: only the address of the broker, and a grant for its name."""
    granted = plane.narrow(session.grants["editor"], participant=name)
    async with (
        Plane.guest(f"{broker.scheme}://{broker.address}") as asker,
        asker.sessions.join(granted.grant, via="nats") as joined,
    ):
        yield joined


@pytest.mark.parametrize("sync", SYNCS)
async def test_an_agent_with_a_stale_context_is_shown_what_changed_since(
    sync: Literal["crdt", "ot", "patch"], broker: Running, plane: Plane
) -> None:
    session = await plane.sessions.create(TEXT, kind="text", sync=sync)
    async with guest(broker, plane, session, "anna") as anna, guest(broker, plane, session, "bert") as bert:
        read_long_ago = await bert.read()
        done = await anna.propose(await anna.read(), "fix", {"start": 4, "end": 8}, "sun and moon")
        with pytest.raises(StaleBaseError) as refused:
            await bert.propose(read_long_ago, "fix", WHOLE_SECOND, "Twice a day it rises.\n", stale="report")
        assert refused.value.revision >= done.revision
        assert "+The sun and moon pulls the sea." in refused.value.diff.splitlines()
        assert "-The moon pulls the sea." in refused.value.diff.splitlines()
        assert (await bert.read()).value == TEXT.replace("moon", "sun and moon")


async def test_an_edit_that_merges_still_says_what_its_author_did_not_know(broker: Running, plane: Plane) -> None:
    session = await plane.sessions.create(TEXT, kind="text", sync="patch")
    async with guest(broker, plane, session, "anna") as anna, guest(broker, plane, session, "bert") as bert:
        read_long_ago = await bert.read()
        await anna.propose(await anna.read(), "fix", WHOLE_FIRST, "The moon pulls the earth.\n")
        done = await bert.propose(read_long_ago, "fix", WHOLE_SECOND, "Twice a day.\n")
        assert (done.merged, done.stale) == (True, True)
        assert "+The moon pulls the earth." in done.diff.splitlines()
        assert (await bert.read()).value == "The moon pulls the earth.\nTwice a day.\n"


@pytest.mark.parametrize("sync", SYNCS)
async def test_a_region_under_edit_is_visible_before_somebody_rewrites_it(
    sync: Literal["crdt", "ot", "patch"], broker: Running, plane: Plane
) -> None:
    session = await plane.sessions.create(TEXT, kind="text", sync=sync)
    async with guest(broker, plane, session, "anna") as anna, guest(broker, plane, session, "bert") as bert:
        lease = await anna.lease(WHOLE_SECOND, seconds=60)
        (seen,) = await until(lambda: bert.leases, "the lease to be visible to the other agent")
        assert (seen["lease"], seen["region"]) == (lease.id, WHOLE_SECOND)
        assert str(seen["participant"]).startswith("anna-")
        shown = (await bert.read()).fields["leases"]
        assert [each["region"] for each in shown] == [WHOLE_SECOND]
        await bert.propose(await bert.read(), "fix", {"start": 0, "end": 0}, "1. ")
        moved = (await bert.read()).fields["leases"]
        assert [each["region"] for each in moved] == [{"start": len(FIRST) + 3, "end": len(TEXT) + 3}]
        await anna.release(lease)
        await until(lambda: not bert.leases, "the release to be visible")


async def test_where_leases_block_nobody_rewrites_the_region_until_it_is_released(
    broker: Running, plane: Plane
) -> None:
    session = await plane.sessions.create(TEXT, kind="text", sync="patch", policy={"leases": "block"})
    async with guest(broker, plane, session, "anna") as anna, guest(broker, plane, session, "bert") as bert:
        lease = await anna.lease(WHOLE_SECOND, seconds=60)
        with pytest.raises(RegionLeasedError, match="anna"):
            await bert.propose(await bert.read(), "fix", None, "All new.\n")
        assert (await bert.read()).value == TEXT
        await anna.release(lease)
        await bert.propose(await bert.read(), "fix", None, "All new.\n")
        assert (await anna.read()).value == "All new.\n"


@pytest.mark.parametrize("sync", SYNCS)
async def test_the_anchor_of_a_note_survives_a_rewritten_paragraph(
    sync: Literal["crdt", "ot", "patch"], broker: Running, plane: Plane
) -> None:
    session = await plane.sessions.create(TEXT, kind="text", sync=sync)
    new = "The moon pulls the near side more than the far side, so there are two tides. 🌔🌊\n"
    async with guest(broker, plane, session, "anna") as anna, guest(broker, plane, session, "bert") as bert:
        note = await anna.note("question", "Why twice?", region=WHOLE_SECOND)
        await bert.propose(await bert.read(), "write", {"start": 0, "end": 0}, "# Tides\n\n")
        draft = await bert.read()
        start = draft.value.index(SECOND)
        await bert.propose(draft, "write", {"start": start, "end": start + len(SECOND)}, new)
        view = await anna.read()
        (noted,) = [each for each in view.fields["notes"] if each["note"] == note]
        region = noted["anchor"]["region"]
        assert view.value[region["start"] : region["end"]] == new
