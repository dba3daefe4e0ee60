"""A server at a URL (Streamable HTTP) as a duplex connection of lines; messages pass as bytes.

A server that is unavailable fails the calls it does not answer, and nothing else: an MCP session that it has lost is
opened again with the client's own handshake.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any, Protocol

import httpx2

from broker_plane.client.capped import read, read_reason
from broker_plane.errors import TooLargeError, UpstreamError, WrongCompressionError
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.proxy.mcp_headers import McpHeaders
from broker_plane.proxy.messages import VERSION, Message, is_key, mapping, meta_of, params_of, parse
from broker_plane.proxy.upstream_http import decoded, sent, shown, unreachable
from broker_plane.wire.exact_json import dumps
from broker_plane.wire.sse import TOO_LONG, EventSplitter, data_of, id_of

log = redacted_logger(__name__)

TIMEOUT = httpx2.Timeout(30.0, read=300.0)
"""As in the SDK's own client: a response may be silent for a long time."""

_HEAD_SECONDS = 330.0
_STOP_SECONDS = 2.0
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 30.0
_RESUMPTIONS = 2
_ONE_LINE = bytes.maketrans(b"\r\n", b"  ")
_SESSION = "mcp-session-id"
_BROKEN = (httpx2.TransportError, httpx2.StreamError, TooLargeError, WrongCompressionError)


class SessionLostError(UpstreamError):
    """The server no longer knows the MCP session, whose id is the message: it was restarted."""


class Answers(Protocol):
    """Where the messages of the server go."""

    def waits(self, key: Any) -> bool:
        """Whether a request is waiting for its answer."""

    async def from_upstream(self, line: bytes) -> None:
        """Process a line from the server."""

    async def unanswered(self, key: Any, said: str) -> None:
        """Fail a request that will get no answer."""


class RemoteServer:
    """A server at a URL as a duplex connection: lines go in by `send`, and its messages go to `connection`.

    Every request is answered, if need be with an error.
    """

    def __init__(
        self,
        client: httpx2.AsyncClient,
        url: str,
        credentials: Mapping[str, str],
        line_bytes: int,
        connection: Answers,
    ) -> None:
        self._client = client
        self._url = url
        self._credentials = credentials
        self._line_bytes = line_bytes
        self._connection = connection
        self._headers = McpHeaders()
        self._session = ""
        self._handshake: list[tuple[bytes, Message]] = []
        self._opening = asyncio.Lock()
        self._requests: dict[Any, tuple[asyncio.Task[None], Message]] = {}
        self._listening: asyncio.Task[None] | None = None
        self._wait = _FIRST_WAIT
        """Seconds until the next attempt to listen."""

    async def send(self, line: bytes, message: Message) -> None:
        """Send a message; the answer to a request arrives later."""
        method, key = message.get("method"), message.get("id")
        if method is not None and is_key(key):
            task = asyncio.create_task(self._request(line, message))
            self._requests[key] = task, message
            task.add_done_callback(lambda done: self._forget(key, done))
            return
        if method == "notifications/cancelled":
            named = params_of(message).get("requestId")
            under_way = self._requests.get(named) if is_key(named) else None
            if under_way is not None and VERSION in meta_of(under_way[1]):
                under_way[0].cancel()  # at 2026-07-28 the closed stream is the cancellation
                return
            if not self._headers.version:
                return
        with suppress(UpstreamError, *_BROKEN):
            await self._notify(line, message)

    async def close(self) -> None:
        """End all requests and the MCP session."""
        tasks = [task for task, _ in self._requests.values()]
        if self._listening is not None:
            tasks.append(self._listening)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session:
            with suppress(UpstreamError, TimeoutError, *_BROKEN):
                async with asyncio.timeout(_STOP_SECONDS), self._sent("DELETE", None, {}):
                    pass

    def _forget(self, key: Any, done: asyncio.Task[None]) -> None:
        if self._requests.get(key, (None, {}))[0] is done:
            del self._requests[key]

    async def _request(self, line: bytes, message: Message) -> None:
        key = message["id"]
        try:
            try:
                await self._answered(line, message)
            except SessionLostError as lost:
                await self._open_again(str(lost))
                await self._answered(line, message)
            said = "The server's answer ended without one to this request"
        except UpstreamError as error:
            said = str(error)
        except httpx2.TransportError as error:
            said = unreachable(self._url, error)
        except (httpx2.StreamError, TooLargeError, WrongCompressionError) as error:
            said = f"The server's answer cannot be passed on: {error}"
        except ConnectionError:
            return  # the client has left
        except Exception as error:  # noqa: BLE001  # every request is answered
            said = f"The server's answer cannot be passed on: {error!r}"
        if self._connection.waits(key):
            log.warning("%s", said)
            await self._connection.unanswered(key, said)

    async def _notify(self, line: bytes, message: Message) -> None:
        """Send a message without an answer."""
        async with self._sent("POST", line, self._headers.headers_for(message)) as response:
            accepted = response.status_code < 300
        if message.get("method") == "notifications/initialized":
            self._handshake[1:] = [(line, message)]
            if accepted and self._session:
                self._listen()

    async def _answered(self, line: bytes, message: Message) -> None:
        session = self._session if message.get("method") != "initialize" else ""
        async with self._sent("POST", line, self._headers.headers_for(message), session=session) as response:
            if await self._refused(response, message, session):
                return
            if message.get("method") == "initialize":
                self._session = response.headers.get(_SESSION, "")
                self._handshake = [(line, message)]
            if _kind(response) == "text/event-stream":
                await self._streamed(response, message)
            else:
                await self._connection.from_upstream(self._line(await read(response, self._line_bytes), message))

    async def _refused(self, response: httpx2.Response, message: Message, session: str) -> bool:
        """Whether the response is an HTTP error, which was passed on. Raises UpstreamError if it has no answer."""
        status = response.status_code
        if status in (202, 204):
            raise UpstreamError("The server accepted the request without an answer")
        if status < 400:
            if _kind(response) not in ("application/json", "text/event-stream"):
                raise UpstreamError(f"The server answered with {_kind(response) or 'no type'}, which is not a message")
            return False
        said = await read_reason(response)
        if session and (status == 404 or (status == 400 and b"ession" in said)):
            raise SessionLostError(session)
        error = mapping(mapping(parse(said)).get("error"))
        if not isinstance(error.get("message"), str) or type(error.get("code")) is not int:
            raise UpstreamError(f"The server at {shown(self._url)} answered with HTTP {status}")
        await self._connection.from_upstream(dumps({"jsonrpc": "2.0", "id": message["id"], "error": error}) + b"\n")
        return True

    async def _open_again(self, lost: str) -> None:
        """Repeat the client's handshake once for all requests that found the MCP session lost."""
        async with self._opening:
            if self._session != lost:
                return
            if not self._handshake:
                raise UpstreamError("The server no longer knows this session; restart the client")
            line, message = self._handshake[0]
            async with self._sent("POST", line, {}, session="") as response:
                if response.status_code >= 300:
                    raise UpstreamError(f"The server was restarted and opens no session: HTTP {response.status_code}")
                self._session = response.headers.get(_SESSION, "")
                if _kind(response) == "text/event-stream":
                    async for _ in self._events(response, answers=True):
                        pass
                else:
                    await read(response, self._line_bytes)
            log.warning("The server at %s was restarted; its session was opened again", shown(self._url))
            for line, message in self._handshake[1:]:
                await self._notify(line, message)

    async def _streamed(self, response: httpx2.Response, message: Message) -> None:
        """Pass on the events up to the answer. A stream that ends early is resumed if possible."""
        seen = [""]
        if await self._until_answered(response, message, seen):
            return
        for _ in range(_RESUMPTIONS if seen[0] else 0):
            await asyncio.sleep(_FIRST_WAIT)
            async with self._sent("GET", None, {**self._headers.version_header, "last-event-id": seen[0]}) as resumed:
                if resumed.status_code >= 300 or _kind(resumed) != "text/event-stream":
                    return
                if await self._until_answered(resumed, message, seen):
                    return

    async def _until_answered(self, response: httpx2.Response, message: Message, seen: list[str]) -> bool:
        try:
            async with aclosing(self._events(response, answers=True)) as events:
                async for event in events:
                    seen[0] = id_of(event) or seen[0]
                    if data := data_of(event):
                        await self._connection.from_upstream(self._line(data, message))
                    if not self._connection.waits(message["id"]):
                        return True
        except httpx2.TransportError:
            if not seen[0]:
                raise
        return False

    def _listen(self) -> None:
        """Open the stream for messages that the server sends without a request."""
        if self._listening is not None:
            self._listening.cancel()
        self._listening = asyncio.create_task(self._heard())

    async def _heard(self) -> None:
        seen = [""]
        while True:
            try:
                if not await self._listen_once(seen):
                    return
            except _BROKEN:
                pass  # the server is unavailable, which the next call reports
            except (UpstreamError, ConnectionError):
                return
            await asyncio.sleep(self._wait)
            self._wait = min(2 * self._wait, _LONGEST_WAIT)

    async def _listen_once(self, seen: list[str]) -> bool:
        """Pass on the events of one GET stream after the last one `seen`; False if the server offers no stream."""
        headers = self._headers.version_header | ({"last-event-id": seen[0]} if seen[0] else {})
        async with self._sent("GET", None, headers) as response:
            if response.status_code >= 300 or _kind(response) != "text/event-stream":
                return False
            self._wait = _FIRST_WAIT
            async with aclosing(self._events(response, answers=False)) as events:
                async for event in events:
                    seen[0] = id_of(event) or seen[0]
                    if data := data_of(event):
                        await self._connection.from_upstream(self._line(data, {}))
        return True

    def _line(self, raw: bytes, pending: Message) -> bytes:
        """A message on one line. Answers on which later headers depend are noted."""
        if pending.get("method") in ("initialize", "tools/list") and (found := parse(raw)) is not None:
            self._headers.learn(found)
        # JSON strings contain no literal line feeds.
        return (raw if b"\n" not in raw and b"\r" not in raw else raw.translate(_ONE_LINE)) + b"\n"

    async def _events(self, response: httpx2.Response, *, answers: bool) -> AsyncGenerator[bytes, None]:
        events = EventSplitter(self._line_bytes)
        async for piece in decoded(response):
            for event in events.feed(piece):
                if event is not TOO_LONG:
                    yield event
                elif answers:
                    raise TooLargeError("an event is longer than BROKER_PLANE_MAX_PROXY_MESSAGE_BYTES")
                else:
                    log.warning("An event of the server exceeds BROKER_PLANE_MAX_PROXY_MESSAGE_BYTES and was dropped")

    @asynccontextmanager
    async def _sent(
        self, method: str, content: bytes | None, headers: Mapping[str, str], *, session: str | None = None
    ) -> AsyncIterator[httpx2.Response]:
        session = self._session if session is None else session
        given = {
            "accept": "text/event-stream" if method == "GET" else "application/json, text/event-stream",
            "accept-encoding": "identity",
            **({"content-type": "application/json"} if content is not None else {}),
            **({_SESSION: session} if session else {}),
            **headers,
            **self._credentials,
        }
        pairs = [(name.encode(), value.encode()) for name, value in given.items()]
        response = await sent(self._client, method, self._url, pairs, content, _HEAD_SECONDS)
        try:
            yield response
        finally:
            await response.aclose()


def _kind(response: httpx2.Response) -> str:
    return str(response.headers.get("content-type", "")).partition(";")[0].strip().lower()
