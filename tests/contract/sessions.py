"""Hosts of sessions on one broker, as different processes have them, and who takes part in these tests."""

from __future__ import annotations

from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from typing import Any

import anyio
from pycrdt import Doc, Text

from broker_plane.plane.sessions.followers import Follower, Told
from broker_plane.plane.sessions.host import SessionHost
from broker_plane.plane.sessions.live import LiveSession
from broker_plane.plane.sessions.tools import SessionTools
from broker_plane.runtime.wiring import Wiring
from broker_plane.sessions.entries import Entry
from broker_plane.sessions.participants import Participant
from broker_plane.sessions.policy import parse_policy
from broker_plane.storage.sessions import NatsSessionLog

ANNA = Participant("anna-aaaaaa", "anna", "editor", verified=True)
BEN = Participant("ben-bbbbbb", "ben", "editor", verified=True)
REVIEWER = Participant("rita-cccccc", "rita", "reviewer")
OBSERVER = Participant("otto-dddddd", "otto", "observer")


class Stage:
    """Hosts of sessions on one broker, as different processes have them."""

    def __init__(self, wiring: Wiring, owner: str, tools: SessionTools) -> None:
        self.wiring = wiring
        self.owner = owner
        self.tools = tools
        self.stack = AsyncExitStack()

    def host(self, **options: Any) -> SessionHost:
        idle = options.pop("idle_seconds", 60.0)
        log = NatsSessionLog(self.wiring.connection, self.wiring.store, poll_seconds=0.5)
        host = SessionHost(replace(self.tools, log=log, holder=f"host{id(options)}", **options), idle_seconds=idle)
        self.stack.push_async_callback(host.close)
        return host

    async def create(self, value: Any = "", kind: Any = "text", sync: Any = "ot", **policy: Any) -> str:
        return await self.host().create(value, kind=kind, sync=sync, policy=parse_policy(policy), owner=self.owner)

    async def live(self, session: str, **options: Any) -> LiveSession:
        """The session in a process of its own."""
        return await self.stack.enter_async_context(self.host(**options).open(session))

    async def entries(self, session: str) -> list[Entry]:
        log = NatsSessionLog(self.wiring.connection, self.wiring.store)
        async with aclosing(log.read(session)) as groups:
            return [entry async for group in groups for entry in group.entries]


async def told(follower: Follower, count: int) -> list[Entry]:
    """The next entries that a follower is told, at least `count`."""
    entries: list[Entry] = []
    with anyio.fail_after(30):
        async for event in follower:
            entries += event.entries if isinstance(event, Told) else ()
            if len(entries) >= count:
                break
    return entries


async def insert(live: LiveSession, who: Participant, text: str) -> int:
    """Insert at the start of the newest revision."""
    answer = await live.ask({"do": "update", "base": live.revision, "change": [text]}, who)
    return int(answer["revision"])


class YjsClient:
    """A client of Yjs: its own document, and the updates that it has made."""

    def __init__(self) -> None:
        self.doc: Doc[Any] = Doc()
        self.text = self.doc.get("artifact", type=Text)
        self._updates: list[bytes] = []
        self._kept = self.doc.observe(lambda event: self._updates.append(event.update))

    def synchronize(self, update: bytes) -> None:
        self.doc.apply_update(update)
        self._updates.clear()

    def type(self, text: str) -> bytes:
        """Insert at the start and return the update."""
        self.text.insert(0, text)
        (update,) = self._updates
        self._updates.clear()
        return update


def state_vector(update: bytes) -> bytes:
    doc: Doc[Any] = Doc()
    doc.apply_update(update)
    return doc.get_state()
