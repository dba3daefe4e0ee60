"""Messages of y-websocket, the network protocol of Yjs (y-protocols 1.0, `PROTOCOL.md`). Pure."""

from __future__ import annotations

from enum import Enum

from broker_plane.errors import WireError
from broker_plane.wire.yjs_varints import Reader, write_bytes, write_uint

_SYNC, _AWARENESS, _AUTH, _QUERY_AWARENESS = 0, 1, 2, 3
_STEP_1, _STEP_2, _UPDATE = 0, 1, 2
_DENIED = 0


class Message(Enum):
    """The kinds of messages of a client."""

    SYNC_STEP_1 = "sync step 1"
    """The payload is a state vector."""
    SYNC_STEP_2 = "sync step 2"
    """An update: what the sender has and the receiver lacks."""
    UPDATE = "update"
    AWARENESS = "awareness"
    """An awareness update."""
    QUERY_AWARENESS = "query awareness"
    AUTH = "auth"


_SYNCS = (Message.SYNC_STEP_1, Message.SYNC_STEP_2, Message.UPDATE)


def read_message(raw: bytes) -> tuple[Message, bytes]:
    """The kind and the payload of a message.

    Raises:
        WireError: it is not a message of this protocol.
    """
    reader = Reader(raw)
    kind = reader.uint(_QUERY_AWARENESS)
    if kind == _AUTH:
        return Message.AUTH, b""
    if kind == _QUERY_AWARENESS:
        message, payload = Message.QUERY_AWARENESS, b""
    elif kind == _AWARENESS:
        message, payload = Message.AWARENESS, reader.blob()
    else:
        message = _SYNCS[reader.uint(_UPDATE)]
        payload = reader.blob()
    if reader.left:
        raise WireError("A message of Yjs has bytes after its end")
    return message, payload


def step_1_message(state_vector: bytes) -> bytes:
    """Requests what this document lacks."""
    return bytes((_SYNC, _STEP_1)) + write_bytes(state_vector)


def step_2_message(update: bytes) -> bytes:
    """Answers sync step 1."""
    return bytes((_SYNC, _STEP_2)) + write_bytes(update)


def update_message(update: bytes) -> bytes:
    """Tells of a change."""
    return bytes((_SYNC, _UPDATE)) + write_bytes(update)


def awareness_message(update: bytes) -> bytes:
    """Tells of states of clients."""
    return bytes((_AWARENESS,)) + write_bytes(update)


def denied_message(reason: str) -> bytes:
    """Says that the client may not do what it did."""
    return bytes((_AUTH,)) + write_uint(_DENIED) + write_bytes(reason.encode())
