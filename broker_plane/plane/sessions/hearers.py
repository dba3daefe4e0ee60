"""Those who hear a session in this process, and what is known of everybody's presence."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager, suppress
from typing import Any, Final

from broker_plane.errors import BrokerPlaneError
from broker_plane.plane.sessions.followers import Event, Follower, Here, Told
from broker_plane.plane.sessions.ports import Group, SessionLog
from broker_plane.plane.sessions.presence import Presence, presence_message
from broker_plane.sessions.participants import Participant

_SMALL_BYTES: Final = 256
_TOGETHER_SECONDS: Final = 0.05
"""Presence is sent to followers this often at most: a thousand participants that join are not a million messages."""


class Hearers:
    """The followers of one session in one process."""

    def __init__(self, session: str, log: SessionLog, presence: Presence, revision: Callable[[], int]) -> None:
        self.presence = presence
        self.connected: dict[str, Participant] = {}
        """The participants with a follower here, by id."""
        self._session = session
        self._log = log
        self._revision = revision
        self._followers: set[Follower] = set()
        self._connections: Counter[str] = Counter()
        self._told: dict[str, dict[str, Any]] = {}
        self._changed: dict[str, Mapping[str, Any]] = {}
        """Presence that followers were not sent yet."""
        self._telling: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._followers)

    @contextmanager
    def following(self, who: Participant | None, changed: Callable[[str], None]) -> Iterator[Follower]:
        """A follower for the block. `changed` is called with the id of `who` for its first one, and after its last."""
        follower = Follower()
        self._followers.add(follower)
        if who is not None:
            self._connections[who.id] += 1
            if self._connections[who.id] == 1:
                self.connected[who.id] = who
                changed(who.id)
        try:
            yield follower
        finally:
            self._followers.discard(follower)
            if who is not None:
                self._connections[who.id] -= 1
                if not self._connections[who.id]:
                    del self._connections[who.id], self.connected[who.id]
                    self._told.pop(who.id, None)
                    changed(who.id)

    def tell_group(self, group: Group) -> None:
        """Tell what was stored."""
        self._tell(Told(group.entries), max(group.size, _SMALL_BYTES))

    def end(self, error: BrokerPlaneError | None) -> None:
        """End all followers."""
        if self._telling is not None:
            self._telling.cancel()
        for follower in self._followers:
            follower.end(error)

    async def hear(self) -> None:
        """Tell what is heard of presence, until cancelled."""
        async with aclosing(self._log.hear_presence(self._session)) as messages:
            while True:
                raw = await anext(messages)
                event = self.presence.hear(raw)
                if not isinstance(event, Here):
                    if event is not None:
                        self._tell(event, len(raw))
                    continue
                self._changed |= {each["id"]: each for each in event.participants}
                if self._telling is None:
                    self._telling = asyncio.get_running_loop().call_later(_TOGETHER_SECONDS, self._tell_presence)
                here = [each["id"] for each in event.participants if each.get("gone")]
                for key in filter(self.connected.__contains__, here):  # it left another bridge, and is still here
                    await self.say_connection(key)

    async def say_present(self, *told: dict[str, Any]) -> None:
        """Tell the presence of participants to everybody; without a broker nobody hears it."""
        message = presence_message(told)
        for each in told:
            if each["id"] in self.connected:
                self._told[each["id"]] = each
        if told:
            with suppress(BrokerPlaneError):
                await self._log.present(self._session, message)

    async def repeat(self) -> None:
        """Tell again who is connected here."""
        told = [self._told.get(key) or _plain(who) for key, who in self.connected.items()]
        await self.say_present(*told)

    async def say_connection(self, key: str) -> None:
        """Tell whether a participant is connected here, after that has changed."""
        who = self.connected.get(key)
        await self.say_present({"id": key, "name": key, "gone": True} if who is None else _plain(who))

    def expire(self) -> list[str]:
        """Tell who is gone because nothing was heard of them for a while; returns their ids."""
        here = self.presence.expired()
        if here is None:
            return []
        self._tell(here, _SMALL_BYTES * len(here.participants))
        return [each["id"] for each in here.participants]

    def _tell_presence(self) -> None:
        changed, self._changed, self._telling = tuple(self._changed.values()), {}, None
        self._tell(Here(changed), _SMALL_BYTES * len(changed))

    def _tell(self, event: Event, size: int) -> None:
        revision = self._revision()
        for follower in self._followers:
            follower.tell(event, size, revision)


def _plain(who: Participant) -> dict[str, Any]:
    return {"id": who.id, "name": who.name, "at": None, "state": None}
