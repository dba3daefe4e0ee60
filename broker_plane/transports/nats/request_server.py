"""An instance's side of requests that are not stored: any instance of a server answers, to the inbox of the client."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from time import perf_counter_ns

from broker_plane.broker.connection import Connection
from broker_plane.broker.messages import Message as NatsMessage
from broker_plane.broker.service import ServiceCounts
from broker_plane.broker.subscriptions import Served
from broker_plane.errors import BrokerPlaneError, BrokerUnavailableError, UpstreamError
from broker_plane.plane.exchanges.places import Places
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.proxy.messages import Message, failed, failed_line, is_answer, is_key, key_asked, parse
from broker_plane.transports.hosting import ServerHost
from broker_plane.transports.nats.replies import Replies, busy_line, inbox_of
from broker_plane.transports.nats.request_uploads import RequestUploads
from broker_plane.transports.nats.wire_form import (
    ALIVE_SECONDS,
    DURABLE,
    QUEUE,
    SIZE,
    is_named_otherwise,
    method_tokens,
    number_in,
    with_trace,
)
from broker_plane.wire import json_rpc
from broker_plane.wire.exact_json import dumps

log = redacted_logger(__name__)

MOST_REQUESTS = 10_000
MOST_BYTES = 256 << 20
"""Of the requests that an instance answers at once."""

_MISSED = 3
"""So many signs of life in a row that nobody heard: the client has ended."""

_HEADER_MISMATCH = -32020
_INITIALIZE = "initialize"
_LISTEN = "subscriptions.listen"
_STOPPED = "The server has stopped; try again"
_FAILED = "The request failed; see the log of the server"

Key = tuple[str, str]
"""Session and exchange of a request: the last two tokens of its inbox."""


@dataclass(frozen=True, slots=True)
class _Request:
    """A request as it has arrived."""

    subject: str
    line: bytes
    headers: Mapping[str, str]
    inbox: str


@dataclass(slots=True)
class _Running:
    """A request that is being answered."""

    task: asyncio.Task[None]
    replies: Replies
    listens: bool
    """Whether it is a subscription, which has no answer until its client ends it."""
    missed: int = 0
    """Signs of life that nobody heard, in a row."""
    unheard: bool = False
    """Whether nobody heard the last one."""


class RequestServer:
    """Answers requests of 2026-07-28. `initialize` goes to `open_session`, cancellations of stored requests to
    `cancel_stored`.
    """

    def __init__(
        self,
        connection: Connection,
        host: ServerHost,
        server: str,
        counts: ServiceCounts,
        most_bytes: int,
        open_session: Callable[[NatsMessage], Awaitable[None]],
        cancel_stored: Callable[[str, str], None],
    ) -> None:
        self._connection = connection
        self._host = host
        self._subject = connection.names.mcp_subject(server, "rpc")
        self._cancels = connection.names.mcp_subject(server, "cancel")
        self._counts = counts
        self._open_session = open_session
        self._cancel_stored = cancel_stored
        self._running: dict[Key, _Running] = {}
        self._places = Places(MOST_REQUESTS, MOST_BYTES)
        self._served: list[Served] = []
        self._others: list[Served] = []
        self._uploads = RequestUploads(connection, server, most_bytes, MOST_BYTES)
        self._refusals: set[asyncio.Task[None]] = set()
        self._unheard = connection.inbox()
        self._living: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._others = [
            await self._connection.serve(f"{self._cancels}.*.*", self._cancel, queue=""),
            await self._connection.serve(f"{self._unheard}.*.*", self._not_heard, queue=""),
        ]
        await self._uploads.start()
        self._living = asyncio.create_task(self._live())
        self._served = [await self._connection.serve(f"{self._subject}.>", self._begin, queue=QUEUE)]

    async def leave(self) -> None:
        """Take no more requests; those that arrived are answered."""
        served, self._served = self._served, []
        await self._connection.stop_serving(served)

    async def settled(self, seconds: float) -> None:
        """Wait up to `seconds` for the requests that are being answered, apart from subscriptions."""
        if tasks := [each.task for each in self._running.values() if not each.listens]:
            await asyncio.wait(tasks, timeout=seconds)

    async def close(self) -> None:
        """End the requests that are left with an error."""
        await self.leave()
        running, self._running = dict(self._running), {}
        for each in running.values():
            each.task.cancel()
        await asyncio.gather(*(each.task for each in running.values()), return_exceptions=True)
        if self._living is not None:
            self._living.cancel()
        await self._uploads.close()
        await self._connection.stop_serving(self._others)

    async def _begin(self, message: NatsMessage) -> None:
        """Answer in a task, so that no request delays another."""
        inbox = inbox_of(self._connection.names, message)
        if not inbox:
            log.warning("A request to %s names no inbox for its answer; it was dropped", self._subject)
            return
        if message.subject == f"{self._subject}.{_INITIALIZE}":
            await self._open_session(message)
            return
        request = _Request(message.subject, message.data, message.headers or {}, inbox)
        if SIZE in request.headers:
            await self._begin_upload(request)
        elif not self._started(request):
            await self._say_busy(request, request.line)

    def _replies(self, request: _Request) -> Replies:
        return Replies(self._connection, request.inbox)

    async def _begin_upload(self, request: _Request) -> None:
        """Say where the parts of a large request go."""

        def complete(line: bytes) -> None:
            if not self._started(replace(request, line=line)):
                task = asyncio.create_task(self._say_busy(request, line))
                self._refusals.add(task)
                task.add_done_callback(self._refusals.discard)

        size = number_in(request.headers, SIZE)
        if not self._uploads.fits(size):
            said = "The request is larger than BROKER_PLANE_MAX_PROXY_MESSAGE_BYTES of the server allows"
            await self._replies(request).say(failed_line(None, said), last=True)
        elif headers := self._uploads.begin(self._connection.names.client_of(request.inbox), size, complete):
            await self._connection.publish(request.inbox, b"", headers=dict(headers))
        else:
            await self._say_busy(request, b"")

    async def _say_busy(self, request: _Request, line: bytes) -> None:
        """Refuse a request, of which `line` is what has arrived."""
        with suppress(BrokerUnavailableError):
            await self._replies(request).say(busy_line(line), last=True)

    def _started(self, request: _Request) -> bool:
        """Begin to answer a request; False if there is no room for it."""
        tokens = request.inbox.split(".")
        key = (tokens[-2], tokens[-1])
        if key in self._running:
            return True
        if not self._places.take(self._connection.names.client_of(request.inbox), len(request.line)):
            return False
        replies = self._replies(request)
        listens = request.subject == f"{self._subject}.{_LISTEN}"
        self._running[key] = _Running(asyncio.create_task(self._run(key, request, replies)), replies, listens)
        return True

    async def _run(self, key: Key, request: _Request, replies: Replies) -> None:
        began = perf_counter_ns()
        try:
            await self._answer(request, replies)
        except asyncio.CancelledError:
            if key not in self._running:  # this instance ends, and not the request
                await replies.say(failed_line(key_asked(request.line), _STOPPED), last=True)
            raise
        except BrokerUnavailableError as error:
            log.warning("An answer was lost, because NATS cannot be reached: %s", error)
        finally:
            self._places.give(self._connection.names.client_of(request.inbox), len(request.line))
            self._running.pop(key, None)
            self._counts.note(perf_counter_ns() - began)

    async def _answer(self, request: _Request, replies: Replies) -> None:
        message = parse(request.line)
        refusal = self._refusal(message, request)
        if message is None or refusal is not None:
            await replies.say(dumps(refusal), last=True)
            return
        try:
            async with self._host.request(with_trace(message, request.headers)) as messages:
                async for found in messages:
                    await replies.say(dumps(found), last=is_answer(found))
        except UpstreamError as error:
            log.warning("%s", error)
            self._counts.fail(str(error))
            await replies.say(failed_line(message["id"], str(error)), last=True)
        except BrokerPlaneError:
            raise
        except Exception as error:
            # The client must not wait until it gives up because of a bug here, and learns nothing of it.
            log.exception("A request could not be answered")
            self._counts.fail(repr(error))
            await replies.say(failed_line(message["id"], _FAILED), last=True)

    def _refusal(self, message: Message | None, request: _Request) -> Message | None:
        """The error of a request that is not one, or that is another one than its subject and headers say."""
        if message is None:
            return failed(None, "Parse error", json_rpc.PARSE_ERROR)
        key = message.get("id")
        if not is_key(key) or not isinstance(method := message.get("method"), str):
            return failed(key if is_key(key) else None, "This is not a request", json_rpc.INVALID_REQUEST)
        # Permissions name methods by their subjects.
        stated = request.subject[len(self._subject) + 1 :]
        if method_tokens(method) != stated or is_named_otherwise(message, request.headers):
            return failed(key, "The subject or a header does not match the request", _HEADER_MISMATCH)
        return None

    async def _cancel(self, message: NatsMessage) -> None:
        *_, session, exchange = message.subject.split(".")
        if DURABLE not in (message.headers or {}):
            self._end((session, exchange))
            return
        self._cancel_stored(session, exchange)

    def _end(self, key: Key) -> None:
        """End a request without an answer: nobody waits for it."""
        if running := self._running.get(key):
            running.task.cancel()

    async def _live(self) -> None:
        """Say of each request that it still runs, and end those of clients that have ended."""
        while True:
            began = list(self._running.items())
            await asyncio.sleep(ALIVE_SECONDS)
            for key, running in began:
                if self._running.get(key) is not running:
                    continue
                running.missed = running.missed + 1 if running.unheard else 0
                running.unheard = False
                if running.missed >= _MISSED:
                    self._end(key)
                    continue
                try:
                    await running.replies.alive(f"{self._unheard}.{key[0]}.{key[1]}")
                except BrokerUnavailableError:
                    break

    async def _not_heard(self, message: NatsMessage) -> None:
        """nats-server says that nobody heard a sign of life."""
        *_, session, exchange = message.subject.split(".")
        if running := self._running.get((session, exchange)):
            running.unheard = True
