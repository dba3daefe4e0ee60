"""The wiring of one process: a connection, and over it the parts that everything else is made of."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from time import time

from broker_plane.config import Settings
from broker_plane.plane.deliver import Deliveries
from broker_plane.plane.grants import Grants
from broker_plane.plane.publish import Publisher
from broker_plane.storage.bodies import NatsBodyStore
from broker_plane.storage.broker import UNKNOWN, NatsBroker, durability_of
from broker_plane.storage.connection import Connection, connect
from broker_plane.storage.keys import NatsKeys
from broker_plane.storage.states import NatsGrantStates
from broker_plane.storage.streams import ensure_bodies, ensure_state


@dataclass(frozen=True, slots=True)
class Wiring:
    """What a process has of the plane."""

    connection: Connection
    store: NatsBodyStore
    keys: NatsKeys
    grants: Grants
    publisher: Publisher
    deliveries: Deliveries
    broker: NatsBroker
    durability: str

    async def close(self) -> None:
        await self.connection.close()


async def wire(url: str, settings: Settings, *, durability: str = "") -> Wiring:
    """Connect to `url`, see that the streams exist, and put the parts together.

    `durability` is what the caller knows of the server; empty: it is asked, where `nats_probe_password` allows that.
    """
    timeout = settings.request_timeout_seconds
    connection = await connect(url, timeout=timeout, creds=settings.nats_creds)
    try:
        await ensure_state(connection, settings.replicas)
        await ensure_bodies(connection, settings.owner, settings.replicas)
        known = durability or await durability_of(url, settings.nats_probe_password.get_secret_value(), timeout=timeout)
    except BaseException:
        await connection.close()
        raise
    store = NatsBodyStore(connection, replicas=settings.replicas, max_body_bytes=settings.max_body_bytes)
    keys = NatsKeys(connection, settings.owner)
    grants = Grants(NatsGrantStates(connection), keys, now=time, random_bytes=secrets.token_bytes)
    broker = NatsBroker(connection, known or UNKNOWN)
    return Wiring(
        connection=connection,
        store=store,
        keys=keys,
        grants=grants,
        publisher=Publisher(store, grants, settings.owner, now=time, random_bytes=secrets.token_bytes),
        deliveries=Deliveries(store, grants, broker),
        broker=broker,
        durability=known or UNKNOWN,
    )
