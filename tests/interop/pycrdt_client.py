"""A client of y-websocket made of pycrdt's own messages and the library websockets: nothing of ours but the address."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from pycrdt import (
    Doc,
    Text,
    TransactionEvent,
    YMessageType,
    create_sync_message,
    create_update_message,
    handle_sync_message,
)
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

ALPHABET = ("a", "b", "é", "ß", " ", "\n", "漢", "🌴", "👩‍🚀", "𝄞", "\u0301", "z")
_RETRY_SECONDS = 0.1


class PycrdtClient:
    """A document with a text, and a connection that is made again whenever it breaks."""

    def __init__(self, url: str, seed: int = 1) -> None:
        self.doc: Doc[Text] = Doc()
        self.text = self.doc.get("artifact", type=Text)
        self.closes: list[tuple[int, str]] = []
        self._url = url
        self._random = random.Random(seed)
        self._socket: ClientConnection | None = None
        self._local: asyncio.Queue[bytes] = asyncio.Queue()
        self._remote = False
        self._subscription = self.doc.observe(self._changed)

    def edit(self, count: int) -> None:
        """Make random edits. Positions of pycrdt are in bytes of UTF-8."""
        for _ in range(count):
            text = str(self.text)
            start = self._random.randint(0, len(text))
            at = len(text[:start].encode())
            if len(text) > 40 and self._random.random() < 0.5:
                removed = text[start : start + self._random.randint(1, 4)]
                del self.text[at : at + len(removed.encode())]
            else:
                self.text.insert(at, "".join(self._random.choices(ALPHABET, k=self._random.randint(1, 4))))

    async def run(self) -> None:
        """Stay connected."""
        while True:
            with suppress(OSError, EOFError, TimeoutError, WebSocketException):
                async with connect(self._url, proxy=None, compression=None, max_size=None) as socket:
                    await self._serve(socket)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _serve(self, socket: ClientConnection) -> None:
        self._local = asyncio.Queue()  # what it had is part of sync step 2
        await socket.send(create_sync_message(self.doc))
        sending = asyncio.create_task(self._send(socket))
        try:
            async for raw in socket:
                assert isinstance(raw, bytes)
                if raw[0] == YMessageType.SYNC:
                    self._remote = True
                    answer = handle_sync_message(raw[1:], self.doc)
                    self._remote = False
                    if answer is not None:
                        await socket.send(answer)
        finally:
            sending.cancel()
            if socket.close_code is not None:
                self.closes.append((socket.close_code, socket.close_reason or ""))

    async def _send(self, socket: ClientConnection) -> None:
        while True:
            await socket.send(create_update_message(await self._local.get()))

    def _changed(self, event: TransactionEvent) -> None:
        if not self._remote:
            self._local.put_nowait(event.update)


@asynccontextmanager
async def pycrdt_client(url: str, seed: int = 1) -> AsyncIterator[PycrdtClient]:
    """A client that joins the session at `url` (http://…/v1/sessions/<grant>)."""
    client = PycrdtClient(url.replace("http", "ws", 1), seed)
    running = asyncio.create_task(client.run())
    try:
        yield client
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
