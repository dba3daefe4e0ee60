"""The NATS carrier for the SDK's client: `mcp.Client(nats_client("weather"))`."""

from __future__ import annotations

from mcp.client import Transport

from broker_plane.config import Settings, load_settings
from broker_plane.transports.nats.upstream import WAIT_SECONDS, NatsOptions, nats_upstream
from broker_plane.transports.sdk_streams import client_streams


def nats_client(
    server: str,
    *,
    settings: Settings | None = None,
    durable: bool = True,
    wait_seconds: float = WAIT_SECONDS,
    deadline_seconds: float = 0.0,
) -> Transport:
    """A transport for `mcp.Client(…)` to the server of this name, as `broker-plane serve --nats NAME` serves it.

    With `durable`, tool calls of 2026-07-28 are stored: they go on when their instance or nats-server ends. A call
    with an idempotency key in `_meta["io.broker-plane/idempotencyKey"]` can be made again after this process has ended,
    and gets the same answer. `wait_seconds` is how long other requests wait for an instance of the server,
    `deadline_seconds` how long a durable call may take (0: one hour). `settings` name the NATS.

    Raises:
        ConfigError: this cannot be the name of a server, or a setting is wrong.
    """
    settings = settings or load_settings()
    options = NatsOptions(durable=durable, wait_seconds=wait_seconds, deadline_seconds=deadline_seconds)
    return client_streams(nats_upstream(server, settings, options), settings.max_proxy_message_bytes)
