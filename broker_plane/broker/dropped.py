"""Writes that a stream has dropped: one that could not write to its disk answers no further write, until a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

import orjson
from nats.aio.msg import Msg

from broker_plane.broker.errors import fail
from broker_plane.errors import BrokerUnavailableError, DiskFullError, NotPermittedError

if TYPE_CHECKING:
    from broker_plane.broker.connection import Connection

_SOON_SECONDS = 0.5
"""After which a write without an answer is looked into; most take a millisecond."""


class Dropped:
    """Finds out which of a connection's writes without an answer will never have one."""

    def __init__(
        self, connection: Connection, answers: Mapping[str, asyncio.Future[Msg]], asked_of: Mapping[str, str]
    ) -> None:
        self._connection = connection
        self._answers = answers
        self._asked_of = asked_of
        self._probed: set[tuple[str, ...]] = set()

    async def answered(self, future: asyncio.Future[Msg], seconds: float) -> None:
        """Wait for so long until the write is answered, or is known to be dropped: then it fails."""
        now = asyncio.get_running_loop().time
        deadline = now() + seconds
        while not await self._answered_soon(future) and now() < deadline:
            await self._fail_dropped(future)

    async def _answered_soon(self, future: asyncio.Future[Msg]) -> bool:
        await asyncio.wait({future}, timeout=min(_SOON_SECONDS, self._connection.timeout))
        return future.done()

    async def _fail_dropped(self, future: asyncio.Future[Msg]) -> None:
        """Fail what a stream dropped.

        A stream takes its messages in order. So where it refuses a message that it would never store, it has dropped
        those before it that it did not answer. (With replicas it refuses before it asks them: that proves nothing.)
        """
        subject = next((self._asked_of[number] for number, each in self._answers.items() if each is future), "")
        same = subject.split(".")[:2]
        if tuple(same) in self._probed:  # another's probe says it for all of us
            return
        self._probed.add(tuple(same))
        try:
            await self._probe(future, subject, same)
        finally:
            self._probed.discard(tuple(same))

    async def _probe(self, future: asyncio.Future[Msg], subject: str, same: list[str]) -> None:
        before = self._connection.requests
        with suppress(BrokerUnavailableError):
            probe = {"Nats-Expected-Stream": "-"}
            refusal = orjson.loads((await self._connection.request(subject, b"", probe)).data)
            if future.done() or await self._replicated(str(refusal.get("stream", ""))):
                return
            for number, asked in list(self._asked_of.items()):
                if int(number) <= before and asked.split(".")[:2] == same:
                    fail(self._answers[number], DiskFullError("writes are dropped"))

    async def _replicated(self, stream: str) -> bool:
        try:
            info = await self._connection.api(f"STREAM.INFO.{stream}")
        except NotPermittedError:  # a resource server's user
            return False
        return int(info["config"]["num_replicas"]) > 1
