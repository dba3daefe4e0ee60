"""The messages of y-websocket, made with pycrdt, for tests of one socket."""

from __future__ import annotations

import asyncio

from pycrdt import (
    Doc,
    Text,
    YMessageType,
    YSyncMessageType,
    create_sync_message,
    create_update_message,
    handle_sync_message,
    read_message,
    write_message,
)
from websockets.asyncio.client import ClientConnection

from tests.bridge.wire import PATIENCE

STEP_2 = bytes((YMessageType.SYNC, YSyncMessageType.SYNC_STEP2))
UPDATE = bytes((YMessageType.SYNC, YSyncMessageType.SYNC_UPDATE))


class YjsPeer:
    """A document beside a socket. Nothing is sent or received by itself."""

    def __init__(self, connection: ClientConnection) -> None:
        self.doc: Doc[Text] = Doc()
        self.text = self.doc.get("artifact", type=Text)
        self.connection = connection
        self.updates = 0
        """Updates that were told."""
        self.requests = 0
        """How often the bridge sent sync step 1."""

    async def receive(self) -> bytes:
        """Receive a message, and apply it if it is one of synchronization. Sync step 1 is answered."""
        raw = await asyncio.wait_for(self.connection.recv(), PATIENCE)
        assert isinstance(raw, bytes)
        if raw[0] == YMessageType.SYNC:
            self.updates += raw[1] == YSyncMessageType.SYNC_UPDATE
            self.requests += raw[1] == YSyncMessageType.SYNC_STEP1
            answer = handle_sync_message(raw[1:], self.doc)
            if answer is not None:
                await self.connection.send(answer)
        return raw

    async def synchronize(self) -> None:
        """Request what is missing, answer what the bridge requests, and wait for its answer."""
        await self.connection.send(create_sync_message(self.doc))
        while not (await self.receive()).startswith(STEP_2):
            pass

    async def until(self, text: str) -> None:
        """Receive until the text is this one."""
        while str(self.text) != text:
            await self.receive()

    async def until_requested(self, times: int) -> None:
        """Receive until the bridge has requested everything so many times; each request is answered."""
        while self.requests < times:
            await self.receive()

    def insert(self, text: str) -> bytes:
        """Insert at the start; the message that tells it."""
        before = self.doc.get_state()
        self.text.insert(0, text)
        return create_update_message(self.doc.get_update(before))


def step_2(update: bytes) -> bytes:
    """The message of sync step 2 with this update."""
    return STEP_2 + write_message(update)


def update_message(update: bytes) -> bytes:
    """The message of an update."""
    return UPDATE + write_message(update)


def payload(message: bytes) -> bytes:
    """The update in a message of sync step 2, or of an update."""
    return read_message(message[2:])
