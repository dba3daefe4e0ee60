"""A server behind a webhook front as an upstream: messages go out as POSTs, and come in by a channel of a receiver."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from typing import Any

from broker_plane.errors import BrokerPlaneError, McpSessionNotFoundError, UpstreamError, WireError
from broker_plane.exchange.keys import idempotency_key
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.proxy.messages import VERSION, Message, is_key, key_asked, meta_of, params_of, parse, wrong_with
from broker_plane.transports.webhook.channel import CallbackChannel
from broker_plane.transports.webhook.front_requests import FrontAnswer, FrontRequests
from broker_plane.transports.webhook.message_ids import exchange_of, is_kept, new_exchange, parse_message_id
from broker_plane.transports.webhook.posted import CALLBACK, SECRET
from broker_plane.wire.exact_json import dumps

log = redacted_logger(__name__)

_SILENT_SECONDS = 15.0
"""After so long without a message, what is stored is fetched: a callback may have been lost on the way."""

_ENTROPY_BYTES = 16
_CANCELLED = "notifications/cancelled"


class FrontUpstream:
    """The Upstream port."""

    def __init__(
        self, front: FrontRequests, channel: CallbackChannel, callback: str, opened: Callable[[str], None]
    ) -> None:
        """`opened` is called with the id of the session, once it is known."""
        self.code = 0
        self._front = front
        self._channel = channel
        self._callback = callback
        self._opened = opened
        self._registered = False
        self._registering = asyncio.Lock()
        self._in_order = asyncio.Lock()
        self._fetched = ("", 0)
        """The session whose stored messages were fetched, and up to which position. Another one begins at 0."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._asking: dict[str, asyncio.Task[None]] = {}
        """The requests that are being sent, by exchange."""

    async def write(self, line: bytes) -> None:
        """As `Upstream.write`. A request that the front does not accept is answered with an error."""
        message = parse(line)
        wrong = "it is not valid JSON" if message is None else wrong_with(message)
        if message is None or wrong:
            self._channel.refuse(key_asked(line), WireError(f"This is not an MCP message: {wrong}"))
        elif "method" in message and is_key(message.get("id")):
            await self._ask(message)
        else:
            await self._tell(message)

    def close_input(self) -> None:
        """As `Upstream.close_input`."""
        self._channel.close()

    async def pieces(self) -> AsyncIterator[bytes]:
        """As `Upstream.pieces`."""
        async for line in self._channel.lines():
            yield line

    async def rotate(self, secret: str) -> None:
        """Let the front sign with another secret. Raises as `FrontRequests.post`."""
        await self._registration()
        self._channel.trust(secret)
        self._registered = False
        await self._registration()

    async def fetch_when_silent(self) -> None:
        """Fetch what is stored whenever requests wait and nothing arrives; until the task is cancelled."""
        while True:
            taken = self._channel.taken
            await asyncio.sleep(_SILENT_SECONDS)
            if self._channel.waits and self._registered and taken == self._channel.taken:
                session = self._channel.session
                try:
                    await self._fetch(session)
                except McpSessionNotFoundError:
                    self._lose(session)
                except BrokerPlaneError as error:
                    log.debug("What is stored is fetched later: %s", error)

    async def close(self) -> None:
        """End what is being sent."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _ask(self, message: Message) -> None:
        try:
            key = idempotency_key(message)
            exchange = exchange_of(key) if key else new_exchange(secrets.token_bytes(_ENTROPY_BYTES))
            sent = self._channel.expect(exchange, message)
        except WireError as error:
            self._channel.refuse(message["id"], error)
            return
        if sent is None:
            return
        asked = self._asked(sent, exchange)
        if VERSION not in meta_of(message):  # in the handshake era the order of messages counts
            async with self._in_order:
                await asked
            return
        self._asking[exchange] = task = self._start(asked)
        task.add_done_callback(lambda _: self._asking.pop(exchange, None))

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _asked(self, message: Message, exchange: str) -> None:
        try:
            answer = await self._posted(message, "" if is_kept(exchange) else exchange)
            if answer.fields.get("repeated"):
                await self._fetch_exchange(exchange)
        except BrokerPlaneError as error:
            if self._channel.expects(exchange):
                log.warning("%s", error)
            self._channel.fail(exchange, error)

    async def _tell(self, message: Message) -> None:
        """Send a message that has no answer."""
        if message.get("method") == _CANCELLED:
            params = params_of(message)
            exchange = self._channel.leave(params.get("requestId"))
            if exchange is None:
                return
            message = {**message, "params": {**params, "requestId": exchange}}
            if (asking := self._asking.get(exchange)) is not None:
                self._start(self._cancel(asking, message))
                return
        try:
            async with self._in_order:
                await self._posted(message)
        except BrokerPlaneError as error:
            log.warning("%s", error)

    async def _cancel(self, asking: asyncio.Task[None], message: Message) -> None:
        """Send a cancellation after its request: the front would not know what it cancels."""
        await asyncio.wait([asking])
        with suppress(BrokerPlaneError):
            await self._posted(message)

    async def _posted(self, message: Message, exchange: str = "") -> FrontAnswer:
        await self._registration()
        session = self._channel.session
        try:
            return await self._front.post(message, session, exchange)
        except McpSessionNotFoundError:
            self._lose(session)
            raise

    def _lose(self, session: str) -> None:
        """Answer what waits in a session that was closed. The next message opens another one."""
        if self._channel.session == session:
            self._registered = False
            self._channel.lose(UpstreamError("The session was closed"))

    async def _registration(self) -> None:
        """Name the callback to the front once, which opens the session, or goes on with it."""
        async with self._registering:
            if self._registered:
                return
            given = {CALLBACK: self._callback, SECRET: self._channel.secrets()[0]}
            try:
                answer = await self._front.post(given, self._channel.session)
            except McpSessionNotFoundError:
                if not self._channel.session:
                    raise
                self._channel.lose_session()  # it has expired meanwhile
                answer = await self._front.post(given, "")
            session = answer.fields.get("sessionId")
            if not isinstance(session, str) or not self._channel.knows(session):
                raise UpstreamError("The front has opened no session; is this the URL of a webhook front?")
            self._channel.session, self._registered = session, True
            self._opened(session)

    async def _fetch(self, session: str) -> None:
        """Take the stored messages of the session that were not fetched before."""
        more = True
        while more:
            after = self._fetched[1] if self._fetched[0] == session else 0
            answer = await self._front.messages(session, after)
            for each in answer.fields.get("messages", ()):
                if not self._take(each):
                    return
            self._fetched = session, answer.fields["after"]
            more = bool(answer.fields.get("more"))

    async def _fetch_exchange(self, exchange: str) -> None:
        """Take the stored messages of a request that was made before."""
        after, more = 0, True
        while more and self._channel.expects(exchange):
            answer = await self._front.messages(self._channel.session, after, exchange)
            for each in answer.fields.get("messages", ()):
                while not self._take(each):
                    await self._channel.until_read()
            after = answer.fields["after"]
            more = bool(answer.fields.get("more"))

    def _take(self, entry: Any) -> bool:
        return self._channel.take(parse_message_id(entry["id"]), dumps(entry["message"]))
