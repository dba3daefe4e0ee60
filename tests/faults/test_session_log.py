"""kill -9 of nats-server and of a process that hosts a session: what was acknowledged is in the log, and all agree."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import anyio
import pytest

from broker_plane.config import load_settings
from broker_plane.plane.retry import retry_while_retryable
from broker_plane.plane.sessions.host import SessionHost
from broker_plane.plane.sessions.tools import SessionTools
from broker_plane.runtime.session_hosting import session_tools
from broker_plane.runtime.wiring import wire
from broker_plane.sessions.canonical import sha256
from broker_plane.sessions.entries import Entry
from broker_plane.sessions.folded import Folded
from broker_plane.sessions.policy import parse_policy
from broker_plane.testing.processes import Actor, until
from broker_plane.testing.server import NatsServer
from tests.faults.conftest import Stage

pytestmark = pytest.mark.anyio
FULL = pytest.mark.full
SECONDS = 90
COUNT = 100


class Editor:
    """A process that edits, and what it has said."""

    def __init__(self, stage: Stage, server: NatsServer, session: str, name: str, count: int) -> None:
        self._actor: Actor = stage.run("tests.faults.session_editor", session, name, count, nats_url=server.url)
        self._count = count
        self.acknowledged: dict[int, str] = {}
        self.unknown: set[str] = set()
        self.done = 0

    async def listen(self, most: int) -> None:
        """Hear of its next edits, up to `most` in all, or to its end."""
        while self.done < min(most, self._count):
            try:
                said = await self._actor.said(SECONDS)
            except EOFError:
                return
            self.done += 1
            if "revision" in said:
                self.acknowledged[said["revision"]] = said["token"]
            else:
                assert "unknown" in said, said
                self.unknown.add(said["unknown"])

    async def end(self) -> dict[str, Any]:
        """What it has of the session at last."""
        self._actor.tell()
        found: dict[str, Any] = await self._actor.said(SECONDS)
        return found

    def kill(self) -> None:
        self._actor.kill()


@asynccontextmanager
async def hosting(server: NatsServer) -> AsyncIterator[tuple[SessionHost, SessionTools]]:
    settings = load_settings(nats_url=server.url)
    wiring = await wire(server.url, settings)
    tools = session_tools(wiring, settings, "http://127.0.0.1:1")
    host = SessionHost(tools)
    yield host, tools
    await host.close()
    await wiring.close()


async def entries_of(tools: SessionTools, session: str) -> list[Entry]:
    async def read() -> list[Entry]:
        async with aclosing(tools.log.read(session)) as groups:
            return [entry async for group in groups for entry in group.entries]

    return await retry_while_retryable(read, SECONDS)


def check_log(entries: list[Entry], editors: list[Editor]) -> None:
    """Every acknowledged edit is in the log under its revision; every other one at most once."""
    assert [entry.revision for entry in entries] == list(range(1, len(entries) + 1))
    text = Folded.of(entries).value.split()
    assert len(text) == len(set(text))
    for editor in editors:
        for revision, token in editor.acknowledged.items():
            assert entries[revision - 1].kind == "operation"
            assert token.strip() in text
    known = {token.strip() for editor in editors for token in (*editor.acknowledged.values(), *editor.unknown)}
    assert set(text) <= known


@pytest.mark.parametrize(
    ("victim", "sync"),
    [
        ("nats", "crdt"),
        ("host", "ot"),
        pytest.param("nats", "ot", marks=FULL),
        pytest.param("host", "crdt", marks=FULL),
    ],
)
async def test_what_was_acknowledged_survives_the_kill_of(
    victim: str, sync: Any, own_server: NatsServer, stage: Stage
) -> None:
    async with hosting(own_server) as (host, tools):
        policy = parse_policy({"limits": {"operations_per_second": 10_000}})
        session = await host.create("", kind="text", sync=sync, policy=policy, owner="default")
        editors = [Editor(stage, own_server, session, name, COUNT) for name in ("a", "b")]
        for editor in editors:
            await editor.listen(20)
        if victim == "host":
            editors[0].kill()
        else:
            own_server.kill()
            own_server.start()
        async with anyio.create_task_group() as tasks:
            for editor in editors:
                tasks.start_soon(editor.listen, COUNT)
        if victim == "nats":
            assert sum(len(editor.acknowledged) for editor in editors) > COUNT
        living = editors[1:] if victim == "host" else editors
        entries = await entries_of(tools, session)
        if victim == "host":  # it may have been killed between the write and its word
            editors[0].unknown |= {f"a{number} " for number in range(COUNT)}
        check_log(entries, editors)
        replayed = Folded.of(entries)
        expected = {"revision": entries[-1].revision, "sha256": sha256("text", replayed.value)}
        assert [await editor.end() for editor in living] == [expected] * len(living)
        async with host.open(session) as live, live.settled() as folded:
            assert (folded.value, folded.state) == (replayed.value, replayed.state)


async def test_snapshots_and_what_follows_them_are_the_log_after_a_kill(own_server: NatsServer, stage: Stage) -> None:
    async with hosting(own_server) as (host, tools):
        policy = parse_policy({"limits": {"operations_per_second": 10_000}})
        session = await host.create("", kind="text", sync="ot", policy=policy, owner="default")
        editor = Editor(stage, own_server, session, "a", 560)
        await editor.listen(505)

        async def snapshot() -> bool:
            return await tools.log.load_snapshot(session) is not None

        await until(snapshot, "a snapshot", SECONDS)
        editor.kill()
        own_server.kill()
        own_server.start()
        entries = await entries_of(tools, session)
        found = await tools.log.load_snapshot(session)
        assert found is not None
        assert found.revision > 1
        replayed = Folded.of(entries)
        async with host.open(session) as live, live.settled() as folded:
            assert (folded.value, folded.state) == (replayed.value, replayed.state)
