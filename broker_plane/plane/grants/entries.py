"""The state entries of grants, changed by compare-and-set: many readers, on many bridges, may change one at once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from math import ceil

from broker_plane.errors import (
    ConflictError,
    GrantError,
    GrantRefusedError,
    GrantRevokedError,
    GrantUsedError,
)
from broker_plane.plane.grants.revocations import Revocations
from broker_plane.plane.grants.state import (
    Chains,
    Transition,
    changed,
    closing,
    pack_revoked,
    pack_state,
    revoked_until,
    unpack_state,
)
from broker_plane.plane.ports import EntryStore
from broker_plane.plane.retry import compare_and_set
from broker_plane.wire.grant import Flag, Grant

_REMEMBERED_GRANTS = 4096
_REMEMBER_SECONDS = 120
"""How long a state entry outlives its grant: the clocks of bridges differ."""

LONGEST_SECONDS = 30 * 86_400
"""Maximum lifetime of a grant, so that a revocation by id alone, without an expiry, outlives every grant."""


class GrantEntries:
    """The entries in `states`, and what this process has written and heard of them."""

    def __init__(self, states: EntryStore, *, now: Callable[[], float]) -> None:
        self.revoked = Revocations(now)
        self._states = states
        self._now = now
        self._written: OrderedDict[str, tuple[Chains, int]] = OrderedDict()

    async def change(
        self, grant: Grant, transition: Transition, *, cached: bool = True, passing: bool = False
    ) -> Chains:
        """Apply `transition` to every counter of the grant, and return the new state.

        `transition` may run more than once. It first runs on the `cached` state, if there is one: if that is stale, the
        write is refused, so no decision is ever based on it alone. `passing`: the new state is one that changes again
        soon, by a lease that begins or continues.

        Raises:
            GrantError: what the transition raises.
            GrantRevokedError: the grant was revoked.
            ConflictError: other readers were faster each time; retryable.
        """
        known = self._known(grant) if cached else None
        if known is not None:
            with suppress(GrantError, ConflictError):  # the cached state is stale, or the grant is refused: load it
                return await self._save(grant, changed(known[0], grant.counters, transition), known[1], passing)
        refused: GrantError | None = None

        def change(state: Chains) -> Chains:
            nonlocal refused
            refused = None
            try:
                return changed(state, grant.counters, transition)
            except GrantError as error:
                refused = error
                return closing(state, grant.counters, transition) if isinstance(error, GrantUsedError) else state

        async def save(state: Chains, revision: int) -> Chains:
            return await self._save(grant, state, revision, passing and refused is None)

        after = await compare_and_set(
            partial(self.load, grant),
            change,
            save,
            busy="Too many readers at this grant at once; try again",
        )
        if refused is not None:
            raise refused
        return after

    async def _save(self, grant: Grant, state: Chains, revision: int, passing: bool) -> Chains:
        ttl = ceil(grant.remembered_until - self._now()) + _REMEMBER_SECONDS
        revision = await self._states.save(grant.id, pack_state(state), revision, max(1, ttl), passing=passing)
        self._remember(grant, state, revision)
        return state

    async def revoke(self, grant_id: str, expires: int | None = None) -> bool:
        """Revoke the grant with this id, and everything narrowed from it, on every bridge. Idempotent.

        Says whether the grant was not revoked before. After an error the outcome is unknown: do it again.
        """
        now = self._now()
        until = ceil(now + LONGEST_SECONDS if expires is None else max(now, expires)) + _REMEMBER_SECONDS
        new = False

        async def load() -> tuple[int | None, int]:
            raw, revision = await self._states.load(grant_id)
            return None if raw is None else revoked_until(raw), revision

        async def save(revoked: int | None, revision: int) -> None:
            nonlocal new
            await self._states.save(grant_id, pack_revoked(until), revision, ceil(until - now))
            new = True

        def change(revoked: int | None) -> int | None:
            return until if revoked is None else revoked

        await compare_and_set(load, change, save, busy="Too many readers at this grant at once; revoke it again")
        self.revoked.add(grant_id, until)
        return new

    async def check_revoked(self, grant: Grant) -> None:
        """Raise GrantRevokedError if the grant was revoked."""
        if grant.id in self.revoked:
            raise GrantRevokedError
        if not self.revoked.complete:
            await self.load(grant)

    async def load(self, grant: Grant) -> tuple[Chains, int]:
        """The state of the grant, and the revision of its entry.

        Raises:
            GrantRevokedError: the grant was revoked.
            GrantRefusedError: the entry is damaged or lost.
        """
        raw, revision = await self._states.load(grant.id)
        if raw is None and Flag.RECORDED in grant.flags:
            raise GrantRefusedError("its state entry is lost")
        return (unpack_state(raw) if raw else {}), revision

    def _known(self, grant: Grant) -> tuple[Chains, int] | None:
        """The state that this process wrote last. A grant that it never saw is assumed to have no entry."""
        nothing: tuple[Chains, int] | None = None if Flag.RECORDED in grant.flags else ({}, 0)
        return self._written.get(grant.id, nothing)

    def _remember(self, grant: Grant, state: Chains, revision: int) -> None:
        self._written[grant.id] = (state, revision)
        self._written.move_to_end(grant.id)
        if len(self._written) > _REMEMBERED_GRANTS:
            self._written.popitem(last=False)
