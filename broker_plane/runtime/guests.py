"""Checks whether guests can use what they receive: it connects as one of them would, with a grant of our own."""

from __future__ import annotations

import secrets
from uuid import uuid4

from broker_plane.config import Settings
from broker_plane.errors import BrokerAccessDeniedError, BrokerPlaneError, BrokerUnavailableError
from broker_plane.runtime.wiring import Wiring, access_of
from broker_plane.subjects.guests import admitted
from broker_plane.wire.caveats import SessionRole
from broker_plane.wire.grant import Grant, Kind, narrow, seal
from broker_plane.wire.names import asker_of, body_id
from broker_plane.wire.session_roles import Access

_SECONDS = 30


async def guest_access_problem(wiring: Wiring, settings: Settings) -> str:
    """Return what is missing for a client that has nothing but a grant, and how to fix it; empty if it can connect."""
    if not wiring.guests:
        return "this NATS has no accounts, so that a user of it may read every body; use those of nats.conf"
    # A grant for a body that does not exist: it may connect, and has nothing to pull.
    grant = seal(_for_nothing(wiring, Kind.BODY), await wiring.keys.sealing())
    try:
        seconds = settings.request_timeout_seconds
        async with admitted(wiring.url, grant, timeout=seconds, access=access_of(settings)):
            return ""
    except (BrokerAccessDeniedError, BrokerUnavailableError):
        return (
            "no bridge admits grants: nats.conf needs its auth_callout, and a running bridge "
            "BROKER_PLANE_CALLOUT_PASSWORD and BROKER_PLANE_CALLOUT_SEED (`broker-plane env`)"
        )


async def session_access_problem(wiring: Wiring, settings: Settings) -> str:
    """Return why a participant cannot take part in sessions over NATS, and how to fix it; empty if it can.

    Only where `guest_access_problem` finds none.
    """
    # A grant for a session that does not exist: a bridge answers that, and what is published for it is heard.
    nothing = _for_nothing(wiring, Kind.SESSION)
    grant = narrow(seal(nothing, await wiring.keys.sealing()), SessionRole("observer"))
    names, seconds = wiring.connection.names, settings.request_timeout_seconds
    here = names.here_subject(nothing.body)
    try:
        async with (
            admitted(wiring.url, grant, timeout=seconds, access=access_of(settings), names=names) as guest,
            guest.subscribe(here) as heard,
        ):
            await guest.request(f"{names.say_subject(Access.READ, grant)}.{asker_of(grant)}", b'{"do": "show"}')
            await wiring.connection.publish(here, b"{}")
            await heard.next(seconds)
    except BrokerPlaneError as error:
        subjects = f"{names.say_subject('*', '*')}.*, {names.said_subject('*')} and {names.here_subject('*')}"
        return f"{error}; NATS has to pass on {subjects} as nats.conf does, and a bridge of this version has to run"
    return ""


def _for_nothing(wiring: Wiring, kind: Kind) -> Grant:
    """A grant for something that does not exist."""
    expires = int(wiring.now()) + _SECONDS
    return Grant(body=body_id(secrets.token_bytes(16)), grant_id=uuid4().bytes, expires=expires, uses=0, kind=kind)
