"""Callbacks: proven by a challenge before anything else is sent to them, and reached at the address that was proven.

The name of a callback is resolved once. Every address it resolves to must be allowed, the challenge and all later
messages go to one of them, and redirects are not followed. So a name that is changed later leads nowhere new, until the
client names its callback again and the new address is proven.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType

from broker_plane.client.guard import RequestGuard, RequestTarget
from broker_plane.client.post import WebhookPost
from broker_plane.errors import BrokerUnavailableError, WireError
from broker_plane.plane.webhooks.signed_post import NONCE_BYTES, SignedPost, WebhookResponse
from broker_plane.transports.webhook.record import Callback
from broker_plane.wire.webhook_signing import WebhookSecret, key_of_secret

MAX_URL_BYTES = 2048
SESSION_HEADER = "x-mcp-session-id"
"""Names the session, on every message to a callback (PR 182)."""


class Callbacks:
    """Proves callbacks, and sends to those that are proven."""

    def __init__(
        self,
        guard: RequestGuard,
        post: WebhookPost,
        *,
        now: Callable[[], float],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._guard = guard
        self._post = post
        self._now = now
        self._random = random_bytes

    async def prove(
        self, url: str, secrets: tuple[WebhookSecret, ...], headers: Mapping[str, str] = MappingProxyType({})
    ) -> Callback:
        """The callback at `url`, which has echoed a challenge that was signed with each of `secrets`.

        Raises:
            WireError: the URL is too long, or a secret is malformed.
            UntrustedHostError, BrokerUnavailableError: nothing was sent.
            WebhookError: it did not echo the challenge.
        """
        target = await self._checked(url, secrets)
        texts = [secret.text for secret in secrets]
        await self._signed(target, headers).verify(url, texts, self._random(NONCE_BYTES))
        return Callback(url=url, address=target.address, secrets=secrets)

    async def locate(self, url: str, secrets: tuple[WebhookSecret, ...]) -> Callback:
        """The callback at `url`, if it leads to an allowed address. It proves nothing. Raises as `prove`."""
        target = await self._checked(url, secrets)
        return Callback(url=url, address=target.address, secrets=secrets)

    async def moved(self, callback: Callback) -> bool:
        """Whether the name of a callback leads elsewhere now; False if it does not resolve."""
        with suppress(BrokerUnavailableError):
            return not await self._guard.leads_to(callback.url, callback.address)
        return False

    async def send(
        self, callback: Callback, message_id: str, line: bytes, headers: Mapping[str, str]
    ) -> WebhookResponse:
        """POST one message. Repeats of a message have the same id.

        Raises:
            UntrustedHostError: the address is no longer allowed; nothing was sent.
        """
        target = self._guard.pinned(callback.url, callback.address)
        secrets = callback.valid_secrets(self._now())
        return await self._signed(target).send(callback.url, message_id, line, secrets, headers)

    async def _checked(self, url: str, secrets: tuple[WebhookSecret, ...]) -> RequestTarget:
        if len(url) > MAX_URL_BYTES or not url.isascii() or not url.isprintable():
            raise WireError(f"A callback is a URL of at most {MAX_URL_BYTES} printable ASCII characters")
        for secret in secrets:
            key_of_secret(secret.text)
        return await self._guard.check(url)

    def _signed(self, target: RequestTarget, headers: Mapping[str, str] = MappingProxyType({})) -> SignedPost:
        return SignedPost(_Pinned(self._post, target, headers), now=self._now)


@dataclass(frozen=True, slots=True)
class _Pinned:
    """The WebhookTransport port to one checked target, with `headers` of its own."""

    posts: WebhookPost
    target: RequestTarget
    headers: Mapping[str, str]

    async def post(self, url: str, body: bytes, headers: dict[str, str], now: float) -> WebhookResponse:
        return await self.posts.post_to(self.target, body, {**self.headers, **headers}, now)
