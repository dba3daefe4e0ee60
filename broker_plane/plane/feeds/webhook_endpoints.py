"""Webhook endpoints of feeds: registered once they are verified, and changed by compare-and-set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from broker_plane.errors import WebhookError
from broker_plane.plane.ports import EntryStore
from broker_plane.plane.retry import compare_and_set, retry_while_retryable
from broker_plane.plane.webhooks.signed_post import NONCE_BYTES, SignedPost, WebhookTransport
from broker_plane.wire.names import encode_id
from broker_plane.wire.webhook_signing import SECRET_BYTES, WebhookSecret, key_of_secret, secret_of
from broker_plane.wire.webhooks import Endpoint, parse_endpoint, subscription_id

ROTATE_SECONDS = 86_400.0
"""How long the old secret signs beside the new one."""

_RETRY_SECONDS = 10.0
_ENTRY_SECONDS = 10 * 365 * 86_400


class Endpoints:
    """The registered endpoints."""

    def __init__(
        self,
        entries: EntryStore,
        transport: WebhookTransport,
        *,
        now: Callable[[], float],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._entries = entries
        self._post = SignedPost(transport, now=now)
        self._now = now
        self._random = random_bytes

    async def add(
        self, feed: str, url: str, *, columns: tuple[str, ...] | None = None, where: str | None = None
    ) -> tuple[Endpoint, str]:
        """Register an endpoint after verifying it; return it with its secret, which is shown only this once.

        Raises:
            WebhookError: the verification failed.
            UntrustedHostError: the address is not allowed.
        """
        secret = secret_of(self._random(SECRET_BYTES))
        endpoint = Endpoint(
            id=encode_id(self._random(16)),
            feed=feed,
            url=url,
            secrets=(WebhookSecret(secret),),
            columns=columns,
            where=where,
            created=self._now(),
        )
        await self.verify(endpoint)
        await self._save(endpoint, 0)
        return endpoint, secret

    async def subscribe(
        self, principal: str, feed: str, url: str, secret: str, expires: float
    ) -> tuple[Endpoint, bool]:
        """Register the endpoint of an MCP client, or refresh and reactivate it; return whether it is new.

        Raises:
            WireError: malformed `secret`.
            WebhookError: the verification failed.
            UntrustedHostError: the address is not allowed.
        """
        key_of_secret(secret)
        endpoint_id = subscription_id(principal, feed, url)
        raw, revision = await self._entries.load(entry_name(endpoint_id))
        found = parse_endpoint(raw) if raw else None
        if found is None:
            secrets, created = (WebhookSecret(secret),), self._now()
            endpoint = Endpoint(
                id=endpoint_id, feed=feed, url=url, secrets=secrets, created=created, subscription=True, expires=expires
            )
        else:
            endpoint = replace(found, state="active", reason="", expires=expires)
            if secret != found.secrets[0].text:
                endpoint = endpoint.rotated(secret, self._now() + ROTATE_SECONDS)
        if found is None or found.state != "active":
            await self.verify(endpoint)
        await self._save(endpoint, revision)
        return endpoint, found is None

    async def verify(self, endpoint: Endpoint) -> None:
        """Check that the receiver wants the feed's events: it must echo a challenge.

        Raises:
            WebhookError: it did not.
        """
        secrets = endpoint.valid_secrets(self._now())
        await self._post.verify(endpoint.url, secrets, self._random(NONCE_BYTES), feed=endpoint.feed)

    async def get(self, endpoint_id: str) -> Endpoint:
        """Return the endpoint. Raises WebhookError if there is none of this id."""
        return (await self._load(endpoint_id))[0]

    async def rotate(self, endpoint_id: str, seconds: float = ROTATE_SECONDS) -> str:
        """Return a new secret; the previous one signs as well for `seconds`."""
        secret = secret_of(self._random(SECRET_BYTES))
        await self._change(endpoint_id, lambda endpoint: endpoint.rotated(secret, self._now() + seconds))
        return secret

    async def disable(self, endpoint_id: str, reason: str) -> None:
        """Stop sending to it. Its position is kept."""
        await self._change(endpoint_id, lambda endpoint: replace(endpoint, state="disabled", reason=reason))

    async def enable(self, endpoint_id: str) -> None:
        """Verify a disabled endpoint again and continue at its position."""
        await self.verify(await self.get(endpoint_id))
        await self._change(endpoint_id, lambda endpoint: replace(endpoint, state="active", reason=""))

    async def remove(self, endpoint_id: str) -> Endpoint:
        """Delete the endpoint and return it."""
        endpoint, revision = await self._load(endpoint_id)
        await self._entries.save(entry_name(endpoint_id), b"", revision, 1)
        return endpoint

    async def _change(self, endpoint_id: str, change: Callable[[Endpoint], Endpoint]) -> None:
        load = partial(self._load, endpoint_id)
        await retry_while_retryable(lambda: compare_and_set(load, change, self._save), _RETRY_SECONDS)

    async def _load(self, endpoint_id: str) -> tuple[Endpoint, int]:
        raw, revision = await self._entries.load(entry_name(endpoint_id))
        if not raw:
            raise WebhookError("There is no webhook endpoint with this id; `broker-plane webhooks ls` lists them")
        return parse_endpoint(raw), revision

    async def _save(self, endpoint: Endpoint, revision: int) -> None:
        await self._entries.save(entry_name(endpoint.id), endpoint.pack(), revision, _ENTRY_SECONDS)


def entry_name(endpoint_id: str) -> str:
    """Return the key of an endpoint's entry."""
    return f"hook.{endpoint_id}"
