"""Requests that are too large for one message of NATS: the instance that takes one says where its parts go.

The request itself comes without content, with its size in `Bp-Size`. The answer has `Bp-More: <instance>.<upload>`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from broker_plane.broker.connection import Connection
from broker_plane.broker.messages import Message as NatsMessage
from broker_plane.broker.subscriptions import Served
from broker_plane.plane.exchanges.places import Places
from broker_plane.transports.nats.in_order import InOrder
from broker_plane.transports.nats.replies import acknowledge
from broker_plane.transports.nats.wire_form import CLOSED, MORE, SILENT_SECONDS, new_id

_MOST_UPLOADS = 64


@dataclass(slots=True)
class _Upload:
    client: str
    size: int
    parts: InOrder
    complete: Callable[[bytes], None]
    expiry: asyncio.TimerHandle
    done: bool = field(default=False)


class RequestUploads:
    """The uploads to one instance."""

    def __init__(self, connection: Connection, server: str, most_bytes: int, room_bytes: int) -> None:
        """A request has at most `most_bytes`, and all that are on their way have `room_bytes`."""
        self._connection = connection
        self._most_bytes = most_bytes
        self._places = Places(_MOST_UPLOADS, room_bytes)
        self._instance = new_id()
        self._subject = connection.names.mcp_subject(server, "more", self._instance)
        self._uploads: dict[str, _Upload] = {}
        self._served: list[Served] = []

    async def start(self) -> None:
        self._served = [await self._connection.serve(f"{self._subject}.*", self._arrived, queue="")]

    async def close(self) -> None:
        for name in list(self._uploads):
            self._forget(name)
        await self._connection.stop_serving(self._served)

    def fits(self, size: int) -> bool:
        """Whether a request may have so many bytes."""
        return 0 < size <= self._most_bytes

    def begin(self, client: str, size: int, complete: Callable[[bytes], None]) -> Mapping[str, str]:
        """The headers that say where the parts of a request go, whose size `fits`; empty if `client` has its share.

        `complete` gets the request.
        """
        if not self._places.take(client, size):
            return {}
        name = new_id()
        self._uploads[name] = _Upload(client, size, InOrder(size), complete, self._expiry(name))
        return {MORE: f"{self._instance}.{name}"}

    async def _arrived(self, message: NatsMessage) -> None:
        name = message.subject.rpartition(".")[2]
        upload = self._uploads.get(name)
        headers = message.headers or {}
        if upload is None:
            await acknowledge(self._connection, message, {CLOSED: "1"})
        elif upload.parts.is_old(headers):
            await acknowledge(self._connection, message)
        elif upload.parts.is_next(headers):
            upload.expiry.cancel()
            upload.expiry = self._expiry(name)
            line = upload.parts.take(message.data, headers)
            await acknowledge(self._connection, message)
            if line is not None and not upload.done:
                upload.done = True  # it is kept for acknowledgements that were lost
                self._places.shrink(upload.client, upload.size)
                upload.size = 0
                upload.complete(line)

    def _expiry(self, name: str) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(SILENT_SECONDS, self._forget, name)

    def _forget(self, name: str) -> None:
        upload = self._uploads.pop(name, None)
        if upload is not None:
            upload.expiry.cancel()
            self._places.give(upload.client, upload.size)
