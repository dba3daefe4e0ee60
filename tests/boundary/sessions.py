"""Sessions for the tests of what NATS permits: their grants, and their log."""

from __future__ import annotations

import os
from typing import Any

from broker_plane import Plane
from broker_plane.sessions.entries import Entry
from broker_plane.sessions.roles import Role
from broker_plane.storage.sessions import NatsSessionLog
from broker_plane.wire.names import BodyId, body_id

SECONDS = 600


def new_session() -> BodyId:
    """The id of a session that no other test uses."""
    return body_id(os.urandom(16))


async def mint(plane: Plane, session: BodyId, role: Role, *, seconds: int = SECONDS, **limits: Any) -> str:
    """A grant of the session; `limits` are `intent` and `participant`."""
    wired = plane._user_plane()
    return await wired.grants.minting.mint_session(session, role, int(wired.now()) + seconds, **limits)


def log_of(plane: Plane) -> NatsSessionLog:
    wired = plane._user_plane()
    return NatsSessionLog(wired.connection, wired.store)


def entry(revision: int, text: str = "") -> Entry:
    return Entry(
        revision=revision, at=1e9, participant="anna-123456", role="editor", kind="left", content={"text": text}
    )
