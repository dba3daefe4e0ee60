"""Wires one process: a connection, and the components that everything else uses over it."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from broker_plane.broker.access import NatsAccess
from broker_plane.broker.connecting import connect
from broker_plane.broker.connection import Connection
from broker_plane.config import Settings
from broker_plane.embedded.disk import why_unwritable
from broker_plane.errors import BrokerPlaneError
from broker_plane.plane.audit import Auditor, NoAudit
from broker_plane.plane.fairness.admission import ByteBudget
from broker_plane.plane.grants.grants import Grants
from broker_plane.plane.reclaim.deletions import DeletionRecord
from broker_plane.plane.reclaim.when_used import UsedBodyCollector
from broker_plane.plane.retry import retry_while_retryable
from broker_plane.storage.audit import NatsAudit
from broker_plane.storage.bodies import NatsBodyStore
from broker_plane.storage.copied_entries import CopiedEntries, Gate
from broker_plane.storage.copies import Copies
from broker_plane.storage.entries import NatsEntryStore
from broker_plane.storage.keys import NatsKeys
from broker_plane.storage.layout import ensure_audit, ensure_bodies, ensure_state
from broker_plane.storage.owners import wait_for_bucket
from broker_plane.storage.readiness import (
    UNKNOWN,
    NatsReadiness,
    check_jetstream,
    durability_of,
    has_accounts,
    writable,
)
from broker_plane.wire.names import asker_inbox, encode_id
from broker_plane.wire.plane_names import Names, kv_stream

if TYPE_CHECKING:
    from broker_plane.plane.bodies.deliveries import Deliveries
    from broker_plane.plane.bodies.publish import Publisher
    from broker_plane.plane.grants.owners import BodyOwner
    from broker_plane.storage.key_file import FileKeys

_CLOCK_SECONDS = 60.0


@dataclass(frozen=True)
class Wiring:
    """The components of one process. With the role `source` only publishing is permitted."""

    url: str
    owner: str
    connection: Connection
    store: NatsBodyStore
    keys: NatsKeys | FileKeys
    grants: Grants
    broker: NatsReadiness
    audit: NatsAudit | NoAudit
    durability: str
    states: CopiedEntries
    copies: Copies
    gate: Gate
    hearing: asyncio.Task[None] | None
    guests: bool
    """Whether this NATS has an account for guests, so that a presigned subject may be handed on."""

    def now(self) -> float:
        """Return the time at nats-server in unix seconds, as far as this process knows it."""
        return self.connection.clock.now()

    @cached_property
    def publisher(self) -> Publisher:
        """Publishes for the owner of this process; imported with the first use, as most pullers never publish."""
        return self.publisher_of(self.owner)

    def publisher_of(self, owner: str) -> Publisher:
        from broker_plane.files.sources import LocalFiles
        from broker_plane.plane.bodies.publish import Publisher

        random = secrets.token_bytes
        return Publisher(self.store, self.grants, owner, files=LocalFiles(), now=self.now, random_bytes=random)

    @cached_property
    def deliveries(self) -> Deliveries:
        """Deliveries of the bodies in the store."""
        from broker_plane.plane.bodies.deliveries import Deliveries

        return Deliveries.of(self.store, self.grants, self.broker)

    @cached_property
    def owning(self) -> BodyOwner:
        """The published bodies of the owner of this process."""
        from broker_plane.plane.grants.owners import BodyOwner

        return BodyOwner(self.store, self.grants, self.owner)

    async def close(self) -> None:
        if self.hearing is not None:
            self.hearing.cancel()
        await self.copies.close()
        await self.grants.collecting.close()
        await self.states.close()
        await self.audit.close()
        await self.connection.close()


def access_of(settings: Settings) -> NatsAccess:
    """Return the files with which this process and NATS authenticate; the embedded broker uses none."""
    if not settings.nats_url:
        return NatsAccess()
    return NatsAccess(
        creds=settings.nats_creds,
        nkey=settings.nats_nkey,
        ca=settings.nats_ca,
        cert=settings.nats_cert,
        key=settings.nats_key,
    )


async def wire(url: str, settings: Settings, *, durability: str = "", beside: Path | None = None) -> Wiring:
    """Connect to `url`, create missing streams, and return the components.

    `durability` is what the caller knows about the server; if it is empty, the server is asked, provided that
    `nats_probe_password` is set. `beside` is a directory on the disk of the server's store, if that is on this machine.
    """
    source = settings.role == "source"
    connection = await open_connection(url, settings, beside)
    copies = Copies(connection)
    try:
        keys = await (_as_source(connection, settings) if source else _as_plane(connection, settings, copies))
        guests = source or bool(settings.nats_guest_url) or await has_accounts(connection)
        known = durability or await _asked_durability(url, settings, access_of(settings))
    except BaseException:
        await connection.close()
        raise
    gate = Gate(connection.retry_seconds or settings.request_timeout_seconds)
    states = CopiedEntries(NatsEntryStore(connection), connection, gate)
    store, audit, grants = _stores(connection, settings, states, keys)
    broker = NatsReadiness(connection, known or UNKNOWN, partial(why_unwritable, beside) if beside else writable)
    if isinstance(keys, NatsKeys):
        broker.noticed = keys.troubles
    return Wiring(
        url=url,
        owner=settings.owner,
        connection=connection,
        store=store,
        keys=keys,
        grants=grants,
        broker=broker,
        audit=audit,
        durability=known or UNKNOWN,
        states=states,
        copies=copies,
        gate=gate,
        hearing=None if source else asyncio.create_task(_hear_clock(connection)),
        guests=guests,
    )


async def open_connection(url: str, settings: Settings, beside: Path | None = None, *, guest: str = "") -> Connection:
    """Connect to `url` as the settings say. `beside` is as for `wire`; `guest` is the user's name in that role."""
    user = settings.owner if settings.role == "source" else guest
    inbox = asker_inbox(user) if user else "_INBOX"
    timeout, names = settings.request_timeout_seconds, Names(settings.prefix)
    connection = await connect(url, timeout=timeout, access=access_of(settings), inbox=inbox, names=names)
    connection.js_api = _js_api(settings)
    connection.replicas = settings.replicas
    connection.reads = ByteBudget(settings.max_inflight_read_bytes)
    if beside:
        from broker_plane.embedded.state import store_bytes_of

        connection.store_bytes = store_bytes_of(beside)
    return connection


def _stores(
    connection: Connection, settings: Settings, states: CopiedEntries, keys: NatsKeys | FileKeys
) -> tuple[NatsBodyStore, NatsAudit | NoAudit, Grants]:
    now = connection.clock.now
    store = NatsBodyStore(
        connection,
        max_body_bytes=settings.max_body_bytes,
        write_only=settings.role == "source",
        ledger=DeletionRecord(states, now=now),
    )
    audit = _audit(connection, settings)
    auditor = Auditor(audit, now)
    collecting = UsedBodyCollector(states, store, auditor, now=now, random_bytes=secrets.token_bytes)
    grants = Grants(states, keys, now=now, random_bytes=secrets.token_bytes, audit=auditor, collecting=collecting)
    return store, audit, grants


def _audit(connection: Connection, settings: Settings) -> NatsAudit | NoAudit:
    """Return the audit log. A resource server's user may not write it: its grants are recorded when they are used."""
    if not settings.audit_retention_bytes or settings.role != "plane":
        return NoAudit()
    return NatsAudit(connection, encode_id(secrets.token_bytes(9)))


async def _asked_durability(url: str, settings: Settings, access: NatsAccess) -> str:
    password = settings.nats_probe_password.get_secret_value()
    return await durability_of(url, password, timeout=settings.request_timeout_seconds, access=access)


def _js_api(settings: Settings) -> str:
    return f"$JS.{settings.nats_domain}.API" if settings.nats_domain else "$JS.API"


async def _as_plane(connection: Connection, settings: Settings, copies: Copies) -> NatsKeys:
    await check_jetstream(connection)
    await ensure_state(connection)
    if settings.audit_retention_bytes:
        await ensure_audit(connection, settings.audit_retention_bytes, settings.audit_retention_days)
    await ensure_bodies(connection, settings.owner)
    return NatsKeys(connection, settings.owner, restore=copies.verify_keys)


async def _hear_clock(connection: Connection) -> None:
    """Refresh the offset to nats-server's clock, which may be set while this process runs."""
    while True:
        await asyncio.sleep(_CLOCK_SECONDS)
        with suppress(BrokerPlaneError):
            await connection.wait_connected()
            await connection.api(f"STREAM.INFO.{kv_stream(connection.names.grants_bucket)}")


async def _as_source(connection: Connection, settings: Settings) -> FileKeys:
    """Wait until a resource server's keys are registered and its bucket exists: its user may only publish."""
    from broker_plane.storage.key_file import FileKeys

    keys = FileKeys(connection, settings.data_dir / "keys", settings.owner)
    await retry_while_retryable(keys.sealing, settings.request_timeout_seconds)
    await wait_for_bucket(connection, settings.owner, settings.request_timeout_seconds)
    return keys


async def add_owner(settings: Settings, owner: str, max_bytes: int) -> None:
    """Create the bucket of `owner`; an existing one is not changed."""
    timeout = settings.request_timeout_seconds
    connection = await connect(
        settings.nats_url, timeout=timeout, access=access_of(settings), names=Names(settings.prefix)
    )
    connection.js_api = _js_api(settings)
    connection.replicas = settings.replicas
    try:
        await ensure_state(connection)
        await ensure_bodies(connection, owner, max_bytes)
    finally:
        await connection.close()
