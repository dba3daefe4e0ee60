"""What an owner does with bodies that are published already: more grants for them, fewer, and none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from broker_plane.errors import FeedError, SelectorError
from broker_plane.plane.grants.grants import Grants
from broker_plane.plane.ports import BodyStore
from broker_plane.plane.retry import patiently
from broker_plane.wire.grant import Flag
from broker_plane.wire.names import BodyId

T = TypeVar("T")
_MOST_NAME = 64
"""Characters: a name goes into the audit, and 64 are too few for a grant that somebody took for one."""

_MINTED_A_TURN = 500
_PATIENCE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Revocation:
    """What was revoked. `body` and `expires` are known where the whole grant was given, and not its id alone."""

    grant_id: str
    body: str = ""
    expires: int | None = None


class Owning:
    """The use cases of one owner."""

    def __init__(self, store: BodyStore, grants: Grants, owner: str) -> None:
        self._store = store
        self._grants = grants
        self._owner = owner

    async def grants(
        self, body_id: BodyId, names: int | Sequence[str], *, uses: int, ttl: int | None, offer: Callable[[str], T]
    ) -> list[tuple[str, T]]:
        """A grant of its own for each of `names`, or for so many that are named by numbers; `offer` makes it a URL.

        Raises:
            BodyNotFoundError: this owner has no such body.
            SelectorError: a name stands twice, or is none.
        """
        named = [str(number) for number in range(names)] if isinstance(names, int) else list(names)
        _check_names(named)
        body = await self._store.info(self._owner, body_id)
        made: list[tuple[str, T]] = []
        for start in range(0, len(named), _MINTED_A_TURN):
            turn = named[start : start + _MINTED_A_TURN]
            minted = await self._grants.mint_all(body, uses=uses, ttl=ttl, askers=turn)
            made += [(name, offer(grant)) for name, grant in zip(turn, minted, strict=True)]
            await asyncio.sleep(0)  # others run meanwhile
        return made

    async def revoke_grant(self, text: str) -> Revocation:
        """The grant that `text` seals, expired or not, opens nothing any more.

        Raises:
            GrantRefusedError: it is no genuine grant.
            BrokerUnavailableError: whether it is revoked is not known; do it again.
        """
        grant = (await self._grants.unsealed(text)).grant
        await patiently(
            lambda: self._grants.revoke(grant.id, body=grant.body, expires=grant.remembered_until), _PATIENCE_SECONDS
        )
        if Flag.COLLECTED in grant.flags:
            self._grants.collecting.mark(grant)
        return Revocation(grant.id, grant.body, grant.expires)

    async def revoke_id(self, grant_id: str) -> Revocation:
        """As `revoke_grant`, by the id alone."""
        await patiently(lambda: self._grants.revoke(grant_id), _PATIENCE_SECONDS)
        return Revocation(grant_id)

    async def delete(self, body_id: BodyId) -> None:
        """Remove a body; its bytes are free at once, and every grant for it opens nothing.

        Raises:
            BodyNotFoundError: there is none.
            FeedError: it is of a feed's version.
        """
        body = await self._store.info(self._owner, body_id)
        if body.feed:
            raise FeedError(f"This is a body of the feed {body.feed}: it goes with its version, by retention")
        await self._store.delete(self._owner, body_id)
        self._grants.audit.note_body("deleted", body_id)


def _check_names(names: list[str]) -> None:
    if len(set(names)) != len(names):
        raise SelectorError("Each name gets one grant; one of these stands twice")
    for name in names:
        if not 0 < len(name) <= _MOST_NAME or not name.isprintable():
            raise SelectorError(f"A name has 1 to {_MOST_NAME} printable characters; {name[:20]!r} has not")
