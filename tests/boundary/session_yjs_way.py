"""Sessions over the socket of y-websocket, as the table of roles tries it. Nothing is answered, so others watch."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from time import monotonic

from pycrdt import create_awareness_message
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from broker_plane.bridge.yjs_awareness import ClientState, write_awareness
from tests.boundary.session_http_ways import SocketWays
from tests.boundary.session_ways import HEAR, NotLetInError
from tests.bridge.sessions import closed
from tests.bridge.wire import PATIENCE
from tests.bridge.yjs import YjsPeer

_MARKS = 20
_STATES_SECONDS = 1.0
"""What has not been seen when as many later edits have been, and many times the pause between two states has passed,
was dropped."""


class YjsWay(SocketWays):
    """Binary frames: updates, awareness, and hearing both."""

    operations = frozenset({HEAR, "update", "present"})

    def __init__(self, bridge_url: str, watching: str, sockets: AsyncExitStack) -> None:
        """`watching` is the grant of an editor."""
        self._url = f"{bridge_url}/v1/sessions".replace("http", "ws", 1)
        self._watching = watching
        self._sockets = sockets

    async def enter(self, grant: str, headers: dict[str, str] | None = None) -> YjsHolder:
        watcher = YjsPeer(await self._connect(self._watching))
        await watcher.synchronize()
        return YjsHolder(await self._connect(grant, headers), watcher)

    async def _connect(self, grant: str, headers: dict[str, str] | None = None) -> ClientConnection:
        connecting = connect(
            f"{self._url}/{grant}",
            proxy=None,
            open_timeout=PATIENCE,
            compression=None,
            max_queue=None,
            additional_headers=headers,
        )
        try:
            return await self._sockets.enter_async_context(connecting)
        except InvalidStatus as error:
            assert error.response.status_code in (401, 403, 404, 410)
            raise NotLetInError from error


class YjsHolder:
    """One socket, and another participant who sees what comes of it."""

    def __init__(self, socket: ClientConnection, watcher: YjsPeer) -> None:
        self._peer = YjsPeer(socket)
        self._watcher = watcher

    async def may(self, operation: str) -> bool:
        await self._peer.synchronize()
        if operation == HEAR:
            await self._mark()
            while str(self._peer.text) != str(self._watcher.text):
                await self._peer.receive()
            return True
        mark = f"<{os.urandom(6).hex()}>"
        if operation == "update":
            await self._peer.connection.send(self._peer.insert(mark))
        else:
            state = ClientState(self._peer.doc.client_id, 1, {"user": mark})
            await self._peer.connection.send(create_awareness_message(write_awareness([state])))
        return await self._is_seen(mark)

    async def ended(self, seconds: float) -> None:
        async with asyncio.timeout(seconds):
            code, _ = await closed(self._peer.connection)
        assert code == 4410

    async def _is_seen(self, mark: str) -> bool:
        """Whether the other participant gets `mark`, in the text or as somebody's awareness."""
        marks, until = 0, monotonic() + _STATES_SECONDS
        while marks < _MARKS or monotonic() < until:
            marks += 1
            if any(mark.encode() in raw for raw in await self._mark()) or mark in str(self._watcher.text):
                return True
        return False

    async def _mark(self) -> list[bytes]:
        """What the other participant receives until an edit of its own has come back, and so is stored."""
        mark, received = f"[{os.urandom(6).hex()}]", [b""]
        await self._watcher.connection.send(self._watcher.insert(mark))
        while mark.encode() not in received[-1]:
            received.append(await self._watcher.receive())
        return received
