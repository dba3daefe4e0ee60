"""The data route: one capability URL, every verb (wire.md, section 2). All is decided before a use is claimed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from time import time

from starlette.types import Receive, Scope, Send

from broker_plane.bridge.admission import Admission
from broker_plane.bridge.audience import Audiences
from broker_plane.bridge.coding import coded
from broker_plane.bridge.conditions import Verdict, judge
from broker_plane.bridge.confirmation import parse_confirmation
from broker_plane.bridge.problems import make_problem
from broker_plane.bridge.ranges import Part
from broker_plane.bridge.representation import S2SP, SAFE_CSV, Representation, represent
from broker_plane.bridge.request import (
    delivery_of,
    headers_of,
    json_object,
    query_of,
    read_body,
)
from broker_plane.bridge.sending import Answer, Headers, pour, send_bytes, send_json
from broker_plane.bridge.settling import Settling
from broker_plane.errors import SelectorError
from broker_plane.plane.bodies.deliveries import Deliveries
from broker_plane.plane.bodies.pages import Pages
from broker_plane.plane.bodies.scope import ScopedBody
from broker_plane.plane.bodies.shown import shown_of
from broker_plane.plane.fairness.work import Account
from broker_plane.plane.grants.grants import Opened
from broker_plane.tabular.codec import FrameWriter
from broker_plane.tabular.frame import Frame
from broker_plane.tabular.views import VIEWS, S2spRows, SafeCsvRows, View
from broker_plane.wire.body import ROWS_TYPE, BodyInfo
from broker_plane.wire.page import Page, parse_page_request
from broker_plane.wire.preview import parse_sample
from broker_plane.wire.selector import Selector

_OWN_VIEWS: dict[str, Callable[[BodyInfo, Selector], View]] = {S2SP: S2spRows, SAFE_CSV: SafeCsvRows}
_AT_ONCE = 4
"""Pieces of a view that are made in one visit to a thread."""


@dataclass(slots=True)
class _Made:
    """How many of `total` rows of a view are made, the frame that is on its way included."""

    total: int
    rows: int = 0

    def share(self) -> float:
        return self.rows / max(1, self.total)


class DataRoute:
    """GET, HEAD, POST and the confirmation of one grant."""

    def __init__(
        self,
        deliveries: Deliveries,
        settling: Settling,
        audiences: Audiences,
        admission: Admission,
        now: Callable[[], float] = time,
    ) -> None:
        self._now = now
        self._deliveries = deliveries
        self._admission = admission
        self._settling = settling
        self._audiences = audiences
        self._paging = Pages(deliveries)

    async def get(self, grant: str, scope: Scope, send: Send) -> None:
        """GET and HEAD: conditions, ranges, content negotiation, projection by `?columns=&row_ids=`."""
        async with self._admitted(grant, scope) as opened:
            await self.get_body(opened, await self._found(opened, scope), scope, send)

    async def get_body(self, opened: Opened, body: ScopedBody, scope: Scope, send: Send) -> None:
        """GET and HEAD of `body`, which the grant is for and which is as it shows it."""
        selector, media_type, safe_csv = query_of(scope)
        headers = headers_of(scope) | ({} if media_type is None else {"accept": media_type})
        shown = await self._shown(opened, body, selector, headers, scope, posted=False, safe_csv=safe_csv)
        verdict = judge(headers, shown.validators)
        if verdict is not Verdict.SEND:
            await _send_verdict(shown, verdict, send)
        elif scope["method"] == "HEAD":
            await _send_head(shown, send)
        else:
            await self._deliver(opened, shown, shown.part(headers), scope, send)

    async def post(self, grant: str, scope: Scope, receive: Receive, send: Send) -> None:
        """S2SP: a selector in, `{"body": rows, "total_rows": n}` out; another view where Accept prefers it."""
        async with self._admitted(grant, scope) as opened:
            if scope["query_string"]:
                raise SelectorError("POST takes its selector in the request body; the URL has no query")
            async with self._admission.selector(opened.payer, scope, receive) as selector:
                body = await self._found(opened, scope)
                shown = await self._shown(opened, body, selector, headers_of(scope), scope, posted=True)
                await self._deliver(opened, shown, None, scope, send)

    async def confirm(self, grant: str, scope: Scope, receive: Receive, send: Send) -> None:
        """`{"status": "success" | "failure", …}`: the reader's own word on how the delivery ended."""
        async with self._admitted(grant, scope) as opened:
            confirmation = parse_confirmation(json_object(await read_body(scope, receive)))
            word = await self._settling.confirm(opened, confirmation, delivery_of(scope).connection)
            await send_json(send, 200, {"status": word})

    async def look(self, grant: str, scope: Scope, receive: Receive, send: Send) -> None:
        """`{"sample": 5}` in; the count, the columns and a few rows of what the grant shows."""
        async with self._admitted(grant, scope) as opened:
            asked = json_object(await read_body(scope, receive)) or {}
            looking = self._deliveries.preview(opened, parse_sample(asked.get("sample")))
            await send_json(send, 200, (await delivery_of(scope).unless_left(looking)).to_wire())

    async def page(self, grant: str, scope: Scope, receive: Receive, send: Send) -> None:
        """`{"cursor", "limit", "most"}` in; one part of the body, and the cursor of the next (docs/transfers.md)."""
        async with self._admitted(grant, scope) as opened:
            request = parse_page_request(json_object(await read_body(scope, receive)) or {})
            await self._send_page(await self._paging.page(opened, request), send)

    async def _send_page(self, page: Page, send: Send) -> None:
        headers = [
            ("content-type", page.media_type),
            ("content-length", str(len(page.content))),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("bp-part", page.part),
            *([("bp-cursor", page.next)] if page.next else []),
        ]
        self._settling.bytes_out += len(page.content)
        self._settling.complete += not page.next
        await send_bytes(send, 200, headers, page.content)

    @asynccontextmanager
    async def _admitted(self, grant: str, scope: Scope) -> AsyncIterator[Opened]:
        who = self._audiences.who(headers_of(scope))
        opened = await self._deliveries.open(grant, who, delivery_of(scope).connection)
        async with self._admission.requests.place(opened.payer):
            yield opened

    async def _found(self, opened: Opened, scope: Scope) -> ScopedBody:
        finding = self._deliveries.find(opened)
        # Where a scope has no rows there is no pass, and nothing that takes long.
        return await (delivery_of(scope).unless_left(finding) if opened.grant.scope.rows else finding)

    async def _shown(
        self,
        opened: Opened,
        body: ScopedBody,
        selector: Selector,
        headers: dict[str, str],
        scope: Scope,
        *,
        posted: bool,
        safe_csv: bool = False,
    ) -> Representation:
        selector = body.of(selector)
        shown = represent(body, selector, headers, posted=posted, safe_csv=safe_csv, now=self._now())
        checking = self._deliveries.bodies.check(opened, body, selector)
        await (checking if opened.grant.scope.bytes is None else delivery_of(scope).unless_left(checking))
        return shown

    async def _deliver(
        self, opened: Opened, shown: Representation, part: Part | None, scope: Scope, send: Send
    ) -> None:
        delivery = delivery_of(scope)
        if shown.selector.row_ids is not None and not shown.selector.row_ids:
            # Nothing of the body is in this answer, so nothing is used up by it.
            await pour(send, delivery, self._view_answer(shown))
        elif not shown.stored:
            await self._settling.deliver(send, opened, delivery, self._view_answer(shown))
        elif part is None:
            await self._settling.deliver(send, opened, delivery, self._whole_answer(shown), shown.info.digest)
        else:
            await self._settling.deliver(send, opened, delivery, self._part_answer(shown, part))

    def _whole_answer(self, shown: Representation) -> Answer:
        return Answer(
            status=200,
            headers=shown.all_headers(),
            pieces=self._deliveries.bodies.read(shown.body),
            size=shown.info.size,
            shown=shown_of(shown.info, shown.selector),
        )

    def _part_answer(self, shown: Representation, part: Part) -> Answer:
        size = shown.info.size
        return Answer(
            status=206,
            headers=[*shown.all_headers(), ("content-range", part.content_range(size))],
            pieces=self._deliveries.bodies.read(shown.body, part.start, part.stop),
            size=part.stop - part.start,
            share=(part.stop - part.start) / size,
            ends_body=part.stop == size,
        )

    def _view_answer(self, shown: Representation) -> Answer:
        rows = shown_of(shown.info, shown.selector)
        made = _Made(rows.rows or 0)
        if shown.view == ROWS_TYPE:
            return Answer(
                status=200,
                headers=shown.all_headers(),
                pieces=coded(self._cut(shown, made), shown.coding, self._account(shown)),
                size=None,
                shown=rows,
                progress=made.share,
            )
        view = (_OWN_VIEWS.get(shown.view) or VIEWS[shown.view])(shown.info, shown.selector)
        return Answer(
            status=200,
            headers=shown.all_headers(),
            pieces=coded(self._viewed(shown, view, made), shown.coding, self._account(shown)),
            size=None,
            shown=rows,
            progress=made.share,
            late_headers=lambda: _lost(view),
        )

    async def _viewed(self, shown: Representation, view: View, made: _Made) -> AsyncGenerator[bytes, None]:
        yield view.begin()
        account = self._account(shown)
        async with aclosing(self._deliveries.frames.decoded(shown.body, shown.selector)) as frames:
            async for frame in frames:
                made.rows += len(frame)
                async with aclosing(_pieces(account, view, frame)) as pieces:
                    async for piece in pieces:
                        yield piece
        yield view.end()

    def _account(self, shown: Representation) -> Account:
        return self._deliveries.work.of(shown.body.payer)

    async def _cut(self, shown: Representation, made: _Made) -> AsyncGenerator[bytes, None]:
        writer = FrameWriter()
        yield writer.begin()
        async with aclosing(self._deliveries.frames.cut(shown.body, shown.selector, writer=writer)) as frames:
            async for frame in frames:
                made.rows += frame.rows
                yield frame.raw
        yield writer.end()


async def _pieces(account: Account, view: View, frame: Frame) -> AsyncGenerator[bytes, None]:
    """The pieces of a frame's view: of a small frame at once, of a larger one a few at a time, in a thread."""
    pieces = iter(view.pieces(frame))
    cost = len(frame) * len(frame.columns) + frame.size // 16
    while some := await account.do(cost, lambda: list(islice(pieces, _AT_ONCE))):
        for piece in some:
            yield piece


def _lost(view: View) -> Headers:
    """How many NaN and infinities a JSON view shows as null (wire.md, section 5)."""
    return [("bp-lost", str(view.lost))] if view.lost else []


async def _send_verdict(shown: Representation, verdict: Verdict, send: Send) -> None:
    if verdict is Verdict.NOT_MODIFIED:
        await send_bytes(send, 304, shown.headers(), b"")
        return
    problem = make_problem(412, "precondition_failed", "If-Match or If-Unmodified-Since does not hold for this body")
    await send_bytes(send, problem.status, problem.headers, problem.body)


async def _send_head(shown: Representation, send: Send) -> None:
    length = [("content-length", str(shown.info.size))] if shown.stored else []
    await send_bytes(send, 200, [*shown.all_headers(), *length], b"")
