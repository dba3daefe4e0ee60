"""Deliveries of bodies to holders of grants, over one transport: the bridge and the presigned subjects use these.

In this order: open the grant, find the body, check the selector, claim a lease, read, then finish or release the lease.
Everything is decided before a use is claimed, so a refused puller spends no use. All reading goes through
`ScopedBodies`, so nothing outside the grant's scope is sent.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import replace
from functools import partial

from broker_plane.errors import BodyLostError, BodyNotFoundError, ForbiddenError, GrantRefusedError
from broker_plane.plane.bodies.delivery_audit import DeliveryAudit
from broker_plane.plane.bodies.preview import SampleRows, first_rows
from broker_plane.plane.bodies.scope import ScopedBody
from broker_plane.plane.bodies.scoped_bodies import ScopedBodies
from broker_plane.plane.bodies.shown import check_format
from broker_plane.plane.fairness.admission import HOLDER
from broker_plane.plane.fairness.work import Work
from broker_plane.plane.grants.grants import Grants, Opened
from broker_plane.plane.grants.leases import Lease
from broker_plane.plane.ports import BodyStore, Broker
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.grant import Kind
from broker_plane.wire.preview import Preview
from broker_plane.wire.selector import Selector


class Deliveries:
    """The deliveries of one transport. `bodies` and the counters of `audit` are shared by all of them."""

    def __init__(self, bodies: ScopedBodies, grants: Grants, broker: Broker, audit: DeliveryAudit) -> None:
        self.bodies = bodies
        self.frames = bodies.frames
        self.work = bodies.work
        self.grants = grants
        self.broker = broker
        self.audit = audit

    @classmethod
    def of(cls, store: BodyStore, grants: Grants, broker: Broker, work: Work | None = None) -> Deliveries:
        """Deliveries of the bodies in `store`, over no named transport."""
        return cls(ScopedBodies(store, grants, work or Work()), grants, broker, DeliveryAudit(grants.audit))

    def via(self, transport: str) -> Deliveries:
        """The deliveries over `transport`, a name for the audit log and the metrics."""
        return Deliveries(self.bodies, self.grants, self.broker, self.audit.via(transport))

    async def open(self, text: str, who: str = "", asker: str = "") -> Opened:
        """Verify the grant's seal, expiry, revocation and audience.

        `who` is the authenticated name of the puller, empty without one; the audit log then names it `asker`.

        Raises:
            GrantRefusedError (404), GrantExpiredError, GrantRevokedError (410), AuthenticationRequiredError (401),
            ForbiddenError (403).
        """
        try:
            opened = await self.grants.unsealed(text)
        except GrantRefusedError:
            self.audit.forged()
            raise
        HOLDER.set(opened.grant.id)
        with self.audit.denying(opened.grant, who or asker):
            await self.grants.check(opened, who)
        return Opened(opened.grant, opened.owner, who) if who != opened.who else opened

    async def find(self, opened: Opened) -> ScopedBody:
        """The body that the grant is for, within its scope.

        Raises:
            BodyNotFoundError: the body was deleted; the grant was genuine.
            BodyLostError: the body was not deleted, and the store does not have it.
            ForbiddenError: the grant is not for a body.
            And as `ScopedBodies.scope`.
        """
        _check_kind(opened)
        return await self.bodies.scope(opened, await self._info(opened))

    async def find_table(self, opened: Opened) -> ScopedBody:
        """As `find`; for a text that was published with its table, the table (`Publisher.publish_text`)."""
        _check_kind(opened)
        body = await self._info(opened)
        table = None if opened.grant.scope.digest is not None else await self.bodies.table_beside(opened, body)
        return await self.bodies.scope(opened, table or body)

    async def find_selected(self, opened: Opened, selector: Selector) -> ScopedBody:
        """What `selector` selects from: the body, or the table beside a text if columns or rows are named."""
        whole = selector.whole and opened.grant.scope.shows_all
        return await (self.find(opened) if whole else self.find_table(opened))

    async def find_cached(self, opened: Opened) -> ScopedBody:
        """As `find`, to continue a delivery: whether the body still exists is not checked."""
        return await self.bodies.scope(opened, await self.bodies.cached(opened, partial(self._info, opened)))

    async def preview(self, opened: Opened, sample: int) -> Preview:
        """The row count, the columns and the first `sample` rows within the scope. It takes no use of the grant.

        Raises:
            SelectorError, GrantUsedError, ForbiddenError, NotAcceptableError, TooLargeError.
        """
        body = await self.find_table(opened)
        check_format(opened, "application/json")
        first = first_rows(body, sample)
        once = self.work.begin_pass(opened.payer)
        await self.charge(opened, len(first) / max(1, body.info.rows or 0))
        shown = SampleRows(opened.grant.scope.bytes)
        selector = Selector(row_ids=tuple(first))
        async with aclosing(self.frames.mapped(body, selector, shown.add, account=once)) as frames:
            async for _ in frames:
                pass
        self.audit.previewed(opened, len(shown.rows))
        return Preview(body.info.rows or 0, list(body.info.columns), shown.rows)

    async def charge(self, opened: Opened, share: float) -> None:
        """Pay for showing the fraction `share` of the body without a delivery. Raises as `Leases.pay_preview`."""
        with self.audit.denying(opened.grant, opened.who):
            await self.grants.leases.pay_preview(opened.grant, share)

    async def claim(
        self,
        opened: Opened,
        asker: str,
        number: str = "",
        *,
        way: str = "",
        reserve: float = 1.0,
        pay: float = 0.0,
    ) -> Lease:
        """A lease on one use, for the pull with this `number`; see `Leases.claim`.

        Raises:
            GrantUsedError (410), GrantInUseError (409), LeaseLostError (410).
        """
        with self.audit.denying(opened.grant, opened.who or asker):
            lease = await self.grants.leases.claim(opened.grant, asker, number, way=way, reserve=reserve, pay=pay)
            if opened.who:
                lease = replace(lease, who=opened.who)
        if lease.id:
            self.audit.leased("claimed", lease)
        return lease

    async def pay(self, lease: Lease, share: float) -> None:
        """Pay for the fraction `share` of a delivery before it is sent; see `Leases.pay`."""
        with self.audit.denying(lease.grant, lease.who or lease.asker):
            await self.grants.leases.pay(lease, share)

    async def release(
        self, lease: Lease, sent: float | None = None, *, unsent: float = 0.0, final: bool = False
    ) -> bool:
        """End a broken delivery and say whether its use was given back; see `Leases.release`."""
        freed = await self.grants.leases.release(lease, sent, unsent=unsent, final=final)
        if freed:
            self.audit.leased("released", lease)
        return freed

    async def finish(self, lease: Lease) -> None:
        """Count one completed delivery. Idempotent. Raises LeaseLostError as `Leases.finish`."""
        if await self.grants.leases.finish(lease):
            self.audit.leased("confirmed", lease)

    async def _info(self, opened: Opened) -> BodyInfo:
        grant = opened.grant
        try:
            return await self.bodies.stored(opened)
        except BodyNotFoundError:
            if not await self.grants.deletions.lost(grant.body, grant.expires):
                raise
        self.audit.lost(grant.body)
        raise BodyLostError("This body was stored and acknowledged, and the store has lost it; publish it again")


def _check_kind(opened: Opened) -> None:
    if opened.grant.kind is not Kind.BODY:
        raise ForbiddenError(
            "This grant is for no body: a feed is at /v1/feeds/<grant>, a stream at /v1/streams/<grant>, "
            "an upload at /s2sp/upload/<grant>, a session at /v1/sessions/<grant>"
        )
