"""Shows parts and descriptions of bodies to holders of grants. It takes no use of a grant, as a preview takes none.

Each reading is charged at least a hundredth of a delivery before anything is computed, and the share that it shows
before that leaves (docs/decisions/0005 and 0046). The columns, rows, formats and bytes that a grant hides stay hidden.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any

from broker_plane.errors import ForbiddenError
from broker_plane.plane.bodies.deliveries import Deliveries
from broker_plane.plane.bodies.lru import LruCache
from broker_plane.plane.bodies.opaque_reader import OpaqueReader
from broker_plane.plane.bodies.row_reader import read_rows
from broker_plane.plane.bodies.scope import ScopedBody
from broker_plane.plane.bodies.shown import check_format, stored_types
from broker_plane.plane.fairness.shares import Shares
from broker_plane.plane.fairness.work import Pass
from broker_plane.plane.grants.grants import Opened
from broker_plane.plane.grants.state import LOOK_SHARE
from broker_plane.reading.answers import BodyDescription, ReadAnswer
from broker_plane.reading.request import ReadRequest, parse_read_request
from broker_plane.reading.table_profile import EXAMPLES, TableProfile
from broker_plane.reading.tokens import TOKEN_BYTES
from broker_plane.tabular.json_values import json_bytes
from broker_plane.wire.selector import WHOLE, Selector

_AT_ONCE = 4
_WAITING = 32
_MOST_DESCRIBED = 1 << 14
"""Weight of the cached descriptions: one for each of their lines and columns."""


class Readings:
    """Readings over `deliveries`."""

    def __init__(self, deliveries: Deliveries) -> None:
        self._deliveries = deliveries
        self._bodies = deliveries.bodies
        self._places = Shares(_AT_ONCE, owner=_AT_ONCE // 2, grant=1, waiting=_WAITING)
        """Few at once: each may hold a frame or a whole JSON text."""
        self._described: LruCache[BodyDescription] = LruCache(_weigh, _MOST_DESCRIBED)

    def request(self, fields: Mapping[str, Any]) -> ReadRequest:
        """The request in `fields`. Raises as `parse_read_request`."""
        return parse_read_request(fields)

    async def read(self, opened: Opened, request: ReadRequest) -> ReadAnswer:
        """The part of the body that `request` names, within its budget.

        Raises:
            SelectorError, WireError, TooLargeError: the request does not fit the body.
            TooCostlyError, RateLimitedError: it takes more computing than a grant may use.
            And as `Deliveries.open`, `find` and `charge`.
        """
        as_table = request.json_path is None  # which is for the text of JSON rows
        body = await self._found(opened, "application/json", "text/csv", as_table=as_table)
        most_bytes = request.max_tokens * TOKEN_BYTES
        if opened.grant.scope.bytes is not None:
            most_bytes = min(most_bytes, opened.grant.scope.bytes)
        async with self._begun(opened, LOOK_SHARE) as once:
            if body.info.kind == "rows":
                answer = await read_rows(self._deliveries.frames, body, request, most_bytes, once)
                share = answer.count / max(1, body.info.rows or 0)
            else:
                answer = await OpaqueReader(self._bodies, body, once).read(request, most_bytes)
                shown = answer.count if answer.unit == "bytes" else len(answer.text.encode())
                share = min(1.0, shown / max(1, body.stored.size))
            _check_size(opened, len(answer.text.encode()))
            if share > LOOK_SHARE:
                await self._deliveries.charge(opened, share - LOOK_SHARE)
        rows = answer.count if answer.unit == "rows" else None
        self._deliveries.audit.previewed(
            opened, rows, columns=request.columns, size=None if rows is not None else len(answer.text.encode())
        )
        return answer

    async def describe(self, opened: Opened) -> BodyDescription:
        """What the body is, as far as the grant shows it. It is found out once for each scope.

        Raises:
            As `read`. ForbiddenError: the description has more bytes than the grant allows.
        """
        body = await self._found(opened, "application/json")
        key = (body.stored.owner, body.stored.id, body.tag, body.info.columns)
        examples = EXAMPLES / max(1, body.info.rows or 0) if body.info.kind == "rows" else 0.0

        paid = False

        async def find_out() -> BodyDescription:
            nonlocal paid
            async with self._begun(opened, examples) as once:
                paid = True
                if body.info.kind == "rows":
                    return await self._profile(body, once)
                return await OpaqueReader(self._bodies, body, once).describe()

        described = await self._described.get(key, find_out, opened.payer)
        if not paid:
            await self._deliveries.charge(opened, examples)
        _check_size(opened, len(json_bytes(described.to_wire())))
        self._deliveries.audit.previewed(opened, min(EXAMPLES, body.info.rows) if body.info.rows is not None else None)
        return described

    async def _found(self, opened: Opened, *formats: str, as_table: bool = True) -> ScopedBody:
        """The body within the scope, in a format that the grant allows; with `as_table` the table beside a text."""
        body = await (self._deliveries.find_table(opened) if as_table else self._deliveries.find(opened))
        if body.info.kind == "rows":
            check_format(opened, *formats)
        else:
            check_format(opened, *stored_types(body.info))
            await self._bodies.check(opened, body, WHOLE)
        return body

    async def _profile(self, body: ScopedBody, once: Pass) -> BodyDescription:
        profile = TableProfile(body.info.columns)
        if body.info.rows:
            frames = self._deliveries.frames.mapped(body, Selector(body.info.columns), profile.add, account=once)
            async with aclosing(frames) as made:
                async for _ in made:
                    pass
        return await once.do(len(body.info.columns) * EXAMPLES, lambda: profile.description(body.info.media_type))

    @asynccontextmanager
    async def _begun(self, opened: Opened, share: float) -> AsyncIterator[Pass]:
        """A pass that is paid for with `share`, for the block. A pass that is refused costs nothing."""
        async with self._places.place(opened.payer):
            once = self._deliveries.work.begin_pass(opened.payer)
            await self._deliveries.charge(opened, share)
            yield once


def _check_size(opened: Opened, size: int) -> None:
    most = opened.grant.scope.bytes
    if most is not None and size > most:
        raise ForbiddenError(f"This answer has more than the {most} bytes that the grant allows")


def _weigh(described: BodyDescription) -> int:
    return 1 + len(described.columns) + len(described.outline)
