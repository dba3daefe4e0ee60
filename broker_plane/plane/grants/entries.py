"""The state entries of grants, changed by compare-and-set: many readers, on many bridges, may change one at once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
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
from broker_plane.plane.ports import GrantStates
from broker_plane.wire.grant import Flag, Grant

_TRIES = 64
_REMEMBERED_GRANTS = 4096
_REMEMBER_SECONDS = 120
"""How long a state entry outlives its grant: the clocks of bridges differ."""

LONGEST_SECONDS = 30 * 86_400
"""Maximum lifetime of a grant, so that a revocation by id alone, without an expiry, outlives every grant."""


class GrantEntries:
    """The entries in `states`, and what this process has written and heard of them."""

    def __init__(self, states: GrantStates, *, now: Callable[[], float]) -> None:
        self.revoked = Revocations(now)
        self._states = states
        self._now = now
        self._written: OrderedDict[str, tuple[Chains, int]] = OrderedDict()

    async def change(self, grant: Grant, transition: Transition, *, cached: bool = True) -> Chains:
        """Apply `transition` to every counter of the grant, and return the new state.

        `transition` may run more than once. It first runs on the `cached` state, if there is one: if that is stale, the
        write is refused, so no decision is ever based on it alone.

        Raises:
            GrantError: what the transition raises.
            GrantRevokedError: the grant was revoked.
            ConflictError: other readers were faster each time; retryable.
        """
        for attempt in range(_TRIES):
            known = None if attempt or not cached else self._known(grant)
            state, revision = known or await self.load(grant)
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

    async def revoke(self, grant_id: str, expires: int | None = None) -> bool:
        """Revoke the grant with this id, and everything narrowed from it, on every bridge. Idempotent.

        Says whether the grant was not revoked before. After an error the outcome is unknown: do it again.
        """
        now = self._now()
        until = ceil(now + LONGEST_SECONDS if expires is None else max(now, expires)) + _REMEMBER_SECONDS
        for _ in range(_TRIES):
            raw, revision = await self._states.load(grant_id)
            new = raw is None or revoked_until(raw) is None
            if new:
                try:
                    await self._states.save(grant_id, pack_revoked(until), revision, ceil(until - now))
                except ConflictError:
                    continue
            self.revoked.add(grant_id, until)
            return new
        raise ConflictError("Too many readers at this grant at once; revoke it again", retry_after=1)

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
