"""The ExchangeStore port: requests in the stream BP_MCP, the messages about them in BP_MCP_SAID.

A message is stored on condition of the last sequence of its exchange's subject, so of two processes that carry out the
same request only one can say the next thing. A message that exceeds the limit of nats-server is stored in parts.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import datetime
from math import inf
from secrets import token_hex

from broker_plane.broker.conditional import store_after
from broker_plane.broker.connection import Connection
from broker_plane.broker.direct import sequence_of
from broker_plane.broker.leader import every, newest
from broker_plane.broker.messages import Message
from broker_plane.errors import BrokerUnavailableError, ConflictError, StorageError, TooLargeError, WireError
from broker_plane.exchange.headers import CANCELLED, DEADLINE, DIGEST, LAST, PART, SEQ, WRITER
from broker_plane.exchange.messages import ExchangeKey, Said
from broker_plane.exchange.parts import MAX_PARTS, PartJoiner, is_incomplete, part_header, split
from broker_plane.plane.exchanges.ports import Asked, Claim
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.storage.layout import ensure_exchanges
from broker_plane.storage.work_queue import LEASE_SECONDS, NatsClaim, NatsWorkQueue

log = redacted_logger(__name__)

_HEADER_BYTES = 8192
_REMEMBERED = 20_000
_DIGITS = 12
_MOST_BYTES = 64 << 20
"""The largest message of an exchange."""

_TTL = re.compile(r"([0-9]{1,12})s?\Z")
_SECONDS = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?\Z")


@dataclass(frozen=True, slots=True)
class _End:
    """The newest message of an exchange: number, stream sequence, whether it is the answer, and who wrote it."""

    seq: int
    sequence: int
    last: bool
    writer: str


class NatsExchanges:
    """The ExchangeStore port. It needs the rights of the user `plane`; the streams are created at the first use."""

    def __init__(self, connection: Connection, *, lease_seconds: float = LEASE_SECONDS) -> None:
        self._connection = connection
        self._names = connection.names
        self._lease_seconds = lease_seconds
        self._writer = token_hex(8)
        self._ends: OrderedDict[ExchangeKey, _End] = OrderedDict()
        """The ends of exchanges that this process goes on with."""
        self._ensured = False

    async def ask(self, key: ExchangeKey, line: bytes, headers: Mapping[str, str], ttl_seconds: int) -> bool:
        """As `ExchangeStore.ask`. Requests are compared by their digests, and by their lines if they have none."""
        await self._ensure()
        queue = self._queue(key.server, key.carrier, self._ensure)
        if await queue.put(self._request_subject(key), line, headers, ttl_seconds):
            return True
        found = await self.find(key)
        same = found is not None and (
            found.headers[DIGEST] == headers.get(DIGEST) if DIGEST in found.headers else found.line == line
        )
        if not same:
            raise ConflictError(f"There is another request with this key already (exchange {key.exchange})")
        return False

    async def find(self, key: ExchangeKey) -> Asked | None:
        """As `ExchangeStore.find`."""
        await self._ensure()
        found = await newest(self._connection, self._names.requests_stream, self._request_subject(key))
        if found is None:
            return None
        headers = found.headers or {}
        return _asked(key, found.data, headers, 1, datetime.fromisoformat(headers["Nats-Time-Stamp"]).timestamp())

    async def asked(
        self, server: str, carrier: str, room: Callable[[], int]
    ) -> AsyncGenerator[tuple[Asked, Claim], None]:
        """As `ExchangeStore.asked`."""
        async with aclosing(self._queue(server, carrier, self._ensure_again).claims(room)) as claims:
            async for claim in claims:
                try:
                    key = _key(claim.subject)
                except WireError as error:
                    log.warning("A request to %s was dropped: %s", server, error)
                    await self._refuse(claim)
                    continue
                yield _asked(key, claim.payload, claim.headers, claim.attempt, claim.at), claim

    def _queue(self, server: str, carrier: str, ensure: Callable[[], Awaitable[None]]) -> NatsWorkQueue:
        return NatsWorkQueue(
            self._connection,
            stream=self._names.requests_stream,
            durable=_queue_name(server, carrier),
            subjects=[self._names.request_subjects(server, carrier)],
            ensure=ensure,
            lease_seconds=self._lease_seconds,
        )

    async def append(self, key: ExchangeKey, said: Said, ttl_seconds: int) -> None:
        """As `ExchangeStore.append`."""
        await self._ensure()
        end = self._ends.pop(key, None)
        if end is None and said.seq == 1:  # there is nothing before it, so nothing needs to be read
            with suppress(ConflictError):
                end = _End(1, await self._store(key, said, 0, ttl_seconds), said.last, self._writer)
        end = end or _end(await self._newest(key))
        if end.seq != said.seq or end.writer != self._writer:  # else its acknowledgement was lost
            if end.last or end.seq != said.seq - 1:
                raise ConflictError("Another process has answered this request", reason=f"{end.seq} before {said.seq}")
            end = _End(said.seq, await self._store(key, said, end.sequence, ttl_seconds), said.last, self._writer)
        if not said.last:
            self._ends[key] = end
            if len(self._ends) > _REMEMBERED:
                self._ends.popitem(last=False)

    async def messages(self, key: ExchangeKey, after: int = 0) -> list[Said]:
        """As `ExchangeStore.messages`."""
        await self._ensure()
        found: list[Said] = []
        parts = PartJoiner(_MOST_BYTES)
        async with aclosing(every(self._connection, self._names.said_stream, self._said_subject(key))) as messages:
            async for message in messages:
                headers = message.headers or {}
                line = parts.take(message.data, headers.get(PART))
                if line is not None and (number := _number(headers)) > after:
                    found.append(Said(number, line, LAST in headers))
        return found

    async def room(self) -> int:
        """As `ExchangeStore.room`."""
        await self._ensure()
        info = await self._connection.retrying_api(f"STREAM.INFO.{self._names.requests_stream}")
        return max(0, int(info["config"]["max_bytes"]))

    async def is_finished(self, key: ExchangeKey) -> bool:
        """As `ExchangeStore.is_finished`."""
        await self._ensure()
        found = await newest(self._connection, self._names.requests_stream, self._request_subject(key))
        if found is None:
            return False
        try:
            consumer = f"CONSUMER.INFO.{self._names.requests_stream}.{_queue_name(key.server, key.carrier)}"
            info = await self._connection.retrying_api(consumer)
        except BrokerUnavailableError:
            raise
        except StorageError:  # there is no queue
            return False
        sequence, delivered = sequence_of(found), info["delivered"]["stream_seq"]
        if sequence > info["ack_floor"]["stream_seq"] and (sequence > delivered or info["num_ack_pending"]):
            return False
        # A cancellation that has replaced it meanwhile has taken it off the queue, and its answer is still to come.
        found = await newest(self._connection, self._names.requests_stream, self._request_subject(key))
        return found is not None and sequence_of(found) == sequence

    async def last(self, key: ExchangeKey) -> Said | None:
        """As `ExchangeStore.last`."""
        await self._ensure()
        end = _end(await self._newest(key))
        return Said(end.seq, b"", end.last) if end.seq else None

    def leave(self, key: ExchangeKey) -> None:
        """As `ExchangeStore.leave`."""
        self._ends.pop(key, None)

    async def excuse(self, key: ExchangeKey, ttl_seconds: int) -> None:
        """As `ExchangeStore.excuse`."""
        await self._ensure()
        subject = self._names.excuse_subject(key.server, key.session, key.exchange)
        await self._connection.store(subject, b"", {"Nats-TTL": f"{ttl_seconds}s"})

    async def excuses(self, key: ExchangeKey) -> int:
        """As `ExchangeStore.excuses`."""
        await self._ensure()
        subject = self._names.excuse_subject(key.server, key.session, key.exchange)
        async with aclosing(every(self._connection, self._names.said_stream, subject)) as messages:
            return len([message async for message in messages])

    async def drop(self, key: ExchangeKey) -> None:
        """As `ExchangeStore.drop`."""
        await self._purge(self._names.requests_stream, self._request_subject(key))

    async def forget(self, key: ExchangeKey) -> None:
        """As `ExchangeStore.forget`."""
        self._ends.pop(key, None)
        await self.drop(key)  # first: one without its messages would be carried out again if the queue was lost
        await self._purge(self._names.said_stream, self._said_subject(key))

    async def forget_session(self, server: str, session: str) -> None:
        """Remove all requests of a session to a server, and their messages: the caller has the answers."""
        await self._purge(self._names.requests_stream, self._names.request_subject(server, session, "*"))
        await self._purge(self._names.said_stream, self._names.exchange_subject(server, session, "*"))

    async def ensure(self) -> None:
        """Create the streams unless they exist, so that clients can publish requests."""
        await self._ensure()

    def said(self, message: Claim) -> tuple[ExchangeKey, int]:
        """The exchange and number of a stored message that was claimed; the number is 0 while parts of it follow."""
        number = 0 if is_incomplete(message.headers.get(PART)) else _number(message.headers)
        return _key(message.subject), number

    async def _refuse(self, claim: NatsClaim) -> None:
        """Remove a request by its sequence: its subject may match those of others."""
        with suppress(StorageError):
            delete = f"STREAM.MSG.DELETE.{self._names.requests_stream}"
            await self._connection.retrying_api(delete, {"seq": claim.sequence, "no_erase": True})
            await claim.done()

    async def _store(self, key: ExchangeKey, said: Said, after: int, ttl_seconds: int) -> int:
        """Store a message after the one with the sequence `after`, and return its own."""
        subject = self._said_subject(key)
        headers = {SEQ: str(said.seq), WRITER: self._writer, "Nats-TTL": f"{ttl_seconds}s"}
        parts = split(said.line, self._connection.max_payload - _HEADER_BYTES)
        if len(parts) > MAX_PARTS or len(said.line) > _MOST_BYTES:
            raise TooLargeError(f"A message of {len(said.line):,} bytes is too large for an exchange")
        for number, part in enumerate(parts, 1):
            more = {LAST: "1"} if said.last and number == len(parts) else {}
            if len(parts) > 1:
                more[PART] = part_header(number, len(parts))
            try:
                after = await store_after(
                    self._connection, self._names.said_stream, subject, part, after, headers | more
                )
            except BrokerUnavailableError:
                self._ensured = False  # the stream may have been deleted
                raise
        return after

    async def _purge(self, stream: str, subject: str) -> None:
        await self._ensure()
        await self._connection.retrying_api(f"STREAM.PURGE.{stream}", {"filter": subject})

    async def _newest(self, key: ExchangeKey) -> Message | None:
        return await newest(self._connection, self._names.said_stream, self._said_subject(key))

    def _request_subject(self, key: ExchangeKey) -> str:
        return self._names.request_subject(key.server, key.session, key.exchange)

    def _said_subject(self, key: ExchangeKey) -> str:
        return self._names.exchange_subject(key.server, key.session, key.exchange)

    async def _ensure(self) -> None:
        if not self._ensured:
            await ensure_exchanges(self._connection)
            self._ensured = True

    async def _ensure_again(self) -> None:
        self._ensured = False
        await self._ensure()


def _queue_name(server: str, carrier: str) -> str:
    return f"ask_{carrier}_{server}"


def _end(message: Message | None) -> _End:
    """The end of an exchange, by its newest message."""
    if message is None:
        return _End(0, 0, False, "")
    headers = message.headers or {}
    if is_incomplete(headers.get(PART)):  # its writer ended: the message does not count
        return _End(_number(headers) - 1, sequence_of(message), False, "")
    return _End(_number(headers), sequence_of(message), LAST in headers, headers.get(WRITER, ""))


def _number(headers: Mapping[str, str]) -> int:
    """The number of a stored message; 0 if another program wrote it."""
    number = headers.get(SEQ, "")
    return int(number) if number.isascii() and number.isdigit() and len(number) < _DIGITS else 0


def _key(subject: str) -> ExchangeKey:
    """The key in the subject of a request, `<prefix>.mcp.<server>.in.ask.<carrier>.<session>.<exchange>`, or of a
    message, `<prefix>.mcp.<server>.out.<carrier>.<session>.<exchange>`. Clients choose the last three tokens.

    Raises:
        WireError: they name no exchange.
    """
    *tokens, carrier, session, exchange = subject.split(".")
    key = ExchangeKey(tokens[2], session, exchange)
    if key.carrier != carrier:
        raise WireError("The session belongs to another carrier than its subject says")
    return key


def _asked(key: ExchangeKey, line: bytes, headers: Mapping[str, str], attempt: int, at: float) -> Asked:
    deadline = headers.get(DEADLINE, "")
    found = _TTL.match(headers.get("Nats-TTL", ""))
    return Asked(
        key=key,
        line=line,
        headers=headers,
        deadline=float(deadline) if _SECONDS.match(deadline) else 0.0,
        attempt=attempt,
        at=at,
        expires=at + int(found[1]) if found else inf,
        cancelled=CANCELLED in headers,
    )
