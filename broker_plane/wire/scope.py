"""The scope of a grant: what remains of a body after all caveats, applied in the order of the chain. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from broker_plane.errors import SelectorError
from broker_plane.wire.caveats import (
    Audience,
    Bytes,
    Caveat,
    Columns,
    Digest,
    Expires,
    Formats,
    Rows,
    SessionIntent,
    SessionName,
    SessionRole,
    Uses,
    Where,
)
from broker_plane.wire.names import ROW_ID
from broker_plane.wire.session_roles import Role, lower
from broker_plane.wire.urls import quoted
from broker_plane.wire.where import columns_of, parse_where

NOBODY = ""
"""The audience, or the participant, of a grant that was narrowed to two different ones."""

NO_INTENT = ""
"""The intent of a grant that was narrowed to two different ones."""

NO_DIGEST = ""
"""The digest of a grant that was narrowed to two different ones: no bytes have it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The limits of a grant; None is no limit. `rows` are steps, each keeping some rows of the step before.

    The steps keep the order of the chain, because a count after a filter differs from a filter after a count.
    """

    columns: tuple[str, ...] | None = None
    rows: tuple[Rows | Where, ...] = ()
    audience: str | None = None
    bytes: int | None = None
    formats: tuple[str, ...] | None = None
    digest: str | None = None
    """SHA-256 in hex; `NO_DIGEST` after two different ones."""
    role: Role | None = None
    """In a session; the least of those that it was narrowed to."""
    intent: str | None = None
    """In a session; `NO_INTENT` after two different ones."""
    participant: str | None = None
    """The name in a session; `NOBODY` after two different ones."""

    @property
    def shows_all(self) -> bool:
        """Whether it has every column and every row of the body."""
        return self.columns is None and not self.rows

    @property
    def limits_body(self) -> bool:
        """Whether it has a limit that only bodies, feeds, streams and uploads can have; uses belong to the grant."""
        limits = (self.bytes, self.formats, self.digest)
        return not self.shows_all or any(limit is not None for limit in limits)

    @property
    def limits_session(self) -> bool:
        """Whether it has a limit that only a session can have."""
        return any(limit is not None for limit in (self.role, self.intent, self.participant))

    def narrowed(self, caveat: Caveat) -> Scope:
        """The scope after `caveat`. Expiry and uses belong to the grant and not to the scope.

        Raises:
            SelectorError: a `where` that does not parse, or that names a column which is not shown before it.
        """
        match caveat:
            case Columns(names):
                return replace(self, columns=_shared(self.columns, names))
            case Where(text):
                for name in sorted(columns_of(parse_where(text))):
                    check_shown(name, self.columns)
                return replace(self, rows=(*self.rows, caveat))
            case Rows():
                return replace(self, rows=(*self.rows, caveat))
            case Audience(name):
                return replace(self, audience=name if self.audience in (None, name) else NOBODY)
            case Bytes(most):
                return replace(self, bytes=most if self.bytes is None else min(self.bytes, most))
            case Formats(media_types):
                return replace(self, formats=_shared(self.formats, media_types))
            case Digest(sha256):
                return replace(self, digest=sha256 if self.digest in (None, sha256) else NO_DIGEST)
            case SessionRole(role):
                return replace(self, role=role if self.role is None else lower(self.role, role))
            case SessionIntent(intent):
                return replace(self, intent=intent if self.intent in (None, intent) else NO_INTENT)
            case SessionName(name):
                return replace(self, participant=name if self.participant in (None, name) else NOBODY)
            case Expires() | Uses():
                return self

    def to_wire(self) -> dict[str, Any]:
        """For people and programs: contains only the limits."""
        fields = {
            "columns": self.columns,
            "audience": self.audience,
            "bytes": self.bytes,
            "formats": self.formats,
            "digest": self.digest,
            "role": self.role,
            "intent": self.intent,
            "participant": self.participant,
        }
        wire: dict[str, Any] = {name: value for name, value in fields.items() if value is not None}
        return wire | ({"rows": [_step(step) for step in self.rows]} if self.rows else {})


EVERYTHING = Scope()


def scope_after(caveats: Iterable[Caveat]) -> Scope:
    """The scope of a chain of caveats under an unlimited root."""
    scope = EVERYTHING
    for caveat in caveats:
        scope = scope.narrowed(caveat)
    return scope


def check_shown(name: str, shown: Iterable[str] | None) -> None:
    """Raise SelectorError unless `name` is one of the columns that are shown; None is all."""
    if shown is not None and name not in shown:
        raise no_column(name, shown)


def no_column(name: str, shown: Iterable[str]) -> SelectorError:
    """The same error for unknown and for hidden columns, so that it does not reveal which (docs/decisions/0033)."""
    names = [shown_name for shown_name in shown if shown_name != ROW_ID]
    more = f" and {len(names) - 30} more" if len(names) > 30 else ""
    return SelectorError(f"There is no column {quoted(name)} here; there are: {', '.join(names[:30])}{more}")


def _shared(before: tuple[str, ...] | None, names: tuple[str, ...]) -> tuple[str, ...]:
    kept = names if before is None else [name for name in before if name in names]
    return tuple(dict.fromkeys(kept))


def _step(step: Rows | Where) -> dict[str, Any]:
    if isinstance(step, Where):
        return {"where": step.text}
    fields = {"ids": None if step.among is None else str(step.among), "first": step.first}
    return {name: value for name, value in fields.items() if value is not None}
