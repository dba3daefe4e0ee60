"""A plain NATS client that keeps what it was refused, and what came to it: an attacker has no package of ours."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import anyio
import nats.aio.client
import nats.errors
from nats.aio.msg import Msg


class Client:
    """One connection, open for the time of a block. `asker` is the name that its permissions hold it to."""

    def __init__(self, url: str, asker: str, *, inbox: str, **options: Any) -> None:
        self.asker = asker
        self.refusals: list[str] = []
        self.received: list[Msg] = []
        self._options = {
            "servers": url,
            "inbox_prefix": inbox.encode(),
            "error_cb": self._refused,
            "closed_cb": self._closed,
            "allow_reconnect": False,
            "connect_timeout": 5,  # the server itself waits two seconds for a callout that is not there
            **options,
        }
        self._inbox = inbox
        self._ended = anyio.Event()
        self._passing = anyio.Event()
        self._barriers = self._passed = 0
        self.nats = nats.aio.client.Client()

    async def __aenter__(self) -> Self:
        try:
            await self.nats.connect(**self._options)
            if not self.nats.is_connected:  # the close overtook the error, which nats-py takes for no error
                raise nats.errors.Error("authorization: closed without a word")
        except nats.errors.Error:
            await self.nats.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.nats.close()

    async def publish(self, subject: str, payload: bytes = b"", **options: Any) -> list[str]:
        """What the server refuses of it: nothing where it is let through."""
        before = len(self.refusals)
        await self.nats.publish(subject, payload, **options)
        return await self._said(before)

    async def subscribe(self, subject: str) -> list[str]:
        """What the server refuses of it; where it is let through, messages gather in `received`."""
        before = len(self.refusals)
        await self.nats.subscribe(subject, cb=self._take)
        return await self._said(before)

    async def request(self, subject: str, payload: bytes, seconds: float = 5) -> Msg:
        return await self.nats.request(subject, payload, timeout=seconds)

    async def ended(self, seconds: float) -> None:
        """The server has cut it off. Raises TimeoutError where it has not in time."""
        with anyio.fail_after(seconds):
            await self._ended.wait()

    async def _said(self, before: int) -> list[str]:
        # The server refuses in order. nats-py's flush is no barrier: its PING overtakes what is still in its queue.
        self._barriers += 1
        await self.nats.publish(f"barrier.{self._barriers}", b"", reply=f"{self._inbox}.barrier")
        with anyio.fail_after(5):
            while self._passed < self._barriers:
                await self._passing.wait()
        return self.refusals[before:]

    async def _refused(self, error: Exception) -> None:
        if "barrier." in str(error):
            self._pass()
        else:
            self.refusals.append(str(error))

    def _pass(self) -> None:
        self._passed += 1
        self._passing.set()
        self._passing = anyio.Event()

    async def _closed(self) -> None:
        self._ended.set()

    async def _take(self, message: Msg) -> None:
        if message.subject.startswith("barrier."):  # of one who may publish and listen everywhere
            self._pass()
        else:
            self.received.append(message)
