"""NATS by hand: requests on bp.pull and bp.confirm, and everything that comes on the delivery subjects of an asker."""

from __future__ import annotations

import asyncio
import random
from base64 import urlsafe_b64encode
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import msgpack
import nats
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg

from tests.model.ledger import HarnessError

PATIENCE = 20.0
_END_SECONDS = 5.0


@dataclass
class Arrived:
    """What came on one delivery subject and was not taken yet."""

    pieces: list[bytes] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    """Stream sequences, or numbers of frames."""
    ends: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self) -> bytes:
        """All that came since the last time."""
        data = b"".join(self.pieces)
        self.pieces.clear()
        return data


@dataclass(frozen=True)
class Reply:
    """An answer: its fields, or the code of an error."""

    fields: dict[str, Any]
    code: str = ""

    @property
    def lease(self) -> str:
        return str(self.fields.get("lease", ""))

    @property
    def info(self) -> dict[str, Any]:
        return dict(self.fields.get("info") or {})


class NatsWay:
    """One connection that asks under several names."""

    def __init__(self) -> None:
        self.client = Client()
        self.arrived: defaultdict[str, Arrived] = defaultdict(Arrived)

    async def connect(self, url: str) -> None:
        await self.client.connect(url, pending_size=64 << 20)
        await self.client.subscribe("bp.dlv.>", cb=self._came, pending_msgs_limit=1 << 20, pending_bytes_limit=1 << 30)

    async def close(self) -> None:
        await self.client.close()

    async def pull(self, grant: str, asker: str, request: Any) -> Reply:
        return await self._ask(f"bp.pull.{grant}.{asker}", request)

    async def confirm(self, grant: str, asker: str, confirmation: Any) -> Reply:
        return await self._ask(f"bp.confirm.{grant}.{asker}", confirmation)

    async def window(self, number: str, ends: int) -> None:
        """Wait until `number` had so many ends of windows; a window whose end is lost is no fault."""
        arrived = self.arrived[number]
        try:
            async with asyncio.timeout(_END_SECONDS):
                while arrived.ends < ends:
                    arrived.changed.clear()
                    await arrived.changed.wait()
        except TimeoutError as error:
            raise HarnessError(f"the end of a window of {number} did not come") from error

    async def _ask(self, subject: str, fields: Any) -> Reply:
        raw = fields if isinstance(fields, bytes) else msgpack.packb(fields)
        try:
            answer = (await self.client.request(subject, raw, timeout=PATIENCE)).data
        except nats.errors.Error as error:
            raise HarnessError(f"{subject.split('.')[1]}: {error!r}") from error
        said = msgpack.unpackb(answer)
        return Reply(said, str(said["error"]["code"])) if "error" in said else Reply(said)

    async def _came(self, message: Msg) -> None:
        arrived = self.arrived[message.subject.split(".")[3]]
        headers = message.headers or {}
        if "Status" in headers:
            arrived.ends += 1
            place = headers.get("Bp-After")
        else:
            arrived.pieces.append(message.data)
            place = headers.get("Nats-Sequence")
        if place:
            arrived.places.append(int(place))
        arrived.changed.set()


def new_number(rng: random.Random) -> str:
    return urlsafe_b64encode(rng.randbytes(16)).rstrip(b"=").decode()
