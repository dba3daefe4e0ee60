"""Answers confirmations: how a delivery ended, in the puller's words. It costs what was sent, in any case."""

from __future__ import annotations

from contextlib import suppress

from broker_plane.errors import BrokerPlaneError
from broker_plane.plane.bodies.deliveries import Deliveries
from broker_plane.plane.grants.grants import Opened
from broker_plane.plane.grants.leases import Lease
from broker_plane.subjects.requests import Reply
from broker_plane.wire.grant import Kind
from broker_plane.wire.presigned import PullConfirmation, parse_pull_confirmation

_EMPTY_MAP = b"\x80"
"""In msgpack."""


class Confirmations:
    """Answers for one bridge."""

    def __init__(self, deliveries: Deliveries) -> None:
        self._deliveries = deliveries

    async def answer(self, opened: Opened, puller: str, payload: bytes) -> Reply:
        """Complete the delivery, or release its use.

        Raises:
            WireError, LeaseLostError, BrokerUnavailableError.
        """
        confirmation = parse_pull_confirmation(payload)
        lease = Lease(opened.grant, confirmation.lease if opened.grant.counters else "", puller, puller)
        problem = await self._problem(opened, confirmation)
        if problem:
            self._deliveries.audit.failed(opened, problem, lease if lease.id else None)
            if await self._deliveries.release(lease, final=True):
                self._deliveries.audit.broken()
        else:
            await self._deliveries.finish(lease)
        return Reply(_EMPTY_MAP)

    async def _problem(self, opened: Opened, confirmation: PullConfirmation) -> str:
        """What the reader found wrong, in the words of a confirmation over HTTP; empty if the delivery succeeded."""
        if confirmation.success and not confirmation.checksum:
            return ""
        if opened.grant.kind is Kind.BODY and opened.grant.scope.shows_all:
            with suppress(BrokerPlaneError):  # deleted or lost: only the reader knows
                body = (await self._deliveries.find(opened)).info
                if not confirmation.success and confirmation.bytes_received < body.size:
                    return "short"
                if confirmation.checksum and confirmation.checksum != body.digest:
                    return "checksum"
        return "" if confirmation.success else "failure"
