"""The sessions that run in this process, each opened once and closed when nobody has used it for a while."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from secrets import token_bytes
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from broker_plane.errors import BrokerUnavailableError, RateLimitedError, SessionNotFoundError
from broker_plane.plane.first_use import FirstUse
from broker_plane.plane.sessions.tools import SessionTools
from broker_plane.wire.names import BodyId, argument_id

if TYPE_CHECKING:
    from broker_plane.plane.sessions.live import LiveSession
    from broker_plane.plane.sessions.tip import Tip
    from broker_plane.sessions.entries import Entry
    from broker_plane.sessions.policy import Policy
    from broker_plane.sessions.replicas.port import ArtifactKind, Sync

IDLE_SECONDS: Final = 60.0
_MOST_LIVE: Final = 1_000


@dataclass(slots=True)
class _Place:
    """A session that runs, or is being opened under `lock`."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    live: LiveSession | None = None
    users: int = 0
    unused_since: float = 0.0


class SessionHost:
    """Live sessions by id."""

    def __init__(self, tools: SessionTools, *, idle_seconds: float = IDLE_SECONDS, most_live: int = _MOST_LIVE) -> None:
        """A session that nobody has used for `idle_seconds` leaves memory; at most `most_live` run at once."""
        self._tools = tools
        self._idle_seconds = idle_seconds
        self._most_live = most_live
        self._places: dict[str, _Place] = {}
        self._evicting: asyncio.Task[None] | None = None
        self._closed = False
        self._classes = FirstUse(_classes)

    def __len__(self) -> int:
        """The number of sessions in memory."""
        return len(self._places)

    async def create(self, value: Any, *, kind: ArtifactKind, sync: Sync, policy: Policy, owner: str) -> str:
        """Create a session over `value` and return its id.

        Raises:
            ChangeError: the value is not one of this kind.
            WireError: the kind cannot have this sync protocol, or a validator of the policy cannot be run here.
            TooLargeError, StoreFullError, BrokerUnavailableError: nothing that anybody has a grant for was created.
        """
        await self._tools.validators.check(policy.validators)
        session = BodyId(argument_id(token_bytes(16)))
        secret = argument_id(token_bytes(16))
        now = self._tools.now()

        def first_entry() -> Entry:
            from broker_plane.sessions.folded import created

            return created(session, kind, sync, value, policy, now=now, secret=secret)

        entry = await asyncio.to_thread(first_entry)
        await self._tools.log.create(session, owner, [entry], policy.seconds + policy.audit_seconds)
        return session

    @asynccontextmanager
    async def open(self, session: str, owner: str = "") -> AsyncIterator[LiveSession]:
        """The live session, for the block. It stays in memory for a while after the last block has ended.

        Raises:
            SessionNotFoundError: there is none, it has expired, or it belongs to another owner than `owner`.
            RateLimitedError: this process serves as many sessions as it can.
        """
        place = self._place(session)
        place.users += 1
        try:
            async with place.lock:
                live = await self._live(place, session)
            if owner not in ("", live.owner):
                raise SessionNotFoundError("There is no such session")
            yield live
        finally:
            place.users -= 1
            place.unused_since = monotonic()
            if place.live is None and not place.users and self._places.get(session) is place:
                del self._places[session]

    async def close(self) -> None:
        """End all live sessions of this process. The sessions themselves go on."""
        self._closed = True
        if self._evicting is not None:
            self._evicting.cancel()
        places, self._places = list(self._places.values()), {}
        await asyncio.gather(*(place.live.close() for place in places if place.live is not None))
        await self._tools.validators.close()

    def _place(self, session: str) -> _Place:
        if self._closed:
            raise BrokerUnavailableError("This process is ending; try another bridge", retry_after=1)
        if session not in self._places and len(self._places) >= self._most_live:
            raise RateLimitedError("This bridge serves as many sessions as it can; try another one", retry_after=5)
        if self._evicting is None:
            self._evicting = asyncio.create_task(self._evict())
        return self._places.setdefault(session, _Place())

    async def _live(self, place: _Place, session: str) -> LiveSession:
        if place.live is not None and place.live.has_ended:
            await place.live.close()
            place.live = None
        if place.live is None:
            info = await self._tools.log.find(session)
            live_session, tip_class = await self._classes.get()
            tip = await tip_class.load(session, self._tools.log)
            place.live = live_session(session, info.owner, tip, self._tools)
            place.live.start()
        return place.live

    async def _evict(self) -> None:
        """Close what was not used for a while."""
        while True:
            await asyncio.sleep(self._idle_seconds / 4)
            before = monotonic() - self._idle_seconds
            unused = [key for key, each in self._places.items() if not each.users and each.unused_since < before]
            for key in unused:
                place = self._places[key]
                if not place.users:
                    del self._places[key]
                    if place.live is not None:
                        await place.live.close()


def _classes() -> tuple[type[LiveSession], type[Tip]]:
    """Imported with the first session that is opened: most bridges never have one."""
    from broker_plane.plane.sessions.live import LiveSession
    from broker_plane.plane.sessions.tip import Tip

    return LiveSession, Tip
