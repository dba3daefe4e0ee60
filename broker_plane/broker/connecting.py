"""The way to a connection: which servers are tried, for how long, and what is said where none lets us in."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import nats.errors

from broker_plane.broker.access import Access
from broker_plane.broker.client import NatsClient
from broker_plane.broker.connection import Connection
from broker_plane.broker.diagnosis import Failure, diagnose, error_of
from broker_plane.broker.urls import Seeds, hosts_of, seeds_of
from broker_plane.errors import ConfigError

_NODE_SECONDS = 2.0
"""To reach one node of a cluster before the next one is tried."""

_PATIENCE_SECONDS = 2.5
"""For a server that does not answer; one that is being restarted takes a tenth of that."""

_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.05, 1.0


async def connect(
    url: str,
    *,
    timeout: float,
    access: Access | None = None,
    token: str = "",
    inbox: str = "_INBOX",
    name: str = "broker-plane",
    connect_seconds: float = 0,
) -> Connection:
    """A connection to `url`, which may be a list, with `timeout` for each answer on it.

    Where nothing answers, it is tried again for `connect_seconds`; 0 is a few seconds. What cannot heal (a refused
    password, a certificate) is not tried again. `token` is a grant, for whoever has nothing else. Answers come to
    subjects below `inbox`.

    Raises:
        BrokerUnavailableError: nothing answers there.
        ConfigError: an address, a file, a certificate or the user is wrong.
        BrokerAccessDeniedError: the grant is refused.
    """
    seeds = seeds_of(url)
    access = access or Access()
    options: dict[str, Any] = {"token": token} if token else seeds.credentials()
    seconds = connect_seconds or timeout
    # A node that does not answer must not use up the time for those that would.
    options |= {"connect_timeout": min(seconds, _NODE_SECONDS) if len(seeds.urls) > 1 else seconds}
    options |= {"name": name, "inbox_prefix": inbox.encode()}
    now = asyncio.get_running_loop().time
    deadline = now() + (connect_seconds or min(timeout, _PATIENCE_SECONDS))
    wait = _FIRST_WAIT_SECONDS
    while True:
        found = await _round(url, seeds, access, timeout, options)
        if isinstance(found, Connection):
            return found
        if any(each.refused for each in found) or not any(each.heals for each in found) or now() + wait > deadline:
            raise error_of(found, bool(token))
        await asyncio.sleep(wait)
        wait = min(2 * wait, _LONGEST_WAIT_SECONDS)


async def _round(
    url: str, seeds: Seeds, access: Access, timeout: float, options: dict[str, Any]
) -> Connection | list[Failure]:
    """A connection to whichever server answers first, each being tried once; else what is wrong with each."""
    failures: list[Failure] = []
    for address in random.sample(seeds.urls, len(seeds.urls)):
        found = await _open(address, url, seeds, access, timeout, options)
        if isinstance(found, Connection):
            return found
        failures.append(found)
        if found.refused:  # by one of them is by all of them
            break
    return failures


async def _open(
    address: str, url: str, seeds: Seeds, access: Access, timeout: float, options: dict[str, Any]
) -> Connection | Failure:
    client = NatsClient(access, encrypted=seeds.encrypted)
    connection = Connection(timeout, client)
    try:
        identity = client.identify()
        if client.tls:
            access.context()
        await client.connect(
            [address],
            # A client that may connect again tries the first time for ever, too, even with a wrong password.
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0.05,  # type: ignore[arg-type]  # and this to asyncio.sleep
            pending_size=0,
            error_cb=connection.refused,
            disconnected_cb=connection.broken,
            reconnected_cb=connection.back,
            ping_interval=20,
            **options,
            **identity,
        )
        connection.url = url
        await connection.start(seeds.urls)
    except ConfigError as error:
        await connection.close()
        raise ConfigError(f"NATS at {hosts_of(address)} was not connected to: {error}", reason=error.reason) from error
    except (TimeoutError, nats.errors.Error, OSError, ValueError):
        await connection.close()
        if client.failed is None:  # it broke after the log-in
            return Failure(hosts_of(address), "closed the connection", "try again", heals=True)
        return diagnose(client.failed, access, options["connect_timeout"])
    except BaseException:
        await connection.close()
        raise
    return connection
