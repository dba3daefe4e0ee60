"""Sessions over HTTP and over a WebSocket of JSON messages, as the table of roles tries them."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from contextlib import AsyncExitStack
from typing import Any

import httpx2
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from broker_plane.sessions.roles import OPERATIONS
from broker_plane.testing.processes import until
from tests.boundary.session_ways import HEAR, Holder, NotLetInError, lets, request_to
from tests.bridge.sessions import SUBPROTOCOL, JsonClient, closed
from tests.bridge.wire import PATIENCE

TOKENS: tuple[dict[str, str], ...] = ({}, {"authorization": "Bearer thief-token"})
"""A thief without a name, and one that the bridge knows by another name than the grant's."""


class HttpWay:
    """`POST /v1/sessions/<grant>`. Nobody hears anything here."""

    operations = frozenset(OPERATIONS) - {HEAR}

    def __init__(self, bridge_url: str, client: httpx2.AsyncClient) -> None:
        self._url = f"{bridge_url}/v1/sessions"
        self._client = client

    async def enter(self, grant: str) -> HttpHolder:
        holder = HttpHolder(self._client, f"{self._url}/{grant}")
        if not await holder.may("show"):
            raise NotLetInError
        return holder

    async def answers_after_the_end(self, grant: str, operation: str) -> bool:
        return await HttpHolder(self._client, f"{self._url}/{grant}").may(operation)

    async def steal(self, grant: str, named: str, operation: str) -> bool:
        thieves = [HttpHolder(self._client, f"{self._url}/{named}", token) for token in TOKENS]
        return any([await thief.may(operation) for thief in thieves])


class HttpHolder:
    """Requests to one URL, perhaps with a bearer token."""

    def __init__(self, client: httpx2.AsyncClient, url: str, headers: dict[str, str] | None = None) -> None:
        self._client = client
        self._url = url
        self._headers = headers

    async def may(self, operation: str) -> bool:
        answer = await self._client.post(self._url, json=request_to(operation), headers=self._headers)
        fields: dict[str, Any] = answer.json()
        return lets(operation, {} if answer.is_success else {"error": fields})

    async def ended(self, seconds: float) -> None:
        async def is_over() -> bool:
            return not await self.may("show")

        await until(is_over, "the grant to end", seconds)


class SocketWays:
    """What the ways over WebSockets have in common: a grant may do nothing if it does not get in."""

    @abstractmethod
    async def enter(self, grant: str, headers: dict[str, str] | None = None) -> Holder:
        """As `Way.enter`."""

    async def answers_after_the_end(self, grant: str, operation: str) -> bool:
        return await self._gets_in(grant, operation)

    async def steal(self, grant: str, named: str, operation: str) -> bool:
        return any([await self._gets_in(named, operation, token) for token in TOKENS])

    async def _gets_in(self, grant: str, operation: str, headers: dict[str, str] | None = None) -> bool:
        try:
            holder = await self.enter(grant, headers)
        except NotLetInError:
            return False
        return await holder.may(operation)


class SocketWay(SocketWays):
    """A WebSocket with the subprotocol of JSON messages."""

    operations = frozenset(OPERATIONS)

    def __init__(self, bridge_url: str, sockets: AsyncExitStack) -> None:
        self._url = f"{bridge_url}/v1/sessions".replace("http", "ws", 1)
        self._sockets = sockets

    async def enter(self, grant: str, headers: dict[str, str] | None = None) -> SocketHolder:
        url = f"{self._url}/{grant}?name=anna"
        try:
            socket = await self._sockets.enter_async_context(
                connect(url, subprotocols=[SUBPROTOCOL], proxy=None, open_timeout=PATIENCE, additional_headers=headers)
            )
        except InvalidStatus as error:
            assert error.response.status_code in (401, 403, 404, 410)
            raise NotLetInError from error
        return SocketHolder(socket)


class SocketHolder:
    """One open socket."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._client = JsonClient(socket)

    async def may(self, operation: str) -> bool:
        if operation == HEAR:  # the answer to a request of one's own is not meant
            return await self._hears()
        return lets(operation, await self._client.ask(**request_to(operation)))

    async def ended(self, seconds: float) -> None:
        async with asyncio.timeout(seconds):
            code, _ = await closed(self._socket)
        assert code == 4410

    async def _hears(self) -> bool:
        """Whether this socket is told that somebody has joined: itself, under another name."""
        left = await self._client.ask(do="leave")
        await self._client.ask(do="join", name="anna")
        return "ok" in left and bool(await self._client.event("entries"))
