"""Writes the updates of one Yjs client to the log of its session, in their order.

Updates that arrive while one is being written are merged into one. A refusal closes the socket (yjs_refusals.py),
except that a client whose update does not fit is first asked for everything that the session lacks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from broker_plane.bridge.session_outlet import Outlet
from broker_plane.bridge.yjs_broadcast import YjsBroadcast
from broker_plane.bridge.yjs_messages import step_1_message
from broker_plane.errors import BrokerPlaneError, ChangeError, NotValidError
from broker_plane.plane.sessions.live import LiveSession
from broker_plane.plane.tasks import cancel_and_forget
from broker_plane.sessions.participants import Participant
from broker_plane.sessions.replicas.yjs_sync import EMPTY_UPDATE, check_update, merged
from broker_plane.sessions.requests import UpdateRequest
from broker_plane.web.frames import binary_frame

_MOST_WAITING = 1 << 20
"""Bytes of updates that wait to be written; the socket is not read while there are more."""

_MOST_MERGED = 64 << 10
"""Updates that wait are written as one, up to this size."""

_MOST_UPDATES = 400
"""And up to this number: each may continue the one before, and a replica takes a limited number of those in a row."""

_MOST_REQUESTS = 8
"""How often one connection is asked for everything again, because one of its updates did not fit."""

_FINISH_SECONDS = 10.0


class YjsWriter:
    """The updates of one connection of an editor."""

    def __init__(self, live: LiveSession, yjs: YjsBroadcast, who: Participant, outlet: Outlet) -> None:
        self._live = live
        self._yjs = yjs
        self._who = who
        self._outlet = outlet
        self._synchronized = False
        """Whether the client has sent all that the session lacked. Before that, its updates may depend on what it will
        send, and they will be part of it."""
        self._requests = 0
        self._waiting: list[tuple[bytes, bool]] = []
        self._size = 0
        self._refuse: Callable[[BrokerPlaneError], None]
        self._task: asyncio.Task[None] | None = None

    async def request_all(self) -> None:
        """Ask the client for everything that the session does not have (sync step 1)."""
        self._synchronized = False
        self._requests += 1
        point = await self._yjs.point()
        self._outlet.answer(binary_frame(step_1_message(point.state_vector)))

    async def add(self, update: bytes, *, whole: bool, refuse: Callable[[BrokerPlaneError], None]) -> None:
        """Write an update after those that wait; `whole`: it is all that the session lacked (sync step 2).

        `refuse` is called once, if it is refused. Waits while too much waits.
        """
        self._synchronized = self._synchronized or whole
        if update == EMPTY_UPDATE or not self._synchronized:
            return
        self._waiting.append((update, whole))
        self._size += len(update)
        self._refuse = refuse
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write())
        if self._size > _MOST_WAITING:
            await asyncio.wait({self._task})

    async def finish(self) -> None:
        """Wait for what was received to be written."""
        if self._task is not None and not self._task.done():
            await asyncio.wait({self._task}, timeout=_FINISH_SECONDS)

    async def stop(self) -> None:
        """Write nothing more."""
        if self._task is not None:
            await cancel_and_forget(self._task)

    async def _write(self) -> None:
        try:
            while self._waiting:
                await self._write_next()
        except BrokerPlaneError as error:
            self._forget()
            self._refuse(error)

    async def _write_next(self) -> None:
        change, whole = await self._next()
        if not change:
            return
        try:
            await self._live.submit(UpdateRequest(change=change), self._who)
        except NotValidError:
            pass  # both the change and its reversal are stored, and everybody receives them
        except ChangeError:
            if whole or self._requests >= _MOST_REQUESTS:
                raise
            # It may depend on changes that its client has from elsewhere, such as another tab of the browser.
            self._forget()
            await self.request_all()

    async def _next(self) -> tuple[bytes, bool]:
        """The next change: the new part of a sync step 2, or the updates up to the next one, merged."""
        update, whole = self._waiting[0]
        if whole:
            self._drop(1)
            point = await self._yjs.point()
            return point.news(update), True
        size, count = 0, 0
        for each, is_whole in self._waiting:
            size += len(each)
            if is_whole or (count and (size > _MOST_MERGED or count >= _MOST_UPDATES)):
                break
            count += 1
        updates = [each for each, _ in self._waiting[:count]]
        self._drop(count)
        if count > 1:
            for each in updates:
                check_update(each)
        return merged(updates), False

    def _drop(self, count: int) -> None:
        self._size -= sum(len(each) for each, _ in self._waiting[:count])
        del self._waiting[:count]

    def _forget(self) -> None:
        self._waiting.clear()
        self._size = 0
