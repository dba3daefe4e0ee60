"""Checks whether guests can use what they receive: it connects as one of them would, with a grant of our own."""

from __future__ import annotations

import secrets
from uuid import uuid4

from broker_plane.config import Settings
from broker_plane.errors import BrokerAccessDeniedError, BrokerUnavailableError
from broker_plane.runtime.wiring import Wiring, access_of
from broker_plane.subjects.guests import admitted
from broker_plane.wire.grant import Grant, seal
from broker_plane.wire.names import body_id

_SECONDS = 30


async def guest_access_problem(wiring: Wiring, settings: Settings) -> str:
    """Return what is missing for a client that has nothing but a grant, and how to fix it; empty if it can connect."""
    if not wiring.guests:
        return "this NATS has no accounts, so that a user of it may read every body; use those of nats.conf"
    # A grant for a body that does not exist: it may connect, and has nothing to pull.
    nothing = Grant(body=body_id(secrets.token_bytes(16)), grant_id=uuid4().bytes, expires=int(wiring.now()) + _SECONDS)
    grant = seal(nothing, await wiring.keys.sealing())
    try:
        seconds = settings.request_timeout_seconds
        async with admitted(wiring.url, grant, timeout=seconds, access=access_of(settings)):
            return ""
    except (BrokerAccessDeniedError, BrokerUnavailableError):
        return (
            "no bridge admits grants: nats.conf needs its auth_callout, and a running bridge "
            "BROKER_PLANE_CALLOUT_PASSWORD and BROKER_PLANE_CALLOUT_SEED (`broker-plane env`)"
        )
