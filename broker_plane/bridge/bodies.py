"""The data route: every method of one presigned URL (docs/reference/wire-protocol.md#data-route).

Everything is checked before a use is claimed.
"""

from __future__ import annotations

from collections.abc import Callable
from time import time

from starlette.types import Receive, Scope, Send

from broker_plane.bridge.access import RequestAccess, grant_of
from broker_plane.bridge.answers import pour
from broker_plane.bridge.body_answers import BodyAnswers
from broker_plane.bridge.confirmation import parse_confirmation
from broker_plane.bridge.representation import Representation, represent
from broker_plane.bridge.selector_admission import SelectorAdmission
from broker_plane.bridge.selectors import selector_of_query
from broker_plane.bridge.settling import Settling
from broker_plane.errors import SelectorError
from broker_plane.plane.bodies.deliveries import Deliveries
from broker_plane.plane.bodies.pages import Pages
from broker_plane.plane.bodies.scope import ScopedBody
from broker_plane.plane.grants.grants import Opened
from broker_plane.web.conditions import Verdict, judge
from broker_plane.web.delivery import delivery_of
from broker_plane.web.problems import make_problem
from broker_plane.web.ranges import Part
from broker_plane.web.request import headers_of, json_object, read_body
from broker_plane.web.sending import send_bytes, send_json
from broker_plane.wire.page import Page, parse_page_request
from broker_plane.wire.preview import parse_sample
from broker_plane.wire.selector import Selector


class BodyRoutes:
    """GET, HEAD and POST of a body, its confirmation, preview and pages."""

    def __init__(
        self,
        deliveries: Deliveries,
        access: RequestAccess,
        *,
        confirmation_required: bool = False,
        now: Callable[[], float] = time,
    ) -> None:
        self._now = now
        self._deliveries = deliveries
        self._access = access
        self._settling = Settling(self._deliveries, confirmation_required=confirmation_required, closing=access.closing)
        self._answers = BodyAnswers(self._deliveries)
        self._paging = Pages(self._deliveries)
        self._selectors = SelectorAdmission(self._deliveries.work)
        self._places = access.admission.requests.place

    async def get(self, scope: Scope, receive: Receive, send: Send) -> None:
        """GET and HEAD: conditions, ranges, content negotiation, projection by `?columns=&row_ids=`."""
        opened = await self._opened(scope)
        async with self._places(opened.payer):
            selector, _, _ = selector_of_query(scope)
            await self.get_body(opened, await self._found(opened, selector, scope), scope, send)

    async def get_body(self, opened: Opened, body: ScopedBody, scope: Scope, send: Send) -> None:
        """GET and HEAD of `body`, already limited to the scope of the grant."""
        selector, media_type, safe_csv = selector_of_query(scope)
        headers = headers_of(scope) | ({} if media_type is None else {"accept": media_type})
        shown = await self._shown(opened, body, selector, headers, scope, posted=False, safe_csv=safe_csv)
        verdict = judge(headers, shown.validators)
        if verdict is not Verdict.SEND:
            await _send_verdict(shown, verdict, send)
        elif scope["method"] == "HEAD":
            await _send_head(shown, send)
        else:
            await self._deliver(opened, shown, shown.part(headers), scope, send)

    async def post(self, scope: Scope, receive: Receive, send: Send) -> None:
        """S2SP: a selector in, `{"body": rows, "total_rows": n}` out, or another view if Accept prefers one."""
        opened = await self._opened(scope)
        async with self._places(opened.payer):
            if scope["query_string"]:
                raise SelectorError("A POST has its selector in the request body; remove the query from the URL")
            async with self._selectors.read(opened.payer, scope, receive) as selector:
                body = await self._found(opened, selector, scope)
                shown = await self._shown(opened, body, selector, headers_of(scope), scope, posted=True)
                await self._deliver(opened, shown, None, scope, send)

    async def confirm(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`{"status": "success" | "failure", …}`: the reader reports how the delivery ended."""
        opened = await self._opened(scope)
        async with self._places(opened.payer):
            confirmation = parse_confirmation(json_object(await read_body(scope, receive)))
            word = await self._settling.confirm(opened, confirmation, delivery_of(scope).connection)
            await send_json(send, 200, {"status": word})

    async def preview(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`{"sample": 5}` in; the row count, the columns and a few rows within the scope of the grant out."""
        opened = await self._opened(scope)
        async with self._places(opened.payer):
            fields = json_object(await read_body(scope, receive)) or {}
            looking = self._deliveries.preview(opened, parse_sample(fields.get("sample")))
            await send_json(send, 200, (await delivery_of(scope).unless_left(looking)).to_wire())

    async def page(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`{"cursor", "limit", "most"}` in; one part of the body, and the cursor of the next part, out."""
        opened = await self._opened(scope)
        async with self._places(opened.payer):
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
        await send_bytes(send, 200, headers, page.content)

    async def _opened(self, scope: Scope) -> Opened:
        who = self._access.who(scope)
        return await self._deliveries.open(grant_of(scope), who, delivery_of(scope).connection)

    async def _found(self, opened: Opened, selector: Selector, scope: Scope) -> ScopedBody:
        finding = self._deliveries.find_selected(opened, selector)
        # A scope without a row filter needs no scan, so finding the body is quick.
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
            # This answer contains nothing of the body, so it spends no use.
            await pour(send, delivery, await self._answers.view(shown))
        elif not shown.stored:
            await self._settling.deliver(send, opened, delivery, await self._answers.view(shown))
        elif part is None:
            await self._settling.deliver(send, opened, delivery, self._answers.whole(shown), shown.info.digest)
        else:
            await self._settling.deliver(send, opened, delivery, self._answers.part(shown, part))


async def _send_verdict(shown: Representation, verdict: Verdict, send: Send) -> None:
    if verdict is Verdict.NOT_MODIFIED:
        await send_bytes(send, 304, shown.headers(), b"")
        return
    problem = make_problem(412, "precondition_failed", "If-Match or If-Unmodified-Since does not match this body")
    await send_bytes(send, problem.status, problem.headers, problem.body)


async def _send_head(shown: Representation, send: Send) -> None:
    length = [("content-length", str(shown.info.size))] if shown.stored else []
    await send_bytes(send, 200, [*shown.all_headers(), *length], b"")
