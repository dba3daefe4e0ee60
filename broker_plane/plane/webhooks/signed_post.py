"""Sends signed webhook messages (Standard Webhooks) and verifies receivers by a challenge. Knows nothing of feeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

import orjson

from broker_plane.errors import WebhookError
from broker_plane.wire.exact_json import MALFORMED, loads
from broker_plane.wire.names import encode_id
from broker_plane.wire.webhook_signing import signed_headers

NONCE_BYTES = 33
"""For a verification: 24 for the challenge, the others for the message's id."""

_CHALLENGE_BYTES = 24


@dataclass(frozen=True, slots=True)
class WebhookResponse:
    """A receiver's response. `status` is 0 if there was none; `retry_after` is in seconds."""

    status: int
    body: bytes = b""
    retry_after: float | None = None
    error: str = ""

    @property
    def accepted(self) -> bool:
        """Whether the receiver has accepted the message: any 2xx."""
        return 200 <= self.status < 300


class WebhookTransport(Protocol):
    """Delivers a POST to a receiver."""

    async def post(self, url: str, body: bytes, headers: dict[str, str], now: float) -> WebhookResponse:
        """Send `body` and return the response. Redirects are not followed.

        Raises:
            UntrustedHostError, BrokerUnavailableError: nothing was sent.
        """


class SignedPost:
    """Signs and sends messages."""

    def __init__(self, transport: WebhookTransport, *, now: Callable[[], float]) -> None:
        self._transport = transport
        self._now = now

    async def send(
        self, url: str, message_id: str, body: bytes, secrets: list[str], headers: Mapping[str, str] | None = None
    ) -> WebhookResponse:
        """POST `body`, signed with each of `secrets`. Repeats of one message have the same `message_id`.

        Raises:
            UntrustedHostError, BrokerUnavailableError: nothing was sent.
        """
        now = self._now()
        signed = signed_headers(message_id, int(now), body, secrets)
        return await self._transport.post(url, body, {**signed, **(headers or {})}, now)

    async def verify(self, url: str, secrets: list[str], nonce: bytes, **fields: Any) -> None:
        """Check that the receiver wants these messages: it must echo a challenge, which is sent with `fields`.

        `nonce` has NONCE_BYTES random bytes.

        Raises:
            WebhookError: it did not.
            UntrustedHostError, BrokerUnavailableError: nothing was sent.
        """
        challenge, number = encode_id(nonce[:_CHALLENGE_BYTES]), encode_id(nonce[_CHALLENGE_BYTES:])
        body = orjson.dumps({"type": "verification", "challenge": challenge, **fields})
        response = await self.send(url, f"msg_verification_{number}", body, secrets)
        if not response.accepted or _echoed(response) != challenge:
            host = urlsplit(url).netloc.rpartition("@")[2]
            raise WebhookError(
                f"The endpoint at {host} failed the verification: it must answer a POST of "
                '{"type": "verification", "challenge": …} with 200 and {"challenge": …}, the same text'
                + (f" ({response.error})" if response.error else f" (it answered {response.status})")
            )


def _echoed(response: WebhookResponse) -> Any:
    try:
        return loads(response.body).get("challenge")
    except (*MALFORMED, AttributeError):
        return None
