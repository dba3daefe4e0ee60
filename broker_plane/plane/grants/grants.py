"""Grants: minted without a round trip, opened by their owner's key, claimed by compare-and-set."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from hashlib import sha256
from math import ceil
from uuid import UUID

from broker_plane.errors import (
    AuthenticationRequiredError,
    BrokerPlaneError,
    ConflictError,
    ForbiddenError,
    GrantError,
    GrantExpiredError,
    GrantRefusedError,
    GrantRevokedError,
    GrantUsedError,
)
from broker_plane.plane.audit import Auditor
from broker_plane.plane.fairness.shares import Payer
from broker_plane.plane.grants import state as grant_state
from broker_plane.plane.grants.revocations import Revoked
from broker_plane.plane.grants.state import (
    LEASE_SECONDS,
    Chains,
    GrantState,
    Holder,
    Standing,
    Transition,
    changed,
    closing,
    pack_revoked,
    pack_state,
    revoked_until,
    unpack_state,
)
from broker_plane.plane.ports import GrantStates, Keys
from broker_plane.plane.reclaim.deletions import Ledger
from broker_plane.plane.reclaim.when_used import Collecting
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.feeds import feed_id
from broker_plane.wire.grant import Counter, Flag, Grant, Key, Kind, key_id_of, seal, unseal
from broker_plane.wire.names import BodyId
from broker_plane.wire.seals import holds, seal_words

_TRIES = 64
_SEALED_AT_ONCE = 16
_REMEMBERED_GRANTS = 4096
_REMEMBER_SECONDS = 120
"""A state entry outlives its grant by this: clocks of bridges differ."""

LONGEST_SECONDS = 30 * 86_400
"""No grant lives longer, so that a revocation by id alone, without an expiry, outlives every grant."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A grant whose seal holds and whose time is not over, with the owner whose key opened it."""

    grant: Grant
    owner: str
    who: str = ""
    """The puller's name, where it said one that is known."""

    @property
    def payer(self) -> Payer:
        """On whose account its holder has something done."""
        return Payer(self.owner, self.grant.id)


@dataclass(frozen=True, slots=True)
class Lease:
    """One delivery, by the id that the plane gave it or that a request names: only the state entry says which.

    A grant that nothing counts has leases that write nothing: their id is empty.
    """

    grant: Grant
    id: str
    asker: str
    who: str = ""
    way: str = ""
    """Set where an asker's name is not one of NATS: it is another asker, whatever it is called."""

    @property
    def holder(self) -> Holder:
        return Holder("/".join(part for part in (self.way, self.asker) if part), self.grant.text_id)

    @property
    def counted(self) -> bool:
        """Whether anything counts it; a request that names no lease of a counted grant names none of the plane's."""
        return bool(self.grant.counters)


class Grants:
    """The rules of grants over the ports `states` and `keys`; time and randomness come in."""

    def __init__(
        self,
        states: GrantStates,
        keys: Keys,
        *,
        now: Callable[[], float],
        random_bytes: Callable[[int], bytes],
        audit: Auditor,
        collecting: Collecting,
    ) -> None:
        self._states = states
        self._keys = keys
        self._now = now
        self._random = random_bytes
        self.revoked = Revoked(now)
        self.ledger = Ledger(states, now=now)
        self.audit = audit
        self.collecting = collecting
        self._written: OrderedDict[str, tuple[Chains, int]] = OrderedDict()

    async def mint(self, body: BodyInfo, *, uses: int, ttl: int | None = None) -> str:
        """The text of a new grant for `body`. It ends after `ttl` seconds, and with the body at the latest."""
        return (await self.mint_all(body, uses=uses, ttl=ttl, askers=[""]))[0]

    async def mint_all(self, body: BodyInfo, *, uses: int, ttl: int | None, askers: Sequence[str]) -> list[str]:
        """A grant for each of `askers`, which are words of the audit and bind nobody."""
        key = await self._keys.sealing()
        expires = min(body.expires, ceil(self._now() + min(ttl or LONGEST_SECONDS, LONGEST_SECONDS)))
        ids = await self.collecting.reserve(body, len(askers), unlimited=not uses) if body.collect else []
        flags = Flag.COLLECTED if ids else Flag.NONE
        ids = ids or [UUID(bytes=self._random(16), version=4).bytes for _ in askers]
        made = []
        for number, (asker, grant_id) in enumerate(zip(askers, ids, strict=True), 1):
            grant = Grant(body=body.id, grant_id=grant_id, expires=expires, uses=uses, flags=flags)
            made.append(seal(grant, key))
            self.audit.note("minted", grant, asker, uses=uses, expires=expires)
            if not number % _SEALED_AT_ONCE:
                await asyncio.sleep(0)  # ten thousand take a second, and others want this loop, too
        return made

    async def mint_feed(self, feed: str, *, ttl: int) -> str:
        """The text of a new grant for a feed: all of its versions, those to come included. Nothing counts its uses."""
        return await self._mint_uncounted(feed_id(feed), Kind.FEED, ceil(self._now() + min(ttl, LONGEST_SECONDS)))

    async def mint_stream(self, stream_id: BodyId, expires: int) -> str:
        """The text of a new grant for a live stream, whose one reader its holder is."""
        return await self._mint_uncounted(stream_id, Kind.STREAM, expires)

    async def _mint_uncounted(self, place: BodyId, kind: Kind, expires: int) -> str:
        grant_id = UUID(bytes=self._random(16), version=4).bytes
        grant = Grant(body=place, grant_id=grant_id, expires=expires, uses=0, kind=kind)
        self.audit.note("minted", grant, uses=0, expires=expires)
        return seal(grant, await self._keys.sealing())

    async def mint_upload(self, body_id: BodyId, *, ttl: int, uses: int) -> str:
        """The text of a new grant to upload what becomes the body of this id, which ends after `ttl` seconds with it.

        `uses` are those of the grant that whoever completes the upload gets for the body.
        """
        expires = ceil(self._now() + min(ttl, LONGEST_SECONDS))
        grant_id = UUID(bytes=self._random(16), version=4).bytes
        grant = Grant(body=body_id, grant_id=grant_id, expires=expires, uses=uses, kind=Kind.UPLOAD)
        self.audit.note("minted", grant, "upload", uses=uses, expires=expires)
        return seal(grant, await self._keys.sealing())

    async def mint_uploaded(self, text: str, body: BodyInfo) -> str:
        """The grant for the body that the upload of `text` became: the same one whenever it is asked for."""
        key = await self._key_of(text)
        upload = unseal(text, key)
        grant_id = UUID(bytes=sha256(b"uploaded" + upload.grant_id).digest()[:16], version=4).bytes
        uses = min((counter.uses for counter in upload.counters), default=0)
        return seal(Grant(body=body.id, grant_id=grant_id, expires=body.expires, uses=uses), key)

    async def vouch(self, text: str, *words: str) -> str:
        """A seal on `words` about the grant `text`, by the key that sealed the grant.

        Raises:
            GrantRefusedError: no key that is known here did.
        """
        return seal_words((text, *words), await self._key_of(text))

    async def vouched(self, text: str, seal: str, *words: str) -> bool:
        """Whether `vouch` made `seal`, wherever that key is known. Raises as it does."""
        return holds(seal, (text, *words), await self._key_of(text))

    async def _key_of(self, text: str) -> Key:
        await self._keys.sealing()  # a resource server opens with what it seals with
        for _, key in await self._keys.opening(key_id_of(text)):
            with suppress(GrantRefusedError):
                unseal(text, key)
                return key
        raise GrantRefusedError("no key opens it")

    async def open(self, text: str, who: str = "") -> Opened:
        """The grant that `text` seals, for the puller named `who`; empty is one who did not say.

        Raises:
            GrantRefusedError: it opens nothing, and why stays with us.
            GrantExpiredError, GrantRevokedError: it was genuine.
            AuthenticationRequiredError, ForbiddenError: it is for one puller by name, and this is another.
        """
        opened = await self.unsealed(text)
        await self.check(opened, who)
        return opened

    async def unsealed(self, text: str) -> Opened:
        """The grant that `text` seals, whatever has become of it and whoever asks.

        Raises:
            GrantRefusedError: it opens nothing, and why stays with us.
        """
        for owner, key in await self._keys.opening(key_id_of(text)):
            with suppress(GrantRefusedError):  # two owners' keys may share a short id
                return Opened(unseal(text, key), owner)
        raise GrantRefusedError("no key opens it")

    async def check(self, opened: Opened, who: str = "") -> None:
        """Raise what `open` raises of a genuine grant."""
        if not opened.grant.live(self._now()):
            raise GrantExpiredError("This grant has expired. Call the resource tool again")
        await self._check_revoked(opened.grant)
        _check_audience(opened.grant, who)

    async def claim(
        self,
        grant: Grant,
        asker: str,
        number: str = "",
        *,
        way: str = "",
        reserve: float = 1.0,
        pay: float = 0.0,
    ) -> Lease:
        """A lease on one use of `grant` for `asker`. Whoever asks again for the pull of this `number` has the same one.

        `reserve` is what the delivery may take, in deliveries' worth, and `pay` what leaves with the answer.

        Raises:
            GrantUsedError, GrantInUseError, GrantRevokedError, LeaseLostError, BrokerUnavailableError.
        """
        if not grant.counters:
            # Again, because the body was found since: what was revoked before that answer has been heard of by now.
            await self._check_revoked(grant)
            return Lease(grant, "", asker, way=way)
        lease = Lease(grant, self._random(9).hex(), asker, way=way)
        if number:
            lease = replace(lease, id=sha256(f"{lease.holder}/{number}".encode()).digest()[:9].hex())
        await self._change(
            grant,
            lambda state, counter: grant_state.claim(
                state, counter.uses, lease.holder, lease.id, self._now(), reserve=reserve, pay=pay
            ),
        )
        return lease

    async def pay(self, lease: Lease, share: float) -> None:
        """Pay for `share` of a delivery before it leaves; its lease has its whole time again.

        Raises:
            LeaseLostError: the lease is over, or is not one that the plane gave to this asker for this very grant.
            GrantUsedError, GrantInUseError: the grant does not pay for that much.
        """
        if lease.counted:
            await self._change(
                lease.grant,
                lambda state, counter: grant_state.pay(state, counter.uses, lease.holder, lease.id, share, self._now()),
            )

    async def look(self, grant: Grant, share: float = 0.0) -> None:
        """Pay for a look that shows `share` of the body; a grant of unlimited use pays nothing.

        Raises:
            GrantUsedError, GrantInUseError, BrokerUnavailableError.
        """
        if grant.counters:
            await self._change(grant, lambda state, counter: grant_state.look(state, counter.uses, share, self._now()))

    async def renew(self, lease: Lease) -> None:
        """More time for a delivery under way. Raises LeaseLostError as `pay`."""
        if lease.counted:
            # Read, and not remembered: mostly nothing is written, so that nothing else would say that it is old.
            await self._change(
                lease.grant,
                lambda state, _: grant_state.renew(state, lease.id, lease.holder, self._now()),
                remembered=False,
            )

    async def release(
        self, lease: Lease, sent: float | None = None, *, unsent: float = 0.0, final: bool = False
    ) -> bool:
        """Give the use back, if the lease is live; says whether it was.

        `sent` is the fraction that this process saw leave; without it, all that was paid for counts as sent, but for
        what is `unsent`. `final`:
        the reader says that it failed, so that nothing counts this delivery later.
        """
        freed = False

        def transition(state: GrantState, _: Counter) -> GrantState:
            nonlocal freed
            freed = state.standing(lease.id, lease.holder) is Standing.LIVE
            return grant_state.release(state, lease.id, lease.holder, sent, unsent=unsent, final=final)

        if lease.counted:
            await self._change(lease.grant, transition, remembered=False)
        return freed

    async def finish(self, lease: Lease) -> bool:
        """Count one completed delivery; a repeat of it counts nothing. Says whether it was counted now.

        Raises:
            LeaseLostError: the plane gave this holder no such lease, or its use went to another reader.
        """
        if not lease.counted:
            return False
        grant, counted = lease.grant, False

        def transition(state: GrantState, counter: Counter) -> GrantState:
            nonlocal counted
            after = grant_state.finish(state, lease.id, lease.holder, counter.uses)
            counted = after != state
            return after

        chains = await self._change(grant, transition)
        if Flag.COLLECTED in grant.flags and chains.get("", GrantState()).done >= grant.uses:
            self.collecting.mark(grant)
        return counted

    async def revoke(self, grant_id: str, *, body: str = "", expires: int | None = None) -> None:
        """The grant of this id, and all that was narrowed from it, opens nothing from now on, on any bridge.

        Doing it again changes nothing; so after an error, whose outcome is unknown, do it again.
        """
        now = self._now()
        until = ceil(now + LONGEST_SECONDS if expires is None else max(now, expires)) + _REMEMBER_SECONDS
        for _ in range(_TRIES):
            raw, revision = await self._states.load(grant_id)
            if raw is None or revoked_until(raw) is None:
                try:
                    await self._states.save(grant_id, pack_revoked(until), revision, ceil(until - now))
                except ConflictError:
                    continue
                self.audit.note_body("revoked", body, grant_id=grant_id)
            self.revoked.add(grant_id, until)
            return
        raise ConflictError("Too many readers at this grant at once; revoke it again", retry_after=1)

    @asynccontextmanager
    async def kept(self, lease: Lease) -> AsyncIterator[None]:
        """Renew `lease` for as long as the block runs: a large body takes longer than a lease."""
        renewing = asyncio.create_task(self._renewing(lease)) if lease.id else None
        try:
            yield
        finally:
            if renewing is not None:
                renewing.cancel()

    async def _renewing(self, lease: Lease) -> None:
        while True:
            await asyncio.sleep(LEASE_SECONDS / 3)
            with suppress(BrokerPlaneError):  # the delivery goes on; its end says whether the use was still its own
                await self.renew(lease)

    async def _change(self, grant: Grant, transition: Transition, *, remembered: bool = True) -> Chains:
        """Apply `transition` to all that counts the grant by compare-and-set; it runs again when another was faster."""
        for attempt in range(_TRIES):
            # First on what is remembered: where that is old, the write is refused, and so is no answer given from it.
            known = None if attempt or not remembered else self._known(grant)
            state, revision = known or await self._load(grant)
            refused: GrantError | None = None
            try:
                after = changed(state, grant.counters, transition)
            except GrantError as error:
                if known is not None:
                    continue
                refused, after = error, state
                if isinstance(error, GrantUsedError):
                    after = closing(state, grant.counters, transition)
            if after != state or known is not None:
                ttl = ceil(grant.remembered_until - self._now()) + _REMEMBER_SECONDS
                try:
                    revision = await self._states.save(grant.id, pack_state(after), revision, max(1, ttl))
                except ConflictError:
                    continue
                self._remember(grant, after, revision)
            if refused is not None:
                raise refused
            return after
        raise ConflictError("Too many readers at this grant at once; try again", retry_after=1)

    async def _check_revoked(self, grant: Grant) -> None:
        if grant.id in self.revoked:
            raise GrantRevokedError
        if not self.revoked.complete:
            await self._load(grant)  # raises for the entry of a revoked one

    async def _load(self, grant: Grant) -> tuple[Chains, int]:
        raw, revision = await self._states.load(grant.id)
        if raw is None and Flag.RECORDED in grant.flags:
            raise GrantRefusedError("its state entry is lost")
        return (unpack_state(raw) if raw else {}), revision

    def _known(self, grant: Grant) -> tuple[Chains, int] | None:
        """What this process last wrote; for a grant that it never saw, that there is no entry."""
        nothing: tuple[Chains, int] | None = None if Flag.RECORDED in grant.flags else ({}, 0)
        return self._written.get(grant.id, nothing)

    def _remember(self, grant: Grant, state: Chains, revision: int) -> None:
        self._written[grant.id] = (state, revision)
        self._written.move_to_end(grant.id)
        if len(self._written) > _REMEMBERED_GRANTS:
            self._written.popitem(last=False)


def _check_audience(grant: Grant, who: str) -> None:
    audience = grant.scope.audience
    if audience is None or (who and who == audience):
        return
    if not who:
        raise AuthenticationRequiredError("This grant is for one puller by name; say who you are")
    raise ForbiddenError("This grant is for another puller")
