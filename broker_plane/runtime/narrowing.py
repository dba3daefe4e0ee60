"""Narrows grants: attenuation in the manner of macaroons. It needs no key and sends no request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from broker_plane.errors import SelectorError
from broker_plane.runtime import arguments
from broker_plane.wire.body import BodyInfo
from broker_plane.wire.caveats import (
    Audience,
    Bytes,
    Caveat,
    Columns,
    Expires,
    Formats,
    Rows,
    SessionIntent,
    SessionName,
    SessionRole,
    Uses,
    Where,
)
from broker_plane.wire.column_names import resolved
from broker_plane.wire.grant import Grant, Kind, check_scope, grant_of, narrow, peek, uses_of
from broker_plane.wire.names import ROW_ID
from broker_plane.wire.plane_names import Names
from broker_plane.wire.rows import RowSet, of_ranges, parse_rows
from broker_plane.wire.scope import check_shown
from broker_plane.wire.session_roles import Access, parse_role
from broker_plane.wire.urls import data_url, quoted, session_url
from broker_plane.wire.where import columns_of, parse_where

RowsAsked = str | Iterable[int | range]


@dataclass(frozen=True, slots=True)
class Narrowed:
    """A narrowed grant, as a URL and as a subject. `scope` says what it shows; `expires` is in unix seconds."""

    resource_url: str
    subject: str
    grant: str
    scope: dict[str, Any]
    expires: int

    @property
    def grant_id(self) -> str:
        """The id of the grant that it was narrowed from: both are revoked together."""
        return peek(self.grant).id


@dataclass(frozen=True, slots=True, kw_only=True)
class Narrowing:
    """What a narrowed grant shows and allows; None leaves a part as it is (docs/grants.md).

    `rows` are ids and ranges ("0-99,200"), `where` is a comparison over columns that the grant shows, and `first` keeps
    only that many of the rows left by both. `ttl` is in seconds, `uses` counts completed deliveries, `audience` is the
    only name that may pull, `max_bytes` is the largest size of one delivery, and `formats` are media types.

    A grant of a session has only `ttl` and `audience` of these, and three limits of its own: `role` is the most that
    its holder may do, `intent` is why it edits, and `participant` is its name (docs/sessions.md).
    """

    columns: Sequence[str] | None = None
    rows: RowsAsked | None = None
    first: int | None = None
    where: str | None = None
    ttl: arguments.Lifetime | None = None
    uses: arguments.Uses | None = None
    audience: str | None = None
    max_bytes: int | None = None
    formats: Sequence[str] | None = None
    role: str | None = None
    intent: str | None = None
    participant: str | None = None

    def caveats(self, parent: str, now: float) -> list[Caveat]:
        """Return the caveats in this order: `where` names columns of the parent, and `first` counts what it leaves.

        Raises:
            SelectorError: the grant would not show less. WireError: there is no such role.
        """
        given, formats = arguments.names(self.columns, "columns"), arguments.names(self.formats, "formats")
        columns = None if given is None else tuple(name for name in given if name != ROW_ID)
        found: list[Caveat | None] = [
            None if self.rows is None else Rows(_row_set(self.rows)),
            None if self.where is None else Where(self.where),
            None if self.first is None else Rows(first=self.first),
            None if columns is None else Columns(columns),
            None if self.ttl is None else Expires(ceil(now + arguments.seconds(self.ttl))),
            self._uses(parent),
            None if self.audience is None else Audience(self.audience),
            None if self.max_bytes is None else Bytes(self.max_bytes),
            None if formats is None else Formats(tuple(name.lower() for name in formats)),
            None if self.role is None else SessionRole(parse_role(self.role)),
            None if self.intent is None else SessionIntent(self.intent),
            None if self.participant is None else SessionName(self.participant),
        ]
        return [caveat for caveat in found if caveat is not None]

    def _uses(self, parent: str) -> Uses | None:
        if self.uses is None:
            return None
        if count := arguments.uses(self.uses):
            return Uses(count)
        if uses_of(parent):
            raise SelectorError(
                "This grant counts its uses, and narrowing cannot lift that. Mint another grant for the body"
            )
        return None


def known(less: Narrowing, body: BodyInfo | None, shown: Sequence[str] | None = None) -> Narrowing:
    """Return `less` with the names of columns resolved; `shown` are the columns of `body` that the grant shows, or all.

    If the body is not known, names only lose the blanks at their ends.

    Raises:
        SelectorError: the body is known and has no such column, or has neither columns nor rows.
    """
    if body is None:
        return less if less.columns is None else replace(less, columns=resolved(less.columns, ()))
    if body.kind != "rows":
        if any(part is not None for part in (less.columns, less.rows, less.first, less.where)):
            raise SelectorError("This body is opaque: it has neither columns nor rows to narrow a grant to")
        return less
    columns = [name for name in body.columns if shown is None or name in shown]
    for name in sorted(columns_of(parse_where(less.where))) if less.where is not None else ():
        check_shown(name, columns)
    if less.columns is None:
        return less
    names = resolved(less.columns, (*columns, ROW_ID))
    for name in names:
        if name != ROW_ID:
            check_shown(name, columns)
    return replace(less, columns=names)


def narrowed(address: str, less: Narrowing, *, bridge_url: str, names: Names, now: float) -> Narrowed:
    """Narrow the grant in `address`: a URL, a presigned subject, or the grant alone.

    Raises:
        WireError: there is no grant in it, or it cannot be narrowed so.
        ForbiddenError: what it is for has no such limit.
    """
    parent = grant_of(address)
    grant = narrow(parent, *less.caveats(parent, now))
    said = peek(grant)
    check_scope(said)
    base = address.strip().rstrip("/").rpartition("/")[0]
    url = f"{base}/{grant}" if "://" in address else _url_of(said, grant, bridge_url)
    return Narrowed(url, _subject_of(said, grant, names), grant, said.scope.to_wire(), said.expires)


def _url_of(said: Grant, grant: str, bridge_url: str) -> str:
    return session_url(bridge_url, grant) if said.kind is Kind.SESSION else data_url(bridge_url, grant)


def _subject_of(said: Grant, grant: str, names: Names) -> str:
    return names.say_subject(Access.READ, grant) if said.kind is Kind.SESSION else names.pull_subject(grant)


def _row_set(rows: RowsAsked) -> RowSet:
    if isinstance(rows, str):
        return parse_rows(rows)
    ranges = []
    for each in rows:
        one = range(each, each + 1) if type(each) is int else each
        if not isinstance(one, range) or one.step != 1 or one.start < 0:
            raise SelectorError(f"rows are whole numbers and ranges of them; {quoted(str(each))} is neither")
        ranges.append((one.start, one.stop))
    return of_ranges(ranges)
