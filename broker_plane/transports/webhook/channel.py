"""A client's channel: the messages of its session, in order within each exchange, for the requests that it has made."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from time import monotonic
from typing import Any

from broker_plane.errors import BrokerPlaneError, KeyReusedError
from broker_plane.exchange.keys import request_digest
from broker_plane.exchange.messages import Said
from broker_plane.exchange.receiver import Received
from broker_plane.proxy.messages import Key, Message, is_answer, refused_line
from broker_plane.transports.webhook.canonical import canonical, line_of, original, parsed, token_of
from broker_plane.transports.webhook.message_ids import OWN_MESSAGES, MessageId

OWN_REPEATED_SECONDS = 90_000.0
"""For how long a server may repeat one of its own messages: a day until it gives up, and an hour."""

_MOST_OWN = 4096


@dataclass(frozen=True, slots=True)
class _Caller:
    """The id and the progress token that a caller has given a request."""

    key: Key
    token: Any


@dataclass(slots=True)
class _Pending:
    """A request that waits for its answer, as it is sent, and those who have made it under one idempotency key."""

    sent: Message
    callers: list[_Caller]
    received: Received


class CallbackChannel:
    """The Channel port. Messages wait for their reader, up to a limit; then the server has to send them again."""

    def __init__(self, secrets: list[str], most_bytes: int, *, session: str = "") -> None:
        """`session` is the one that another process began."""
        self._secrets = secrets
        self._most_bytes = most_bytes
        self._lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._held_bytes = 0
        self._read = asyncio.Event()
        self._pending: dict[str, _Pending] = {}
        self._own = OwnMessages()
        self.session = session
        """Once it is known. Until then any session may begin the conversation: its messages are signed."""
        self.taken = 0
        """The number of messages that were taken."""

    def secrets(self) -> list[str]:
        """As `Channel.secrets`."""
        return self._secrets

    def trust(self, secret: str) -> None:
        """Accept messages that are signed with this secret, or with the one before it."""
        self._secrets = [secret, *self._secrets[:1]]

    def knows(self, session: str) -> bool:
        """As `Channel.knows`."""
        return self.session in ("", session)

    @property
    def waits(self) -> bool:
        """Whether a request waits for its answer."""
        return bool(self._pending)

    def expect(self, exchange: str, message: Message) -> Message | None:
        """Hand on the messages of an exchange, which `message` begins, and return it as it is to be sent.

        None: it waits already for the answer to the same request, which another caller has made under its key.

        Raises:
            KeyReusedError: that was another request.
        """
        sent, caller = canonical(message, exchange), _Caller(message["id"], token_of(message))
        pending = self._pending.get(exchange)
        if pending is None:
            self._pending[exchange] = _Pending(sent, [caller], Received())
            return sent
        if request_digest(sent) != request_digest(pending.sent):
            raise KeyReusedError("Another request was made under this idempotency key; use another key")
        pending.callers.append(caller)
        return None

    def expects(self, exchange: str) -> bool:
        """Whether the answer of an exchange is still to come."""
        return exchange in self._pending

    def leave(self, key: Any) -> str | None:
        """Hand on nothing more to the caller that calls its request `key`. The exchange, if nobody waits for it now."""
        for exchange, pending in self._pending.items():
            staying = [each for each in pending.callers if each.key != key]
            if len(staying) < len(pending.callers):
                pending.callers = staying
                if staying:
                    return None
                del self._pending[exchange]
                return exchange
        return None

    def refuse(self, key: Key | None, error: BrokerPlaneError) -> None:
        """Answer a request that is not sent at all."""
        self._put(refused_line(key, error))

    def fail(self, exchange: str, error: BrokerPlaneError) -> None:
        """Answer a request with an error, unless it was answered."""
        pending = self._pending.pop(exchange, None)
        for caller in pending.callers if pending else ():
            self._put(refused_line(caller.key, error))

    def lose(self, error: BrokerPlaneError) -> None:
        """The session was closed: answer all requests that wait with an error."""
        self.lose_session()
        for exchange in list(self._pending):
            self.fail(exchange, error)

    def lose_session(self) -> None:
        """Another session begins, which numbers the messages of the server itself from 1."""
        self.session, self._own = "", OwnMessages()

    def take(self, message_id: MessageId, body: bytes) -> bool:
        """As `Channel.take`. Messages of exchanges that this process did not begin are dropped."""
        message = parsed(body)
        if self._held_bytes and self._held_bytes + len(body) > self._most_bytes:
            return False
        if message_id.exchange == OWN_MESSAGES:
            if self._own.is_new(message_id.number, monotonic()):
                self._put(line_of(body))
                self.taken += 1
            return True
        pending = self._pending.get(message_id.exchange)
        if pending is None:
            return True
        received = pending.received
        for said in received.take(Said(message_id.number, body, last=is_answer(message))):
            told = message if said.seq == message_id.number else parsed(said.line)
            if said.last:
                del self._pending[message_id.exchange]
            for caller in pending.callers:
                self._put(original(told, caller.key, caller.token))
        self.taken += 1
        return received.has(message_id.number)

    async def lines(self) -> AsyncIterator[bytes]:
        """The messages for the client, until the channel is closed."""
        while (line := await self._lines.get()) is not None:
            self._held_bytes -= len(line)
            self._read.set()
            yield line

    async def until_read(self) -> None:
        """Wait until the client reads a message, so that there may be room for another one."""
        self._read.clear()
        await self._read.wait()

    def close(self) -> None:
        """End the messages."""
        self._lines.put_nowait(None)

    def _put(self, line: bytes) -> None:
        self._held_bytes += len(line)
        self._lines.put_nowait(line)


class OwnMessages:
    """The server's messages about no request, which are handed on as they arrive: a server numbers them from 1 again
    once the stored ones have expired, and may give one up.
    """

    def __init__(self) -> None:
        self._taken: OrderedDict[int, float] = OrderedDict()
        """The numbers of those that may be repeated, and until when."""

    def is_new(self, number: int, now: float) -> bool:
        """Whether a message is no repeat. `now` is in seconds of any clock."""
        while self._taken and (len(self._taken) >= _MOST_OWN or next(iter(self._taken.values())) < now):
            self._taken.popitem(last=False)
        if number in self._taken:
            return False
        self._taken[number] = now + OWN_REPEATED_SECONDS
        return True
