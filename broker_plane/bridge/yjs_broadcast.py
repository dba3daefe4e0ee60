"""The sockets of Yjs clients in one session: updates and awareness, each encoded once for all of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Protocol

from broker_plane.bridge.yjs_awareness import (
    OUTDATED_SECONDS,
    AwarenessTable,
    ClientState,
    presence_state,
    write_awareness,
)
from broker_plane.bridge.yjs_messages import awareness_message, update_message
from broker_plane.bridge.yjs_refusals import Refusals
from broker_plane.plane.sessions.live import LiveSession
from broker_plane.sessions.decisions import no_claim
from broker_plane.sessions.entries import Entry
from broker_plane.sessions.replicas.yjs_sync import SyncPoint, merged
from broker_plane.web.frames import binary_frame

_BEAT_SECONDS = 8.0
"""How often renewals are sent. Clients forget a state after 30 s, and reconnect after 30 s without a message."""

_PAUSES = 2
"""After encoding an answer to sync step 1 follows a pause, so many times as long."""

_LONGEST_PAUSE_SECONDS = 0.2

_TICK_SECONDS = 0.02
_TICK_SECONDS_EACH = 0.0005
"""How long a change of awareness waits for others, so that one frame has all; longer with more sockets."""


class UpdateListener(Protocol):
    """A socket of y-protocols messages."""

    def tell(self, frame: bytes) -> None:
        """Write an event."""

    def close(self, code: int, reason: str) -> None:
        """Close the socket."""


class YjsBroadcast:
    """The listeners, the awareness of their clients, and the document as the sync protocol needs it."""

    def __init__(self, live: LiveSession) -> None:
        self._live = live
        self._listeners: set[UpdateListener] = set()
        self.awareness = AwarenessTable()
        live.ask_claims(self.awareness.participant_of)
        self.refusals = Refusals()
        self._point: tuple[int, SyncPoint] | None = None
        self._encoding = asyncio.Lock()
        self._encode_at = 0.0
        self._changed: set[int] = set()
        self._ended: list[ClientState] = []
        self._renewed: set[int] = set()
        self._tick: asyncio.TimerHandle | None = None
        self._beat: asyncio.TimerHandle | None = None

    def add(self, listener: UpdateListener) -> None:
        """Send `listener` all events from now on."""
        self._listeners.add(listener)
        if self._beat is None:
            self._beat = asyncio.get_running_loop().call_later(_BEAT_SECONDS, self._on_beat)

    def remove(self, listener: UpdateListener) -> None:
        """Undo `add`."""
        self._listeners.discard(listener)

    def close(self, code: int, reason: str) -> None:
        """Close all sockets."""
        self._live.ask_claims(no_claim)  # what is known of awareness is old from now on
        for timer in (self._tick, self._beat):
            if timer is not None:
                timer.cancel()
        for listener in list(self._listeners):
            listener.close(code, reason)

    async def point(self) -> SyncPoint:
        """The document at the newest stored revision. The present listeners receive all later changes."""
        if self._point is None or self._point[0] != self._live.revision:
            async with self._live.settled() as folded:
                packed = folded.replica.pack()
                # Most entries, such as those of participants that join, do not change the document.
                known = self._point[1] if self._point is not None else None
                point = known if known is not None and known.packed == packed else SyncPoint(packed)
                self._point = folded.state.revision, point
        return self._point[1]

    async def missing(self, state_vector: bytes) -> bytes:
        """The update that a document with this state vector lacks. Raises WireError.

        Encoding takes time of the event loop in proportion to the document, so it may take a part of it only.
        """
        known = self._point
        if (
            known is not None
            and known[0] == self._live.revision
            and (answer := known[1].known(state_vector)) is not None
        ):
            return answer
        async with self._encoding:
            await asyncio.sleep(self._encode_at - time.monotonic())
            began = time.monotonic()
            answer = (await self.point()).missing(state_vector)
            now = time.monotonic()
            self._encode_at = now + min(_LONGEST_PAUSE_SECONDS, _PAUSES * (now - began))
        return answer

    def entries(self, entries: tuple[Entry, ...]) -> None:
        """Send the changes in `entries`."""
        changes = [change for entry in entries if isinstance(change := entry.change, bytes)]
        if changes and self._listeners:
            self._tell(binary_frame(update_message(merged(changes))))

    async def resync(self) -> None:
        """Entries were dropped: send the whole document, of which clients ignore what they have."""
        if self._listeners:
            point = await self.point()
            self._tell(binary_frame(update_message(point.missing(b"\x00"))))

    def aware(self, update: bytes) -> None:
        """Send an awareness update that another process relayed."""
        self._tell(binary_frame(awareness_message(update)))

    def presence(self, participants: tuple[Mapping[str, Any], ...], now: float) -> None:
        """Note the presence of participants; it is sent with the next tick or beat."""
        for each in participants:
            if each.get("gone"):
                self._ended += self.awareness.forget(participant=each["id"])
            elif (state := presence_state(each)) is not None:
                changed = self.awareness.hear(each["id"], state, now)
                if changed and state.state is None:
                    self._ended.append(state)
                elif changed is not None:
                    (self._changed if changed else self._renewed).add(state.client)
        if not self._listeners:
            self._changed, self._renewed, self._ended = set(), set(), []
        elif (self._changed or self._ended) and self._tick is None:
            delay = _TICK_SECONDS + _TICK_SECONDS_EACH * len(self._listeners)
            self._tick = asyncio.get_running_loop().call_later(delay, self._on_tick)

    def awareness_frame(self, clients: set[int] | None = None) -> bytes:
        """The states of `clients`, or of all."""
        return binary_frame(awareness_message(write_awareness(self.awareness.states(clients))))

    def _on_tick(self) -> None:
        self._tick = None
        self._renewed -= self._changed
        if self._changed or self._ended:
            self._tell_awareness()

    def _on_beat(self) -> None:
        """Send renewals. Without any, the frame has no states and only shows that the connection is alive."""
        self._beat = None
        if not self._listeners:
            return
        self._beat = asyncio.get_running_loop().call_later(_BEAT_SECONDS, self._on_beat)
        self._ended += self.awareness.forget(before=time.monotonic() - OUTDATED_SECONDS)
        self._changed |= self._renewed
        self._renewed = set()
        self._tell_awareness()

    def _tell_awareness(self) -> None:
        states = [*self._ended, *self.awareness.states(self._changed)]
        self._changed, self._ended = set(), []
        self._tell(binary_frame(awareness_message(write_awareness(states))))

    def _tell(self, frame: bytes) -> None:
        for listener in list(self._listeners):
            listener.tell(frame)
