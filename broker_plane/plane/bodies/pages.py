"""Delivers a body by pages, to clients with no other way to it. It needs the memory of one frame and one page.

A page depends on no state of the one before it: its cursor says where it starts and under which lease, so any bridge
can serve it, also again after an interruption. Nothing in a cursor is trusted: the lease counts only if the state entry
holds it for this very grant, and each page is paid for by its content before it is sent. A body of one page is
delivered with that page; a longer one when the empty page after the last row or byte is requested. Requests are
idempotent.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import aclosing, suppress
from dataclasses import replace
from functools import partial

from broker_plane.errors import BodyLostError, BrokerPlaneError, LeaseLostError, SelectorError, TooLargeError
from broker_plane.plane.bodies.deliveries import Deliveries
from broker_plane.plane.bodies.scope import ScopedBody
from broker_plane.plane.bodies.shown import Shown, check_format, stored_types
from broker_plane.plane.grants.grants import Opened
from broker_plane.plane.grants.leases import Lease
from broker_plane.tabular.frame import Frame
from broker_plane.tabular.json_values import json_bytes
from broker_plane.wire.names import encode_id
from broker_plane.wire.page import Cursor, Page, PageRequest
from broker_plane.wire.selector import WHOLE

_JSON = "application/json"
_WAY = "http:/page"
"""Pages are pulled over HTTP, so a confirmation over HTTP may settle them."""

_AT_ONCE = 256
_CONTINUES = 0x80
"""The two highest bits of a continuation byte of a character (RFC 3629)."""


class Pages:
    """Pages over `deliveries`."""

    def __init__(self, deliveries: Deliveries, random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._deliveries = deliveries
        self._random = random_bytes

    async def page(self, opened: Opened, request: PageRequest) -> Page:
        """The requested page of the body that the grant is for.

        Raises:
            TooLargeError: the body is larger than requested, or one row larger than a page; no use was taken.
            SelectorError: the cursor belongs to another body. And as `Deliveries.find`, `check` and `claim`.
        """
        body = await self._deliveries.find(opened)
        check_format(opened, *((_JSON,) if body.info.kind == "rows" else stored_types(body.info)))
        if request.most and body.stored.size > request.most:
            raise TooLargeError(f"The body has more than the {request.most} bytes that may go inline; narrow it")
        await self._deliveries.bodies.check(opened, body, WHOLE)
        if request.cursor is not None and request.cursor.done == _total(body):
            await self._deliveries.finish(_lease_of(opened, request.cursor))
            return _page(body, request.cursor, b"[]" if body.info.kind == "rows" else b"", request.cursor)
        if request.cursor is not None and request.cursor.done > _total(body):
            raise _elsewhere()
        lease, cursor, begun = await self._lease(opened, body, request.cursor)
        make = self._rows if body.info.kind == "rows" else self._bytes
        try:
            content, after = await make(body, cursor, request.limit)
            count = after.done - cursor.done
            await self._deliveries.pay(lease, count / max(1, _total(body)))
        except BrokerPlaneError:
            # A request for this page claims again. A lease that began here is forgotten: nothing was sent under it.
            with suppress(BrokerPlaneError):
                await self._deliveries.release(lease, final=begun)
            raise
        shown = Shown(None, count if body.info.rows is not None else None)
        self._deliveries.audit.pulled(lease, len(content), shown, cursor.number)
        page = _page(body, cursor, content, after)
        if request.cursor is None and after.done == _total(body):
            await self._deliveries.finish(lease)
            return page
        return replace(page, next=str(after))

    async def _lease(self, opened: Opened, body: ScopedBody, cursor: Cursor | None) -> tuple[Lease, Cursor, bool]:
        """The lease of the delivery, and whether it begins here: if it lapsed, it is claimed while a use is free."""
        if cursor is not None:
            lease = _lease_of(opened, cursor)
            with suppress(LeaseLostError):
                await self._deliveries.grants.leases.renew(lease)
                return lease, cursor, False
        number = cursor.number if cursor else encode_id(self._random(16))
        left = 1.0 - cursor.done / max(1, _total(body)) if cursor else 1.0
        lease = await self._deliveries.claim(opened, number, number, way=_WAY, reserve=left)
        return lease, replace(cursor or Cursor(number), lease=lease.id), True

    async def _rows(self, body: ScopedBody, cursor: Cursor, limit: int) -> tuple[bytes, Cursor]:
        """As many rows as fit into `limit` bytes of JSON, at least one, and the position after them."""
        page = _Filling(limit)
        after = cursor
        account = self._deliveries.work.of(body.payer)
        async with aclosing(self._deliveries.frames.numbered(body, WHOLE, cursor.frame)) as frames:
            async for number, frame in frames:
                begin = cursor.row if number == cursor.frame else 0
                cost = len(frame) * len(frame.columns) + min(limit, body.stored.size) // 16
                stop = await account.do(cost, partial(page.fill, frame, begin))
                if stop > begin:
                    after = replace(after, done=cursor.done + len(page.made), frame=number, row=stop)
                if page.refused:
                    return _array(page.made, page.refused, limit), after
        made = page.made
        if after.done != _total(body):
            raise _elsewhere()
        return _array(made, 0, limit), after

    async def _bytes(self, body: ScopedBody, cursor: Cursor, limit: int) -> tuple[bytes, Cursor]:
        """The next bytes, up to `limit`; text is not cut within a character."""
        size = body.stored.size
        stop = min(size, cursor.done + limit)
        async with aclosing(self._deliveries.bodies.read(body, cursor.done, stop)) as pieces:
            content = b"".join([piece async for piece in pieces])
        if len(content) != stop - cursor.done:
            raise BodyLostError("The stored body is gone; publish it again")
        if stop < size:
            content = _whole_characters(content)
        return content, replace(cursor, done=cursor.done + len(content))


class _Filling:
    """A page that takes rows until the next one does not fit; `refused` is the size of that one."""

    def __init__(self, limit: int) -> None:
        self.made: list[bytes] = []
        self.refused = 0
        self._limit = limit
        self._size = 2

    def fill(self, frame: Frame, begin: int) -> int:
        """Take rows of `frame` from position `begin` on; returns the position after the last one taken."""
        stop = begin
        for place, row in _json_rows(frame, begin):
            self._size += len(row) + bool(self.made)
            if self._size > self._limit:
                self.refused = len(row)
                break
            self.made.append(row)
            stop = place + 1
        return stop


def _lease_of(opened: Opened, cursor: Cursor) -> Lease:
    return Lease(opened.grant, cursor.lease if opened.grant.counters else "", cursor.number, opened.who, _WAY)


def _page(body: ScopedBody, cursor: Cursor, content: bytes, after: Cursor) -> Page:
    rows = body.info.kind == "rows"
    return Page(
        content=content,
        media_type=_JSON if rows else body.info.media_type,
        unit="rows" if rows else "bytes",
        first=cursor.done,
        count=after.done - cursor.done,
        total=_total(body),
    )


def _total(body: ScopedBody) -> int:
    return (body.info.rows or 0) if body.info.kind == "rows" else body.stored.size


def _json_rows(frame: Frame, begin: int) -> Iterator[tuple[int, bytes]]:
    """(position, row as JSON) from `begin` on; no dicts are made for rows that are not requested."""
    for start in range(begin, len(frame), _AT_ONCE):
        stop = start + _AT_ONCE
        columns = {name: values[start:stop] for name, values in frame.columns.items()}
        for place, row in enumerate(Frame(columns, frame.ids[start:stop], frame.ragged).rows(), start):
            yield place, json_bytes(row)


def _array(rows: list[bytes], refused: int, limit: int) -> bytes:
    if not rows and refused:
        raise TooLargeError(f"One row has {refused} bytes as JSON, above {limit}; narrow it to fewer columns")
    return b"[" + b",".join(rows) + b"]"


def _whole_characters(raw: bytes) -> bytes:
    """`raw` without an incomplete UTF-8 character at its end."""
    for back in range(1, min(4, len(raw)) + 1):
        byte = raw[-back]
        if byte & 0xC0 == _CONTINUES:
            continue
        needed = 1 + (byte >= 0xC0) + (byte >= 0xE0) + (byte >= 0xF0)
        return raw[:-back] if needed > back else raw
    return raw


def _elsewhere() -> SelectorError:
    return SelectorError("This cursor does not belong to this body; start again without one")
