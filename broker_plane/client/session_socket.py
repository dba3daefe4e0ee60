"""A session over a WebSocket of JSON messages (docs/sessions.md): the SessionChannel port.

The socket reconnects with back-off until the grant ends. Requests whose answer was lost with a connection are sent
again on the next one: the session recognizes them by their member `request`.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx2
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException

from broker_plane.client.answers import refusal_of
from broker_plane.client.capped import ShortResponse
from broker_plane.client.http import verifying
from broker_plane.client.session_messages import end_of, event_of, message_of
from broker_plane.errors import (
    BrokerPlaneError,
    BrokerUnavailableError,
    PullError,
    SessionError,
    TooLargeError,
    TransferInterruptedError,
    WireError,
)
from broker_plane.plane.redacted_logs import redact_loggers
from broker_plane.plane.retry import retry_while_retryable
from broker_plane.plane.sessions.channel import (
    AccessEnded,
    EventsMissed,
    SessionEvent,
    answer_of,
)
from broker_plane.plane.sessions.event_queue import EventQueue
from broker_plane.plane.tasks import cancel_and_forget
from broker_plane.wire.exact_json import dumps
from broker_plane.wire.presigned_errors import error_of_fields
from broker_plane.wire.urls import SESSION_SUBPROTOCOL

redact_loggers("websockets.client")

MAX_MESSAGE_BYTES = 32 << 20
"""A whole artifact, with JSON's escapes and the rest of `show`."""

_MAX_REQUEST_BYTES = 1 << 20
"""Of a request to a bridge."""

_TOO_BIG = 1009
"""The close code (RFC 6455) with which this client ends a connection that sends more than it takes."""

_RETRY_SECONDS = 10.0
"""How long a request is retried that the bridge refuses for the moment."""

_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.05, 2.0
_CLIENT_ERRORS = range(4400, 4500)
"""Close codes: 4000 and the HTTP status of an error that a retry cannot fix."""


@dataclass(slots=True)
class _Pending:
    """A request without an answer yet; `sent` is how often it was sent."""

    raw: bytes
    answer: asyncio.Future[dict[str, Any]]
    sent: int = 0


class SessionSocketClient:
    """One participant's WebSocket; made by `session_socket`."""

    shows_presence = True

    def __init__(self, url: str, query: Mapping[str, str], timeout: float, headers: Mapping[str, str]) -> None:
        self._url = url
        self._query = query
        self._timeout = timeout
        self._headers = dict(headers)
        self._numbers = itertools.count(1)
        self._pending: dict[int, _Pending] = {}
        self._events = EventQueue()
        self._socket: ClientConnection | None = None
        self._opened = asyncio.Event()
        self.greeting: Mapping[str, Any] | None = None

    async def request(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """As the port. A refusal that passes, such as that of a rate limit, is retried for a while."""
        return await retry_while_retryable(partial(self._attempt, fields), _RETRY_SECONDS)

    async def _attempt(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        number = next(self._numbers)
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        raw = dumps({**fields, "id": number})
        if len(raw) > _MAX_REQUEST_BYTES:
            raise TooLargeError(f"The request has {len(raw)} bytes; a request to a session has at most 1 MiB")
        pending = self._pending[number] = _Pending(raw, answer)
        try:
            if self._events.ended is not None:
                raise self._events.ended.error
            await self._send(pending)
            async with asyncio.timeout(self._timeout):
                return await answer
        except TimeoutError as error:
            raise _unanswered(pending) from error
        finally:
            del self._pending[number]

    def events(self) -> AsyncGenerator[SessionEvent, None]:
        """As the port."""
        return self._events.read()

    async def opened(self) -> None:
        """Wait for the first connection.

        Raises:
            BrokerPlaneError: the bridge refused it, or nothing answers there.
        """
        try:
            async with asyncio.timeout(self._timeout):
                await self._opened.wait()
        except TimeoutError as error:
            raise BrokerUnavailableError("The bridge does not answer; it may be restarting. Try again") from error
        if self._events.ended is not None:
            raise self._events.ended.error

    async def stay_connected(self) -> None:
        """Connect, and connect again after each break, until the access ends."""
        wait = _FIRST_WAIT_SECONDS
        while True:
            try:
                async with self._connected() as socket:
                    wait = _FIRST_WAIT_SECONDS
                    await self._receive(socket)
            except BrokerPlaneError as error:
                if not error.retryable:
                    self._end(error)
                    return
                wait = max(wait, min(error.retry_after or 0, 10 * _LONGEST_WAIT_SECONDS))
            finally:
                self._socket = None
            await asyncio.sleep(wait * random.uniform(0.5, 1))  # noqa: S311  # jitter
            wait = min(2 * wait, _LONGEST_WAIT_SECONDS)

    def on_done(self, task: asyncio.Task[None]) -> None:
        """End the access if `stay_connected` failed; requests and readers would wait forever."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._end(SessionError("The connection to the session failed; see the log", reason=repr(error)))

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[ClientConnection]:
        """An open socket whose bridge has sent its greeting; errors of the library become ours."""
        try:
            async with connect(**self._options()) as socket:
                async with asyncio.timeout(self._timeout):
                    greeting = message_of(await socket.recv())
                if not isinstance(greeting.get("hello"), dict):
                    raise end_of(greeting) or WireError("The server at this address is not a bridge with sessions")
                if self.greeting is None:
                    self.greeting = greeting["hello"]
                else:
                    self._events.put(EventsMissed())
                self._socket = socket
                for pending in list(self._pending.values()):
                    await socket.send(pending.raw, text=True)
                    pending.sent += 1
                self._opened.set()
                yield socket
        except InvalidStatus as error:
            response = error.response
            headers = httpx2.Headers(list(response.headers.raw_items()))
            raise refusal_of(ShortResponse(response.status_code, headers, bytes(response.body or b""))) from error
        except ValueError as error:  # a redirect to another host
            raise PullError("The server redirects; use the address of the bridge itself", reason=repr(error)) from error
        except (WebSocketException, OSError, TimeoutError, EOFError) as error:
            sent = getattr(error, "sent", None)
            if sent is not None and sent.code == _TOO_BIG:  # the same request would be answered in the same way
                self._fail_pending(TooLargeError("The session's answer is too large; ask for a smaller part of it"))
            raise TransferInterruptedError("The connection to the bridge was lost", reason=repr(error)) from error

    def _options(self) -> dict[str, Any]:
        """The arguments of `connect`. The host is named, so that the library follows no redirect to another one."""
        query = {**self._query, "value": "0"}
        parts = urlsplit(self._url)
        secure = parts.scheme == "wss"
        return {
            "uri": f"{self._url}?{urlencode(query)}",
            "host": parts.hostname,
            "port": parts.port or (443 if secure else 80),
            "subprotocols": [SESSION_SUBPROTOCOL],
            "additional_headers": self._headers,
            "max_size": MAX_MESSAGE_BYTES,
            "compression": None,
            "proxy": None,
            "open_timeout": self._timeout,
            "close_timeout": 2,
            **({"ssl": verifying(), "server_hostname": parts.hostname} if secure else {}),
        }

    async def _receive(self, socket: ClientConnection) -> None:
        """Pass on what arrives, until the connection ends.

        Raises:
            BrokerPlaneError: the bridge has ended the access, with the reason.
        """
        async for raw in socket:
            fields = message_of(raw)
            if (ended := end_of(fields)) is not None:
                raise ended
            if "id" in fields:
                self._answer(fields)
            elif (event := event_of(fields)) is not None:
                self._events.put(event)
        if socket.close_code in _CLIENT_ERRORS:
            raise error_of_fields({"code": socket.close_reason, "message": "The bridge ended the access"})

    async def _send(self, pending: _Pending) -> None:
        """Send a request now if there is a connection; otherwise the next connection sends it."""
        if self._socket is None:
            return
        try:
            await self._socket.send(pending.raw, text=True)
            pending.sent += 1
        except (WebSocketException, OSError):
            pending.sent += 1  # it may have arrived; the next connection sends it again

    def _answer(self, fields: dict[str, Any]) -> None:
        pending = self._pending.get(fields["id"]) if type(fields["id"]) is int else None
        if pending is None or pending.answer.done():
            return
        try:
            pending.answer.set_result(answer_of(fields))
        except BrokerPlaneError as error:
            pending.answer.set_exception(error)

    def _end(self, error: BrokerPlaneError) -> None:
        self._events.put(AccessEnded(error))
        self._fail_pending(error)
        self._opened.set()

    def _fail_pending(self, error: BrokerPlaneError) -> None:
        for pending in self._pending.values():
            if not pending.answer.done():
                pending.answer.set_exception(error)


@asynccontextmanager
async def session_socket(
    url: str, query: Mapping[str, str], *, timeout: float, headers: Mapping[str, str]
) -> AsyncIterator[SessionSocketClient]:
    """A connected SessionSocketClient to `url` (`ws(s)://…/v1/sessions/<grant>`), for the block.

    `query` has `name` and `type`; `headers` identify the holder of a grant that is restricted to an audience.

    Raises:
        GrantError, SessionNotFoundError: the bridge refused it. BrokerUnavailableError: nothing answers there.
    """
    socket = SessionSocketClient(url, query, timeout, headers)
    connecting = asyncio.create_task(socket.stay_connected())
    connecting.add_done_callback(socket.on_done)
    try:
        await socket.opened()
        yield socket
    finally:
        await cancel_and_forget(connecting)


def _unanswered(pending: _Pending) -> BrokerUnavailableError:
    if not pending.sent:
        return BrokerUnavailableError("The connection to the bridge is lost, so nothing was sent; try again")
    return BrokerUnavailableError(
        "The session did not answer in time: it is unknown whether it applied this. Read the log before you repeat it"
    )
