"""Editors of one session, cut off and killed at random, as are bridges and nats-server: nothing acknowledged is lost.

The seed of a run is printed; `BROKER_PLANE_TEST_SEED` repeats it.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from broker_plane.sessions.canonical import sha256
from broker_plane.sessions.entries import Entry
from broker_plane.sessions.folded import Folded
from broker_plane.testing.processes import until
from broker_plane.testing.server import NatsServer
from tests.faults.conftest import Stage
from tests.faults.session_crowd import EDITORS, Crowd, crowd, marks_in, patiently
from tests.figures import Figure

pytestmark = pytest.mark.anyio

SYNCS = ("crdt", "ot", "patch")
EDITS, PROCESSES, PARTITIONS, ROLLBACKS = 200, 2, 3, 10
FULL_EDITS, FULL_PROCESSES, FULL_KILLS, FULL_PARTITIONS, FULL_ROLLBACKS = 5_000, 8, 3, 25, 50
HEALED_SECONDS = 5
"""The aim for the time from healing until all replicas are equal; the test waits ten times as long."""


@pytest.fixture
def seed() -> int:
    found = int(os.environ.get("BROKER_PLANE_TEST_SEED", 0)) or random.SystemRandom().getrandbits(32)
    print(f"BROKER_PLANE_TEST_SEED={found}")
    return found


@pytest.mark.parametrize("sync", SYNCS)
async def test_replicas_are_equal_after_one_kill_of_everything(
    sync: str, own_server: NatsServer, stage: Stage, tmp_path: Path, seed: int, figure: Figure
) -> None:
    async with crowd(
        own_server, stage, tmp_path / "owner", sync=sync, edits=EDITS, processes=PROCESSES, seed=seed
    ) as editors:
        await tormented(editors, EDITS, kills=1, partitions=PARTITIONS)
        await holds(editors, sync, ROLLBACKS, figure)


@pytest.mark.full
@pytest.mark.parametrize("sync", SYNCS)
async def test_replicas_are_equal_after_5_000_edits_and_many_kills(
    sync: str, own_server: NatsServer, stage: Stage, tmp_path: Path, seed: int, figure: Figure
) -> None:
    async with crowd(
        own_server, stage, tmp_path / "owner", sync=sync, edits=FULL_EDITS, processes=FULL_PROCESSES, seed=seed
    ) as editors:
        await tormented(editors, FULL_EDITS, kills=FULL_KILLS, partitions=FULL_PARTITIONS)
        await holds(editors, sync, FULL_ROLLBACKS, figure)


async def tormented(editors: Crowd, edits: int, *, kills: int, partitions: int) -> None:
    """Let the editors work, and cut and kill at random places; returns when all of them are done."""
    faults: list[Callable[[], Awaitable[None]]] = [
        *[editors.kill_clients, editors.kill_bridge, editors.kill_server] * kills,
        *[editors.part] * partitions,
    ]
    editors.chance.shuffle(faults)
    places = sorted(editors.chance.randint(edits // 20, edits * 9 // 10) for _ in faults)
    began = monotonic()
    for place, fault in zip(places, faults, strict=True):
        await editors.reached(place)
        print(f"{monotonic() - began:6.1f} s: {len(editors.heard.stored)} edits, now {fault.__name__}")
        await fault()
    await editors.finished()
    print(f"{monotonic() - began:6.1f} s: all editors are done")


async def holds(editors: Crowd, sync: str, rollbacks: int, figure: Figure) -> None:
    """Everything that must be true of a session after whatever has happened to it."""
    healed = await equal_after_healing(editors)
    figure(
        f"{sync}: {EDITORS} replicas equal after healing",
        f"{healed:.1f} s",
        aim=f"{HEALED_SECONDS} s",
        met=healed <= HEALED_SECONDS,
    )
    entries = await editors.entries()
    await nothing_acknowledged_is_missing(editors, entries)
    if sync == "patch":
        nothing_is_lost_without_a_record(editors, entries)
    await the_log_is_the_session(editors, entries)
    await rollbacks_are_exact(editors, entries, rollbacks)


async def equal_after_healing(editors: Crowd) -> float:
    """Edit while half of the editors are cut off; the seconds from healing until all have the same as the plane."""
    for line in editors.lines[::2]:
        line.cut(silently=False)
    async with editors.plane.sessions.requests(editors.session) as owner:
        for count in range(5):
            view = await owner.read()
            await owner.propose(view, "", {"start": 0, "end": 0}, {"text": f"Owner {count} 🌊\n"})
        last = await owner.read()
    for line in editors.lines[::2]:
        line.heal()
    healed = monotonic()

    async def equal() -> bool:
        states = await editors.states()
        hashes = {state.get("sha256") for state in states}
        vectors = {str(state.get("vector")) for state in states}
        return hashes == {last.sha256} and len(vectors) == 1 and len(states) == EDITORS

    try:
        await until(equal, "the replicas to be equal", 10 * HEALED_SECONDS)
    except TimeoutError:
        raise AssertionError(f"The session has {last.sha256} at {last.revision}; {await editors.states()}") from None
    return monotonic() - healed


async def nothing_acknowledged_is_missing(editors: Crowd, entries: Sequence[Entry]) -> None:
    """Every revision that an editor was answered or heard of is in the log, and revisions have no gaps."""
    assert [entry.revision for entry in entries] == [*range(1, len(entries) + 1)]
    kinds = {entry.revision: entry.kind for entry in entries}
    assert {kinds.get(revision) for revision in editors.heard.stored} <= {"operation"}
    assert {kinds.get(revision) for revision in editors.heard.answered.values()} <= {"operation", "conflict"}
    assert len(editors.heard.stored) >= EDITS


def nothing_is_lost_without_a_record(editors: Crowd, entries: Sequence[Entry]) -> None:
    """Every mark that a proposal was acknowledged for is in the text, in a conflict, or in what a decision replaced."""
    text = Folded.of(entries).value
    records = [entry.content for entry in entries if entry.kind == "conflict"]
    records += [entry.content["replaced"] for entry in entries if "replaced" in entry.content]
    marks = set(editors.heard.answered)
    assert marks - marks_in([text, *(json.dumps(each, ensure_ascii=False) for each in records)], marks) == set()


async def the_log_is_the_session(editors: Crowd, entries: Sequence[Entry]) -> None:
    """A replay from nothing equals what the plane shows, and what a bridge that has never seen it shows."""
    folded = Folded.of(entries)
    shown = await editors.plane.sessions.show(editors.session)
    assert (folded.state.revision, folded.value) == (shown.revision, shown.value)
    assert shown.sha256 == sha256("text", folded.value)


async def rollbacks_are_exact(editors: Crowd, entries: Sequence[Entry], count: int) -> None:
    """A rollback to a revision has the SHA-256 that the artifact had there."""
    chosen = editors.chance.sample(range(1, len(entries) + 1), min(count, len(entries)))
    folded = Folded.of(entries[:1])
    hashes = {1: sha256("text", folded.value)}
    for entry in entries[1:]:
        folded.fold(entry)
        if entry.revision in chosen:
            hashes[entry.revision] = sha256("text", folded.value)
    async with editors.plane.sessions.requests(editors.session) as owner:
        for revision in chosen:

            async def back(revision: int = revision) -> Any:
                return await owner.rollback(revision)

            await patiently(back, "a rollback")
            assert (await owner.read()).sha256 == hashes[revision], f"revision {revision}"
