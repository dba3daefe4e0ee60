"""A session over a WebSocket of y-protocols messages, for unmodified clients of y-websocket.

The changes of an editor are stored before anybody sees them, and then sent to everybody, the sender included. A change
that is refused closes the socket (yjs_refusals.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from time import monotonic
from typing import Any

from starlette.types import Receive, Scope, Send

from broker_plane.bridge.session_broadcast import Broadcast
from broker_plane.bridge.session_outlet import CLOSE_LATER, MOST_MESSAGE, SLOW_READER, Outlet, close_code
from broker_plane.bridge.yjs_awareness import ClientState, read_awareness
from broker_plane.bridge.yjs_messages import Message, denied_message, read_message, step_2_message
from broker_plane.bridge.yjs_writer import YjsWriter
from broker_plane.errors import BrokerPlaneError, SessionError, WireError
from broker_plane.plane.tasks import cancel_and_forget
from broker_plane.sessions.participants import Participant
from broker_plane.sessions.requests import JoinRequest, PresentRequest
from broker_plane.sessions.roles import may
from broker_plane.web.frames import binary_frame
from broker_plane.web.sockets import socket_of
from broker_plane.wire.urls import SESSION_SUBPROTOCOL

_SYNC_SECONDS = 0.1
"""Minimum time between two answers to sync step 1 on one socket: each may encode the document."""

_STATE_SECONDS = 0.05
"""Minimum time between two states of one socket; only the newest is published."""

_LEAVING_SECONDS = 2.0


class YjsSocket:
    """One participant's connection."""

    def __init__(self, scope: Scope, broadcast: Broadcast, who: Participant, query: Mapping[str, str]) -> None:
        """Raises SessionError (409) unless the session's sync protocol is crdt."""
        if broadcast.live.state.sync != "crdt":
            raise SessionError(
                "Clients of Yjs can join sessions with the sync protocol crdt only; for others, use the subprotocol "
                f"{SESSION_SUBPROTOCOL}"
            )
        self._live = broadcast.live
        self._yjs = broadcast.yjs
        self._who = who
        self._shown = self._live.shown(who).id
        socket = socket_of(scope)
        socket.limit_messages(MOST_MESSAGE)
        self._outlet = Outlet(socket)
        self._writer = YjsWriter(broadcast.live, broadcast.yjs, who, self._outlet) if may(who.role, "update") else None
        self._presents = may(who.role, "present")
        self._denied = False
        self._refused: asyncio.TimerHandle | None = None
        self._sync_at = 0.0
        self._states: dict[int, ClientState] = {}
        self._telling: asyncio.Task[None] | None = None

    async def begin(self, send: Send) -> None:
        """Join the session, accept the connection, and ask for what the session lacks. Raises what `join` raises."""
        await self._live.submit(JoinRequest(value=False), self._who)
        await send({"type": "websocket.accept"})
        self._yjs.add(self)
        if self._writer is not None:
            await self._writer.request_all()
        if self._yjs.awareness.states():
            self._outlet.answer(self._yjs.awareness_frame())

    async def hear(self, receive: Receive) -> None:
        """Carry out the client's messages, until it leaves."""
        while (message := await receive())["type"] != "websocket.disconnect":
            if self._refused is not None:
                continue
            try:
                await self._take(message)
            except BrokerPlaneError as error:
                self._refuse(error)
        if self._writer is not None:
            await self._writer.finish()

    async def leave(self) -> None:
        """Stop listening, and tell the others that the clients of this connection have left."""
        self._yjs.remove(self)
        if self._refused is not None:
            self._refused.cancel()
        if self._writer is not None:
            await self._writer.stop()
        if self._telling is not None:
            await cancel_and_forget(self._telling)
        with suppress(BrokerPlaneError, TimeoutError):
            async with asyncio.timeout(_LEAVING_SECONDS):
                for state in self._yjs.awareness.leave(self):
                    await self._live.submit(PresentRequest(state=state.to_presence()), self._who)

    def end_with(self, error: BrokerPlaneError | None) -> None:
        """Close the connection, if its grant has ended."""
        if error is not None:
            self.close(close_code(error), error.code)

    # ── as UpdateListener ─────────────────────────────────────────────────────────────────────────────────

    def tell(self, frame: bytes) -> None:
        """Write an event. A client that is too slow is closed: it reconnects, and synchronizes."""
        if not self._outlet.offer(frame):
            self.close(CLOSE_LATER, SLOW_READER)

    def close(self, code: int, reason: str) -> None:
        """Close the connection."""
        self._outlet.close(code, reason)

    # ── inside ────────────────────────────────────────────────────────────────────────────────────────────

    async def _take(self, message: Mapping[str, Any]) -> None:
        raw = message.get("bytes")
        if raw is None:
            raise WireError("Messages of Yjs are binary")
        kind, payload = read_message(raw)
        match kind:
            case Message.SYNC_STEP_1:
                await self._answer_sync(payload)
            case Message.SYNC_STEP_2 | Message.UPDATE if self._writer is not None:
                await self._writer.add(payload, whole=kind is Message.SYNC_STEP_2, refuse=self._refuse)
            case Message.UPDATE:
                self._deny()
            case Message.AWARENESS:
                self._tell_states(payload)
            case Message.QUERY_AWARENESS:
                await self._outlet.drained()
                self._outlet.answer(self._yjs.awareness_frame())
            case _:
                pass  # sync step 2 of a reader, and what clients never send

    async def _answer_sync(self, state_vector: bytes) -> None:
        await self._outlet.drained()
        wait = self._sync_at - monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        self._sync_at = monotonic() + _SYNC_SECONDS
        self._live.count(self._who)
        self._outlet.answer(binary_frame(step_2_message(await self._yjs.missing(state_vector))))

    def _deny(self) -> None:
        """Drop an update of a participant that may not edit; y-websocket writes the reason to the console, once."""
        if not self._denied:
            self._denied = True
            reason = f"The role {self._who.role} may not edit: your changes are not sent to others"
            self._outlet.answer(binary_frame(denied_message(reason)))

    def _refuse(self, error: BrokerPlaneError) -> None:
        """Ignore further messages, and close the socket: at once, or later if its participant was refused before."""
        if self._refused is None:
            delay = self._yjs.refusals.next_delay(self._who.id, monotonic())
            loop = asyncio.get_running_loop()
            self._refused = loop.call_later(delay, self.close, close_code(error), error.code)

    def _tell_states(self, payload: bytes) -> None:
        if not self._presents:
            return
        told = read_awareness(payload)
        for state in self._yjs.awareness.accept(self, self._shown, told):
            self._states[state.client] = state
        if self._states and (self._telling is None or self._telling.done()):
            self._telling = asyncio.create_task(self._tell())

    async def _tell(self) -> None:
        while self._states:
            state = self._states.pop(next(iter(self._states)))
            with suppress(BrokerPlaneError):  # the client renews it
                await self._live.submit(PresentRequest(state=state.to_presence()), self._who)
            await asyncio.sleep(_STATE_SECONDS)
