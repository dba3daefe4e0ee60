"""Mints grants: signs texts that name a body, a feed, a stream, an upload or a session. Sends no request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from hashlib import sha256
from math import ceil
from uuid import UUID

from broker_plane.plane.audit import Auditor
from broker_plane.plane.grants.entries import LONGEST_SECONDS
from broker_plane.plane.ports import Keys
from broker_plane.plane.reclaim.when_used import UsedBodyCollector
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.caveats import Caveat, SessionIntent, SessionName, SessionRole
from broker_plane.wire.feeds import feed_id
from broker_plane.wire.grant import Flag, Grant, Key, Kind, narrow, seal
from broker_plane.wire.names import BodyId
from broker_plane.wire.session_roles import Role

_SEALED_AT_ONCE = 16


class GrantMint:
    """Mints grants with the sealing key of `keys`. Expiry is in unix seconds, at most 30 days ahead."""

    def __init__(
        self,
        keys: Keys,
        collecting: UsedBodyCollector,
        audit: Auditor,
        *,
        now: Callable[[], float],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._keys = keys
        self._collecting = collecting
        self._audit = audit
        self._now = now
        self._random = random_bytes

    async def mint(self, body: BodyInfo, *, uses: int, ttl: int | None = None) -> str:
        """A new grant for `body`. Expires after `ttl` seconds, and never later than the body. `uses` 0: unlimited."""
        return (await self.mint_all(body, uses=uses, ttl=ttl, askers=[""]))[0]

    async def mint_all(self, body: BodyInfo, *, uses: int, ttl: int | None, askers: Sequence[str]) -> list[str]:
        """A grant for each of `askers`. These names go into the audit log only; they do not restrict anybody."""
        key = await self._keys.sealing()
        expires = min(body.expires, self._expiry(ttl or LONGEST_SECONDS))
        ids = await self._collecting.reserve(body, len(askers), unlimited=not uses) if body.collect else []
        flags = Flag.COLLECTED if ids else Flag.NONE
        ids = ids or [self._new_id() for _ in askers]
        minted = []
        for number, (asker, grant_id) in enumerate(zip(askers, ids, strict=True), 1):
            grant = Grant(body=body.id, grant_id=grant_id, expires=expires, uses=uses, flags=flags)
            minted.append(seal(grant, key))
            self._audit.note("minted", grant, asker, uses=uses, expires=expires)
            if not number % _SEALED_AT_ONCE:
                await asyncio.sleep(0)  # ten thousand take a second; let other tasks run
        return minted

    async def mint_feed(self, feed: str, *, ttl: int) -> str:
        """A new grant for a feed: all of its versions, including future ones. Its use is unlimited."""
        return await self._mint_uncounted(feed_id(feed), Kind.FEED, self._expiry(ttl))

    async def mint_stream(self, stream_id: BodyId, expires: int) -> str:
        """A new grant for a live stream. The stream's only reader is the holder of this grant."""
        return await self._mint_uncounted(stream_id, Kind.STREAM, expires)

    async def mint_session(
        self, session_id: BodyId, role: Role, expires: int, *, intent: str = "", participant: str = ""
    ) -> str:
        """A new grant for a session, with a role that narrowing can only reduce. Empty texts restrict nothing.

        The root without a role is never given to anybody: with it, a holder could choose the role.

        Raises:
            SelectorError: no grant can have this role, intent or participant.
        """
        caveats: list[Caveat] = [SessionRole(role)]
        caveats += [SessionIntent(intent)] if intent else []
        caveats += [SessionName(participant)] if participant else []
        return narrow(await self._mint_uncounted(session_id, Kind.SESSION, expires), *caveats)

    async def mint_upload(self, body_id: BodyId, *, ttl: int, uses: int) -> str:
        """A new grant to upload the body with this id. Grant and upload expire after `ttl` seconds.

        `uses` is for the grant for the body, which is returned when the upload is complete.
        """
        expires = self._expiry(ttl)
        grant = Grant(body=body_id, grant_id=self._new_id(), expires=expires, uses=uses, kind=Kind.UPLOAD)
        self._audit.note("minted", grant, "upload", uses=uses, expires=expires)
        return seal(grant, await self._keys.sealing())

    def mint_uploaded(self, upload: Grant, key: Key, body: BodyInfo) -> str:
        """The grant for the body that an upload became. The same `upload` and `key` give the same one."""
        grant_id = _uuid(sha256(b"uploaded" + upload.grant_id).digest()[:16])
        uses = min((counter.uses for counter in upload.counters), default=0)
        return seal(Grant(body=body.id, grant_id=grant_id, expires=body.expires, uses=uses), key)

    def mint_with(self, key: Key, body: BodyInfo, uses: int) -> str:
        """A new grant for `body` that `key` seals: another owner's key, on a bridge."""
        grant = Grant(body=body.id, grant_id=self._new_id(), expires=body.expires, uses=uses)
        self._audit.note("minted", grant, uses=uses, expires=body.expires)
        return seal(grant, key)

    async def _mint_uncounted(self, place: BodyId, kind: Kind, expires: int) -> str:
        grant = Grant(body=place, grant_id=self._new_id(), expires=expires, uses=0, kind=kind)
        self._audit.note("minted", grant, uses=0, expires=expires)
        return seal(grant, await self._keys.sealing())

    def _expiry(self, ttl: int) -> int:
        return ceil(self._now() + min(ttl, LONGEST_SECONDS))

    def _new_id(self) -> bytes:
        return _uuid(self._random(16))


def _uuid(raw: bytes) -> bytes:
    return UUID(bytes=raw, version=4).bytes
