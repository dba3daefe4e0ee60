"""The bodies that the artifacts of closed sessions become, and grants for them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from math import ceil
from typing import Protocol

import msgspec

from broker_plane.errors import BrokerPlaneError
from broker_plane.plane.grants.entries import LONGEST_SECONDS
from broker_plane.plane.grants.grants import Grants
from broker_plane.plane.ports import BodyStore, Draft, Shape
from broker_plane.wire.grant import Key
from broker_plane.wire.names import BodyId, body_id

_PIECE_BYTES = 1 << 19


class SealingKeys(Protocol):
    """The keys of every owner, as a bridge has them."""

    async def sealing_of(self, owner: str) -> Key:
        """The key that seals the grants of `owner`. Raises KeysLostError if it has none."""


class BodyResults:
    """The port `Results` of closing, for sessions of any owner. `url` makes the resource_url of a grant."""

    def __init__(
        self,
        store: BodyStore,
        grants: Grants,
        keys: SealingKeys,
        *,
        url: Callable[[str], str],
        now: Callable[[], float],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._store = store
        self._grants = grants
        self._keys = keys
        self._url = url
        self._now = now
        self._random = random_bytes

    def now(self) -> float:
        """As `Results.now`."""
        return self._now()

    async def publish(self, owner: str, raw: bytes, media_type: str, expires: int) -> BodyId:
        """As `Results.publish`."""
        now = self._now()
        draft = Draft(
            id=body_id(self._random(16)),
            owner=owner,
            kind="bytes",
            media_type=media_type,
            created=now,
            expires=max(expires, ceil(now) + 1),
        )
        async with self._store.writer(draft) as writer:
            for start in range(0, len(raw), _PIECE_BYTES):
                await writer.write(raw[start : start + _PIECE_BYTES])
            return (await writer.commit(Shape())).id

    async def drop(self, owner: str, body_id: BodyId) -> None:
        """As `Results.drop`; a body that cannot be deleted now expires."""
        with suppress(BrokerPlaneError):
            await self._store.delete(owner, body_id)

    async def url(self, owner: str, body_id: BodyId) -> str:
        """As `Results.url`."""
        body = await self._store.info(owner, body_id)
        expires = min(body.expires, ceil(self._now() + LONGEST_SECONDS))
        key = await self._keys.sealing_of(owner)
        return self._url(self._grants.minting.mint_with(key, msgspec.structs.replace(body, expires=expires), uses=0))
