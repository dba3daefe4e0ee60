"""Queries over bodies: open the grants, run the statement, publish the result with a grant of its own.

A query costs as a preview (decision 0005): no use, but each source is charged. It ends with the first grant that ends.
The result belongs to the owner of the first body. It shows no more than its sources: it has the audience that they
have in common, and their formats and limits of bytes, and expires with the first of them (decision 0047).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, replace
from functools import partial
from math import floor
from time import monotonic

from broker_plane.errors import (
    GrantExpiredError,
    QueryFailedError,
    QueryRefusedError,
    TabularError,
    TooCostlyError,
)
from broker_plane.plane.bodies.deliveries import Deliveries
from broker_plane.plane.bodies.publish import Publisher, PublishOrder
from broker_plane.plane.bodies.shown import check_format
from broker_plane.plane.fairness.shares import Payer, Shares
from broker_plane.plane.grants.grants import Opened
from broker_plane.query.engine import QueryEngine
from broker_plane.query.limits import QueryLimits
from broker_plane.query.results import EngineResult, read_result
from broker_plane.query.tables import BodyTable
from broker_plane.wire.caveats import Audience, Bytes, Caveat, Formats
from broker_plane.wire.grant import narrow, peek
from broker_plane.wire.query import QueryRequest
from broker_plane.wire.scope import EVERYTHING, NOBODY, Scope

_JSON = "application/json"
_WAITING = 64
"""Queries of one grant that may wait for a worker."""

_LEAST_SHARE = 0.01
"""What `Leases.pay_preview` takes at least."""

_BEFORE_VALUES = ("Parser Error", "Binder Error", "Catalog Error", "There is no table", "The column name")
"""Errors that an engine finds before it reads a value."""

_MOST_NAMED = 50
_SLACK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class QueryOutcome:
    """A result, and the grant for its body."""

    result: EngineResult
    grant: str
    expires: int


class Queries:
    """The queries of one bridge. `publisher_of` makes the publisher of an owner; `ttl` is the default, in seconds."""

    def __init__(
        self,
        deliveries: Deliveries,
        engine: QueryEngine,
        limits: QueryLimits,
        *,
        workers: int,
        publisher_of: Callable[[str], Publisher],
        now: Callable[[], float],
        ttl: int,
    ) -> None:
        self.answered = 0
        self.seconds = 0.0
        """Time that queries took, with the reading of their bodies."""
        self._deliveries = deliveries
        self._engine = engine
        self._limits = limits
        self._publisher_of = publisher_of
        self._now = now
        self._ttl = ttl
        share = max(1, workers - 1)  # another owner always finds a place
        self._places = Shares(workers, owner=share, grant=share, waiting=_WAITING)

    async def close(self) -> None:
        """End the engine."""
        await self._engine.close()

    async def open(self, request: QueryRequest, who: str, asker: str) -> dict[str, Opened]:
        """The grants of a request by table name, verified for the puller `who`.

        Raises:
            QueryRefusedError: their audiences have nobody in common.
            GrantError: as `Deliveries.open`.
        """
        # By what they claim: nobody could open two audiences, so their own errors would mislead.
        scope_in_common(peek(text).scope for text in request.bodies.values())
        return {name: await self._deliveries.open(text, who, asker) for name, text in request.bodies.items()}

    async def run(self, request: QueryRequest, opened: Mapping[str, Opened]) -> QueryOutcome:
        """Run the statement over the opened grants, and publish the result.

        Raises:
            GrantError: a grant ended, cannot pay, or shows no rows.
            QueryError, TooCostlyError, RateLimitedError: nothing was stored.
        """
        with ExitStack() as guards:
            for each in opened.values():
                guards.enter_context(self._deliveries.grants.revoked.guarding(each.grant.id))
                self._deliveries.work.begin_pass(each.payer)
            tables = {name: await self._table(name, each) for name, each in opened.items()}
            for each in opened.values():
                await self._deliveries.charge(each, 0.0)
            first = next(iter(opened.values()))
            async with self._places.place(first.payer):
                raw = await self._raw(request.sql, tables, first.payer)
            try:
                result = await self._read(raw, request.rows, first.payer)
            except TabularError as error:
                raise QueryFailedError(f"The result cannot be a body: {error}. Cast that column to VARCHAR") from error
            await self._settle(tables, result)
            outcome = await self._publish(request, opened, result)
        self.answered += 1
        return outcome

    async def _table(self, name: str, opened: Opened) -> BodyTable:
        check_format(opened, _JSON)
        body = await self._deliveries.find_table(opened)
        if body.info.kind != "rows":
            raise QueryFailedError(f"{name!r} is opaque and not a table: it has {body.info.media_type}, and no rows")
        return BodyTable(self._deliveries, opened, body)

    async def _raw(self, sql: str, tables: Mapping[str, BodyTable], payer: Payer) -> bytes:
        """The engine's result, as an Arrow stream. The time is charged to the allowance of the first grant."""
        raw, began = bytearray(), monotonic()
        try:
            async with aclosing(self._engine.run(sql, tables, self._limits)) as pieces:
                async for piece in pieces:
                    raw += piece
                    if len(raw) > self._limits.result_bytes + _SLACK_BYTES:
                        raise TooCostlyError("The result is larger than a result may be; aggregate, or add LIMIT")
        except QueryFailedError as error:
            await self._charge_error(str(error), tables)
            said = str(error).rstrip()
            end = "" if said.endswith((".", "!", "?", "^")) else "."
            raise QueryFailedError(f"{said}{end}\n{_columns_text(tables)}", reason=error.reason) from error
        finally:
            seconds = monotonic() - began
            self.seconds += seconds
            self._deliveries.work.charge(payer, seconds)
        return bytes(raw)

    async def _charge_error(self, message: str, tables: Mapping[str, BodyTable]) -> None:
        """Charge what an error may show of the values: `SELECT error(string_agg(…))` is a way to read them as well."""
        if message.startswith(_BEFORE_VALUES):
            return
        size = len(message.partition("\n\nLINE ")[0].encode())
        for table in tables.values():
            await self._charge_shown(table, size)

    async def _charge_shown(self, table: BodyTable, size: int) -> None:
        """Charge the source of `size` bytes that are shown, beyond what the query has cost already."""
        share = min(1.0, size / table.shown_bytes)
        if share > _LEAST_SHARE:
            await self._deliveries.charge(table.opened, share - _LEAST_SHARE)

    async def _read(self, raw: bytes, rows: int, payer: Payer) -> EngineResult:
        return await self._deliveries.work.of(payer).do(len(raw) // 16, partial(read_result, raw, rows))

    async def _settle(self, tables: Mapping[str, BodyTable], result: EngineResult) -> None:
        """Charge and audit each source. A grant that has ended since then shows nothing any more."""
        for table in tables.values():
            await self._deliveries.grants.check(table.opened, table.opened.who)
            await self._charge_shown(table, result.size)
            self._deliveries.audit.queried(table.opened, table.read, result.total_rows, table.bytes_out)

    async def _publish(self, request: QueryRequest, opened: Mapping[str, Opened], result: EngineResult) -> QueryOutcome:
        earliest = min(each.grant.expires for each in opened.values())
        ttl = min(request.ttl or self._ttl, floor(earliest - self._now()))
        if ttl < 1:
            raise GrantExpiredError("A grant of this query is about to expire. Call the resource tool again")
        owner = next(iter(opened.values())).owner
        body = await self._publisher_of(owner).keep(
            result.table, PublishOrder(ttl=ttl, uses=request.uses, name="query")
        )
        grant = await self._deliveries.grants.mint_beside(next(iter(request.bodies.values())), body, request.uses)
        caveats = _caveats(scope_in_common(each.grant.scope for each in opened.values()))
        grant = narrow(grant, *caveats) if caveats else grant
        return QueryOutcome(result, grant, peek(grant).expires)


def scope_in_common(scopes: Iterable[Scope]) -> Scope:
    """What the grant of a result must not exceed: the audience, formats and bytes that all of `scopes` allow.

    Raises:
        QueryRefusedError: nobody, or no format, is allowed by all of them.
    """
    common = EVERYTHING
    for scope in scopes:
        if scope.audience is not None:
            common = common.narrowed(Audience(scope.audience)) if scope.audience else replace(common, audience=NOBODY)
        if scope.formats is not None:
            common = common.narrowed(Formats(scope.formats))
        if scope.bytes is not None:
            common = common.narrowed(Bytes(scope.bytes))
    if common.audience == NOBODY:
        raise QueryRefusedError("These bodies are for different audiences: nobody may have a result of both")
    return common


def _caveats(scope: Scope) -> list[Caveat]:
    found: list[Caveat | None] = [
        None if scope.audience is None else Audience(scope.audience),
        None if scope.formats is None else Formats(scope.formats),
        None if scope.bytes is None else Bytes(scope.bytes),
    ]
    return [caveat for caveat in found if caveat is not None]


def _columns_text(tables: Mapping[str, BodyTable]) -> str:
    """The columns that there are: an engine knows only those that the statement names."""
    lines = []
    for name, table in tables.items():
        shown = ", ".join(table.columns[:_MOST_NAMED])
        more = f" and {len(table.columns) - _MOST_NAMED} more" if len(table.columns) > _MOST_NAMED else ""
        lines.append(f"{name} has: {shown}{more}")
    return ";\n".join(lines)  # some clients show line breaks as spaces
