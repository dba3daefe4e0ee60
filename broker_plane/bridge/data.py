"""The data route: one capability URL, every verb (wire.md, section 2). All is decided before a use is claimed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any
from urllib.parse import parse_qs

import orjson
from starlette.types import Receive, Scope, Send

from broker_plane.bridge.conditions import Verdict, judge
from broker_plane.bridge.delivery import EXTENSION, Delivery
from broker_plane.bridge.problems import make_problem
from broker_plane.bridge.representation import S2SP, Representation, represent
from broker_plane.bridge.sending import Sender, coded
from broker_plane.errors import SelectorError, TooLargeError, WireError
from broker_plane.plane.deliver import Deliveries, check_selector
from broker_plane.plane.grants import Opened
from broker_plane.tabular.codec import FrameWriter
from broker_plane.tabular.views import VIEWS, S2spRows
from broker_plane.wire.body import ROWS_TYPE
from broker_plane.wire.selector import Selector, parse_selector, parse_selector_texts

MOST_REQUEST_BYTES = 8 << 20
_REQUEST_SECONDS = 30


class DataRoute:
    """GET, HEAD, POST and the confirmation of one grant."""

    def __init__(self, deliveries: Deliveries, sender: Sender) -> None:
        self._deliveries = deliveries
        self._sender = sender

    async def get(self, grant: str, scope: Scope, send: Send) -> None:
        """GET and HEAD: conditions, ranges, content negotiation, projection by `?columns=&row_ids=`."""
        opened = await self._deliveries.open(grant)
        await self._answer(opened, query_selector(scope), scope, send, posted=False)

    async def post(self, grant: str, scope: Scope, receive: Receive, send: Send) -> None:
        """S2SP: a selector in, `{"body": rows, "total_rows": n}` out; another view where Accept prefers it."""
        opened = await self._deliveries.open(grant)
        selector = body_selector(await read_body(scope, receive))
        await self._answer(opened, selector, scope, send, posted=True)

    async def confirm(self, grant: str, scope: Scope, receive: Receive, send: Send) -> None:
        """`{"status": "success" | "failure", …}`: the reader's own word on how the delivery ended."""
        opened = await self._deliveries.open(grant)
        fields = _json_object(await read_body(scope, receive)) or {}
        status = fields.get("status", "success")
        if status not in ("success", "failure"):
            raise WireError('A confirmation is {"status": "success" | "failure", "bytes_received": n}')
        ended = await self._sender.confirm(opened.grant.id, success=status == "success")
        await send_json(send, 200, {"status": "ok", "ended": ended})

    async def _answer(self, opened: Opened, selector: Selector, scope: Scope, send: Send, *, posted: bool) -> None:
        body = await self._deliveries.find(opened)
        check_selector(body, selector)
        headers = headers_of(scope)
        shown = represent(body, selector, headers, posted=posted)
        if not posted:
            verdict = judge(headers, shown.validators)
            if verdict is not Verdict.SEND:
                await self._not_sent(shown, verdict, send)
                return
        part = None if posted else shown.part(headers)
        if scope["method"] == "HEAD":
            await self._head(shown, send)
            return
        await self._send(opened, shown, part, scope, send)

    async def _send(self, opened: Opened, shown: Representation, part: Any, scope: Scope, send: Send) -> None:
        body = shown.body
        headers = [*shown.headers(), *shown.content_headers()]
        if not shown.stored:
            pieces, size = coded(self._view(shown), shown.coding), None
        elif part is None:
            pieces, size = self._deliveries.read(body), body.size
        else:
            pieces, size = self._deliveries.read(body, part.start, part.stop), part.stop - part.start
            headers.append(("content-range", part.content_range(body.size)))
        status = 200 if part is None else 206
        await self._sender.deliver(send, opened, delivery_of(scope), status, headers, pieces, size)

    async def _view(self, shown: Representation) -> AsyncGenerator[bytes, None]:
        if shown.view == ROWS_TYPE:
            async for piece in self._cut(shown):
                yield piece
            return
        view = (S2spRows if shown.view == S2SP else VIEWS[shown.view])(shown.body, shown.selector)
        yield view.begin()
        async with aclosing(self._deliveries.frames(shown.body, shown.selector)) as frames:
            async for frame in frames:
                yield view.frame(frame)
        yield view.end()

    async def _cut(self, shown: Representation) -> AsyncGenerator[bytes, None]:
        writer = FrameWriter()
        yield writer.begin()
        async with aclosing(self._deliveries.cut(shown.body, shown.selector, writer=writer)) as frames:
            async for frame in frames:
                yield frame.raw
        yield writer.end()

    async def _not_sent(self, shown: Representation, verdict: Verdict, send: Send) -> None:
        if verdict is Verdict.NOT_MODIFIED:
            await send_bytes(send, 304, shown.headers(), b"")
            return
        problem = make_problem(
            412, "precondition_failed", "If-Match or If-Unmodified-Since does not hold for this body"
        )
        await send_bytes(send, problem.status, list(problem.headers), problem.body)

    async def _head(self, shown: Representation, send: Send) -> None:
        length = [("content-length", str(shown.body.size))] if shown.stored else []
        await send_bytes(send, 200, [*shown.headers(), *shown.content_headers(), *length], b"")


def delivery_of(scope: Scope) -> Delivery:
    """The delivery that our protocol class put there; under another server nothing tells how it ends."""
    found = scope.get("extensions", {}).get(EXTENSION)
    return found if isinstance(found, Delivery) else Delivery("unknown")


def headers_of(scope: Scope) -> dict[str, str]:
    """Headers by lower-case name; those that stand twice are one list (RFC 9110, section 5.3)."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key = name.decode("latin-1")
        text = value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def query_selector(scope: Scope) -> Selector:
    """The selector of `?columns=a,b&row_ids=0,2`.

    Raises:
        SelectorError: it is none, or stands twice.
    """
    if not scope["query_string"]:
        return Selector()
    asked = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True, max_num_fields=16)
    for name in ("columns", "row_ids"):
        if len(asked.get(name, [])) > 1:
            raise SelectorError(f"{name} stands twice in the query")
    return parse_selector_texts(asked.get("columns", [None])[0], asked.get("row_ids", [None])[0])


def body_selector(raw: bytes) -> Selector:
    """The selector of a request body; an empty one selects everything."""
    fields = _json_object(raw)
    return Selector() if fields is None else parse_selector(fields)


async def read_body(scope: Scope, receive: Receive) -> bytes:
    """The request body, up to a limit and within a deadline.

    Raises:
        TooLargeError, WireError.
    """
    declared = headers_of(scope).get("content-length", "")
    if declared.isdigit() and int(declared) > MOST_REQUEST_BYTES:
        raise TooLargeError(f"A request body has at most {MOST_REQUEST_BYTES} bytes")
    raw = bytearray()
    try:
        async with asyncio.timeout(_REQUEST_SECONDS):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise WireError("The request broke off")
                raw += message.get("body", b"")
                if len(raw) > MOST_REQUEST_BYTES:
                    raise TooLargeError(f"A request body has at most {MOST_REQUEST_BYTES} bytes")
                if not message.get("more_body", False):
                    return bytes(raw)
    except TimeoutError as error:
        raise WireError(f"The request body was not here after {_REQUEST_SECONDS} s") from error


def _json_object(raw: bytes) -> dict[str, Any] | None:
    if not raw.strip():
        return None
    try:
        fields = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise SelectorError(f"The request body is no JSON: {error}") from error
    if not isinstance(fields, dict):
        raise SelectorError('The request body is a JSON object such as {"columns": ["event"], "row_ids": [0, 2]}')
    return fields


async def send_json(send: Send, status: int, fields: Any) -> None:
    raw = orjson.dumps(fields)
    headers = [("content-type", "application/json"), ("content-length", str(len(raw))), ("cache-control", "no-store")]
    await send_bytes(send, status, headers, raw)


async def send_bytes(send: Send, status: int, headers: list[tuple[str, str]], raw: bytes) -> None:
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": raw})
