"""Grants: minted by their owner, opened with the owner's key, leased for each delivery, revoked by id."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from broker_plane.errors import (
    AuthenticationRequiredError,
    ForbiddenError,
    GrantExpiredError,
    GrantRefusedError,
)
from broker_plane.plane.audit import Auditor
from broker_plane.plane.fairness.shares import Payer
from broker_plane.plane.grants.entries import GrantEntries
from broker_plane.plane.grants.leases import Leases
from broker_plane.plane.grants.minting import GrantMint
from broker_plane.plane.grants.state import (
    LEASE_SECONDS,
)
from broker_plane.plane.ports import EntryStore, Keys
from broker_plane.plane.reclaim.deletions import DeletionRecord
from broker_plane.plane.reclaim.when_used import UsedBodyCollector
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.grant import Grant, Key, check_scope, key_id_of, unseal
from broker_plane.wire.seals import is_sealed, seal_words


@dataclass(frozen=True, slots=True)
class Opened:
    """A grant whose seal is valid, and the owner whose key opened it."""

    grant: Grant
    owner: str
    who: str = ""
    """The authenticated name of the puller, if there is one."""

    @property
    def payer(self) -> Payer:
        """On whose account the holder's requests are computed."""
        return Payer(self.owner, self.grant.id)


class Grants:
    """The rules of grants over the ports `states` and `keys`. Time and randomness are parameters."""

    def __init__(
        self,
        states: EntryStore,
        keys: Keys,
        *,
        now: Callable[[], float],
        random_bytes: Callable[[int], bytes],
        audit: Auditor,
        collecting: UsedBodyCollector,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._entries = GrantEntries(states, now=now)
        self._keys = keys
        self._now = now
        self.minting = GrantMint(keys, collecting, audit, now=now, random_bytes=random_bytes)
        self.leases = Leases(self._entries, collecting, now=now, random_bytes=random_bytes, seconds=lease_seconds)
        self.revoked = self._entries.revoked
        """The revocations that this process knows of."""
        self.deletions = DeletionRecord(states, now=now)
        self.audit = audit
        self.collecting = collecting

    async def open(self, text: str, who: str = "") -> Opened:
        """Verify the grant `text` for the puller named `who`; empty if the puller did not authenticate.

        Raises:
            GrantRefusedError: the text is not a genuine grant; the reason goes to our log only.
            GrantExpiredError, GrantRevokedError: the grant was genuine.
            AuthenticationRequiredError, ForbiddenError: the grant is restricted to another, named puller.
            ForbiddenError: its caveats are those of another kind of grant.
        """
        opened = await self.unsealed(text)
        await self.check(opened, who)
        return opened

    async def unsealed(self, text: str) -> Opened:
        """Verify the seal of `text` only: the grant may be expired, revoked, or for somebody else.

        Raises:
            GrantRefusedError: the text is not a genuine grant.
        """
        for owner, key in await self._keys.opening(key_id_of(text)):
            with suppress(GrantRefusedError):  # two owners' keys may share a short id
                return Opened(unseal(text, key), owner)
        raise GrantRefusedError("no key opens it")

    async def check(self, opened: Opened, who: str = "") -> None:
        """Raise what `open` raises for a genuine grant: expiry, revocation and audience are checked again."""
        if not opened.grant.live(self._now()):
            raise GrantExpiredError("This grant has expired. Call the resource tool again")
        await self._entries.check_revoked(opened.grant)
        _check_audience(opened.grant, who)
        check_scope(opened.grant)

    async def revoke(self, grant_id: str, *, body: str = "", expires: int | None = None) -> None:
        """Revoke the grant with this id, and everything narrowed from it, on every bridge. Idempotent.

        After an error the outcome is unknown: do it again.
        """
        if await self._entries.revoke(grant_id, expires):
            self.audit.note_body("revoked", body, grant_id=grant_id)

    async def mint_uploaded(self, text: str, body: BodyInfo) -> str:
        """The grant for the body that the upload of `text` became. Deterministic: repeats return the same grant."""
        key = await self._key_of(text)
        return self.minting.mint_uploaded(unseal(text, key), key, body)

    async def mint_beside(self, text: str, body: BodyInfo, uses: int) -> str:
        """A new grant for `body`, by the key that sealed the grant `text` of its owner. Raises as `vouch`."""
        return self.minting.mint_with(await self._key_of(text), body, uses)

    async def vouch(self, text: str, *words: str) -> str:
        """A seal on `words` about the grant `text`, by the key that sealed the grant.

        Raises:
            GrantRefusedError: no key that is known here sealed it.
        """
        return seal_words((text, *words), await self._key_of(text))

    async def vouched(self, text: str, seal: str, *words: str) -> bool:
        """Whether `vouch` made `seal`, in any process that has the key. Raises as `vouch`."""
        return is_sealed(seal, (text, *words), await self._key_of(text))

    async def _key_of(self, text: str) -> Key:
        await self._keys.sealing()  # a resource server opens grants with its sealing key
        for _, key in await self._keys.opening(key_id_of(text)):
            with suppress(GrantRefusedError):
                unseal(text, key)
                return key
        raise GrantRefusedError("no key opens it")


def _check_audience(grant: Grant, who: str) -> None:
    audience = grant.scope.audience
    if audience is None or (who and who == audience):
        return
    if not who:
        raise AuthenticationRequiredError(
            "This grant is restricted to a named audience; authenticate with a bearer token"
        )
    raise ForbiddenError("This grant is for another puller")
