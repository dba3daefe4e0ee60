"""Audit entries: who did what with which body and grant. They are encoded as JSON and never contain a grant.

Entries are written once and read by people later: unknown values are left out, and readers ignore members that later
versions add.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from operator import attrgetter
from typing import Any, Literal, get_args

AuditEvent = Literal[
    "minted",
    "looked",
    "queried",
    "claimed",
    "pulled",
    "confirmed",
    "released",
    "denied",
    "revoked",
    "deleted",
    "collected",
    "failed",
    "uploaded",
]
WHATS: tuple[AuditEvent, ...] = get_args(AuditEvent)
_DELIVERY_CHARACTERS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """`at` is in unix seconds, by the clock of the writer."""

    at: float
    what: AuditEvent
    body: str = ""
    grant_id: str = ""
    asker: str = ""
    """The client as the transport knows it: the puller's name in the subject, or a connection. For a minted grant, its
    recipient.
    """
    way: str = ""
    delivery: str = ""
    """Connects the entries of one delivery. It is the beginning of a lease's id, so it cannot be used as a lease."""
    columns: tuple[str, ...] | None = None
    """None is all of them."""
    rows: int | None = None
    bytes: int | None = None
    uses: int | None = None
    expires: int | None = None
    code: str = ""
    """The error of a denied request; for a failed transfer what its reader found: checksum, short, failure."""
    times: int = 1
    """How often, for a delivery in several windows or retries in quick succession."""

    def to_wire(self) -> dict[str, Any]:
        values = zip(_FIELDS, _values_of(self), _DEFAULTS, strict=True)
        return {name: value for name, value, default in values if value != default}

    @property
    def _one(self) -> tuple[str, ...] | None:
        """The fields that repeated entries share; None for an entry that is never merged."""
        if self.what == "pulled" and self.way == "nats":
            return (self.what, self.grant_id, self.asker, self.delivery)
        if self.what == "denied":
            return (self.what, self.grant_id, self.way, self.code)
        return None


class AuditEntries:
    """Entries in their order. The windows of one pull are merged into one entry, and so are repeated denials."""

    def __init__(self, entries: Iterable[AuditEntry] = ()) -> None:
        self._entries: list[AuditEntry] = []
        self._places: dict[tuple[str, ...], int] = {}
        for entry in entries:
            self.add(entry)

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: AuditEntry) -> None:
        key = entry._one
        place = self._places.get(key) if key else None
        if place is not None:
            known = self._entries[place]
            size = None if known.bytes is None else known.bytes + (entry.bytes or 0)
            self._entries[place] = replace(known, bytes=size, times=known.times + entry.times)
            return
        if key:
            self._places[key] = len(self._entries)
        self._entries.append(entry)

    def all(self) -> list[AuditEntry]:
        return list(self._entries)


def delivery_name(text: str) -> str:
    """The name of a delivery in the audit log, from its lease's or its pull's id."""
    return text[:_DELIVERY_CHARACTERS]


def parse_entry(found: Any) -> AuditEntry | None:
    """The entry of a parsed JSON object; None if it is invalid or of an unknown kind of a later version."""
    if not isinstance(found, Mapping) or found.get("what") not in WHATS or type(found.get("at")) is not float:
        return None
    known = {name: found[name] for name in _FIELDS if name in found}
    if "columns" in known:
        known["columns"] = tuple(map(str, known["columns"]))
    return AuditEntry(**known)


_FIELDS = tuple(each.name for each in fields(AuditEntry))
_values_of = attrgetter(*_FIELDS)
_DEFAULTS = tuple(None if each.default is MISSING else each.default for each in fields(AuditEntry))
