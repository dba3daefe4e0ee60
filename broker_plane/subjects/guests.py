"""Pulls over connections in the account GUEST: as a user of its own, or with a grant as the only credential."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

from broker_plane.broker.access import NatsAccess
from broker_plane.broker.connecting import connect
from broker_plane.broker.connection import Connection
from broker_plane.broker.lifeline import Lifeline
from broker_plane.broker.urls import bare, hosts_of
from broker_plane.errors import BrokerAccessDeniedError
from broker_plane.plane.ports import Incoming
from broker_plane.subjects.puller import NatsPuller
from broker_plane.wire.grant import grant_of
from broker_plane.wire.names import asker_inbox, asker_of, encode_id
from broker_plane.wire.plane_names import Names
from broker_plane.wire.preview import Preview
from broker_plane.wire.selector import Selector

_LOGIN_SECONDS = 30.0
"""If many connect at once, each waits for its turn at the bridges, which decide whether to admit it."""

_LATE_SECONDS, _LATE_ATTEMPTS = 1.5, 3
"""A refusal after two seconds is the server's own: no bridge has answered it, perhaps because very many connect."""

_NO_GRANT = "doctor"
"""A credential that every server refuses, unless it admits everybody."""


class UserPuller:
    """The Puller port as the user `asker`. It connects at the first pull: most processes that publish never pull."""

    def __init__(
        self,
        url: str,
        asker: str,
        *,
        timeout: float,
        access: NatsAccess | None = None,
        lifeline: Lifeline | None = None,
        names: Names | None = None,
    ) -> None:
        """`lifeline` is set if this process may start the broker again; `names` are by default the default ones."""
        self._url = url
        self._asker = asker
        self._timeout = timeout
        self._access = access
        self._lifeline = lifeline
        self._names = names
        self._who = _who()
        self._connecting = asyncio.Lock()
        self._puller: NatsPuller | None = None

    @asynccontextmanager
    async def puller_for(self, address: str) -> AsyncIterator[NatsPuller]:
        """The puller for requests with the grant in `address`, for the time of the block."""
        yield await self._connected()

    @asynccontextmanager
    async def pull(self, address: str, selector: Selector) -> AsyncIterator[Incoming]:
        puller = await self._connected()
        async with puller.pull(address, selector) as incoming:
            yield incoming

    async def look(self, address: str, sample: int) -> Preview:
        return await (await self._connected()).look(address, sample)

    async def check(self) -> None:
        """Connect if it is not connected. Raises as `connect`."""
        await self._connected()

    async def close(self) -> None:
        if self._puller is not None:
            await self._puller.connection.close()

    async def _connected(self) -> NatsPuller:
        if self._puller is not None:
            return self._puller
        async with self._connecting:
            if self._puller is None:
                inbox = asker_inbox(self._asker)
                url = await self._lifeline.start() if self._lifeline else self._url
                connection = await connect(
                    url, timeout=self._timeout, access=self._access, inbox=inbox, names=self._names
                )
                connection.link.lifeline = self._lifeline
                self._puller = NatsPuller(connection, self._asker, who=self._who)
        return self._puller


class GrantPuller:
    """The Puller port with the grant itself as the credential: each pull has a connection of its own."""

    def __init__(
        self, url: str, *, timeout: float, access: NatsAccess | None = None, names: Names | None = None
    ) -> None:
        self._url = url
        self._timeout = timeout
        self._access = access
        self._names = names

    @asynccontextmanager
    async def puller_for(self, address: str) -> AsyncIterator[NatsPuller]:
        """The puller for requests with the grant in `address`, for the time of the block."""
        grant = grant_of(address)
        connecting = admitted(self._url, grant, timeout=self._timeout, access=self._access, names=self._names)
        async with connecting as connection:
            yield NatsPuller(connection, asker_of(grant), who=_who())

    @asynccontextmanager
    async def pull(self, address: str, selector: Selector) -> AsyncIterator[Incoming]:
        async with self.puller_for(address) as puller, puller.pull(address, selector) as incoming:
            yield incoming

    async def look(self, address: str, sample: int) -> Preview:
        async with self.puller_for(address) as puller:
            return await puller.look(address, sample)

    async def check(self) -> None:
        """Find out whether NATS answers, and whether anything there decides about grants. This needs no grant.

        Raises:
            BrokerAccessDeniedError: no bridge decides. Else as `connect`.
        """
        began = monotonic()
        access = (self._access or NatsAccess()).without_user()
        try:
            connection = await connect(bare(self._url), timeout=self._timeout, access=access, token=_NO_GRANT)
        except BrokerAccessDeniedError as error:
            if monotonic() - began > _LATE_SECONDS:
                raise BrokerAccessDeniedError(
                    f"NATS at {hosts_of(self._url)} answers, but no bridge decides there which grants to admit: run "
                    "one with BROKER_PLANE_CALLOUT_PASSWORD and BROKER_PLANE_CALLOUT_SEED"
                ) from error
        else:
            await connection.close()


@asynccontextmanager
async def admitted(
    url: str, grant: str, *, timeout: float, access: NatsAccess | None = None, names: Names | None = None
) -> AsyncIterator[Connection]:
    """A connection whose credential is `grant`, for the time of the block.

    Raises:
        BrokerAccessDeniedError: NATS does not admit it.
        BrokerUnavailableError: nothing answers there.
    """
    inbox = asker_inbox(asker_of(grant))
    encryption = (access or NatsAccess()).without_user()
    for left in reversed(range(_LATE_ATTEMPTS)):
        began = monotonic()
        try:
            connection = await connect(
                bare(url),
                timeout=timeout,
                access=encryption,
                token=grant,
                inbox=inbox,
                login_seconds=_LOGIN_SECONDS,
                names=names,
            )
            break
        except BrokerAccessDeniedError:
            if not left or monotonic() - began < _LATE_SECONDS:
                raise
    try:
        yield connection
    finally:
        await connection.close()


def _who() -> str:
    return encode_id(secrets.token_bytes(9))
