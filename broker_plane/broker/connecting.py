"""Makes a connection: which servers are tried, for how long, and what is reported if none can be used."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import nats.errors

from broker_plane.broker.access import NatsAccess
from broker_plane.broker.client import NatsClient
from broker_plane.broker.connection import Connection
from broker_plane.broker.diagnosis import Failure, diagnose, error_of
from broker_plane.broker.urls import Seeds, hosts_of, seeds_of
from broker_plane.errors import ConfigError
from broker_plane.wire.plane_names import Names

_NODE_SECONDS = 2.0
"""Time-out for one node of a cluster, before the next one is tried."""

_RETRY_SECONDS = 2.5
"""For a server that does not answer; a restart takes a tenth of that."""

_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.05, 1.0


async def connect(
    url: str,
    *,
    timeout: float,
    access: NatsAccess | None = None,
    token: str = "",
    inbox: str = "_INBOX",
    name: str = "broker-plane",
    login_seconds: float = 0,
    names: Names | None = None,
) -> Connection:
    """A connection to `url`, which may be a list, with `timeout` for each answer on it.

    If nothing answers, it retries for a few seconds; a server that answers may take `login_seconds` to admit this
    client, if that is more. Errors that a retry cannot fix (a refused password, a certificate) are raised at once.
    `token` is a grant, as the only credential. Answers arrive below `inbox`. `names` are those of the plane; None are
    the default ones.

    Raises:
        BrokerUnavailableError: nothing answers there.
        ConfigError: an address, a file, a certificate or the user is wrong.
        BrokerAccessDeniedError: the grant was refused.
    """
    access = access or NatsAccess()
    seeds = seeds_of(url, access.address_from)
    options: dict[str, Any] = {"token": token} if token else seeds.credentials()
    # A node that does not answer must not use up the time for the others.
    options |= {"connect_timeout": min(timeout, _NODE_SECONDS) if len(seeds.urls) > 1 else timeout}
    options |= {"name": name, "inbox_prefix": inbox.encode()}
    now = asyncio.get_running_loop().time
    began, patience = now(), min(timeout, _RETRY_SECONDS)
    wait = _FIRST_WAIT_SECONDS
    while True:
        found = await _round(url, seeds, access, timeout, options, login_seconds)
        if isinstance(found, Connection):
            found.names = names or found.names
            return found
        seconds = max(patience, login_seconds) if any(each.answered for each in found) else patience
        late = now() + wait > began + seconds
        if late or any(each.refused for each in found) or not any(each.heals for each in found):
            raise error_of(found, bool(token))
        await asyncio.sleep(wait)
        wait = min(2 * wait, _LONGEST_WAIT_SECONDS)


async def _round(
    url: str, seeds: Seeds, access: NatsAccess, timeout: float, options: dict[str, Any], login_seconds: float
) -> Connection | list[Failure]:
    """A connection to the first server that answers, each tried once; otherwise what is wrong with each."""
    failures: list[Failure] = []
    for address in random.sample(seeds.urls, len(seeds.urls)):
        found = await _open(address, url, seeds, access, timeout, options, login_seconds)
        if isinstance(found, Connection):
            return found
        failures.append(found)
        if found.refused:  # the others would refuse, too
            break
    return failures


async def _open(
    address: str,
    url: str,
    seeds: Seeds,
    access: NatsAccess,
    timeout: float,
    options: dict[str, Any],
    login_seconds: float,
) -> Connection | Failure:
    client = NatsClient(access, encrypted=seeds.encrypted, login_seconds=login_seconds)
    connection = Connection(timeout, client)
    try:
        identity = client.identify()
        if client.tls:
            access.context()
        await client.connect(
            [address],
            # A client that may reconnect also tries the first time forever, even with a wrong password.
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0.05,  # type: ignore[arg-type]  # and this to asyncio.sleep
            pending_size=0,
            error_cb=connection.link.on_error,
            disconnected_cb=connection.link.on_break,
            reconnected_cb=connection.link.on_reconnect,
            ping_interval=20,
            **options,
            **identity,
        )
        await connection.link.start(url, seeds.urls)
    except ConfigError as error:
        await connection.close()
        raise ConfigError(f"NATS at {hosts_of(address)} was not connected to: {error}", reason=error.reason) from error
    except (TimeoutError, nats.errors.Error, OSError, ValueError):
        await connection.close()
        if client.failed is None:  # the connection broke after the log-in
            return Failure(hosts_of(address), "closed the connection", "try again", heals=True, answered=True)
        return diagnose(client.failed, access, options["connect_timeout"])
    except BaseException:
        await connection.close()
        raise
    return connection
