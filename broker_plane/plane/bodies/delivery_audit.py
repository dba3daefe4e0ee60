"""Counts deliveries and writes them to the audit log, for one transport."""

from __future__ import annotations

from collections import Counter
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from broker_plane.plane.audit import Auditor
from broker_plane.plane.grants.grants import Opened
from broker_plane.plane.grants.leases import Lease
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.wire.audit import AuditEvent, delivery_name
from broker_plane.wire.grant import Grant
from broker_plane.wire.names import BodyId

if TYPE_CHECKING:
    from broker_plane.plane.bodies.shown import Shown

log = redacted_logger(__name__)


WAYS = ("http", "nats")
"""The transports of a bridge."""

FAILURES = ("checksum", "failure", "short")
"""What readers report to be wrong with a transfer."""


def _by_way() -> Counter[str]:
    return Counter(dict.fromkeys(WAYS, 0))


@dataclass(frozen=True, slots=True)
class DeliveryCounters:
    """Counters of one process, for its metrics. Known labels are there from the start, with 0."""

    sent: Counter[str] = field(default_factory=_by_way)
    """Bytes of bodies that were sent, by transport."""

    complete: Counter[str] = field(default_factory=_by_way)
    """Deliveries that spent a use, by transport."""

    broken: Counter[str] = field(default_factory=_by_way)
    """Deliveries that broke or that their readers reported as failed, by transport."""

    forged: Counter[str] = field(default_factory=_by_way)
    """Texts that were not genuine grants, by transport. They are not audited, since anybody can send them."""

    lost: Counter[str] = field(default_factory=_by_way)
    """Pulls of bodies that were acknowledged and then lost, by transport: raise an alert."""

    failures: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(FAILURES, 0)))
    """Transfers that their readers reported as failed, by reason."""


class DeliveryAudit:
    """Notes of one transport. All transports of a process share `counters`."""

    def __init__(self, auditor: Auditor, counters: DeliveryCounters | None = None) -> None:
        self.counters = counters or DeliveryCounters()
        self._auditor = auditor

    def via(self, transport: str) -> DeliveryAudit:
        """The same for deliveries over `transport`, which is written to every entry."""
        return DeliveryAudit(self._auditor.on(transport), self.counters)

    @property
    def dropped(self) -> int:
        """The number of audit entries that this process lost."""
        return self._auditor.log.dropped

    def denying(self, grant: Grant, who: str) -> AbstractContextManager[None]:
        """Note if the block refuses a genuine grant."""
        return self._auditor.denying(grant, who)

    def forged(self) -> None:
        """A text was not a genuine grant."""
        self.counters.forged[self._auditor.way] += 1

    def lost(self, body_id: BodyId) -> None:
        """A body was acknowledged, and is not in the store although nobody deleted it."""
        self.counters.lost[self._auditor.way] += 1
        log.error("lost: the body %s was acknowledged, and has disappeared without being deleted", body_id)

    def previewed(
        self, opened: Opened, rows: int | None, *, columns: tuple[str, ...] | None = None, size: int | None = None
    ) -> None:
        """A holder was shown this many rows, or `size` bytes of a body without rows, and no use was taken."""
        self._auditor.note("looked", opened.grant, opened.who, rows=rows, columns=columns, bytes=size)

    def queried(self, opened: Opened, columns: tuple[str, ...], rows: int, size: int) -> None:
        """A query read `size` bytes of these columns; its result has `rows` rows."""
        self._auditor.note("queried", opened.grant, opened.who, columns=columns, rows=rows, bytes=size)

    def leased(self, what: AuditEvent, lease: Lease) -> None:
        """`what` happened to a lease: it was claimed, released or confirmed."""
        if what == "confirmed":
            self.counters.complete[self._auditor.way] += 1
        self._note(what, lease)

    def broken(self) -> None:
        """A delivery ended before its last byte, or its reader reported a failure."""
        self.counters.broken[self._auditor.way] += 1

    def pulled(self, lease: Lease, size: int, shown: Shown, delivery: str = "") -> None:
        """`size` bytes of what is `shown` were sent. `delivery` names a delivery whose lease has no id."""
        self.counters.sent[self._auditor.way] += size
        self._note("pulled", lease, delivery, bytes=size, columns=shown.columns, rows=shown.rows)

    def failed(self, opened: Opened, reason: str, lease: Lease | None = None) -> None:
        """A reader reported that its transfer failed. The body and the use stay."""
        self.counters.failures[reason] += 1
        delivery = delivery_name(lease.id) if lease else ""
        who = opened.who or (lease.asker if lease else "")
        self._auditor.note("failed", opened.grant, who, delivery=delivery, code=reason)

    def _note(self, what: AuditEvent, lease: Lease, delivery: str = "", **more: Any) -> None:
        self._auditor.note(
            what, lease.grant, lease.who or lease.asker, delivery=delivery_name(lease.id or delivery), **more
        )
