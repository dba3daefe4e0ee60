"""The client's side of callbacks: an ASGI application, to be mounted in any other, or served by itself.

A callback is `<where it is mounted>/<channel>`. Each channel has an unguessable name and its own secret, so one
receiver serves any number of sessions. A message is acknowledged after its channel has taken it, and not before.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

from broker_plane.errors import BrokerPlaneError, WireError
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.proxy.lines import DEFAULT_LINE_BYTES
from broker_plane.transports.webhook.message_ids import MessageId, parse_message_id
from broker_plane.web.problems import problem_of
from broker_plane.web.request import headers_of, read_body
from broker_plane.wire.exact_json import MALFORMED, dumps, loads
from broker_plane.wire.webhook_signing import check_signed

log = redacted_logger(__name__)

VERIFICATION = "msg_verification_"
"""Begins the id of a challenge."""

_FULL_SECONDS = 1
_MOST_ENDED = 4096

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class Channel(Protocol):
    """What takes the messages of one session."""

    def secrets(self) -> list[str]:
        """The secrets with one of which a message must be signed."""

    def knows(self, session: str) -> bool:
        """Whether the channel is that of the session."""

    def take(self, message_id: MessageId, body: bytes) -> bool:
        """Take a message; a repeat changes nothing. False: there is no room for it now.

        Raises:
            WireError: it is not a JSON-RPC message.
        """


class WebhookReceiver:
    """The ASGI application. A server's POST is answered with

    - 200: the message was taken, now or before; or a challenge is echoed;
    - 400, 401, 413: it is malformed, not signed by the server, too old, or too large;
    - 404, 410: nobody waits at this URL, for now or for good;
    - 503: there is no room now, so the server sends it again later.
    """

    def __init__(self, *, max_message_bytes: int = DEFAULT_LINE_BYTES, now: Callable[[], float] = time.time) -> None:
        self._max_bytes = max_message_bytes
        self._now = now
        self._channels: dict[str, Channel] = {}
        self._ended: OrderedDict[str, None] = OrderedDict()

    def add(self, name: str, channel: Channel) -> None:
        """Take messages that are sent to `<callback>/<name>`."""
        self._channels[name] = channel

    def remove(self, name: str) -> None:
        """Answer 404 from now on: the server tries again later."""
        self._channels.pop(name, None)

    def end(self, name: str) -> None:
        """Answer 410 from now on: the server closes the session."""
        self.remove(name)
        self._ended[name] = None
        if len(self._ended) > _MOST_ENDED:
            self._ended.popitem(last=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        name = str(scope["path"]).rpartition("/")[2]
        channel = self._channels.get(name)
        if scope["method"] != "POST":
            await _answer(send, 405, b"", [(b"allow", b"POST")])
        elif channel is None:
            await _answer(send, 410 if name in self._ended else 404, b"")
        else:
            await self._taken(channel, scope, receive, send)

    async def _taken(self, channel: Channel, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await read_body(scope, receive, self._max_bytes)
            signed = check_signed(headers_of(scope), body, channel.secrets(), self._now())
            answer = self._answer(channel, signed, body)
        except BrokerPlaneError as error:
            log.info("A message to a callback was refused: %s", error.brief)
            problem = problem_of(error)
            await _answer(send, problem.status, problem.body)
            return
        await _answer(send, *answer)

    def _answer(self, channel: Channel, signed: str, body: bytes) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
        if signed.startswith(VERIFICATION):
            echo = {"challenge": _challenge(body)}
            return 200, dumps(echo), [(b"content-type", b"application/json")]
        message_id = parse_message_id(signed)
        if not channel.knows(message_id.session):
            return 404, b"", []
        if not channel.take(message_id, body):
            return 503, b"", [(b"retry-after", str(_FULL_SECONDS).encode())]
        return 200, b"", []


def _challenge(body: bytes) -> str:
    try:
        found = loads(body)
    except MALFORMED as error:
        raise WireError("The challenge is not JSON", reason=str(error)) from error
    challenge = found.get("challenge") if isinstance(found, dict) else None
    if not isinstance(challenge, str):
        raise WireError("The challenge is a text")
    return challenge


async def _answer(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*(headers or []), length]})
    await send({"type": "http.response.body", "body": body})
