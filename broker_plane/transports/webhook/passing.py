"""Passes what concerns a session on to the process that has its upstream, over NATS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing, suppress
from typing import Any

from broker_plane.broker.connection import Connection
from broker_plane.broker.direct import status
from broker_plane.broker.messages import Message as NatsMessage
from broker_plane.errors import BrokerPlaneError, BrokerUnavailableError, UpstreamError
from broker_plane.exchange.headers import ALIVE, LAST, PART, SEQ
from broker_plane.exchange.messages import Said
from broker_plane.exchange.parts import PartJoiner, part_header, split
from broker_plane.exchange.receiver import Received
from broker_plane.plane.exchanges.limits import ALIVE_SECONDS
from broker_plane.plane.exchanges.ports import Asked
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.proxy.messages import is_answer, parse
from broker_plane.transports.webhook.handshakes import HandshakeSessions
from broker_plane.transports.webhook.instances import FrontInstances
from broker_plane.transports.webhook.record import WebhookSession
from broker_plane.transports.webhook.sessions import WebhookSessions
from broker_plane.web.heartbeats import items_or_heartbeats

log = redacted_logger(__name__)

RUN, CANCEL, TELL, END, FAILED = "Bp-Run", "Bp-Cancel", "Bp-Tell", "Bp-End", "Bp-Failed"
WAKE = "Bp-Wake"
_HEADER_BYTES = 8192
_MOST_BYTES = 64 << 20
_SILENT_SECONDS = 3 * ALIVE_SECONDS
_TELL_SECONDS = 10.0
_MOST_TASKS = 1_000


class PassedOn:
    """Both sides: passing on to another process, and carrying out what was passed on to this one."""

    def __init__(
        self,
        connection: Connection,
        instances: FrontInstances,
        sessions: WebhookSessions,
        handshakes: HandshakeSessions,
    ) -> None:
        self._connection = connection
        self._instances = instances
        self._sessions = sessions
        self._handshakes = handshakes
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.woken: Callable[[str], None] = lambda session: None
        """Sends what is stored of a session; set by the sender of this process."""

    async def run(self, owner: str, session: str, asked: Asked) -> AsyncGenerator[bytes, None]:
        """Let `owner` carry out a request; yields the messages about it.

        Raises:
            UpstreamError: it has ended, or its upstream has.
        """
        subject, answered = self._instances.at(owner, session), False
        inbox = self._connection.inbox()
        async with self._connection.subscribe(inbox) as subscription:
            await self._connection.publish(subject, asked.line, reply=inbox, headers={RUN: asked.key.exchange})
            parts, received = PartJoiner(_MOST_BYTES), Received()
            try:
                while not answered:
                    message = await subscription.next(_SILENT_SECONDS)
                    headers = message.headers or {}
                    if status(message) or FAILED in headers:
                        raise UpstreamError(headers.get(FAILED, "The process that has this session has ended"))
                    line = parts.take(message.data, headers.get(PART)) if ALIVE not in headers else None
                    if line is not None:
                        for said in received.take(Said(int(headers[SEQ]), line, LAST in headers)):
                            answered = said.last
                            yield said.line
            except BrokerUnavailableError as error:
                raise UpstreamError("The process that has this session does not respond") from error
            finally:
                if not answered:
                    with suppress(BrokerPlaneError):
                        await self._connection.publish(subject, b"", headers={CANCEL: asked.key.exchange})

    async def tell(self, owner: str, session: WebhookSession, line: bytes) -> None:
        """Pass a notification or an answer of the client on to `owner`; ignored if it has ended.

        Raises:
            BrokerUnavailableError: it is unknown whether it arrived.
        """
        subject = self._instances.at(owner, session.id)
        await self._connection.request(subject, line, {TELL: "1"}, seconds=_TELL_SECONDS)

    async def end(self, owner: str, session: WebhookSession) -> None:
        """Say that a session was closed."""
        await self._connection.publish(self._instances.at(owner, session.id), b"", headers={END: "1"})

    async def wake(self, owner: str, session: str) -> None:
        """Let `owner` send what is stored of a session."""
        await self._connection.publish(self._instances.at(owner, session), b"", headers={WAKE: "1"})

    async def take(self, message: NatsMessage) -> None:
        """Carry out what another process has passed on."""
        headers, session = message.headers or {}, message.subject.rpartition(".")[2]
        if (exchange := headers.get(CANCEL)) is not None:
            if task := self._tasks.get(f"{session}.{exchange}"):
                task.cancel()
        elif WAKE in headers:
            self.woken(session)
        elif END in headers:
            self._start(f"{session}.", self._handshakes.end(session))
        elif not self._connection.names.is_inbox(message.reply):
            log.warning("A message of another process names no inbox; it was dropped")
        elif (exchange := headers.get(RUN)) is not None:
            self._start(f"{session}.{exchange}", self._run(session, message))
        elif TELL in headers:
            self._start(f"{session}.{message.reply}", self._tell(session, message))

    async def close(self) -> None:
        """End everything that was passed on."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        if name in self._tasks or len(self._tasks) >= _MOST_TASKS:
            work.close()
            return
        task = self._tasks[name] = asyncio.create_task(work)
        task.add_done_callback(lambda _: self._tasks.pop(name, None))

    async def _tell(self, session: str, message: NatsMessage) -> None:
        with suppress(BrokerPlaneError):
            found = await self._sessions.find(session)
            if found is not None:
                await self._handshakes.tell(found, message.data)
            await self._connection.publish(message.reply, b"")

    async def _run(self, session: str, message: NatsMessage) -> None:
        found, request = await self._sessions.find(session), parse(message.data)
        if found is None or request is None:
            return
        number = 0
        try:
            async with (
                aclosing(self._handshakes.run(found, request)) as lines,
                aclosing(items_or_heartbeats(lines, ALIVE_SECONDS)) as items,
            ):
                async for line in items:
                    if line is None:
                        await self._connection.publish(message.reply, b"", headers={ALIVE: "1"})
                    else:
                        number += 1
                        await self._say(message.reply, number, line)
        except BrokerPlaneError as error:
            with suppress(BrokerPlaneError):
                await self._connection.publish(message.reply, b"", headers={FAILED: error.brief[:500]})

    async def _say(self, inbox: str, number: int, line: bytes) -> None:
        parts = split(line, self._connection.max_payload - _HEADER_BYTES)
        own = {SEQ: str(number)} | ({LAST: "1"} if is_answer(parse(line) or {}) else {})
        for each, part in enumerate(parts, 1):
            more = {PART: part_header(each, len(parts))} if len(parts) > 1 else {}
            await self._connection.publish(inbox, part, headers=own | more)
