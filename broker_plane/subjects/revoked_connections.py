"""Ends the NATS connections of revoked grants, as the user `probe` of the system account.

nats-server ends a connection when its grant expires, but it does not know of revocations. So every bridge that learns
of one lists the connections of GUEST, and ends those whose user names a revoked grant (wire/callout.py). It does not
matter which bridge admitted them, or whether that one still runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from typing import Any

import orjson

from broker_plane.broker.connection import Connection
from broker_plane.broker.messages import Message
from broker_plane.errors import BrokerPlaneError, BrokerUnavailableError, ConfigError, NotPermittedError
from broker_plane.plane.grants.revocations import Revocations
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.plane.tasks import cancel_and_forget
from broker_plane.wire.callout import grant_id_of_user
from broker_plane.wire.names import GUEST

log = redacted_logger(__name__)
_LIST = f"$SYS.REQ.ACCOUNT.{GUEST}.CONNZ"
_PAGE = 1024
"""nats-server lists at most this many connections in one answer."""

_NODES_SECONDS = 0.25
"""After this silence, every node of a cluster has answered."""

_ADMISSION_SECONDS = 2.0
"""The callout may have checked a grant just before its revocation; by now, nats-server lists that connection."""

_RETRY_SECONDS, _CLOSE_SECONDS = 0.5, 1.0

Probing = Callable[[], AbstractAsyncContextManager[Connection]]
"""Connects as `probe`, for the time of a block."""


@dataclass(frozen=True, slots=True)
class GuestConnection:
    """A connection in GUEST whose credential is a grant; `cid` is its number at the node `server`."""

    server: str
    cid: int
    grant_id: str


class RevokedConnections:
    """Ends the connections of all grants in `revoked`, from `start` to `close`."""

    def __init__(self, probing: Probing, revoked: Revocations) -> None:
        self._probing = probing
        self._revoked = revoked
        self._changed = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self.ended = 0
        """The number of connections that this process ended."""

    def start(self) -> None:
        self._revoked.watch(self._changed.set)
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        if self._task is None:
            return
        self._revoked.unwatch(self._changed.set)
        self._closing = True
        self._changed.set()
        # A connection that is cancelled while it connects would not be closed.
        await asyncio.wait({self._task}, timeout=_CLOSE_SECONDS)
        await cancel_and_forget(self._task)

    async def _run(self) -> None:
        while not self._closing:
            await self._changed.wait()
            if self._closing:
                return
            try:
                async with self._probing() as probe:
                    await self._end_until_settled(probe)
            except (ConfigError, NotPermittedError) as error:
                self._changed.clear()
                log.warning("Connections of revoked grants stay open until the grants expire: %s", error)
            except BrokerPlaneError as error:
                self._changed.set()
                log.info("Cannot end the connections of revoked grants now: %s", error.brief)
                await asyncio.sleep(_RETRY_SECONDS)

    async def _end_until_settled(self, probe: Connection) -> None:
        """End connections after each revocation, and once more a moment after the last one."""
        more = True
        while more and not self._closing:
            more = self._changed.is_set()
            self._changed.clear()
            await self._end_all(probe)
            if more:
                with suppress(TimeoutError):
                    async with asyncio.timeout(_ADMISSION_SECONDS):
                        await self._changed.wait()

    async def _end_all(self, probe: Connection) -> None:
        async for guest in guest_connections(probe):
            if guest.grant_id in self._revoked and await end_connection(probe, guest.server, guest.cid):
                self.ended += 1


async def guest_connections(probe: Connection) -> AsyncIterator[GuestConnection]:
    """Every connection in GUEST whose credential is a grant, on every node.

    Raises:
        NotPermittedError: `probe` may not list them. BrokerUnavailableError: nobody answered.
    """
    offset, more = 0, True
    while more:
        more = False
        for page in await _pages(probe, offset):
            listed = page.get("connections") or []
            more = more or len(listed) == _PAGE
            for guest in _with_grants(str(page["server_id"]), listed):
                yield guest
        offset += _PAGE


async def end_connection(probe: Connection, server: str, cid: int) -> bool:
    """End the connection `cid` of the node `server`. Returns whether there was one. Raises as `guest_connections`."""
    answer = await probe.request(f"$SYS.REQ.SERVER.{server}.KICK", orjson.dumps({"cid": cid}))
    return "error" not in _object(answer)


async def check_ending(probe: Connection) -> None:
    """Raise NotPermittedError unless `probe` may list and end connections. It ends none."""
    for page in await _pages(probe, 0):
        await end_connection(probe, str(page["server_id"]), 0)  # cids begin with 1


async def _pages(probe: Connection, offset: int) -> list[Mapping[str, Any]]:
    """The answer of each node to one question."""
    question = orjson.dumps({"auth": True, "sort": "cid", "offset": offset, "limit": _PAGE})
    answers = [await probe.request(_LIST, question)]
    if probe.clustered:
        async with probe.subscribe(probe.inbox()) as arriving:
            await probe.publish(_LIST, question, reply=arriving.subject)
            answers = []
            with suppress(BrokerUnavailableError):
                while True:
                    answers.append(await arriving.next(_NODES_SECONDS if answers else probe.timeout))
    return [page for answer in answers if isinstance(page := _object(answer).get("data"), dict)]


def _with_grants(server: str, listed: list[Any]) -> Iterator[GuestConnection]:
    for each in listed:
        grant_id = grant_id_of_user(str(each.get("authorized_user", "")))
        if grant_id is not None:
            yield GuestConnection(server, int(each["cid"]), grant_id)


def _object(message: Message) -> Mapping[str, Any]:
    """The JSON object in an answer of the system account; empty for anything else."""
    with suppress(ValueError):
        answer = orjson.loads(message.data)
        return answer if isinstance(answer, dict) else {}
    return {}
