"""Writes what happens with grants and deliveries to the audit log, and reads it back. Writing never blocks or fails."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractContextManager, aclosing
from dataclasses import dataclass, replace
from typing import Any

from broker_plane.errors import (
    ForbiddenError,
    GrantExpiredError,
    GrantRevokedError,
    GrantUsedError,
)
from broker_plane.plane.ports import AuditLog
from broker_plane.wire.audit import AuditEntries, AuditEntry, AuditEvent
from broker_plane.wire.grant import Grant
from broker_plane.wire.names import BodyId

_DENIALS = (GrantExpiredError, GrantRevokedError, GrantUsedError, ForbiddenError)
"""The refusals of a genuine grant that are audited. Errors that pass, such as a grant in use, are not."""


class NoAudit:
    """An AuditLog that keeps nothing."""

    dropped = 0

    def note(self, entry: AuditEntry) -> None:
        """Drop the entry."""

    async def close(self) -> None:
        """Do nothing."""

    async def read(self) -> AsyncGenerator[AuditEntry, None]:
        return
        yield


@dataclass(frozen=True, slots=True)
class Auditor:
    """Writes audit entries for one transport, `way`."""

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
        """As `note`, for events that have no grant."""
        self.log.note(AuditEntry(at=self.now(), what=what, body=body_id, **more))

    def denying(self, grant: Grant, asker: str) -> AbstractContextManager[None]:
        """Write an entry if the block refuses a genuine grant."""
        return _Denying(self, grant, asker)


class _Denying:
    """Notes the refusal of a grant. A class, because every delivery has three, and a generator takes twice the time."""

    __slots__ = ("_asker", "_auditor", "_grant")

    def __init__(self, auditor: Auditor, grant: Grant, asker: str) -> None:
        self._auditor = auditor
        self._grant = grant
        self._asker = asker

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, _DENIALS):
            self._auditor.note("denied", self._grant, self._asker, code=error.code)


async def audit_of(log: AuditLog, body_id: BodyId) -> list[AuditEntry]:
    """All entries of a body and of its grants, oldest first."""
    found: list[AuditEntry] = []
    of_grants: list[AuditEntry] = []
    async with aclosing(log.read()) as entries:
        async for entry in entries:
            if entry.body == body_id:
                found.append(entry)
            elif not entry.body:  # revoked by id: its other entries say which body that was
                of_grants.append(entry)
    ids = {entry.grant_id for entry in found if entry.grant_id}
    found += [entry for entry in of_grants if entry.grant_id in ids]
    # Stable: entries of one process keep their order if its clock did not advance.
    return AuditEntries(sorted(found, key=lambda entry: entry.at)).all()
