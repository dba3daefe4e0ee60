"""One counted delivery over HTTP: claim, send, learn how it ended, and settle the lease by that (rulings.md 10, 11)."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from typing import Literal

from starlette.types import Send

from broker_plane.bridge.confirmation import Confirmation
from broker_plane.bridge.delivery import Delivery, Outcome
from broker_plane.bridge.sending import Answer, pour
from broker_plane.errors import (
    BrokerPlaneError,
    BrokerUnavailableError,
    ConflictError,
    GrantRevokedError,
    LeaseLostError,
)
from broker_plane.plane.bodies.deliveries import Deliveries
from broker_plane.plane.grants.grants import Lease, Opened
from broker_plane.plane.grants.state import LEASE_SECONDS
from broker_plane.plane.redacted_logs import quiet_logger
from broker_plane.plane.retry import patiently
from broker_plane.plane.tasks import abandoned
from broker_plane.wire.grant import Grant

Word = Literal["confirmed", "released", "settled"]
"""What a confirmation came to: its delivery counts; its use is free again; or all was over before, and stays so."""

log = quiet_logger(__name__)

LEASE_HEADER = "bp-lease"
_WAY = "http:"
"""Leases of HTTP are no NATS asker's, whatever a connection is called."""
UNBUFFERED = ("x-accel-buffering", "no")
"""Asks a proxy to pass the answer on at its reader's pace: what the proxy keeps looks taken from here."""

_REMEMBERED = 1024
_AHEAD_BYTES = 1 << 20
"""Answers below this are read while their claim is written: a refused claim has then cost one small read."""

_FINISH_SECONDS = 10.0
_RELEASE_SECONDS = 1.0


@dataclass(slots=True, eq=False)
class Pending:
    """A counted delivery that is not settled. `digest` is that of stored bytes, sent whole."""

    lease: Lease
    delivery: Delivery
    ends_body: bool
    digest: str
    poured: bool = False
    counted: bool = False
    """Once it is settled: whether its use is spent."""
    freed: bool = False
    """Once it is settled: whether that gave its use back; another bridge may have settled it before."""
    word: Outcome | None = None
    """How it ended by its reader's own word; None: it has not said."""
    said: asyncio.Event = field(default_factory=asyncio.Event)
    error: BrokerPlaneError | None = None
    settled: asyncio.Event = field(default_factory=asyncio.Event)


class Settling:
    """Delivers, and remembers which deliveries are not settled.

    With `confirmation_required` only its reader's confirmation completes a delivery: what a proxy took in the reader's
    place says nothing about what the reader has.
    """

    def __init__(
        self, deliveries: Deliveries, *, confirmation_required: bool = False, closing: asyncio.Event | None = None
    ) -> None:
        """Nothing is waited for any more once `closing` is set."""
        self._deliveries = deliveries
        self._confirmation_required = confirmation_required
        self._closing = closing or asyncio.Event()
        self._pending: dict[str, list[Pending]] = {}
        self._finished: deque[tuple[str, str]] = deque(maxlen=_REMEMBERED)
        self.bytes_out = 0
        self.complete = 0
        self.broken = 0

    async def deliver(self, send: Send, opened: Opened, delivery: Delivery, answer: Answer, digest: str = "") -> None:
        """Claim a use, send `answer`, wait for its end, and settle the use by that.

        Raises:
            GrantUsedError, GrantInUseError: nothing was sent.
        """
        pieces, share = answer.pieces, answer.share
        # The store is read while the claim is written; nothing of it leaves before the claim is there.
        small = answer.size is not None and answer.size < _AHEAD_BYTES
        first = asyncio.create_task(_first_of(pieces)) if small else None
        try:
            lease = await self._deliveries.claim(opened, delivery.connection, way=_WAY, reserve=share, pay=share)
            if first is not None:
                answer = replace(answer, pieces=_resumed(first, pieces))
            if lease.id:
                await self._deliver(send, lease, delivery, answer, digest)
            else:
                with self._deliveries.guarding(lease):
                    await self._pour(send, lease, delivery, answer)
        finally:
            if first is not None:
                await abandoned(first)
            await pieces.aclose()
            self.bytes_out += delivery.handed

    async def confirm(self, opened: Opened, confirmation: Confirmation, connection: str) -> Word:
        """End the delivery that the reader means, and say what has become of it.

        Raises:
            LeaseLostError: that delivery is over, and its use may be another reader's.
            ConflictError: a success, before the last byte has left.
        """
        pending = self._meant(opened, confirmation, connection) if opened.grant.counters else None
        if pending is None and not confirmation.success:
            self._deliveries.failed(opened, confirmation.problem())
        if not opened.grant.counters:
            return "confirmed" if confirmation.success else "released"
        if pending is None:
            return await self._confirm_elsewhere(opened, confirmation)
        if confirmation.success and not pending.poured:
            raise ConflictError("This delivery is still under way; confirm it after its last byte")
        problem = confirmation.problem(pending.delivery.handed, pending.digest)
        if problem:
            self._deliveries.failed(opened, problem, pending.lease)
        pending.word = Outcome.BROKEN if problem else Outcome.COMPLETE
        pending.said.set()
        pending.delivery.decide(pending.word)
        await pending.settled.wait()
        if pending.error is not None:
            raise pending.error
        if pending.counted:
            return "settled" if problem else "confirmed"
        return "released" if pending.freed else "settled"

    async def _deliver(self, send: Send, lease: Lease, delivery: Delivery, answer: Answer, digest: str) -> None:
        delivery.arm()
        pending = Pending(lease, delivery, answer.ends_body, digest)
        pendings = self._pending.setdefault(lease.grant.id, [])
        for other in pendings:
            if other.delivery.connection == delivery.connection:
                other.said.set()  # its reader asks again, and its claim gave up the lease of that one
        pendings.append(pending)
        try:
            with self._deliveries.guarding(lease):
                async with self._deliveries.kept(lease):
                    headers = [*answer.headers, (LEASE_HEADER, lease.id), UNBUFFERED]
                    await self._pour(send, lease, delivery, replace(answer, headers=headers))
                    pending.poured = True
                    await delivery.outcome()
                    await self._word_of(pending)
        except BaseException:
            # What broke on our side is no delivery, whatever the connection says later.
            delivery.decide(Outcome.BROKEN)
            raise
        finally:
            try:
                await self._settle(pending)
            finally:
                pendings.remove(pending)
                if not pendings:
                    self._pending.pop(lease.grant.id, None)
                pending.settled.set()

    async def _word_of(self, pending: Pending) -> None:
        """Wait for the reader's confirmation, where one is required; without it the lease times out."""
        if self._confirmation_required and pending.ends_body and pending.delivery.decided is Outcome.COMPLETE:
            waits = [asyncio.ensure_future(each.wait()) for each in (pending.said, self._closing)]
            try:
                await asyncio.wait(waits, timeout=LEASE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()

    def _ended(self, pending: Pending) -> Outcome | None:
        """What counts as the end of a delivery: this is the one place that decides it."""
        if not self._confirmation_required or pending.delivery.decided is Outcome.BROKEN:
            return pending.delivery.decided
        return pending.word or Outcome.BROKEN

    async def _pour(self, send: Send, lease: Lease, delivery: Delivery, answer: Answer) -> None:
        try:
            await pour(send, delivery, answer)
        finally:
            self._deliveries.pulled(lease, delivery.handed, answer.shown)

    async def _settle(self, pending: Pending) -> None:
        whole = self._ended(pending) is Outcome.COMPLETE and pending.ends_body
        # A use that was spent should be counted; one that comes back does so by its time-out, too.
        seconds = _FINISH_SECONDS if whole else _RELEASE_SECONDS
        try:
            async with asyncio.timeout(seconds):
                await patiently(lambda: self._end(pending, whole=whole), seconds)
        except (BrokerPlaneError, TimeoutError) as error:
            away = BrokerUnavailableError("nats-server does not answer; whether this delivery counts is not known")
            pending.error = error if isinstance(error, BrokerPlaneError) else away
            level = logging.INFO if isinstance(error, GrantRevokedError) else logging.WARNING
            log.log(level, "a delivery is not settled: %s", pending.error.code)
            return
        pending.counted = whole
        if whole:
            self._finished.append(_text_of(pending.lease.grant))
        self.complete += whole
        self.broken += self._ended(pending) is Outcome.BROKEN

    async def _end(self, pending: Pending, *, whole: bool) -> None:
        if whole:
            await self._deliveries.finish(pending.lease)
        else:
            fraction = pending.delivery.fraction
            final = pending.word is Outcome.BROKEN
            pending.freed = await self._deliveries.release(pending.lease, fraction, final=final)

    def _meant(self, opened: Opened, confirmation: Confirmation, connection: str) -> Pending | None:
        """The delivery of the lease that is named; without one, of the connection, or the only one that was sent.

        It is one of this very grant's text: holders of its siblings have deliveries of their own.
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

    async def _confirm_elsewhere(self, opened: Opened, confirmation: Confirmation) -> Word:
        """No delivery under way on this bridge: it is settled already, or another bridge's whose lease is named."""
        if confirmation.lease:
            lease = Lease(opened.grant, confirmation.lease, "", opened.who, _WAY)
            if confirmation.success:
                await self._deliveries.finish(lease)
                return "confirmed"
            return "released" if await self._deliveries.release(lease, final=True) else "settled"
        if _text_of(opened.grant) not in self._finished:
            raise LeaseLostError("No delivery of this grant waits for a confirmation here; name its BP-Lease")
        return "confirmed" if confirmation.success else "settled"


async def _first_of(pieces: AsyncGenerator[bytes, None]) -> bytes:
    return await anext(pieces, b"")


async def _resumed(first: asyncio.Task[bytes], rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    yield await first
    async for piece in rest:
        yield piece


def _text_of(grant: Grant) -> tuple[str, str]:
    return grant.id, grant.text_id
