"""The stored receivers of one answer (PR 593). An entry is removed once each of them has accepted it."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

import orjson

from broker_plane.errors import ConflictError, WireError
from broker_plane.plane.ports import Bucket
from broker_plane.plane.retry import compare_and_set
from broker_plane.transports.webhook.call_webhooks import CallWebhook
from broker_plane.transports.webhook.callbacks import Callbacks
from broker_plane.transports.webhook.record import SESSION_BYTES, Callback, WebhookSession, parse_callback, session_id
from broker_plane.transports.webhook.sealing import CredentialSealer

_SECONDS = 87_000


@dataclass(frozen=True, slots=True)
class CallTarget:
    """A receiver, and its headers, sealed."""

    callback: Callback
    sealed: str

    def __repr__(self) -> str:
        return "CallTarget(…)"


@dataclass(frozen=True, slots=True)
class CallDelivery:
    """The receivers that have not accepted the answer of a call yet. `id` is that of its exchange's session."""

    id: str
    server: str
    targets: tuple[CallTarget, ...]


class CallDeliveries:
    """The entries of one server."""

    def __init__(
        self,
        bucket: Bucket,
        server: str,
        callbacks: Callbacks,
        sealer: CredentialSealer,
        is_listed: Callable[[str], bool],
    ) -> None:
        """`is_listed` says of which URLs no proof is required."""
        self._bucket = bucket
        self._is_listed = is_listed
        self._server = server
        self._callbacks = callbacks
        self._sealer = sealer

    async def open(self, session: WebhookSession, exchange: str, webhooks: list[CallWebhook]) -> CallDelivery:
        """Store the receivers of a call. Each echoes a challenge first, unless it is listed.

        A repeat of the call has the same entry.

        Raises:
            UntrustedHostError, WebhookError, BrokerUnavailableError: as `Callbacks.prove`. StoreFullError.
        """
        name = hmac.digest(session.id.encode(), exchange.encode(), "sha256")[:SESSION_BYTES]
        delivery = CallDelivery(session_id(name), self._server, ())
        found = await self.find(delivery.id)
        if found is not None:
            return found
        targets = [await self._target(delivery.id, session, each) for each in webhooks]
        delivery = replace(delivery, targets=tuple(targets))
        with suppress(ConflictError):  # stored meanwhile, by a repeat
            await self._save(delivery, 0)
        return delivery

    async def find(self, delivery: str) -> CallDelivery | None:
        """The entry of that id; None if there is none."""
        raw, _ = await self._bucket.load(self._entry(delivery))
        return _parsed(raw) if raw else None

    async def headers_of(self, delivery: CallDelivery, target: CallTarget) -> Mapping[str, str]:
        """The headers for a receiver. Raises KeysLostError: they cannot be decrypted any more."""
        found: dict[str, str] = orjson.loads(await self._sealer.open(target.sealed, delivery.id))
        return found

    async def reached(self, delivery: CallDelivery, target: CallTarget) -> CallDelivery:
        """The entry without a receiver, which has accepted the answer."""

        async def load() -> tuple[CallDelivery, int]:
            raw, revision = await self._bucket.load(self._entry(delivery.id))
            return (_parsed(raw) if raw else replace(delivery, targets=())), revision

        def without(found: CallDelivery) -> CallDelivery:
            return replace(found, targets=tuple(each for each in found.targets if each != target))

        return await compare_and_set(load, without, self._save)

    async def remove(self, delivery: str) -> None:
        """Remove an entry."""
        raw, revision = await self._bucket.load(self._entry(delivery))
        if raw:
            with suppress(ConflictError):
                await self._bucket.delete(self._entry(delivery), revision)

    async def _target(self, delivery: str, session: WebhookSession, webhook: CallWebhook) -> CallTarget:
        secrets = session.callback.secrets
        if self._is_listed(webhook.url):
            callback = await self._callbacks.locate(webhook.url, secrets)
        else:
            callback = await self._callbacks.prove(webhook.url, secrets, webhook.headers)
        return CallTarget(callback, await self._sealer.seal(orjson.dumps(dict(webhook.headers)).decode(), delivery))

    async def _save(self, delivery: CallDelivery, revision: int) -> int:
        return await self._bucket.save(self._entry(delivery.id), orjson.dumps(asdict(delivery)), revision, _SECONDS)

    def _entry(self, delivery: str) -> str:
        return f"{self._server}.{delivery}.call"


def _parsed(raw: bytes) -> CallDelivery:
    try:
        fields: dict[str, Any] = orjson.loads(raw)
        targets = [CallTarget(parse_callback(each["callback"]), each["sealed"]) for each in fields["targets"]]
        return CallDelivery(fields["id"], fields["server"], tuple(targets))
    except (ValueError, TypeError, KeyError) as error:
        raise WireError("Malformed delivery of a call", reason=str(error)) from error
