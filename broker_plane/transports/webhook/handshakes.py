"""Sessions of the handshake era: which process has the upstream of each, and how few upstreams are open at once.

The record of a session keeps its handshake. So the upstream of a session that is not in use is closed, and opened again
with that handshake when it is needed: by this process, or by another one if this one has ended.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from weakref import WeakValueDictionary

from broker_plane.errors import BrokerPlaneError, ConflictError, UpstreamError
from broker_plane.exchange.messages import ExchangeKey, Said
from broker_plane.plane.exchanges.ports import ExchangeStore
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.proxy.messages import Message, parse
from broker_plane.transports.hosting import ServerHost
from broker_plane.transports.webhook.message_ids import OWN_MESSAGES
from broker_plane.transports.webhook.open_session import OpenSession, refused
from broker_plane.transports.webhook.record import WebhookSession
from broker_plane.transports.webhook.sessions import WebhookSessions
from broker_plane.wire.exact_json import dumps

log = redacted_logger(__name__)

MOST_OPEN = 64
IDLE_SECONDS = 30.0
MAX_HANDSHAKE_BYTES = 64 << 10
_OWN_SECONDS = 2 * 86_400
"""For how long messages about no request are stored: longer than clients remember their numbers."""

_ATTEMPTS = 16
_INITIALIZE, _INITIALIZED = "initialize", "notifications/initialized"


class HandshakeSessions:
    """The sessions whose upstream this process has."""

    def __init__(
        self,
        host: ServerHost,
        server: str,
        instance: str,
        sessions: WebhookSessions,
        store: ExchangeStore,
        is_alive: Callable[[str], Awaitable[bool]],
    ) -> None:
        """`instance` names this process, and `is_alive` tells of others whether they run."""
        self._host = host
        self._server = server
        self._instance = instance
        self._sessions = sessions
        self._store = store
        self._is_alive = is_alive
        self._open: OrderedDict[str, OpenSession] = OrderedDict()
        """The least recently used one comes first."""
        self._used: dict[str, float] = {}
        self._opening: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._freed = asyncio.Event()

    async def elsewhere(self, session: WebhookSession) -> str:
        """The other process that has the upstream of a session; empty if this one has it, or may have it."""
        owner = session.instance
        return owner if owner not in ("", self._instance) and await self._is_alive(owner) else ""

    async def run(self, session: WebhookSession, message: Message) -> AsyncGenerator[bytes, None]:
        """Carry out a request; yields the messages about it.

        Raises:
            UpstreamError: the upstream cannot be opened, or has ended.
        """
        if message["method"] == _INITIALIZE:
            async with aclosing(self._initialized(session, message)) as lines:
                async for line in lines:
                    yield line
            return
        if not session.handshake:
            yield refused(message, "Send initialize first, or a self-contained request of 2026-07-28")
            return
        opened = await self._opened(session)
        try:
            async with aclosing(opened.ask(message)) as lines:
                async for line in lines:
                    yield line
        finally:
            self._note_use(session.id)

    async def tell(self, session: WebhookSession, line: bytes) -> None:
        """Pass on a notification or an answer of the client. Nothing happens if nobody waits for it any more."""
        opened = self._open.get(session.id)
        if opened is not None:
            await opened.tell(line)
            self._note_use(session.id)

    async def keep(self, session: WebhookSession, line: bytes) -> None:
        """Keep the end of the client's handshake, if this line is it."""
        is_end = (parse(line) or {}).get("method") == _INITIALIZED and len(session.handshake) == 1
        if is_end and len(line) < MAX_HANDSHAKE_BYTES:
            text = line.decode().strip()
            await self._sessions.change(
                session.id, lambda found: replace(found, handshake=(*found.handshake[:1], text))
            )

    async def end(self, session: str) -> None:
        """Close the upstream of a session that was closed."""
        self._used.pop(session, None)
        opened = self._open.pop(session, None)
        if opened is not None:
            await opened.close()
            self._freed.set()

    async def mind(self) -> None:
        """Close upstreams that are not in use, until the task is cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            await asyncio.sleep(IDLE_SECONDS / 4)
            for session, opened in list(self._open.items()):
                if not opened.busy and clock() - self._used.get(session, 0.0) > IDLE_SECONDS:
                    await self.end(session)

    async def close(self) -> None:
        """Close all upstreams."""
        await asyncio.gather(*(self.end(session) for session in list(self._open)))

    async def _initialized(self, session: WebhookSession, message: Message) -> AsyncGenerator[bytes, None]:
        """Open the upstream with the client's handshake, which the record keeps if the server accepts it."""
        line = dumps(message).decode()
        if len(line) > MAX_HANDSHAKE_BYTES:
            yield refused(message, f"initialize has at most {MAX_HANDSHAKE_BYTES} bytes here")
            return
        await self._own(session)
        await self.end(session.id)
        opened = await self._opened(session, shake=False)
        async with aclosing(opened.ask(message)) as lines:
            async for each in lines:
                if "result" in (parse(each) or {}):
                    await self._sessions.change(session.id, lambda found: replace(found, handshake=(line,)))
                yield each
        self._note_use(session.id)

    async def _opened(self, session: WebhookSession, *, shake: bool = True) -> OpenSession:
        lock = self._opening.get(session.id) or asyncio.Lock()
        self._opening[session.id] = lock
        async with lock:
            found = self._open.get(session.id)
            if found is not None and found.ended:
                await self.end(session.id)
                found = None
            if found is None:
                await self._own(session)
                await self._make_room()
                found = OpenSession(self._host, partial(self._own_message, session.id))
                self._open[session.id] = found  # counts from now on
                try:
                    await found.open()
                    if shake:
                        await found.shake_hands(session.handshake)
                except BaseException:
                    await self.end(session.id)
                    raise
            self._note_use(session.id)
        return found

    async def _own(self, session: WebhookSession) -> None:
        """Note that this process has the upstream, unless another one has it meanwhile.

        Raises:
            UpstreamError: another process has it; the request goes there with its next attempt.
        """
        if session.instance == self._instance:
            return

        def changed(found: WebhookSession) -> WebhookSession:
            if found.instance not in (session.instance, self._instance):
                raise UpstreamError("Another process has opened this session meanwhile")
            return replace(found, instance=self._instance)

        await self._sessions.change(session.id, changed)

    async def _make_room(self) -> None:
        """Wait until fewer than MOST_OPEN upstreams are open; one that is not in use is closed for that."""
        while len(self._open) >= MOST_OPEN:
            idle = next((session for session, opened in self._open.items() if not opened.busy), None)
            if idle is not None:
                await self.end(idle)
            else:
                self._freed.clear()
                await self._freed.wait()

    def _note_use(self, session: str) -> None:
        if session in self._open:
            self._open.move_to_end(session)
            self._used[session] = asyncio.get_running_loop().time()
        if not self._open or len(self._open) < MOST_OPEN or not all(each.busy for each in self._open.values()):
            self._freed.set()

    async def _own_message(self, session: str, line: bytes) -> None:
        """Store a message that belongs to no request."""
        key = ExchangeKey(self._server, session, OWN_MESSAGES)
        for _ in range(_ATTEMPTS):
            try:
                last = await self._store.last(key)
                await self._store.append(key, Said(last.seq + 1 if last else 1, line), _OWN_SECONDS)
            except ConflictError:
                continue
            except BrokerPlaneError as error:
                log.warning("A message of the server was lost: %s", error.brief)
            return
