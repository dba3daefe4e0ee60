"""A session opens empty, merges as agents come and go, and closes itself when all expected participants have confirmed.

One of them is killed in the middle of its work; another process continues under the same grant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .collab_cast import Member, Story, Told, entry_of, is_by, seen

if TYPE_CHECKING:
    from broker_plane import JoinedSession

FACTS = {
    "weather": ["Wind from the west", "18 °C", "Rain at night"],
    "traffic": ["The bridge is closed", "Trams run", "Two lanes on the ring"],
    "events": ["Concert at 8 p.m.", "Market until noon"],
}
KILLED = "weather"


async def weather(session: JoinedSession) -> None:
    """Writes its first fact and waits: it is killed there."""
    document = session.document()
    await document.synchronized()
    document.artifact[KILLED] = FACTS[KILLED][:1]
    await document.synchronized()
    await seen(session, lambda: None)


async def weather_again(session: JoinedSession) -> None:
    """The same participant in a new process: it finds its own first fact, and writes the others."""
    document = session.document()
    await document.synchronized()
    document.artifact[KILLED] = [*document.value[KILLED], *FACTS[KILLED][1:]]
    await document.synchronized()
    await session.confirm()


async def traffic(session: JoinedSession) -> None:
    await _gather(session, "traffic")


async def events(session: JoinedSession) -> None:
    """Comes when the others are at work, writes, and goes; it confirms before the others are done."""
    await entry_of(session, "operation", "traffic")
    await _gather(session, "events")


async def _gather(session: JoinedSession, topic: str) -> None:
    document = session.document()
    await document.synchronized()
    for count in range(1, len(FACTS[topic]) + 1):
        document.artifact[topic] = FACTS[topic][:count]
        await document.synchronized()
    await session.confirm()


def check(told: Told) -> list[str]:
    """What is wrong: nothing is missing, the killed one is the same participant, and nobody closed the session."""
    problems = []
    if told.value != FACTS:
        problems.append(f"The document has {told.value}")
    joined = [each.participant for each in told.of("joined", KILLED)]
    if len(set(joined)) != 1:
        problems.append("The participant that was killed came back as another one")
    closed = told.of("closed")
    if not closed or is_by(closed[-1].participant, "owner"):
        problems.append("The session did not close by itself")
    return problems


STORY = Story(
    name="gather",
    title="A session opens empty, merges as agents come and go, and closes itself",
    kind="json",
    sync="crdt",
    value={},
    policy={"expected": list(FACTS)},
    cast=(
        Member(KILLED, "editor", "write", killed=True),
        Member("traffic", "editor", "write", via="nats"),
        Member("events", "editor", "write"),
        Member(KILLED, "editor", "write", part="weather_again", after=KILLED),
    ),
    parts={"weather": weather, "weather_again": weather_again, "traffic": traffic, "events": events},
    check=check,
)
