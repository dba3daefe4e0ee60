"""Payloads of a session's messages. A small one is in the message, a large one in a body of the same owner.

A body is committed before the message that refers to it, and deleted if that message is not stored. A body that a
killed process leaves behind expires with the session.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from hashlib import sha256
from math import ceil
from secrets import token_bytes
from typing import Final

from broker_plane.broker.connection import Connection
from broker_plane.broker.messages import Message
from broker_plane.errors import BodyLostError, BrokerPlaneError, BrokerUnavailableError, WireError
from broker_plane.plane.ports import BodyStore, Draft, Shape
from broker_plane.plane.sessions.ports import SessionInfo
from broker_plane.wire.names import BodyId, body_id, is_owner, parse_body_id

IN_MESSAGE_BYTES: Final = 400 << 10
"""The largest payload that is in the message itself."""

MEDIA_TYPE: Final = "application/vnd.broker-plane.session"

_OWNER = "Bp-Owner"
_EXPIRES = "Bp-Expires"
_BODY = "Bp-Body"
_DIGEST = "Bp-Digest"
_DIGITS = 12


class SessionPayloads:
    """Stores and reads the payloads of messages of the stream of sessions."""

    def __init__(self, connection: Connection, bodies: BodyStore, most: int = IN_MESSAGE_BYTES) -> None:
        """`most` is the largest payload in a message, in bytes."""
        self._connection = connection
        self._bodies = bodies
        self._most = most

    async def store(
        self, info: SessionInfo, payload: bytes, send: Callable[[bytes, Mapping[str, str]], Awaitable[int]]
    ) -> int:
        """Call `send` with the payload of the message and its headers, and return its result.

        Raises:
            BrokerUnavailableError: the outcome is unknown; a body that the message may refer to is kept.
        """
        headers = self._headers(info)
        if len(payload) <= min(self._most, self._connection.max_payload - 8192):
            return await send(payload, headers | {_DIGEST: sha256(payload).hexdigest()})
        body = await self._put(info, payload)
        try:
            return await send(b"", headers | {_BODY: body})
        except BrokerUnavailableError:
            raise
        except BaseException:
            await self.drop(info, body)
            raise

    async def load(self, message: Message) -> bytes:
        """The payload of a stored or announced message.

        Raises:
            BodyNotFoundError, BodyLostError: it was in a body that is lost, or it was changed.
        """
        headers = message.headers or {}
        if _BODY not in headers:
            if sha256(message.data).hexdigest() != headers.get(_DIGEST):
                raise BodyLostError("A stored message of this session is damaged: its SHA-256 does not hold")
            return message.data
        body = await self._bodies.info(info_of(message).owner, parse_body_id(headers[_BODY]))
        async with aclosing(self._bodies.read(body)) as pieces:
            return b"".join([piece async for piece in pieces])

    async def drop(self, info: SessionInfo, body: BodyId) -> None:
        """Delete a body that no message refers to any more; what cannot be deleted now expires."""
        with suppress(BrokerPlaneError):
            await self._bodies.delete(info.owner, body)

    async def _put(self, info: SessionInfo, payload: bytes) -> BodyId:
        now = self._connection.clock.now()
        draft = Draft(
            id=body_id(token_bytes(16)),
            owner=info.owner,
            kind="bytes",
            media_type=MEDIA_TYPE,
            created=now,
            expires=max(info.expires, ceil(now) + 1),
        )
        async with self._bodies.writer(draft) as writer:
            await writer.write(payload)
            return (await writer.commit(Shape())).id

    def _headers(self, info: SessionInfo) -> dict[str, str]:
        seconds = max(1, ceil(info.expires - self._connection.clock.now()))
        return {_OWNER: info.owner, _EXPIRES: str(info.expires), "Nats-TTL": f"{seconds}s"}


def info_of(message: Message) -> SessionInfo:
    """The session that a message belongs to. Raises WireError if another program wrote it."""
    headers = message.headers or {}
    owner, expires = headers.get(_OWNER, ""), headers.get(_EXPIRES, "")
    if not is_owner(owner) or not (expires.isascii() and expires.isdigit() and len(expires) < _DIGITS):
        raise WireError("A message in the log of this session was not written by broker-plane")
    return SessionInfo(owner, int(expires))


def body_of(message: Message) -> BodyId | None:
    """The body that a message refers to, if there is one."""
    found = (message.headers or {}).get(_BODY)
    return None if found is None else parse_body_id(found)
