"""What stands between a webhook front and a client's receiver, and passes messages on when and as the test likes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx2

from broker_plane.testing.processes import until
from broker_plane.web.server import HttpServer

_PASSED = ("webhook-id", "webhook-timestamp", "webhook-signature", "x-mcp-session-id", "content-type")


@dataclass(frozen=True)
class Sent:
    """A POST of the front."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    def with_header(self, name: str, value: str) -> Sent:
        return replace(self, headers={**self.headers, name: value})


@dataclass
class CallbackRelay:
    """Passes everything on, until it `holds`: then messages are accepted and kept, and go on by `pass_on` alone."""

    url: str = ""
    """Of this relay, for the front."""
    receiver: str = ""
    """Of the client's receiver."""
    sent: list[Sent] = field(default_factory=list)
    """Messages that were kept."""
    holds: bool = False

    async def pass_on(self, message: Sent) -> int:
        """Send a message to the receiver; returns the status of its answer."""
        return (await self._posted(message)).status_code

    async def has(self, count: int) -> list[Sent]:
        """The first `count` messages, once the front has sent so many."""
        await until(lambda: len(self.sent) >= count, f"{count} messages")
        return self.sent[:count]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        raw, more = b"", True
        while more:
            part = await receive()
            raw, more = raw + part.get("body", b""), part.get("more_body", False)
        given = {name.decode(): value.decode() for name, value in scope["headers"]}
        message = Sent(scope["path"], {name: given[name] for name in _PASSED if name in given}, raw)
        status, answer = 200, b""
        if self.holds and not given["webhook-id"].startswith("msg_verification"):
            self.sent.append(message)
        else:
            response = await self._posted(message)
            status, answer = response.status_code, response.content
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": answer})

    async def _posted(self, message: Sent) -> httpx2.Response:
        async with httpx2.AsyncClient(trust_env=False) as http:
            return await http.post(self.receiver + message.path, content=message.body, headers=dict(message.headers))


@asynccontextmanager
async def callback_relay() -> AsyncIterator[CallbackRelay]:
    """A relay on loopback; `receiver` is to be set."""
    relay = CallbackRelay()
    async with HttpServer(relay) as running:
        relay.url = running.url
        yield relay
