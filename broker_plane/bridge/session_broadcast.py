"""Sends the events of one session to its sockets at this bridge; each event is encoded once for all of them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Protocol

from broker_plane.bridge.session_outlet import CLOSE_RESTART, close_code
from broker_plane.bridge.yjs_broadcast import YjsBroadcast
from broker_plane.errors import BrokerPlaneError
from broker_plane.plane.sessions.followers import Aware, Event, Here, Resync, Told
from broker_plane.plane.sessions.live import LiveSession
from broker_plane.sessions.entries import Entry
from broker_plane.web.frames import text_frame
from broker_plane.wire.exact_json import dumps


class EventListener(Protocol):
    """A socket of JSON messages."""

    def entries(self, frame: bytes, entries: tuple[Entry, ...]) -> None:
        """Send entries, which are encoded in `frame`."""

    def presence(self, frame: bytes) -> None:
        """Send presences, which are encoded in `frame`."""

    def resync(self) -> None:
        """Events were dropped."""

    def end(self, code: int, error: BrokerPlaneError | None) -> None:
        """Close the socket."""


def entries_frame(entries: tuple[Entry, ...]) -> bytes:
    """The frame with these entries."""
    return text_frame(dumps({"entries": [entry.to_json() for entry in entries]}))


class Broadcast:
    """The listeners of one session at this bridge."""

    def __init__(self, live: LiveSession) -> None:
        self.live = live
        self.yjs = YjsBroadcast(live)
        self._listeners: set[EventListener] = set()
        self._told: dict[str, Any] = {}
        """The presence of each participant as it was last sent; a mere renewal is not sent again."""

    def add(self, listener: EventListener) -> None:
        """Send `listener` all events from now on."""
        self._listeners.add(listener)

    def remove(self, listener: EventListener) -> None:
        """Undo `add`."""
        self._listeners.discard(listener)

    async def run(self) -> None:
        """Send events until the session ends in this process; then close all sockets."""
        code, error = CLOSE_RESTART, None
        try:
            with self.live.follow() as follower:
                async for event in follower:
                    await self._tell(event)
        except BrokerPlaneError as ended:
            code, error = close_code(ended), ended
        finally:
            for listener in list(self._listeners):
                listener.end(code, error)
            self.yjs.close(code, error.code if error else "")

    async def _tell(self, event: Event) -> None:
        match event:
            case Told(entries):
                if self._listeners:
                    frame = entries_frame(entries)
                    for listener in list(self._listeners):
                        listener.entries(frame, entries)
                self.yjs.entries(entries)
            case Here(participants):
                self._tell_presence(participants)
            case Aware(update):
                self.yjs.aware(update)
            case Resync():
                for listener in list(self._listeners):
                    listener.resync()
                await self.yjs.resync()

    def _tell_presence(self, participants: tuple[Mapping[str, Any], ...]) -> None:
        self.yjs.presence(participants, time.monotonic())
        changed = [each for each in participants if self._differs(each)]
        if changed and self._listeners:
            frame = text_frame(dumps({"presence": changed}))
            for listener in list(self._listeners):
                listener.presence(frame)

    def _differs(self, presence: Mapping[str, Any]) -> bool:
        """Whether a presence says more than the last one of its participant: clients of Yjs renew theirs every 15 s."""
        participant = presence["id"]
        if presence.get("gone"):
            self._told.pop(participant, None)
            return True
        state = presence.get("state")
        shown = (presence.get("at"), {**state, "clock": 0} if isinstance(state, dict) else state)
        differs = self._told.get(participant) != shown
        self._told[participant] = shown
        return differs
