"""How the routes of sessions open a grant, and for how long a socket may stay open with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from starlette.types import Scope

from broker_plane.bridge.access import RequestAccess, grant_of
from broker_plane.errors import BrokerPlaneError
from broker_plane.plane.sessions.granted import GrantedSessions, SessionGrant

if TYPE_CHECKING:
    from broker_plane.plane.sessions.live import LiveSession
    from broker_plane.sessions.participants import Participant, ParticipantType

_SOON = 0.05
_LONGEST = 1_000_000.0
"""Seconds of one timer: event loops limit them."""


class SessionAccess:
    """Opens the grants of sessions for one bridge. `now` is the time at nats-server in unix seconds."""

    def __init__(self, sessions: GrantedSessions, access: RequestAccess, now: Callable[[], float]) -> None:
        self._sessions = sessions
        self._access = access
        self._now = now
        self.admission = access.admission

    async def open(self, scope: Scope, connection: str) -> SessionGrant:
        """The grant in the path of a request. Raises as `GrantedSessions.open`."""
        return await self._sessions.open(grant_of(scope), self._access.who(scope), connection)

    async def until_ended(self, granted: SessionGrant, hear: Callable[[], Awaitable[None]]) -> BrokerPlaneError | None:
        """Run `hear` while the grant is good; returns why it is not any more, or None once `hear` has ended by itself.

        Nothing is polled: a timer waits for the expiry, and a revocation cancels `hear` when this bridge hears of it.
        """
        try:
            with self._sessions.guarding(granted):
                while True:
                    left = granted.opened.grant.expires - self._now()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(min(_LONGEST, max(0.0, left) + _SOON)):
                            await hear()
                            return None
                    await self._sessions.check(granted)
        except BrokerPlaneError as error:
            return error


def participant_of(live: LiveSession, granted: SessionGrant, fields: Mapping[str, str]) -> Participant:
    """The participant that the holder of a grant is; the query `fields` may have `name`, `type` and `intent`.

    Raises:
        WireError: one of them is malformed. IntentError: the policy does not allow the intent to this role.
    """
    kind = cast("ParticipantType", fields.get("type", "agent"))  # `admit` refuses what is not one
    return live.admit(granted, name=fields.get("name", ""), type=kind, intent=fields.get("intent", ""))
