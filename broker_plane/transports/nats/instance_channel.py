"""The client's end of a session or an upload: messages to the instance that has it, and back.

Outgoing messages are numbered, and kept until they are acknowledged. Incoming ones are put in order, and requested
again if some are missing.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from broker_plane.broker.errors import NO_RESPONDERS
from broker_plane.broker.requests import Answer
from broker_plane.errors import BrokerPlaneError, BrokerUnavailableError
from broker_plane.exchange.headers import PART, SEQ
from broker_plane.exchange.messages import Said
from broker_plane.exchange.parts import PartJoiner, part_header, split
from broker_plane.exchange.receiver import Received
from broker_plane.transports.nats.client_link import ClientLink
from broker_plane.transports.nats.wire_form import (
    AGAIN,
    ALIVE_SECONDS,
    CLOSED,
    END,
    GOT,
    HEADER_BYTES,
    SILENT_SECONDS,
    number_in,
)

_MOST_UNACKNOWLEDGED = 8 << 20
"""Bytes that are on their way to the instance at once."""

_RESEND_SECONDS = 2.0


@dataclass(slots=True)
class _Sent:
    payload: bytes
    headers: dict[str, str]
    at: float
    answer: Answer | None = None


class InstanceChannel:
    """One session, or one upload, at one instance."""

    def __init__(self, link: ClientLink, subject: str, lost: Callable[[str], None], most_bytes: int) -> None:
        """`lost` is called once, with the reason, if the instance or its session has ended."""
        self._link = link
        self._subject = subject
        self._lost = lost
        self._parts = PartJoiner(most_bytes)
        self._received = Received()
        self._number = 0
        self._sent: OrderedDict[int, _Sent] = OrderedDict()
        self._sent_bytes = 0
        self._room = asyncio.Event()
        self._now = asyncio.get_running_loop().time
        self.heard = self._asked = self._now()
        """When the instance was last heard."""
        self._again = False
        """Whether messages may be missing that nothing else will bring."""
        self._is_lost = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def send(self, line: bytes) -> None:
        """Send a line, in parts if it is too large for one message."""
        parts = split(line, self._link.connection.max_payload - HEADER_BYTES)
        for each, part in enumerate(parts, 1):
            while self._sent_bytes > _MOST_UNACKNOWLEDGED and not self._is_lost:
                self._room.clear()
                await self._room.wait()
            self._number += 1
            headers = {SEQ: str(self._number)}
            if len(parts) > 1:
                headers[PART] = part_header(each, len(parts))
            self._sent[self._number] = sent = _Sent(part, headers, self._now())
            self._sent_bytes += len(part)
            await self._publish(self._number, sent)

    def take(self, payload: bytes, headers: Mapping[str, str]) -> list[bytes]:
        """The lines that the client gets, now that a message has arrived."""
        self.heard = self._now()
        line = self._parts.take(payload, headers.get(PART))
        if line is None:
            return []
        ready = self._received.take(Said(number_in(headers, SEQ), line))
        if self._received.gap and not self._again:
            self._again = True
            self._start(self._say_alive())
        return [each.line for each in ready]

    def acknowledge(self) -> None:
        """Say now which messages have arrived: the instance has asked."""
        self._start(self._say_alive())

    def broke(self) -> None:
        """Messages may have been lost, in both directions."""
        self._again = True

    def check(self) -> None:
        """Called every second: say that the client is there, send again what was lost, and notice a lost instance."""
        now = self._now()
        oldest = next(iter(self._sent.values()), None)
        if now - self.heard > SILENT_SECONDS:
            self.lose("The instance of the server that had this session does not respond")
        elif oldest is not None and now - oldest.at > _RESEND_SECONDS:
            self._start(self._send_again())
        elif self._again or now - self._asked > ALIVE_SECONDS:
            self._start(self._say_alive())

    def lose(self, said: str) -> None:
        """The session is lost."""
        if not self._is_lost:
            self._is_lost = True
            self._room.set()
            self._lost(said)

    async def close(self, *, end: bool) -> None:
        """With `end`, tell the instance that the session has ended."""
        self._is_lost = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if end:
            await self._ask({END: "1"})

    async def _publish(self, number: int, sent: _Sent) -> None:
        try:
            headers = sent.headers | {GOT: str(self._received.after)}
            sent.answer = await self._link.connection.send(self._subject, sent.payload, headers)
        except BrokerUnavailableError:
            self._again = True
        except BrokerPlaneError as error:
            self.lose(str(error))
        else:
            sent.answer.add_done_callback(partial(self._answered, number))

    def _answered(self, number: int, answer: Answer) -> None:
        """A message was acknowledged, or it was not taken."""
        if answer.cancelled() or self._is_lost or not self._is_heard(answer):
            return
        for each in [each for each in self._sent if each <= number]:  # acknowledged in order
            self._sent_bytes -= len(self._sent.pop(each).payload)
        self._room.set()

    def _is_heard(self, answer: Answer) -> bool:
        """Whether the instance has answered; the session is lost if there is none, or if it does not know it."""
        error = answer.exception()
        if error is None:
            if CLOSED in (answer.result().headers or {}):
                self.lose("The session has ended at its instance of the server")
                return False
            self.heard = self._now()
            return True
        if not isinstance(error, BrokerUnavailableError):
            self.lose(str(error))
        elif error.reason == NO_RESPONDERS:
            self.lose("The instance of the server that had this session has ended")
        else:
            self._again = True
        return False

    async def _send_again(self) -> None:
        """Send everything again that was not acknowledged."""
        for number, sent in list(self._sent.items()):
            if sent.answer is not None:
                sent.answer.cancel()
            sent.at = self._now()
            await self._publish(number, sent)

    async def _say_alive(self) -> None:
        self._asked = self._now()
        headers = {GOT: str(self._received.after)} | ({AGAIN: "1"} if self._again else {})
        if await self._ask(headers):
            self._again = False

    async def _ask(self, headers: dict[str, str]) -> bool:
        """Whether the instance has answered a message without content."""
        try:
            answer = await self._link.connection.send(self._subject, b"", headers)
        except BrokerPlaneError:
            return False
        await asyncio.wait({answer}, timeout=ALIVE_SECONDS)
        if not answer.done():
            answer.cancel()
            return False
        return not self._is_lost and self._is_heard(answer)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
