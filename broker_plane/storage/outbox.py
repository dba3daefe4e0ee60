"""The messages of a session's exchanges in the stream BP_MCP_SAID, as they are sent to callbacks.

A position is a stream sequence.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from broker_plane.broker.connection import Connection
from broker_plane.broker.direct import sequence_of
from broker_plane.broker.leader import every, following
from broker_plane.broker.messages import Message
from broker_plane.exchange.headers import LAST, PART, SEQ
from broker_plane.exchange.messages import ExchangeKey, Said
from broker_plane.exchange.parts import PartJoiner
from broker_plane.plane.exchanges.outbox import Outgoing
from broker_plane.plane.exchanges.ports import Claim
from broker_plane.storage.exchanges import NatsExchanges
from broker_plane.storage.layout import ensure_exchanges
from broker_plane.storage.work_queue import NatsWorkQueue

_MOST_BYTES = 64 << 20
_FILLING_PART = 8


class NatsOutbox:
    """The SessionOutbox port. It needs the rights of the user `plane`; the streams are created at the first use."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._names = connection.names
        self._ensured = False

    async def after(
        self, server: str, session: str, position: int, *, exchange: str = "*", most: int = 256
    ) -> AsyncGenerator[Outgoing, None]:
        """As `SessionOutbox.after`."""
        await self._ensure()
        subject = self._names.exchange_subject(server, session, exchange)
        unfinished: dict[str, _Unfinished] = {}
        stored = every(self._connection, self._names.said_stream, subject, position + 1, first=most, most=most)
        async with aclosing(stored) as messages:
            async for message in messages:
                headers, sequence = message.headers or {}, sequence_of(message)
                exchange = headers["Nats-Subject"].rpartition(".")[2]
                began = unfinished.setdefault(exchange, _Unfinished(sequence, PartJoiner(_MOST_BYTES)))
                line = began.parts.take(message.data, headers.get(PART))
                if line is None:
                    continue
                del unfinished[exchange]
                before = min((each.first for each in unfinished.values()), default=sequence + 1) - 1
                outgoing = _outgoing(server, session, message, line, min(before, sequence))
                if outgoing is not None:
                    yield outgoing

    async def next(self, server: str, session: str, position: int) -> Outgoing | None:
        """As `SessionOutbox.next`."""
        await self._ensure()
        subject = self._names.exchange_subject(server, session, "*")
        found = await following(self._connection, self._names.said_stream, subject, position + 1)
        if found is None or PART in (found.headers or {}):
            return None
        return _outgoing(server, session, found, found.data, sequence_of(found))

    async def is_filling(self) -> bool:
        """As `SessionOutbox.is_filling`."""
        for stream in (self._names.requests_stream, self._names.said_stream):
            info = await self._connection.retrying_api(f"STREAM.INFO.{stream}")
            most = int(info["config"]["max_bytes"])
            if most > 0 and int(info["state"]["bytes"]) * _FILLING_PART >= most:
                return True
        return False

    async def requests(self, server: str, session: str) -> AsyncGenerator[tuple[ExchangeKey, bytes], None]:
        """As `SessionOutbox.requests`."""
        await self._ensure()
        subject = self._names.request_subject(server, session, "*")
        async with aclosing(every(self._connection, self._names.requests_stream, subject)) as messages:
            async for message in messages:
                exchange = (message.headers or {})["Nats-Subject"].rpartition(".")[2]
                yield ExchangeKey(server, session, exchange), message.data

    async def _ensure(self) -> None:
        if not self._ensured:
            await ensure_exchanges(self._connection)
            self._ensured = True


@dataclass(frozen=True, slots=True)
class _Unfinished:
    """A message whose parts are still arriving, and the sequence of its first part."""

    first: int
    parts: PartJoiner


def _outgoing(server: str, session: str, message: Message, line: bytes, position: int) -> Outgoing | None:
    """The message whose last part is `message`; None if another program has written it."""
    headers = message.headers or {}
    number = headers.get(SEQ, "")
    if not (number.isascii() and number.isdecimal()):
        return None
    key = ExchangeKey(server, session, headers["Nats-Subject"].rpartition(".")[2])
    at = datetime.fromisoformat(headers["Nats-Time-Stamp"]).timestamp()
    return Outgoing(position, at, key, Said(int(number), line, LAST in headers), sequence_of(message))


class NatsWakeups:
    """The stored messages of all sessions of one carrier, each claimed by one process."""

    def __init__(self, connection: Connection, exchanges: NatsExchanges, server: str, carrier: str) -> None:
        self._exchanges = exchanges
        names = connection.names
        self._queue = NatsWorkQueue(
            connection,
            stream=names.said_stream,
            durable=f"said_{carrier}_{server}",
            subjects=[names.exchange_subjects(server, carrier)],
            ensure=partial(ensure_exchanges, connection),
        )

    def claims(self, room: Callable[[], int]) -> AsyncGenerator[Claim, None]:
        """As `WorkQueue.claims`."""
        return self._queue.claims(room)

    def said(self, message: Claim) -> tuple[ExchangeKey, int]:
        """The exchange and number of a claimed message; the number is 0 while parts of it follow."""
        return self._exchanges.said(message)
