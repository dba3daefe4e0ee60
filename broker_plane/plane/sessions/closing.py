"""Closing a session: its artifact becomes a body, and the log says which. It happens once, whoever begins it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import monotonic
from typing import Any, Final, Protocol

from broker_plane.errors import BodyNotFoundError, BrokerPlaneError, BrokerUnavailableError, ConflictError
from broker_plane.plane.sessions.ports import SessionLog
from broker_plane.plane.sessions.tip import Tip
from broker_plane.sessions.canonical import canonical, media_type
from broker_plane.sessions.closing import closed
from broker_plane.wire.names import BodyId

_UNKNOWN_SECONDS: Final = 10.0
_RETRY_SECONDS: Final = 0.1


class Results(Protocol):
    """The bodies that the artifacts of closed sessions become."""

    def now(self) -> float:
        """Unix seconds."""

    async def publish(self, owner: str, raw: bytes, media_type: str, expires: int) -> BodyId:
        """Store a body of `owner`. Raises as `Publisher.publish`."""

    async def drop(self, owner: str, body_id: BodyId) -> None:
        """Delete a body that no session refers to."""

    async def url(self, owner: str, body_id: BodyId) -> str:
        """A resource_url with a new grant for the body. Raises BodyNotFoundError if it has expired."""


class Closing:
    """Closes one session. Hold the writer's turn to call `close`."""

    def __init__(self, session: str, tip: Tip, log: SessionLog, results: Results, owner: str) -> None:
        self._session = session
        self._tip = tip
        self._log = log
        self._results = results
        self._owner = owner
        self._url = ""

    async def close(self, reason: str, *, by_owner: bool) -> dict[str, Any]:
        """Close the session unless it is closed, and return what an answer says of that.

        Raises:
            StoreFullError, BrokerUnavailableError: it may not be closed; try again.
        """
        while (closure := self._tip.state.closure) is None:
            await self._attempt(reason, by_owner)
        return {"revision": closure.revision, "sha256": closure.sha256, "resource_url": await self.result_url()}

    async def result_url(self) -> str:
        """Where the artifact of the closed session is; empty once that body has expired. The same for all who ask."""
        closure = self._tip.state.closure
        if closure is not None and not self._url:
            with suppress(BodyNotFoundError):
                self._url = await self._results.url(self._owner, BodyId(closure.body))
        return self._url

    async def _attempt(self, reason: str, by_owner: bool) -> None:
        tip, state = self._tip, self._tip.state
        raw = await asyncio.to_thread(canonical, state.kind, tip.folded.value)
        expires = (await self._log.find(self._session)).expires
        body = await self._results.publish(self._owner, raw, media_type(state.kind), expires)
        after = tip.sequence
        entry = closed(tip.folded, reason, body, now=self._results.now(), by_owner=by_owner)
        tip.draft([entry])
        try:
            tip.confirm(await self._log.append(self._session, [entry], after))
            return
        except ConflictError:
            tip.take_back()
        except BrokerUnavailableError:
            tip.take_back()
            await self._read_until(monotonic() + _UNKNOWN_SECONDS)
            if not tip.has([entry], after):  # the write may still arrive, and refer to this body
                raise
            return
        except BrokerPlaneError:
            tip.take_back()
            await self._results.drop(self._owner, body)
            raise
        await tip.catch_up()
        if not tip.has([entry], after):
            await self._results.drop(self._owner, body)

    async def _read_until(self, until: float) -> None:
        while True:
            try:
                return await self._tip.catch_up()
            except BrokerUnavailableError:
                if monotonic() > until:
                    raise
                await asyncio.sleep(_RETRY_SECONDS)
