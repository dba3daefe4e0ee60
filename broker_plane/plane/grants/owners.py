"""The published bodies of an owner: mint more grants, revoke grants, delete bodies."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from broker_plane.errors import FeedError, SelectorError
from broker_plane.plane.grants.grants import Grants
from broker_plane.plane.ports import BodyStore
from broker_plane.plane.retry import retry_while_retryable
from broker_plane.wire.grant import Flag
from broker_plane.wire.names import BodyId

T = TypeVar("T")
_MOST_NAME = 64
"""Maximum length of a name in characters. Names go into the audit log; a grant given by mistake does not fit."""

_MINTED_A_TURN = 500
_PATIENCE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Revocation:
    """A revoked grant. `body` and `expires` are known if the whole grant was given, not only its id."""

    grant_id: str
    body: str = ""
    expires: int | None = None


class BodyOwner:
    """The bodies of one owner."""

    def __init__(self, store: BodyStore, grants: Grants, owner: str) -> None:
        self._store = store
        self._grants = grants
        self._owner = owner

    async def grants(
        self, body_id: BodyId, names: int | Sequence[str], *, uses: int, ttl: int | None, offer: Callable[[str], T]
    ) -> list[tuple[str, T]]:
        """A separate grant for each of `names`, or for that many numbered names. `offer` turns each grant into a URL.

        Raises:
            BodyNotFoundError: this owner has no such body.
            SelectorError: a name occurs twice, or is not valid.
        """
        named = [str(number) for number in range(names)] if isinstance(names, int) else list(names)
        _check_names(named)
        body = await self._store.info(self._owner, body_id)
        made: list[tuple[str, T]] = []
        for start in range(0, len(named), _MINTED_A_TURN):
            turn = named[start : start + _MINTED_A_TURN]
            minted = await self._grants.minting.mint_all(body, uses=uses, ttl=ttl, askers=turn)
            made += [(name, offer(grant)) for name, grant in zip(turn, minted, strict=True)]
            await asyncio.sleep(0)  # let other tasks run
        return made

    async def revoke_grant(self, text: str) -> Revocation:
        """Revoke the grant `text`, expired or not.

        Raises:
            GrantRefusedError: the text is not a genuine grant.
            BrokerUnavailableError: whether it was revoked is unknown; do it again.
        """
        grant = (await self._grants.unsealed(text)).grant
        await retry_while_retryable(
            lambda: self._grants.revoke(grant.id, body=grant.body, expires=grant.remembered_until), _PATIENCE_SECONDS
        )
        if Flag.COLLECTED in grant.flags:
            self._grants.collecting.mark(grant)
        return Revocation(grant.id, grant.body, grant.expires)

    async def revoke_id(self, grant_id: str) -> Revocation:
        """As `revoke_grant`, with only the id."""
        await retry_while_retryable(lambda: self._grants.revoke(grant_id), _PATIENCE_SECONDS)
        return Revocation(grant_id)

    async def delete(self, body_id: BodyId) -> None:
        """Delete a body at once. Its grants cannot be used any more.

        Raises:
            BodyNotFoundError: there is no such body.
            FeedError: the body belongs to a version of a feed.
        """
        body = await self._store.info(self._owner, body_id)
        if body.feed:
            raise FeedError(f"This body belongs to the feed {body.feed}; retention deletes it with its version")
        await self._store.delete(self._owner, body_id)
        self._grants.audit.note_body("deleted", body_id)


def _check_names(names: list[str]) -> None:
    if len(set(names)) != len(names):
        raise SelectorError("Each name gets one grant; one of these occurs twice")
    for name in names:
        if not 0 < len(name) <= _MOST_NAME or not name.isprintable():
            raise SelectorError(f"Invalid name {name[:20]!r}: use 1 to {_MOST_NAME} printable characters")
