"""NATS clients whose credential is a grant: a bridge admits them, and ends their connections at a revocation."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from broker_plane.broker.probe import PROBE_SETTING, probing
from broker_plane.config import Settings
from broker_plane.errors import BrokerPlaneError, NotPermittedError
from broker_plane.runtime.wiring import Wiring, access_of
from broker_plane.subjects.guest_account import GUEST_INFO, guest_imports

if TYPE_CHECKING:
    from broker_plane.subjects.revoked_connections import Probing


@asynccontextmanager
async def admitting(wiring: Wiring, settings: Settings) -> AsyncIterator[None]:
    """Admit clients with a grant for the block, and end the connections of revoked grants, if the settings allow it."""
    async with AsyncExitStack() as stack:
        if settings.callout_password.get_secret_value() and settings.callout_seed.get_secret_value():
            from broker_plane.subjects.auth_callout import auth_callout

            callout = await auth_callout(wiring.url, settings, wiring.grants, wiring.now, access_of(settings))
            stack.push_async_callback(callout.close)
        if _has_probe(settings):
            from broker_plane.subjects.revoked_connections import RevokedConnections

            revoked = RevokedConnections(_as_probe(wiring.url, settings), wiring.grants.revoked)
            revoked.start()
            stack.push_async_callback(revoked.close)
        yield


async def revocation_problem(wiring: Wiring, settings: Settings) -> str:
    """Return why the NATS connections of revoked grants are not ended, and how to fix it; empty if they are."""
    if not wiring.guests or not settings.nats_url:  # no grant connects there; or it is ours, and configured so
        return ""
    if not _has_probe(settings):
        return f"{PROBE_SETTING} is not set (`broker-plane env` writes it)"
    from broker_plane.subjects.revoked_connections import check_ending

    try:
        async with _as_probe(wiring.url, settings)() as probe:
            await check_ending(probe)
    except BrokerPlaneError as error:
        return str(error)
    return ""


async def mcp_access_problem(wiring: Wiring, settings: Settings) -> str:
    """Return why no user of GUEST can be permitted to use MCP servers, and how to fix it; empty if that is possible."""
    if not wiring.guests or not settings.nats_url:  # everybody is in one account; or it is ours, and configured so
        return ""
    if not _has_probe(settings):
        return f"unknown, because {PROBE_SETTING} is not set (`broker-plane env` writes it)"
    requests = wiring.connection.names.mcp_subject("*", ">")
    try:
        async with _as_probe(wiring.url, settings)() as probe:
            imported = await guest_imports(probe)
    except NotPermittedError:
        return (
            f"unknown, because nats.conf is an older one: add {GUEST_INFO} to what probe publishes, and {requests} as "
            "doctor then says"
        )
    except BrokerPlaneError as error:
        return str(error)
    if requests in imported:
        return ""
    return (
        f'nats.conf is an older one: add {{ service: "{requests}", response_type: stream, accounts: [GUEST] }} to the '
        f'exports of PLANE, and {{ service: {{ account: PLANE, subject: "{requests}" }} }} to the imports of GUEST'
    )


def _has_probe(settings: Settings) -> bool:
    return bool(settings.nats_probe_password.get_secret_value())


def _as_probe(url: str, settings: Settings) -> Probing:
    password, seconds = settings.nats_probe_password.get_secret_value(), settings.request_timeout_seconds
    return partial(probing, url, password, timeout=seconds, access=access_of(settings))
