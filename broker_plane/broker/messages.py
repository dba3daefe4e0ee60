"""The part of nats-py that other packages see: its message type, and how to reply to a message."""

from __future__ import annotations

from contextlib import suppress

import nats.errors
from nats.aio.msg import Msg as Message

__all__ = ["Message", "respond"]


async def respond(message: Message, payload: bytes) -> None:
    """Reply to a request. A reply that cannot be sent is dropped; the client retries after its time-out.

    nats-py's `respond` would send the headers of the request back, which nats-server adds if it crossed accounts.
    """
    if message.reply:
        with suppress(nats.errors.Error):
            await message._client.publish(message.reply, payload)
