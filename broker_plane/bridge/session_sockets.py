"""A session over a WebSocket of JSON texts, with the subprotocol `broker-plane.session.v1` (docs/sessions.md).

    {"do": "propose", …, "id": 7}            a request; its answer is {"id": 7, "ok": {…}} or {"id": 7, "error": {…}}
    {"hello": {…}}                           to the client, first: the answer to `join`
    {"entries": […]}  {"presence": […]}      what happens
    {"resync": {"revision": 12}}             the client was too slow, and events were dropped: read the log
    {"end": {"code": …, "message": …}}       the last message, when the grant has ended

Quiet connections are kept open by pings, which clients answer by themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from starlette.types import Message, Receive, Scope, Send

from broker_plane.bridge.session_broadcast import Broadcast, entries_frame
from broker_plane.bridge.session_errors import error_members
from broker_plane.bridge.session_outlet import MOST_MESSAGE, Outlet, close_code
from broker_plane.errors import BrokerPlaneError, WireError
from broker_plane.plane.tasks import cancel_and_forget
from broker_plane.sessions.entries import Entry
from broker_plane.sessions.participants import Participant
from broker_plane.web.frames import text_frame
from broker_plane.web.request import whole_number
from broker_plane.web.sockets import socket_of
from broker_plane.wire.exact_json import MALFORMED, dumps, loads
from broker_plane.wire.urls import SESSION_SUBPROTOCOL

_AT_ONCE = 64
"""Requests of one socket that may be under way; it is not read while there are more."""

_PAGE = 500
"""Entries in one answer of `log`."""

_MOST_HELD = 4 << 20
"""Bytes of events that wait until the client has been greeted."""

_LEAVING_SECONDS = 10.0


class SessionSocket:
    """One participant's connection."""

    def __init__(self, scope: Scope, broadcast: Broadcast, who: Participant, query: Mapping[str, str]) -> None:
        """`query` may have `after` and `value`. Raises WireError."""
        self._broadcast = broadcast
        self._live = broadcast.live
        self._who = who
        self._after = whole_number(query["after"], "after") if "after" in query else None
        self._value = whole_number(query.get("value", "1"), "value") != 0
        socket = socket_of(scope)
        socket.limit_messages(MOST_MESSAGE)
        socket.on_drained = self._on_drained
        self._outlet = Outlet(socket)
        self._seen = 0
        self._held: list[tuple[bytes, tuple[Entry, ...]]] | None = []
        self._missed = False
        self._requests: set[asyncio.Task[None]] = set()

    async def begin(self, send: Send) -> None:
        """Join the session, accept the connection, and greet the client. Raises what `join` raises."""
        self._broadcast.add(self)
        try:
            hello = await self._live.ask({"do": "join", "value": self._value}, self._who)
        except BaseException:
            self._broadcast.remove(self)
            raise
        await send({"type": "websocket.accept", "subprotocol": SESSION_SUBPROTOCOL})
        self._write({"hello": hello})
        self._seen = hello["revision"]

    async def hear(self, receive: Receive) -> None:
        """Send the client the entries that it missed, then carry out its requests, until it leaves."""
        await self._catch_up()
        while (message := await receive())["type"] != "websocket.disconnect":
            await self._outlet.drained()  # a client that does not read its answers is not read either
            task = asyncio.create_task(self._reply(message))
            self._requests.add(task)
            task.add_done_callback(self._requests.discard)
            if len(self._requests) >= _AT_ONCE:
                await asyncio.wait(self._requests, return_when=asyncio.FIRST_COMPLETED)
        if self._requests:  # what was received is carried out
            await asyncio.wait(self._requests, timeout=_LEAVING_SECONDS)

    async def leave(self) -> None:
        """Stop listening, and give up on requests that are still under way."""
        self._broadcast.remove(self)
        for task in list(self._requests):
            await cancel_and_forget(task)

    def end_with(self, error: BrokerPlaneError | None) -> None:
        """Close the connection: with the error because of which the grant has ended, if that is the reason."""
        if error is not None:
            self.end(close_code(error), error)

    # ── as EventListener ──────────────────────────────────────────────────────────────────────────────────

    def entries(self, frame: bytes, entries: tuple[Entry, ...]) -> None:
        """Send the entries that the client does not have yet."""
        if self._held is not None:
            self._hold(frame, entries)
            return
        new = tuple(entry for entry in entries if entry.revision > self._seen)
        if new:
            self._seen = new[-1].revision
            self._offer(frame if len(new) == len(entries) else entries_frame(new))

    def presence(self, frame: bytes) -> None:
        """Send presences, unless the greeting, which has them, is still to come."""
        if self._held is None:
            self._offer(frame)

    def resync(self) -> None:
        """Say that events were dropped, once the client reads again."""
        self._missed = True
        if self._held is None:
            self._on_drained()

    def end(self, code: int, error: BrokerPlaneError | None) -> None:
        """Say why, and close."""
        if error is not None:
            self._write({"end": error_members(error)})
        self._outlet.close(code, error.code if error else "")

    # ── inside ────────────────────────────────────────────────────────────────────────────────────────────

    async def _catch_up(self) -> None:
        """Send the entries after the one that the client knows, then those that arrived meanwhile."""
        after, known = self._after, self._seen
        while after is not None and after < known:
            page = await self._live.ask({"do": "log", "after": after, "limit": _PAGE}, self._who)
            if not page["entries"]:
                break
            after = page["entries"][-1]["revision"]
            self._write({"entries": page["entries"]})
            await self._outlet.drained()
        self._seen = max(known, after or 0)
        held, self._held = self._held or [], None
        for frame, entries in held:
            self.entries(frame, entries)
        if self._missed:
            self._on_drained()

    def _hold(self, frame: bytes, entries: tuple[Entry, ...]) -> None:
        assert self._held is not None  # noqa: S101  # the caller has checked it
        if self._missed or sum(len(each) for each, _ in self._held) + len(frame) > _MOST_HELD:
            self._held, self._missed = [], True
        else:
            self._held.append((frame, entries))

    def _offer(self, frame: bytes) -> None:
        if not self._missed and not self._outlet.offer(frame):
            self._missed = True

    def _on_drained(self) -> None:
        """The client reads again: say that it has to read the log, if events were dropped."""
        if self._missed and self._held is None:
            self._seen = self._live.revision
            self._missed = not self._outlet.offer(text_frame(dumps({"resync": {"revision": self._seen}})))

    async def _reply(self, message: Message) -> None:
        number = None
        try:
            fields = _request(message)
            number = fields.get("id")
            self._write({"id": number, "ok": await self._live.ask(fields, self._who)})
        except BrokerPlaneError as error:
            self._write({"id": number, "error": error_members(error)})

    def _write(self, fields: Mapping[str, Any]) -> None:
        self._outlet.answer(text_frame(dumps(fields)))


def _request(message: Message) -> dict[str, Any]:
    try:
        fields = loads(message.get("text") or "")
    except MALFORMED as error:
        raise WireError("A message of this subprotocol is a JSON object, sent as text") from error
    if not isinstance(fields, dict):
        raise WireError('A request to a session is a JSON object such as {"do": "show", "id": 1}')
    return fields
