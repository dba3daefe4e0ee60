"""Many participants that do nothing cost a bridge next to nothing."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest
from websockets.asyncio.client import ClientConnection

from broker_plane.bridge.yjs_awareness import ClientState, write_awareness
from broker_plane.bridge.yjs_messages import awareness_message
from broker_plane.testing.processes import until
from tests.bridge.sessions import JsonClient, Session, Sessions, sessions
from tests.bridge.yjs import YjsPeer
from tests.forked import ForkedActor

pytestmark = pytest.mark.anyio
__all__ = ["sessions"]
MOST_CPU = 0.5
"""Of one core. About a tenth of it is expected, most of it for the frames that keep connections open."""

_AT_ONCE = 20
_LONG_ENOUGH_SECONDS = 6
"""For a share of time that says something. Signs of life come every eight seconds."""


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """The bridge is a process of its own."""
    return "asyncio"


@pytest.fixture
def enough_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Idle:
    """A participant that listens."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.heard = 0
        self.connection: ClientConnection

    async def join(self, session: Session, grant: str) -> None:
        yjs = self.number % 2
        opened = session.yjs_socket if yjs else session.socket
        self.connection = await opened(grant, f"?name=p{self.number}{'' if yjs else '&value=0'}").__aenter__()
        if yjs:
            await YjsPeer(self.connection).synchronize()
            state = ClientState(self.number, 1, {"user": {"name": f"Participant {self.number}"}})
            await self.connection.send(awareness_message(write_awareness([state])))

    async def listen(self) -> None:
        async for _ in self.connection:
            self.heard += 1


async def beat(crowd: list[Idle]) -> None:
    """Wait until each has heard something more, as the bridge's signs of life."""
    before = [each.heard for each in crowd]
    pairs = list(zip(crowd, before, strict=True))
    await until(lambda: all(each.heard > heard for each, heard in pairs), "a sign of life", 60)


@pytest.mark.parametrize("count", [100, pytest.param(1_000, marks=pytest.mark.full)])
async def test_idle_participants_cost_next_to_nothing(sessions: Sessions, enough_files: None, count: int) -> None:
    actor = ForkedActor("broker_plane.cli.bridge", BROKER_PLANE_NATS_URL=sessions.wiring.url)
    try:
        created = await sessions.create("Hello")
        session = Session(created.id, created.wiring, (await actor.said())["bridge"])
        grant, places = await session.grant(), asyncio.Semaphore(_AT_ONCE)
        crowd = [Idle(number) for number in range(count)]

        async def join(each: Idle) -> None:
            async with places:
                await each.join(session, grant)

        await asyncio.gather(*map(join, crowd))
        listening = [asyncio.create_task(each.listen()) for each in crowd]
        editors = [each for each in crowd if each.number % 2]
        async with session.socket(grant, "?name=last") as socket:
            last = JsonClient(socket)
            assert len((await last.event("hello"))["participants"]) == count + 1
            await last.ok(do="propose", base=1, edit="Hello, all")
            await until(lambda: all(each.heard for each in crowd), "the edit at everybody", 60)
        await beat(editors)
        began, used = monotonic(), cpu_seconds(actor.pid)
        while monotonic() - began < _LONG_ENOUGH_SECONDS:  # the first frames are those of the joins
            await beat(editors)
        share = (cpu_seconds(actor.pid) - used) / (monotonic() - began)
        assert share < MOST_CPU
        for task in listening:
            task.cancel()
        await asyncio.gather(*(each.connection.close() for each in crowd))
    finally:
        actor.kill()
        actor.close()
