"""An instance's side of durable requests: claimed from JetStream, carried out under a lease, answered once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from time import perf_counter_ns
from typing import Any

from broker_plane.broker.connection import Connection
from broker_plane.broker.messages import Message as NatsMessage
from broker_plane.broker.service import ServiceCounts
from broker_plane.broker.subscriptions import Served
from broker_plane.errors import BrokerPlaneError, StorageError
from broker_plane.exchange.headers import DIGEST, REPLY
from broker_plane.exchange.keys import is_exchange_id
from broker_plane.exchange.messages import ExchangeKey, Said
from broker_plane.plane.exchanges.ports import Asked
from broker_plane.plane.exchanges.run import deadline_of
from broker_plane.plane.exchanges.worker import ExchangeWorker
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.plane.tasks import cancel_and_forget
from broker_plane.proxy.messages import failed_line, key_asked, parse
from broker_plane.storage.exchanges import NatsExchanges
from broker_plane.transports.hosting import ServerHost
from broker_plane.transports.nats.handed_over import HandedOver
from broker_plane.transports.nats.replies import busy_line, inbox_of, publish_alive, publish_end, publish_numbered
from broker_plane.transports.nats.returned_callers import ReturnedCallers
from broker_plane.transports.nats.wire_form import (
    DURABLE_METHODS,
    QUEUE,
    SESSION_LETTER,
    STATE,
    Resume,
    State,
    is_named_otherwise,
    parse_resume,
    with_trace,
)
from broker_plane.wire import json_rpc
from broker_plane.wire.exact_json import dumps

log = redacted_logger(__name__)

_LATE_SECONDS = 60.0
"""A request is answered at its deadline; so long after it there must be an answer."""

_MOST_RESUMED = 64
"""Callers whose messages are read from the store at once."""


class DurableServer:
    """Carries out durable requests, and tells callers that come back what was said about theirs."""

    def __init__(
        self, connection: Connection, host: ServerHost, server: str, counts: ServiceCounts, drain_seconds: float
    ) -> None:
        self._connection = connection
        self._host = host
        self._server = server
        self._counts = counts
        self._store = NatsExchanges(connection)
        self._handed_over = HandedOver(connection, server)
        self._worker = ExchangeWorker(
            self._store,
            server,
            SESSION_LETTER,
            self._carried_out,
            self,
            now=connection.clock.now,
            drain_seconds=drain_seconds,
            hand_over=self._handed_over.hand_over,
            client_of=self._client_of,
            turn_away=self._turn_away,
            interrupted=host.interrupt,
        )
        self._running: dict[ExchangeKey, Asked] = {}
        self._returned = ReturnedCallers(asyncio.get_running_loop().time)
        self._served: list[Served] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._working: asyncio.Task[None] | None = None

    async def start(self) -> None:
        names, serve = self._connection.names, self._connection.serve
        await self._store.ensure()
        await self._handed_over.start()
        self._served = [
            await serve(names.mcp_subject(self._server, "attach", "*", "*"), self._attach, queue=""),
            await serve(names.mcp_subject(self._server, "resume", "*", "*"), self._begin(self._resume), queue=QUEUE),
            await serve(names.mcp_subject(self._server, "got", "*"), self._begin(self._forget), queue=QUEUE),
        ]
        self._working = asyncio.create_task(self._worker.run())
        self._working.add_done_callback(_log_failure)

    def running(self) -> list[dict[str, Any]]:
        """The exchanges that are carried out, without their sessions, which are secrets."""
        return [{"exchange": key.exchange, "attempt": asked.attempt} for key, asked in self._running.items()]

    async def stop_working(self) -> None:
        """Claim nothing more, let requests end for a while, and give the others back."""
        if self._working is not None:
            await cancel_and_forget(self._working)

    async def close(self) -> None:
        await self.stop_working()
        await self._handed_over.close()
        await self._connection.stop_serving(self._served)
        for task in list(self._tasks):
            await cancel_and_forget(task)

    def cancel(self, session: str, exchange: str) -> None:
        """Cancel a request, wherever it is."""
        if is_exchange_id(session) and is_exchange_id(exchange):
            self._start(self._worker.cancel(ExchangeKey(self._server, session, exchange)))

    # As the worker needs it.

    def _client_of(self, asked: Asked) -> str:
        named = asked.headers.get(REPLY, "")
        return self._connection.names.client_of(named) if self._connection.names.is_inbox(named) else ""

    async def _turn_away(self, asked: Asked) -> None:
        for inbox in self._inboxes(asked):
            await publish_numbered(self._connection, inbox, 1, busy_line(asked.line), last=True, headers={})
            await publish_end(self._connection, inbox)

    async def said(self, asked: Asked, said: Said) -> None:
        """Pass on a stored message to the inbox of the caller, and to those of callers that came back."""
        for inbox in self._inboxes(asked):
            await publish_numbered(self._connection, inbox, said.seq, said.line, last=said.last, headers={})
            if said.last:
                await publish_end(self._connection, inbox)
        if said.last:
            self._returned.forget(asked.key)

    async def alive(self, asked: Asked) -> None:
        for inbox in self._inboxes(asked):
            await publish_alive(self._connection, inbox)

    def _inboxes(self, asked: Asked) -> list[str]:
        named = asked.headers.get(REPLY, "")
        return [*([named] if self._connection.names.is_inbox(named) else []), *self._returned.of(asked.key)]

    async def _carried_out(self, asked: Asked) -> AsyncGenerator[bytes, None]:
        """The messages about a request."""
        began = perf_counter_ns()
        request = parse(asked.line)
        self._running[asked.key] = asked
        try:
            method = request.get("method") if request is not None else None
            if request is None or not isinstance(method, str) or method not in DURABLE_METHODS:
                yield failed_line(key_asked(asked.line), "This request cannot be durable", json_rpc.INVALID_REQUEST)
            elif is_named_otherwise(request, asked.headers):
                yield failed_line(request.get("id"), "A header does not match the request", json_rpc.INVALID_REQUEST)
            else:
                async with self._host.request(with_trace(request, asked.headers)) as messages:
                    async for message in messages:
                        yield dumps(message)
        except BrokerPlaneError as error:
            self._counts.fail(str(error))
            raise
        finally:
            self._running.pop(asked.key, None)
            self._counts.note(perf_counter_ns() - began)

    # Callers that come back.

    def _begin(self, answer: Callable[[NatsMessage], Awaitable[None]]) -> Callable[[NatsMessage], Awaitable[None]]:
        """Answers in a task, so that nobody waits for the reads of others; too many are dropped, and come again."""

        async def begin(message: NatsMessage) -> None:
            if len(self._tasks) < _MOST_RESUMED:
                self._start(answer(message))

        return begin

    def _start(self, work: Awaitable[None]) -> None:
        task = asyncio.create_task(_quietly(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _attach(self, message: NatsMessage) -> None:
        """Send what follows about a request to another inbox as well, if it runs here."""
        key, inbox = self._key(message), inbox_of(self._connection.names, message)
        if key is not None and inbox:
            self._returned.add(key, inbox)

    async def _resume(self, message: NatsMessage) -> None:
        """Publish the stored messages about a request, and its state."""
        key, inbox = self._key(message), inbox_of(self._connection.names, message)
        resume = parse_resume(message.data)
        if key is None or resume is None or not inbox:
            return
        asked = await self._store.find(key)
        state: State = "unknown"
        if asked is not None and _is_other(asked.headers, resume):
            state = "other"
        else:
            found = await self._store.messages(key, resume.after)
            for said in found:
                await publish_numbered(self._connection, inbox, said.seq, said.line, last=said.last, headers={})
            if found and found[-1].last:
                state = "answered"
            elif asked is not None:
                state = "lost" if await self._is_lost(asked) else "running"
        await self._connection.publish(inbox, b"", headers={STATE: state})

    async def _is_lost(self, asked: Asked) -> bool:
        """Whether a request is finished without an answer in the store."""
        late = self._connection.clock.now() > deadline_of(asked) + _LATE_SECONDS
        if not late and not await self._store.is_finished(asked.key):
            return False
        last = await self._store.last(asked.key)  # it may have been answered in between
        return last is None or not last.last

    async def _forget(self, message: NatsMessage) -> None:
        """Remove what is stored of a session: its client has all the answers."""
        session = message.subject.rpartition(".")[2]
        if is_exchange_id(session):
            await self._store.forget_session(self._server, session)

    def _key(self, message: NatsMessage) -> ExchangeKey | None:
        *_, session, exchange = message.subject.split(".")
        is_key = is_exchange_id(session) and is_exchange_id(exchange)
        return ExchangeKey(self._server, session, exchange) if is_key else None


def _is_other(headers: Mapping[str, str], resume: Resume) -> bool:
    """Whether the stored request is another one than the caller has made under the same key."""
    return bool(resume.request) and headers.get(DIGEST, resume.request) != resume.request


async def _quietly(work: Awaitable[None]) -> None:
    try:
        await work
    except BrokerPlaneError as error:
        log.debug("A caller was not answered, and will ask again: %s", error)


def _log_failure(working: asyncio.Task[Any]) -> None:
    if not working.cancelled() and (error := working.exception()) is not None:
        said = str(error) if isinstance(error, StorageError) else repr(error)
        log.error("Durable requests are not carried out any more: %s", said)
