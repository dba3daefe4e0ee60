"""A counted delivery over HTTP: claim a use, send, learn how it ended, and settle the lease (decisions 0030, 0031)."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable
from dataclasses import dataclass, field, replace
from typing import Literal

from starlette.types import Send

from broker_plane.bridge.answers import Answer, pour
from broker_plane.bridge.confirmation import Confirmation
from broker_plane.errors import (
    BrokerPlaneError,
    BrokerUnavailableError,
    ConflictError,
    GrantRevokedError,
    LeaseLostError,
)
from broker_plane.logs import FIELDS
from broker_plane.plane.bodies.deliveries import Deliveries
from broker_plane.plane.grants.grants import Opened
from broker_plane.plane.grants.leases import Lease
from broker_plane.plane.grants.state import LEASE_SECONDS
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.plane.retry import retry_while_retryable
from broker_plane.plane.tasks import cancel_and_forget
from broker_plane.web.delivery import Delivery, Outcome
from broker_plane.wire.grant import Grant

Settled = Literal["confirmed", "released", "settled"]
"""The result of a confirmation: the delivery counts, its use is free again, or it had been settled before."""

log = redacted_logger(__name__)

LEASE_HEADER = "bp-lease"
_WAY = "http:"
"""Keeps the leases of HTTP connections apart from those of pullers over NATS."""
UNBUFFERED = ("x-accel-buffering", "no")
"""Asks a proxy to forward the answer at its reader's pace: bytes in its buffer would look received."""

_REMEMBERED = 1024
_AHEAD_BYTES = 1 << 20
"""Answers below this size are read while their claim is written; a refused claim then costs one small read."""

_FINISH_SECONDS = 10.0
_RELEASE_SECONDS = 1.0


@dataclass(slots=True, eq=False)
class Pending:
    """A counted delivery that is not settled yet. `digest` is that of the stored bytes, if they are sent whole."""

    lease: Lease
    delivery: Delivery
    ends_body: bool
    digest: str
    poured: bool = False
    counted: bool = False
    """Once settled: whether its use is spent."""
    freed: bool = False
    """Once settled: whether its use was given back here, because its reader reported a failure."""
    reported: Outcome | None = None
    """How it ended according to its reader; None without a confirmation."""
    confirmed: asyncio.Event = field(default_factory=asyncio.Event)
    error: BrokerPlaneError | None = None
    settled: asyncio.Event = field(default_factory=asyncio.Event)


class Settling:
    """Sends counted deliveries, and settles each when its end is known.

    With `confirmation_required` only its reader's confirmation completes a delivery: bytes that a buffering proxy
    acknowledged may never have reached the reader.
    """

    def __init__(
        self, deliveries: Deliveries, *, confirmation_required: bool = False, closing: asyncio.Event | None = None
    ) -> None:
        """Once `closing` is set, confirmations are no longer awaited."""
        self._deliveries = deliveries
        self._confirmation_required = confirmation_required
        self._closing = closing or asyncio.Event()
        self._pending: dict[str, list[Pending]] = {}
        self._finished: deque[tuple[str, str]] = deque(maxlen=_REMEMBERED)

    async def deliver(self, send: Send, opened: Opened, delivery: Delivery, answer: Answer, digest: str = "") -> None:
        """Claim a use, send `answer`, wait for its end, and settle the use accordingly.

        If the grant is revoked after the head was sent, the connection is reset.

        Raises:
            GrantUsedError, GrantInUseError: nothing was sent.
        """
        try:
            await self._claim_and_deliver(send, opened, delivery, answer, digest)
        except GrantRevokedError as error:
            if not delivery.started:
                raise
            log.info("cut: %s", error.code, extra={FIELDS: {"code": error.code}})
            delivery.reset()

    async def _claim_and_deliver(
        self, send: Send, opened: Opened, delivery: Delivery, answer: Answer, digest: str
    ) -> None:
        pieces, share = answer.pieces, answer.share
        # The store is read while the claim of a counted grant is written; nothing is sent before the claim is stored.
        small = answer.size is not None and answer.size < _AHEAD_BYTES
        first = asyncio.create_task(_first_of(pieces)) if small and opened.grant.counters else None
        try:
            lease = await self._deliveries.claim(opened, delivery.connection, way=_WAY, reserve=share, pay=share)
            if lease.id:
                await self._deliver(send, lease, delivery, answer, digest, first)
            else:
                with self._deliveries.grants.revoked.guarding(lease.grant.id):
                    await self._pour(send, lease, delivery, answer, first)
        finally:
            if first is not None:
                await cancel_and_forget(first)
            await pieces.aclose()

    async def confirm(self, opened: Opened, confirmation: Confirmation, connection: str) -> Settled:
        """Settle the delivery that the reader means.

        Raises:
            LeaseLostError: that delivery is over, and another reader may have its use.
            ConflictError: a success was reported before the last byte was sent.
        """
        pending = self._found(opened, confirmation, connection) if opened.grant.counters else None
        if pending is None and not confirmation.success:
            self._deliveries.audit.failed(opened, confirmation.problem())
        if not opened.grant.counters:
            return "confirmed" if confirmation.success else "released"
        if pending is None:
            return await self._confirm_elsewhere(opened, confirmation)
        if confirmation.success and not pending.poured:
            raise ConflictError("This delivery is still in progress; confirm it after its last byte")
        problem = confirmation.problem(pending.delivery.bytes_sent, pending.digest)
        if problem:
            self._deliveries.audit.failed(opened, problem, pending.lease)
        pending.reported = Outcome.BROKEN if problem else Outcome.COMPLETE
        pending.confirmed.set()
        pending.delivery.report(pending.reported)
        await pending.settled.wait()
        if pending.error is not None:
            raise pending.error
        if problem:
            return "released" if pending.freed else "settled"
        if not pending.counted:  # its end was decided before the report, or it was a part of the body
            await self._deliveries.finish(pending.lease)
        return "confirmed"

    async def _deliver(
        self, send: Send, lease: Lease, delivery: Delivery, answer: Answer, digest: str, first: Awaitable[bytes] | None
    ) -> None:
        delivery.arm()
        pending = Pending(lease, delivery, answer.ends_body, digest)
        pendings = self._pending.setdefault(lease.grant.id, [])
        for other in pendings:
            if other.delivery.connection == delivery.connection:
                other.confirmed.set()  # its reader repeats the request, and that claim gave up this lease
        pendings.append(pending)
        try:
            with self._deliveries.grants.revoked.guarding(lease.grant.id):
                async with self._deliveries.grants.leases.kept(lease):
                    headers = [*answer.headers, (LEASE_HEADER, lease.id), UNBUFFERED]
                    await self._pour(send, lease, delivery, replace(answer, headers=headers), first)
                    pending.poured = True
                    await delivery.outcome()
                    await self._await_confirmation(pending)
        except BaseException:
            # A failure on our side is not a complete delivery, however the connection ends later.
            delivery.report(Outcome.BROKEN)
            raise
        finally:
            try:
                await self._settle(pending)
            finally:
                pendings.remove(pending)
                if not pendings:
                    self._pending.pop(lease.grant.id, None)
                pending.settled.set()

    async def _await_confirmation(self, pending: Pending) -> None:
        """Wait for the reader's confirmation if one is required, until the lease expires."""
        if self._confirmation_required and pending.ends_body and pending.delivery.decided is Outcome.COMPLETE:
            waits = [asyncio.ensure_future(each.wait()) for each in (pending.confirmed, self._closing)]
            try:
                await asyncio.wait(waits, timeout=LEASE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()

    def _ended(self, pending: Pending) -> Outcome | None:
        """The outcome of a delivery; decided only here."""
        if not self._confirmation_required or pending.delivery.decided is Outcome.BROKEN:
            return pending.delivery.decided
        return pending.reported or Outcome.BROKEN

    async def _pour(
        self, send: Send, lease: Lease, delivery: Delivery, answer: Answer, first: Awaitable[bytes] | None
    ) -> None:
        try:
            await pour(send, delivery, answer, first)
        finally:
            self._deliveries.audit.pulled(lease, delivery.bytes_sent, answer.shown)

    async def _settle(self, pending: Pending) -> None:
        whole = self._ended(pending) is Outcome.COMPLETE and pending.ends_body
        # A spent use should be counted; an unspent one also comes back when its lease expires.
        seconds = _FINISH_SECONDS if whole else _RELEASE_SECONDS
        try:
            async with asyncio.timeout(seconds):
                await retry_while_retryable(lambda: self._end(pending, whole=whole), seconds)
        except (BrokerPlaneError, TimeoutError) as error:
            unknown = BrokerUnavailableError(
                "nats-server does not answer; it is unknown whether this delivery was counted"
            )
            pending.error = error if isinstance(error, BrokerPlaneError) else unknown
            level = logging.INFO if isinstance(error, GrantRevokedError) else logging.WARNING
            log.log(level, "a delivery could not be settled: %s", pending.error.code)
            return
        pending.counted = whole
        if whole:
            self._finished.append(_text_of(pending.lease.grant))
        if self._ended(pending) is Outcome.BROKEN:
            self._deliveries.audit.broken()

    async def _end(self, pending: Pending, *, whole: bool) -> None:
        if whole:
            await self._deliveries.finish(pending.lease)
        else:
            fraction = pending.delivery.fraction
            # A report that comes later finds a settled delivery, which a success may still complete.
            final = pending.reported is Outcome.BROKEN
            freed = await self._deliveries.release(pending.lease, fraction, final=final)
            pending.freed = freed and final

    def _found(self, opened: Opened, confirmation: Confirmation, connection: str) -> Pending | None:
        """The delivery with the given lease; without a lease, that of the connection, or the only one that was sent.

        Only deliveries of exactly this grant count: holders of its siblings have deliveries of their own.
        """
        text = _text_of(opened.grant)
        pendings = [each for each in self._pending.get(opened.grant.id, []) if _text_of(each.lease.grant) == text]
        if confirmation.lease:
            return next((each for each in pendings if each.lease.id == confirmation.lease), None)
        poured = [each for each in pendings if each.poured]
        own = [each for each in poured if each.delivery.connection == connection]
        if own:
            return own[-1]
        return poured[0] if len(poured) == 1 else None

    async def _confirm_elsewhere(self, opened: Opened, confirmation: Confirmation) -> Settled:
        """Confirm a delivery that is not in progress here: it is settled, or its lease belongs to another bridge."""
        if confirmation.lease:
            lease = Lease(opened.grant, confirmation.lease, "", opened.who, _WAY)
            if confirmation.success:
                await self._deliveries.finish(lease)
                return "confirmed"
            return "released" if await self._deliveries.release(lease, final=True) else "settled"
        if _text_of(opened.grant) not in self._finished:
            raise LeaseLostError('No delivery of this grant awaits a confirmation here; send its BP-Lease as "lease"')
        return "confirmed" if confirmation.success else "settled"


async def _first_of(pieces: AsyncGenerator[bytes, None]) -> bytes:
    return await anext(pieces, b"")


def _text_of(grant: Grant) -> tuple[str, str]:
    return grant.id, grant.text_id
