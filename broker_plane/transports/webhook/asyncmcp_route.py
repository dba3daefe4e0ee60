"""The route of clients of asyncmcp (`asyncmcp.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from broker_plane.errors import McpSessionNotFoundError, WireError
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.transports.webhook.asyncmcp import accepted, callback_of, session_of, without_callback
from broker_plane.transports.webhook.callbacks import Callbacks
from broker_plane.transports.webhook.front_work import FrontWork
from broker_plane.transports.webhook.posted import Posted, parse_posted
from broker_plane.transports.webhook.sessions import WebhookSessions

log = redacted_logger(__name__)


class AsyncmcpRoute:
    """Answers their requests. `loopback` are callbacks that lead to this machine alone."""

    def __init__(self, work: FrontWork, sessions: WebhookSessions, loopback: Callbacks) -> None:
        self._work = work
        self._sessions = sessions
        self._loopback = loopback

    async def answer(self, method: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
        """The answer to a request that was accepted.

        Raises:
            WireError: it is malformed. As `FrontWork.post`.
        """
        session = session_of(headers)
        if method == "DELETE":
            await self._check(session)
            await self._work.close(session, "")
            return {"status": "terminated"}
        if method != "POST":
            raise WireError("Use POST or DELETE")
        message = parse_posted(body, {}, "").message
        opens = message.get("method") == "initialize"
        if opens:
            session = (await self._sessions.open_unproven(callback_of(message), self._loopback)).id
            message = without_callback(message)
        else:
            await self._check(session)
        await self._work.post(Posted(message=message, session=session), "")
        return accepted(session, opened=opens)

    async def _check(self, session: str) -> None:
        """Raise unless it is a session of a client of asyncmcp."""
        found = await self._sessions.find(session)
        if found is None or not found.asyncmcp:
            raise McpSessionNotFoundError
