"""Answers that are not stored, because the caller says that it has them (decision 0065)."""

from __future__ import annotations

import asyncio

from broker_plane.broker.connection import Connection
from broker_plane.broker.messages import Message as NatsMessage
from broker_plane.broker.subscriptions import Served
from broker_plane.errors import BrokerUnavailableError
from broker_plane.exchange.headers import DIGEST, LAST, REPLY, SEQ
from broker_plane.exchange.messages import Said
from broker_plane.plane.exchanges.ports import Asked
from broker_plane.transports.nats.wire_form import HAVE, HEADER_BYTES, new_id

_SECONDS = 1.0
"""How long to wait for a caller. It answers at once, unless it has ended."""


class HandedOver:
    """Gives answers to callers, and hears which of them have arrived."""

    def __init__(self, connection: Connection, server: str) -> None:
        self._connection = connection
        self._instance = new_id()
        self._subject = connection.names.mcp_subject(server, "have", self._instance)
        self._waiting: dict[str, asyncio.Future[bool]] = {}
        self._served: list[Served] = []

    async def start(self) -> None:
        self._served = [await self._connection.serve(f"{self._subject}.*", self._arrived, queue="")]

    async def close(self) -> None:
        await self._connection.stop_serving(self._served)

    async def hand_over(self, asked: Asked, said: Said) -> bool:
        """As `HandOver`. A call with an idempotency key may be asked for again, so its answer is always stored."""
        inbox = asked.headers.get(REPLY, "")
        large = len(said.line) > self._connection.max_payload - HEADER_BYTES
        if DIGEST in asked.headers or large or not self._connection.names.is_inbox(inbox):
            return False
        name = new_id()  # only who has the answer can say so: others would make it vanish
        reply = f"{self._subject}.{name}"
        arrived: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[name] = arrived
        try:
            # To a guest, the reply subject means nothing; only nats-server answers there, if nobody is there.
            headers = {SEQ: str(said.seq), LAST: "1", HAVE: f"{self._instance}.{name}"}
            await self._connection.publish(inbox, said.line, reply=reply, headers=headers)
            await asyncio.wait({arrived}, timeout=_SECONDS)
            return arrived.done() and arrived.result()
        except BrokerUnavailableError:
            return False
        finally:
            del self._waiting[name]

    async def _arrived(self, message: NatsMessage) -> None:
        """A caller has its answer; or nats-server says that nobody is there."""
        arrived = self._waiting.get(message.subject.rpartition(".")[2])
        if arrived is not None and not arrived.done():
            arrived.set_result("Status" not in (message.headers or {}))
