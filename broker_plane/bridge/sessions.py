"""The route of sessions: `/v1/sessions/<grant>`, one request with POST, `show` with GET, and two kinds of WebSockets.

A socket with the subprotocol of session_sockets.py exchanges JSON; without it, it is a room of y-websocket, so that
`new WebsocketProvider("wss://…/v1/sessions", grant, doc)` of an unmodified client joins the session.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from starlette.types import Receive, Scope, Send

from broker_plane.bridge.access import grant_of
from broker_plane.bridge.session_access import SessionAccess, participant_of
from broker_plane.bridge.session_outlet import MOST_MESSAGE
from broker_plane.bridge.session_places import SessionPlaces
from broker_plane.bridge.session_sockets import SessionSocket
from broker_plane.bridge.yjs_sockets import YjsSocket
from broker_plane.errors import NotAcceptableError, WireError
from broker_plane.plane.sessions.host import SessionHost
from broker_plane.web.accept import choose_type
from broker_plane.web.delivery import delivery_of
from broker_plane.web.request import headers_of, query_fields, read_body, whole_number
from broker_plane.web.sending import send_bytes, send_json_text
from broker_plane.wire import urls
from broker_plane.wire.exact_json import MALFORMED, dumps, loads

_JSON, _HTML = "application/json", "text/html"


class SessionRoutes:
    """Requests to sessions, and their sockets."""

    def __init__(self, host: SessionHost, places: SessionPlaces, access: SessionAccess) -> None:
        self._host = host
        self._places = places
        self._access = access

    async def get(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`show`, of `?revision=` if given. A browser is sent to the page of the session."""
        if _wants_page(scope):
            location = f"{grant_of(scope)}/page"  # relative: the bridge may be below a path of a reverse proxy
            await send_bytes(send, 303, [("location", location), ("content-length", "0"), ("vary", "accept")], b"")
            return
        query = query_fields(scope, "revision", "name", "type", "intent")
        fields: dict[str, Any] = {"do": "show", **query}
        if "revision" in query:
            fields["revision"] = whole_number(query["revision"], "revision")
        await self._answer(scope, fields, send)

    async def post(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request of docs/sessions.md, and its answer."""
        await self._answer(scope, _request(await read_body(scope, receive, MOST_MESSAGE)), send)

    async def _answer(self, scope: Scope, fields: dict[str, Any], send: Send) -> None:
        granted = await self._access.open(scope, delivery_of(scope).connection)
        async with (
            self._access.admission.requests.place(granted.opened.payer),
            self._host.open(granted.session, granted.opened.owner) as live,
        ):
            answer = await live.ask(fields, granted)
            await send_json_text(send, 200, dumps(answer), [("vary", "accept")])

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A WebSocket of JSON messages or of y-protocols, until its reader leaves or its grant ends.

        Raises:
            BrokerPlaneError: the connection was not accepted.
        """
        granted = await self._access.open(scope, "")
        query = query_fields(scope, "name", "type", "intent", "after", "value")
        kind = SessionSocket if urls.SESSION_SUBPROTOCOL in scope["subprotocols"] else YjsSocket
        async with (
            self._access.admission.streams.place(granted.opened.payer),
            self._places.open(granted) as place,
        ):
            who = participant_of(place.live, granted, query)
            with place.live.follow(who) as attendance:
                attendance.end()  # it only shows that `who` is here: the events come from the broadcast
                socket = kind(scope, place.broadcast, who, query)
                await socket.begin(send)
                try:
                    error = await self._access.until_ended(granted, lambda: socket.hear(receive))
                finally:
                    await socket.leave()
                socket.end_with(error)


def _wants_page(scope: Scope) -> bool:
    """Whether the client prefers HTML, as browsers do."""
    with suppress(NotAcceptableError):
        return choose_type(headers_of(scope).get("accept"), [_JSON, _HTML]) == _HTML
    return False


def _request(raw: bytes) -> dict[str, Any]:
    try:
        fields = loads(raw)
    except MALFORMED as error:
        raise WireError(f"The request is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise WireError('A request to a session is a JSON object such as {"do": "show"}')
    return fields
