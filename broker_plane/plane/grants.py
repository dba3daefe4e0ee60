"""Grants: minted without a round trip, opened by their owner's key, claimed by compare-and-set."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from math import ceil
from uuid import UUID

from broker_plane.errors import (
    BrokerPlaneError,
    ConflictError,
    ForbiddenError,
    GrantError,
    GrantExpiredError,
    GrantRefusedError,
    UnidentifiedError,
)
from broker_plane.plane import grant_state
from broker_plane.plane.grant_state import LEASE_SECONDS, Chains, Transition, changed, pack_state, unpack_state
from broker_plane.plane.ports import GrantStates, Keys
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.grant import Flag, Grant, key_id_of, seal, unseal

_TRIES = 64
_REMEMBERED_GRANTS = 4096
_REMEMBER_SECONDS = 120
"""A state entry outlives its grant by this: clocks of bridges differ."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A grant whose seal holds and whose time is not over, with the owner whose key opened it."""

    grant: Grant
    owner: str


@dataclass(frozen=True, slots=True)
class Lease:
    """One delivery under way. A grant that nothing counts has leases that write nothing: their id is empty."""

    grant: Grant
    id: str
    asker: str


class Grants:
    """The rules of grants over the ports `states` and `keys`; time and randomness come in."""

    def __init__(
        self, states: GrantStates, keys: Keys, *, now: Callable[[], float], random_bytes: Callable[[int], bytes]
    ) -> None:
        self._states = states
        self._keys = keys
        self._now = now
        self._random = random_bytes
        self._written: OrderedDict[str, tuple[Chains, int]] = OrderedDict()

    async def mint(self, body: BodyInfo, *, uses: int, ttl: int | None = None) -> str:
        """The text of a new grant for `body`. It ends after `ttl` seconds, and with the body at the latest."""
        asked = body.expires if ttl is None else min(body.expires, ceil(self._now() + ttl))
        grant_id = UUID(bytes=self._random(16), version=4).bytes
        grant = Grant(body=body.id, grant_id=grant_id, expires=asked, uses=uses)
        return seal(grant, await self._keys.sealing())

    async def open(self, text: str, who: str = "") -> Opened:
        """The grant that `text` seals, for the puller named `who`; empty is one who did not say.

        Raises:
            GrantRefusedError: it opens nothing, and why stays with us.
            GrantExpiredError: it was genuine.
            UnidentifiedError, ForbiddenError: it is for one puller by name, and this is another.
        """
        for owner, key in await self._keys.opening(key_id_of(text)):
            with suppress(GrantRefusedError):  # two owners' keys may share a short id
                grant = unseal(text, key)
                if not grant.live(self._now()):
                    raise GrantExpiredError("This grant has expired. Call the resource tool again")
                _check_audience(grant, who)
                return Opened(grant, owner)
        raise GrantRefusedError("no key opens it")

    async def claim(self, grant: Grant, asker: str) -> Lease:
        """A lease on one use of `grant` for `asker`.

        Raises:
            GrantUsedError, GrantInUseError, BrokerAwayError.
        """
        if not grant.counters:
            return Lease(grant, "", asker)
        lease = self._random(9).hex()
        holder = _holder(grant, asker)
        await self._change(
            grant, lambda state, counter: grant_state.claim(state, counter.uses, holder, lease, self._now())
        )
        return Lease(grant, lease, asker)

    async def look(self, grant: Grant, share: float = 0.0) -> None:
        """Pay for a look that shows `share` of the body; a grant of unlimited use pays nothing.

        Raises:
            GrantUsedError, BrokerAwayError.
        """
        if grant.counters:
            await self._change(grant, lambda state, counter: grant_state.look(state, counter.uses, share))

    async def renew(self, lease: Lease) -> None:
        if lease.id:
            holder = _holder(lease.grant, lease.asker)
            await self._change(lease.grant, lambda state, _: grant_state.renew(state, lease.id, holder, self._now()))

    async def release(self, lease: Lease, sent: float) -> None:
        """Give the use back; `sent` is the fraction of the delivery that went out."""
        if lease.id:
            await self._change(lease.grant, lambda state, _: grant_state.release(state, lease.id, sent))

    async def finish(self, lease: Lease) -> None:
        """Count one completed delivery; a repeat of it counts nothing."""
        if lease.id:
            await self._change(lease.grant, lambda state, counter: grant_state.finish(state, lease.id, counter.uses))

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

    async def _change(self, grant: Grant, transition: Transition) -> None:
        """Apply `transition` to all that counts the grant by compare-and-set; it runs again when another was faster."""
        for attempt in range(_TRIES):
            # First on what is remembered: where that is old, the write is refused, and so is no answer given from it.
            known = None if attempt else self._known(grant)
            state, revision = known or await self._load(grant)
            try:
                after = changed(state, grant.counters, transition)
            except GrantError:
                if known is None:
                    raise
                continue
            if after == state and known is None:
                return
            ttl = ceil(grant.remembered_until - self._now()) + _REMEMBER_SECONDS
            with suppress(ConflictError):
                revision = await self._states.save(grant.id, pack_state(after), revision, max(1, ttl))
                self._remember(grant, after, revision)
                return
        raise ConflictError("Too many readers at this grant at once; try again", retry_after=1)

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
        raise UnidentifiedError("This grant is for one puller by name; say who you are")
    raise ForbiddenError("This grant is for another puller")


def _holder(grant: Grant, asker: str) -> str:
    """Who holds a lease: an asker's older lease gives way to its newer one only on one and the same chain."""
    chain = grant.narrowed_uses[-1].chain if grant.narrowed_uses else ""
    return f"{asker}/{chain[:16]}" if chain else asker
