"""What these tests share: callbacks that are served for real, and a listener that counts connections."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from broker_plane.client.guard import RequestGuard, Resolver, webhook_guard
from broker_plane.client.post import WebhookPost
from broker_plane.transports.webhook.callbacks import Callbacks
from broker_plane.transports.webhook.message_ids import MessageId
from broker_plane.transports.webhook.receiver import WebhookReceiver
from broker_plane.web.server import HttpServer
from broker_plane.wire.webhook_signing import secret_of


@dataclass
class Kept:
    """A channel that keeps what it takes."""

    secret: str = field(default_factory=lambda: secret_of(secrets.token_bytes(32)))
    taken: list[tuple[MessageId, dict[str, Any]]] = field(default_factory=list)
    room: bool = True
    refused: int = 0
    session: str = ""

    def secrets(self) -> list[str]:
        return [self.secret]

    def knows(self, session: str) -> bool:
        return not self.session or session == self.session

    def take(self, message_id: MessageId, body: bytes) -> bool:
        if self.room:
            self.taken.append((message_id, json.loads(body)))
        else:
            self.refused += 1
        return self.room


@dataclass
class Place:
    """A served callback."""

    url: str
    channel: Kept
    receiver: WebhookReceiver
    held: asyncio.Event = field(default_factory=asyncio.Event)
    """Messages are answered while it is set."""
    free: int = 0
    """So many are answered in any case."""
    silent: bool = False
    """Messages are taken, and not answered."""
    under_way: int = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.under_way += 1
        try:
            if len(self.channel.taken) >= self.free:
                await self.held.wait()
            await self.receiver(scope, receive, _dropped if self.silent else send)
            if self.silent:
                await asyncio.Event().wait()  # until the sender leaves
        finally:
            self.under_way -= 1


async def _dropped(message: Any) -> None:
    """Send nothing."""


@asynccontextmanager
async def callback(name: str = "here") -> AsyncIterator[Place]:
    """A callback at a free port of this machine."""
    receiver, channel = WebhookReceiver(), Kept()
    receiver.add(name, channel)
    place = Place("", channel, receiver)
    place.held.set()
    async with HttpServer(place, stop_seconds=1) as server:
        place.url = f"{server.url}/{name}"
        yield place


@asynccontextmanager
async def counted(address: str = "127.0.0.1") -> AsyncIterator[list[int]]:
    """A listener that answers nothing; yields its port, followed by a 1 for each connection."""
    found: list[int] = []

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.append(1)
        writer.close()

    async with await asyncio.start_server(connected, address, 0) as server:
        found.append(server.sockets[0].getsockname()[1])
        yield found


def guarded(resolver: Resolver | None = None, networks: str = "127.0.0.0/8") -> RequestGuard:
    guard = webhook_guard([networks] if networks else [])
    return (
        guard
        if resolver is None
        else RequestGuard(subject="A", setting="B", networks=guard.networks, resolver=resolver)
    )


def leading_to(*addresses: str) -> tuple[Resolver, list[str]]:
    """A resolver whose answers follow one another, the last one for ever; and the names that it was asked for."""
    asked: list[str] = []

    async def resolver(host: str, port: int) -> Sequence[IPv4Address | IPv6Address]:
        asked.append(host)
        return [ip_address(addresses[min(len(asked), len(addresses)) - 1])]

    return resolver, asked


@asynccontextmanager
async def posting(guard: RequestGuard, kept_seconds: float = 0.0) -> AsyncIterator[Callbacks]:
    post = WebhookPost(guard, seconds=30, kept_connections=16 if kept_seconds else 0, kept_seconds=kept_seconds)
    try:
        yield Callbacks(guard, post, now=time.time, random_bytes=secrets.token_bytes)
    finally:
        await post.close()
