"""Pulls over connections in GUEST: as an asker with a user of its own, or as whoever has a grant and nothing else."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

from broker_plane.broker.access import Access
from broker_plane.broker.connecting import connect
from broker_plane.broker.connection import Connection
from broker_plane.broker.lifeline import Lifeline
from broker_plane.broker.urls import bare
from broker_plane.errors import BrokerAccessDeniedError
from broker_plane.plane.ports import Incoming
from broker_plane.subjects.puller import NatsPuller
from broker_plane.wire.grant import grant_of
from broker_plane.wire.look import Look
from broker_plane.wire.names import asker_inbox, asker_of, encode_id
from broker_plane.wire.selector import Selector

_CONNECT_SECONDS = 30.0
"""Where many come at once, each waits for its turn at the bridges that are asked whether to let it in."""

_LATE_SECONDS, _LATE_AGAIN = 1.5, 2
"""A refusal after two seconds is the server's own: no bridge has answered it, be it for very many others at once."""


class AskerPuller:
    """The Puller port as the user `asker`. It connects at the first pull: most processes that publish never pull."""

    def __init__(
        self,
        url: str,
        asker: str,
        *,
        timeout: float,
        access: Access | None = None,
        lifeline: Lifeline | None = None,
    ) -> None:
        """`lifeline` is to a broker that this process may start again."""
        self._url = url
        self._asker = asker
        self._timeout = timeout
        self._access = access
        self._lifeline = lifeline
        self._who = _who()
        self._connecting = asyncio.Lock()
        self._puller: NatsPuller | None = None

    @asynccontextmanager
    async def asking(self, address: str) -> AsyncIterator[NatsPuller]:
        """Who asks with the grant in `address`, for the time of the block."""
        yield await self._connected()

    @asynccontextmanager
    async def pull(self, address: str, selector: Selector) -> AsyncIterator[Incoming]:
        async with self.asking(address) as puller, puller.pull(address, selector) as incoming:
            yield incoming

    async def look(self, address: str, sample: int) -> Look:
        return await (await self._connected()).look(address, sample)

    async def close(self) -> None:
        if self._puller is not None:
            await self._puller.connection.close()

    async def _connected(self) -> NatsPuller:
        async with self._connecting:
            if self._puller is None:
                inbox = asker_inbox(self._asker)
                url = await self._lifeline.start() if self._lifeline else self._url
                connection = await connect(url, timeout=self._timeout, access=self._access, inbox=inbox)
                connection.lifeline = self._lifeline
                self._puller = NatsPuller(connection, self._asker, who=self._who)
        return self._puller


class GrantPuller:
    """The Puller port with the grant itself as the credential: each pull is a connection that ends with it."""

    def __init__(self, url: str, *, timeout: float, access: Access | None = None) -> None:
        self._url = url
        self._timeout = timeout
        self._access = access

    @asynccontextmanager
    async def asking(self, address: str) -> AsyncIterator[NatsPuller]:
        """Who asks with the grant in `address`, for the time of the block."""
        grant = grant_of(address)
        async with admitted(self._url, grant, timeout=self._timeout, access=self._access) as connection:
            yield NatsPuller(connection, asker_of(grant), who=_who())

    @asynccontextmanager
    async def pull(self, address: str, selector: Selector) -> AsyncIterator[Incoming]:
        async with self.asking(address) as puller, puller.pull(address, selector) as incoming:
            yield incoming

    async def look(self, address: str, sample: int) -> Look:
        async with self.asking(address) as puller:
            return await puller.look(address, sample)


@asynccontextmanager
async def admitted(url: str, grant: str, *, timeout: float, access: Access | None = None) -> AsyncIterator[Connection]:
    """A connection whose credential is `grant`, for the time of the block.

    Raises:
        BrokerAccessDeniedError: NATS does not let it in.
        BrokerUnavailableError: nothing answers there.
    """
    inbox = asker_inbox(asker_of(grant))
    encryption = (access or Access()).without_user()
    for again in range(_LATE_AGAIN + 1):
        began = monotonic()
        try:
            connection = await connect(
                bare(url),
                timeout=timeout,
                access=encryption,
                token=grant,
                inbox=inbox,
                connect_seconds=_CONNECT_SECONDS,
            )
            break
        except BrokerAccessDeniedError:
            if again == _LATE_AGAIN or monotonic() - began < _LATE_SECONDS:
                raise
    try:
        yield connection
    finally:
        await connection.close()


def _who() -> str:
    return encode_id(secrets.token_bytes(9))
