"""The sessions that have sockets at this bridge, each with one broadcast."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from broker_plane.errors import BrokerPlaneError, BrokerUnavailableError, SessionNotFoundError
from broker_plane.plane.sessions.granted import SessionGrant
from broker_plane.plane.sessions.host import SessionHost
from broker_plane.plane.tasks import cancel_and_forget

if TYPE_CHECKING:
    from broker_plane.bridge.session_broadcast import Broadcast
    from broker_plane.plane.sessions.live import LiveSession

_IDLE_SECONDS = 5.0
"""How long a broadcast outlives its last socket."""


class SessionPlace:
    """One session at this bridge."""

    def __init__(self) -> None:
        self.opened: asyncio.Future[Broadcast] = asyncio.get_running_loop().create_future()
        self.task: asyncio.Task[None]
        self.users = 0

    @property
    def broadcast(self) -> Broadcast:
        """The broadcast, once `opened` is done."""
        return self.opened.result()

    @property
    def live(self) -> LiveSession:
        """The session."""
        return self.broadcast.live


class SessionPlaces:
    """The sessions that have sockets at this bridge."""

    def __init__(self, host: SessionHost) -> None:
        self._host = host
        self._places: dict[str, SessionPlace] = {}
        self._stopping: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def open(self, granted: SessionGrant) -> AsyncIterator[SessionPlace]:
        """The place of the session of a grant, for the block.

        Raises:
            SessionNotFoundError: there is no such session of the grant's owner.
        """
        place = self._places.get(granted.session)
        if place is None or place.task.done():
            place = self._places[granted.session] = SessionPlace()
            place.task = asyncio.create_task(self._run(place, granted))
        place.users += 1
        try:
            await asyncio.shield(place.opened)
            if place.live.owner != granted.opened.owner:
                raise SessionNotFoundError("There is no such session, or it has expired")
            yield place
        finally:
            place.users -= 1
            if not place.users:
                stopping = asyncio.create_task(self._stop_unused(granted.session, place))
                self._stopping.add(stopping)
                stopping.add_done_callback(self._stopping.discard)

    async def close(self) -> None:
        """End all broadcasts and close their sockets; the clients reconnect to another bridge."""
        for task in [*self._stopping, *(place.task for place in self._places.values())]:
            await cancel_and_forget(task)

    async def _run(self, place: SessionPlace, granted: SessionGrant) -> None:
        failed: BrokerPlaneError = BrokerUnavailableError("The bridge is stopping; connect again")
        try:
            async with self._host.open(granted.session, granted.opened.owner) as live:
                from broker_plane.bridge.session_broadcast import Broadcast  # with a session, its room is imported too

                broadcast = Broadcast(live)
                place.opened.set_result(broadcast)
                await broadcast.run()
        except BrokerPlaneError as error:
            failed = error
        finally:
            if not place.opened.done():
                place.opened.set_exception(failed)
                place.opened.exception()  # raised by those who wait for it, of whom there may be none left
            if self._places.get(granted.session) is place:
                del self._places[granted.session]

    async def _stop_unused(self, session: str, place: SessionPlace) -> None:
        """Stop a place that nobody has used for a while."""
        await asyncio.sleep(_IDLE_SECONDS)
        if not place.users:
            if self._places.get(session) is place:
                del self._places[session]
            await cancel_and_forget(place.task)
