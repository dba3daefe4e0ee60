"""The broker as a whole: whether it answers, how full it is, and how durable an acknowledged write is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import orjson

from broker_plane.broker.access import NatsAccess
from broker_plane.broker.clock import MAX_SKEW_SECONDS
from broker_plane.broker.connection import Connection
from broker_plane.broker.errors import NO_RESPONDERS
from broker_plane.broker.probe import probing
from broker_plane.errors import BrokerPlaneError, BrokerUnavailableError, ConfigError, NotPermittedError, StorageError
from broker_plane.plane.ports import Readiness, Trouble
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.storage.capacity import why_full

log = redacted_logger(__name__)

FSYNC = "fsync before ack"
UNKNOWN = "unknown"
_NO_JETSTREAM, _NOT_FOR_ACCOUNT = 10076, 10039


def writable() -> str:
    """The disk of a nats-server on another machine is unknown, so nothing is reported."""
    return ""


class NatsReadiness:
    """The Broker port."""

    def __init__(self, connection: Connection, durability: str, why_unwritable: Callable[[], str] = writable) -> None:
        """`why_unwritable` says what is wrong with the disk of a nats-server on this machine."""
        self._connection = connection
        self._names = connection.names
        self._durability = durability
        self._why_unwritable = why_unwritable
        self.noticed: Callable[[], Awaitable[list[Trouble]]] | None = None
        """Reports other problems that this process has noticed."""

    async def ready(self) -> Readiness:
        try:
            async with asyncio.timeout(1):
                account = await self._connection.api("INFO")
                listing = await self._connection.api("STREAM.LIST", {"subject": "$O.>"})
                streams = [each for each in listing.get("streams") or [] if self._has_bodies(each)]
                full = await why_full(self._connection, account, streams)
                noticed = await self.noticed() if self.noticed else []
        except TimeoutError as error:
            raise BrokerUnavailableError("The broker does not answer within a second", retry_after=1) from error
        bodies = sum(stream["state"]["bytes"] for stream in streams)
        skew = self._connection.clock.skew
        troubles = {each.code: each for each in (*_skewed(skew), *noticed, *full, *self._disk())}
        return Readiness(self._durability if account else UNKNOWN, bodies, tuple(troubles.values()), skew)

    def _has_bodies(self, stream: Mapping[str, Any]) -> bool:
        return self._names.owner_of(str(stream["config"]["name"])) is not None

    def _disk(self) -> list[Trouble]:
        why = self._why_unwritable()
        return [
            Trouble("disk_full", f"The disk of the store accepts no more data ({why}): free space on it", True)
        ] * bool(why)


def _skewed(skew: float) -> list[Trouble]:
    if abs(skew) <= MAX_SKEW_SECONDS:
        return []
    how = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'}"
    return [Trouble("clock_skew", f"The clock of this host is {how} nats-server's: correct one of them (NTP)", False)]


async def _account(connection: Connection) -> None:
    try:
        await connection.api("INFO", seconds=connection.read_seconds)
    except BrokerUnavailableError as error:
        if error.reason != NO_RESPONDERS:  # without a leader the reason is a different one
            raise
        raise ConfigError(
            f"NATS at {connection.hosts} has no JetStream, which stores the bodies: start it with -js, or name another "
            "server in BROKER_PLANE_NATS_URL; on a leaf node, set BROKER_PLANE_NATS_DOMAIN to the domain of the server "
            "that has one"
        ) from error


async def check_jetstream(connection: Connection) -> None:
    """Raise ConfigError if this account has no JetStream, which stores the bodies."""
    try:
        await connection.retry(lambda: _account(connection))
    except StorageError as error:
        if f"({_NO_JETSTREAM})" not in error.reason and f"({_NOT_FOR_ACCOUNT})" not in error.reason:
            raise
        raise ConfigError(
            f"NATS at {connection.hosts} has no JetStream for this account, which stores the bodies: enable it there "
            "(`jetstream: enabled`), or connect as a user of an account that has it"
        ) from error


async def has_accounts(connection: Connection) -> bool:
    """Whether this user belongs to a named account: without accounts, every client can read every body.

    False if the server does not answer.
    """
    try:
        answer = orjson.loads((await connection.request("$SYS.REQ.USER.INFO")).data)
        return str(answer["data"]["account"]) != "$G"
    except NotPermittedError:  # it has permissions, so it has an account
        return True
    except (BrokerPlaneError, ValueError, KeyError, TypeError):
        return False


async def durability_of(url: str, probe_password: str, *, timeout: float, access: NatsAccess | None = None) -> str:
    """How durable an acknowledged write at the server at `url` is, by the SYS user `probe` (docs/decisions/0029).

    Without a password, or if the server does not answer that user, it is `UNKNOWN`; the latter is logged.
    """
    try:
        return _durability(await _varz(url, probe_password, timeout, access or NatsAccess()))
    except BrokerPlaneError as error:
        log.warning("Cannot ask NATS as the user probe how durable the storage is: %s", error)
        return UNKNOWN


async def sent_bytes(url: str, probe_password: str, *, timeout: float) -> int | None:
    """Bytes that the server at `url` has sent to all its clients since it started; None if unknown."""
    try:
        found = (await _varz(url, probe_password, timeout, NatsAccess())).get("out_bytes")
    except BrokerPlaneError:
        return None
    return found if isinstance(found, int) else None


async def _varz(url: str, probe_password: str, timeout: float, access: NatsAccess) -> dict[str, object]:
    """The server's VARZ, read as the SYS user `probe`; empty without a password.

    Raises:
        BrokerPlaneError: the server cannot be reached, refuses the password, or does not answer.
    """
    if not probe_password:
        return {}
    async with probing(url, probe_password, timeout=timeout, access=access) as probe:
        answer = await probe.request("$SYS.REQ.SERVER.PING.VARZ")
    with suppress(ValueError):
        data = orjson.loads(answer.data).get("data")
        return data if isinstance(data, dict) else {}
    return {}


def _durability(varz: dict[str, object]) -> str:
    jetstream = varz.get("jetstream")
    config = jetstream.get("config") if isinstance(jetstream, dict) else None
    if not isinstance(config, dict):
        return UNKNOWN
    if config.get("sync_always"):
        return FSYNC
    interval = config.get("sync_interval", 0)
    seconds = interval / 1e9 if isinstance(interval, (int, float)) else 0
    return f"fsync every {seconds:g} s: a power cut loses what was acknowledged since"
