"""Leases on the uses of counted grants: one for each delivery, from its claim until it is finished or released."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256

from broker_plane.errors import BrokerPlaneError
from broker_plane.plane.grants import state as grant_state
from broker_plane.plane.grants.entries import GrantEntries
from broker_plane.plane.grants.state import LEASE_SECONDS, GrantState, Holder, LeaseStanding
from broker_plane.plane.reclaim.when_used import UsedBodyCollector
from broker_plane.wire.grant import Counter, Flag, Grant


@dataclass(frozen=True, slots=True)
class Lease:
    """One delivery, by an id that the plane chose or that a request names: only the state entry says which.

    Leases of a grant without counters are not stored, and their id is empty.
    """

    grant: Grant
    id: str
    asker: str
    who: str = ""
    way: str = ""
    """Set if the asker's name does not come from NATS, so that equal names from other transports do not match."""

    @property
    def holder(self) -> Holder:
        return Holder(
            f"{self.way}/{self.asker}" if self.way and self.asker else self.way or self.asker, self.grant.text_id
        )

    @property
    def counted(self) -> bool:
        """Whether the grant has counters, so that the lease is stored."""
        return bool(self.grant.counters)


class Leases:
    """Claims, pays for, renews and ends leases by the rules of `state.py`. `seconds` is how long a lease lasts."""

    def __init__(
        self,
        entries: GrantEntries,
        collecting: UsedBodyCollector,
        *,
        now: Callable[[], float],
        random_bytes: Callable[[int], bytes],
        seconds: float = LEASE_SECONDS,
    ) -> None:
        self.seconds = seconds
        self._entries = entries
        self._collecting = collecting
        self._now = now
        self._random = random_bytes

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
        """Lease one use of `grant` to `asker`. Idempotent for pulls with the same `number`: they get the same lease.

        `reserve` is what the delivery may take, in deliveries' worth, and `pay` what is sent with the response.

        Raises:
            GrantUsedError, GrantInUseError, GrantRevokedError, LeaseLostError, BrokerUnavailableError.
        """
        if not grant.counters:
            # Again, because the body was found since: what was revoked before that answer is known by now.
            await self._entries.check_revoked(grant)
            return Lease(grant, "", asker, way=way)
        lease = Lease(grant, "" if number else self._random(9).hex(), asker, way=way)
        holder = lease.holder
        if number:
            lease = Lease(grant, sha256(f"{holder}/{number}".encode()).digest()[:9].hex(), asker, way=way)
        await self._entries.change(
            grant,
            lambda state, counter: grant_state.claim(
                state,
                counter.uses,
                holder,
                lease.id,
                self._now(),
                reserve=reserve,
                pay=pay,
                seconds=self.seconds,
            ),
            passing=True,
        )
        return lease

    async def pay(self, lease: Lease, share: float) -> None:
        """Pay for the fraction `share` of a delivery before it is sent; this renews the lease.

        Raises:
            LeaseLostError: the lease has ended, or the plane did not give it to this asker for this very grant.
            GrantUsedError, GrantInUseError: the grant cannot pay for that much.
        """
        if lease.counted:
            await self._entries.change(
                lease.grant,
                lambda state, counter: grant_state.pay(
                    state, counter.uses, lease.holder, lease.id, share, self._now(), seconds=self.seconds
                ),
                passing=True,
            )

    async def pay_preview(self, grant: Grant, share: float = 0.0) -> None:
        """Pay for a preview that shows the fraction `share` of the body; a grant of unlimited use pays nothing.

        Raises:
            GrantUsedError, GrantInUseError, BrokerUnavailableError.
        """
        if grant.counters:
            await self._entries.change(
                grant, lambda state, counter: grant_state.preview(state, counter.uses, share, self._now())
            )

    async def renew(self, lease: Lease) -> None:
        """Extend the lease of a delivery under way. Raises LeaseLostError as `pay`."""
        if lease.counted:
            # Not from the cache: mostly nothing is written, so a stale state would not be noticed.
            await self._entries.change(
                lease.grant,
                lambda state, _: grant_state.renew(state, lease.id, lease.holder, self._now(), seconds=self.seconds),
                cached=False,
            )

    async def release(
        self, lease: Lease, sent: float | None = None, *, unsent: float = 0.0, final: bool = False
    ) -> bool:
        """Give the use back if the lease is live, and say whether it was.

        `sent` is the fraction that this process saw leave; None counts everything paid for as sent, less `unsent`.
        `final`: the reader reported a failure, so the delivery cannot be finished later. A lease that has ended, or
        that the plane did not give to this asker, changes nothing.
        """
        freed = False

        def transition(state: GrantState, _: Counter) -> GrantState:
            nonlocal freed
            freed = state.standing(lease.id, lease.holder) is LeaseStanding.LIVE
            return grant_state.release(state, lease.id, lease.holder, sent, unsent=unsent, final=final)

        if lease.counted:
            await self._entries.change(lease.grant, transition, cached=False)
        return freed

    async def finish(self, lease: Lease) -> bool:
        """Count one completed delivery, and say whether it was counted now. Idempotent.

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

        chains = await self._entries.change(grant, transition)
        if Flag.COLLECTED in grant.flags and chains.get("", GrantState()).done >= grant.uses:
            self._collecting.mark(grant)
        return counted

    @asynccontextmanager
    async def kept(self, lease: Lease) -> AsyncIterator[None]:
        """Renew `lease` while the block runs: a large body takes longer than a lease lasts."""
        renewing = asyncio.create_task(self._renewing(lease)) if lease.id else None
        try:
            yield
        finally:
            if renewing is not None:
                renewing.cancel()

    async def _renewing(self, lease: Lease) -> None:
        while True:
            await asyncio.sleep(self.seconds / 3)
            with suppress(BrokerPlaneError):  # the delivery continues; its end shows whether the use was still its own
                await self.renew(lease)
