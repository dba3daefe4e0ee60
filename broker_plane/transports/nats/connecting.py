"""The connection of a carrier: to the NATS that the settings name, or to this user's embedded broker."""

from __future__ import annotations

import hmac
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from broker_plane.broker.connection import Connection
from broker_plane.broker.lifeline import Lifeline
from broker_plane.broker.urls import seeds_of, user_of
from broker_plane.config import Settings
from broker_plane.errors import ConfigError
from broker_plane.runtime.reviving import Reviving
from broker_plane.runtime.roles import check_role
from broker_plane.runtime.wiring import access_of, open_connection
from broker_plane.wire.names import parse_asker

_SCOPE = b"io.broker-plane/idempotencyKey"


def caller_scope(connection: Connection, settings: Settings) -> bytes:
    """A secret of the user of this connection, which makes idempotency keys its own: two processes of one user share
    it, and nobody who knows a key alone can find its exchange."""
    identity = access_of(settings).identity()
    user = identity.seed if identity is not None else repr(sorted(seeds_of(connection.link.url).credentials().items()))
    return hmac.digest(user.encode(), _SCOPE, "sha256")


def guest_of(settings: Settings) -> str:
    """The name of the NATS user with the role `guest`; empty for other roles.

    Raises:
        ConfigError: the role is `guest`, and the settings name no user.
    """
    if settings.role != "guest":
        return ""
    user = user_of(settings.nats_url) or settings.puller_name
    if not user:
        raise ConfigError(
            "BROKER_PLANE_ROLE=guest needs a NATS user to call MCP servers: put it into BROKER_PLANE_NATS_URL, or set "
            "BROKER_PLANE_PULLER_NAME to the name of that of BROKER_PLANE_NATS_CREDS"
        )
    return parse_asker(user)


@asynccontextmanager
async def carrier_connection(settings: Settings) -> AsyncIterator[Connection]:
    """A connection for the time of the block. An embedded broker is started if it does not run.

    Raises:
        BrokerUnavailableError, ConfigError, EmbeddedError: no broker can be reached or started; the message says why.
    """
    async with AsyncExitStack() as stack:
        if settings.role != "plane":
            check_role(settings)
        if settings.nats_url:
            connection = await open_connection(settings.nats_url, settings, guest=guest_of(settings))
        else:
            reviving = Reviving(settings)
            stack.callback(reviving.close)
            attachment = await reviving.attach()
            stack.callback(attachment.close)
            connection = await open_connection(attachment.running.nats_url, settings, settings.data_dir)
            connection.link.lifeline = Lifeline(reviving.alive, reviving.nats_url)
        stack.push_async_callback(connection.close)
        yield connection
