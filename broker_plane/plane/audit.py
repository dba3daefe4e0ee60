"""What is noted of grants and deliveries, and in whose words it is read back. Noting never waits and never fails."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from broker_plane.errors import (
    ForbiddenError,
    GrantError,
    GrantExpiredError,
    GrantRevokedError,
    GrantUsedError,
)
from broker_plane.plane.ports import AuditLog
from broker_plane.wire.audit import AuditEntries, AuditEntry, AuditEvent
from broker_plane.wire.grant import Grant
from broker_plane.wire.names import BodyId

_DENIALS = (GrantExpiredError, GrantRevokedError, GrantUsedError, ForbiddenError)
"""What a genuine holder is told, and what is noted. In use, or away, is for a moment only."""


class NoAudit:
    """The AuditLog of who keeps none."""

    dropped = 0

    def note(self, entry: AuditEntry) -> None:
        """Forget it."""

    async def close(self) -> None:
        """Nothing is left to be written."""

    async def read(self) -> AsyncGenerator[AuditEntry, None]:
        return
        yield


@dataclass(frozen=True, slots=True)
class Auditor:
    """Notes what happens with grants, on one `way` to them."""

    log: AuditLog
    now: Callable[[], float]
    way: str = ""

    def on(self, way: str) -> Auditor:
        return replace(self, way=way)

    def note(self, what: AuditEvent, grant: Grant, asker: str = "", **more: Any) -> None:
        entry = AuditEntry(
            at=self.now(), what=what, body=grant.body, grant_id=grant.id, asker=asker, way=self.way, **more
        )
        self.log.note(entry)

    def note_body(self, what: AuditEvent, body_id: str, **more: Any) -> None:
        """For what happens without a grant in the hand."""
        self.log.note(AuditEntry(at=self.now(), what=what, body=body_id, **more))

    @contextmanager
    def denying(self, grant: Grant, asker: str) -> Iterator[None]:
        """Notes where the block denies a genuine grant."""
        try:
            yield
        except GrantError as error:
            if isinstance(error, _DENIALS):
                self.note("denied", grant, asker, code=error.code)
            raise


async def audit_of(log: AuditLog, body_id: BodyId) -> list[AuditEntry]:
    """All that is noted of a body and of its grants, in order of time."""
    found: list[AuditEntry] = []
    of_grants: list[AuditEntry] = []
    async with aclosing(log.read()) as entries:
        async for entry in entries:
            if entry.body == body_id:
                found.append(entry)
            elif not entry.body:  # revoked by its id: which body that was, its other entries say
                of_grants.append(entry)
    ids = {entry.grant_id for entry in found if entry.grant_id}
    found += [entry for entry in of_grants if entry.grant_id in ids]
    # Stable: what one process wrote keeps its order where its clock stood still.
    return AuditEntries(sorted(found, key=lambda entry: entry.at)).all()
