"""A front over HTTP: an ASGI application with the routes of openapi.yaml."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.types import Receive, Scope, Send

from broker_plane.errors import BrokerPlaneError, WireError
from broker_plane.exchange.keys import is_exchange_id
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.proxy.messages import failed
from broker_plane.transports.webhook.admission import FrontAdmission
from broker_plane.transports.webhook.asyncmcp import PATH as ASYNCMCP_PATH
from broker_plane.transports.webhook.asyncmcp_route import AsyncmcpRoute
from broker_plane.transports.webhook.callbacks import SESSION_HEADER
from broker_plane.transports.webhook.front_events import FrontEvents
from broker_plane.transports.webhook.front_work import Accepted, FrontWork, MessagePage
from broker_plane.transports.webhook.message_ids import MessageId
from broker_plane.transports.webhook.posted import parse_posted
from broker_plane.web.problems import STATUS_OF_CODE
from broker_plane.web.request import headers_of, query_fields, read_body, whole_number
from broker_plane.wire.exact_json import dumps
from broker_plane.wire.json_rpc import INTERNAL_ERROR, INVALID_REQUEST

log = redacted_logger(__name__)

PATH = "/mcp"
OPENAPI = Path(__file__).with_name("openapi.yaml")
_STATUSES = STATUS_OF_CODE | {"untrusted_host": 403, "webhook": 422, "upstream": 502}
_JSON = (b"content-type", b"application/json")
_RETRIED = frozenset({409, 429, 503, 507})

Headers = list[tuple[bytes, bytes]]
Handler = Callable[[Scope, Receive, Send, str, str], Awaitable[None]]
"""Answers a request: of the scope, for the session in the path, of the caller."""


class WebhookFront:
    """The ASGI application of one server."""

    def __init__(
        self,
        work: FrontWork,
        events: FrontEvents,
        admission: FrontAdmission,
        *,
        max_bytes: int,
        asyncmcp: AsyncmcpRoute | None = None,
    ) -> None:
        """`max_bytes` is the largest message that is accepted. `asyncmcp` also serves clients of that package."""
        self._asyncmcp = asyncmcp
        self._work = work
        self._events = events
        self._admission = admission
        self._max_bytes = max_bytes
        self._routes: dict[str, dict[str, Handler]] = {
            "": {"POST": self._post, "DELETE": self._delete},
            "messages": {"GET": self._messages},
            "events": {"GET": self._stream},
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            caller = self._admission.caller(scope)
            await self._routed(scope, receive, send, caller)
        except BrokerPlaneError as error:
            await _refuse(send, error)
        except Exception:
            log.exception("A request to a webhook front failed")
            await _answer(send, 500, dumps(failed(None, "Internal error; see the log of the front")), [_JSON])

    async def _routed(self, scope: Scope, receive: Receive, send: Send, caller: str) -> None:
        path, method = str(scope["path"]), scope["method"]
        if path == "/openapi.yaml" and method == "GET":
            await _answer(send, 200, OPENAPI.read_bytes(), [(b"content-type", b"application/yaml")])
            return
        if self._asyncmcp is not None and path == ASYNCMCP_PATH:
            answer = await self._asyncmcp.answer(
                method, headers_of(scope), await read_body(scope, receive, self._max_bytes)
            )
            await _answer(send, 200, dumps(answer), [_JSON])
            return
        top, _, rest = path.removeprefix("/").partition("/")
        session, _, part = rest.partition("/")
        routes = self._routes.get(part) if f"/{top}" == PATH and (session or not part) else None
        if routes is None:
            await _answer(send, 404, dumps(failed(None, "No such route", INVALID_REQUEST)), [_JSON])
        elif method not in routes:
            await _answer(send, 405, b"", [(b"allow", ", ".join(routes).encode())])
        else:
            await routes[method](scope, receive, send, session, caller)

    async def _post(self, scope: Scope, receive: Receive, send: Send, session: str, caller: str) -> None:
        session = _named(session, query_fields(scope, "sessionId"))
        raw = await read_body(scope, receive, self._max_bytes)
        posted = parse_posted(raw, headers_of(scope), session)
        try:
            accepted = await self._work.post(posted, caller)
        except BrokerPlaneError as error:
            await _refuse(send, error, posted.message.get("id"))
            return
        header = (SESSION_HEADER.encode(), accepted.session.encode())
        await _answer(send, 202, dumps(_fields(accepted)), [_JSON, header])

    async def _delete(self, scope: Scope, receive: Receive, send: Send, session: str, caller: str) -> None:
        session = _named(session, query_fields(scope, "sessionId")) or headers_of(scope).get(SESSION_HEADER, "")
        await self._work.close(session, caller)
        await _answer(send, 204, b"", [])

    async def _messages(self, scope: Scope, receive: Receive, send: Send, session: str, caller: str) -> None:
        query = query_fields(scope, "after", "exchange")
        after, exchange = whole_number(query.get("after", "0"), "after"), query.get("exchange", "")
        if exchange and not is_exchange_id(exchange):
            raise WireError("The exchange of a query is one from a webhook-id or an exchangeId")
        page = await self._work.messages(session, caller, after, exchange)
        await _answer(send, 200, _page(page), [_JSON, (b"cache-control", b"no-store")])

    async def _stream(self, scope: Scope, receive: Receive, send: Send, session: str, caller: str) -> None:
        query_fields(scope)
        after = whole_number(headers_of(scope).get("last-event-id", "0"), "Last-Event-ID")
        await self._events.stream(session, caller, after, receive, send)


def _named(in_path: str, query: dict[str, str]) -> str:
    in_query = query.get("sessionId", "")
    if in_path and in_query:
        raise WireError("Name the session once")
    return in_path or in_query


def _fields(accepted: Accepted) -> dict[str, Any]:
    found = {
        "sessionId": accepted.session,
        "callbackSecret": accepted.secret,
        "exchangeId": accepted.exchange,
        "repeated": accepted.repeated,
    }
    return {name: value for name, value in found.items() if value}


def _page(page: MessagePage) -> bytes:
    """The page as JSON. The messages are JSON already, and pass byte for byte."""
    entries = []
    for each in page.messages:
        message_id = str(MessageId(each.key.session, each.key.exchange, each.said.seq))
        entries.append(b'{"id":"%s","message":%s}' % (message_id.encode(), each.said.line.strip()))
    more = b"true" if page.more else b"false"
    return b'{"messages":[%s],"after":%d,"more":%s}' % (b",".join(entries), page.after, more)


async def _refuse(send: Send, error: BrokerPlaneError, key: Any = None) -> None:
    """Answer with a JSON-RPC error, whose `data` has our code."""
    status = _STATUSES.get(error.code, 500)
    log.info("A request to a webhook front was refused: %s", error.brief)
    message = failed(key, str(error), INVALID_REQUEST if status < 500 else INTERNAL_ERROR)
    message["error"]["data"] = {"code": error.code}
    headers: Headers = [_JSON]
    if status in _RETRIED:
        headers.append((b"retry-after", str(max(1, round(error.retry_after or 1))).encode()))
    if status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="broker-plane"'))
    await _answer(send, status, dumps(message), headers)


async def _answer(send: Send, status: int, body: bytes, headers: Headers) -> None:
    length = [] if status == 204 else [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *length]})
    await send({"type": "http.response.body", "body": body})
