"""Opens the connections of a Plane: to the NATS that the settings name, or to this user's embedded broker."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from broker_plane.broker.lifeline import Lifeline
from broker_plane.config import Settings, load_settings
from broker_plane.errors import ConfigError
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.runtime.reviving import Reviving
from broker_plane.runtime.roles import NatsWay, check_role, embedded_puller, guest_puller, wiring_puller
from broker_plane.runtime.wiring import Wiring, wire
from broker_plane.storage.readiness import FSYNC
from broker_plane.wire.names import parse_asker

log = redacted_logger(__name__)


@dataclass(frozen=True, slots=True)
class Connected:
    """The connections of one Plane. A guest has no wiring."""

    settings: Settings
    wiring: Wiring | None
    nats: NatsWay
    name: str
    """The name by which this process pulls over NATS."""
    bridge_url: str
    before_http: Callable[[], Awaitable[None]] | None = None
    """Awaited before each HTTP request to our own bridge: it restarts an embedded broker that has ended."""


class Closable(Protocol):
    """What is made of the connections, and closed before they are."""

    async def close(self) -> None: ...


T = TypeVar("T", bound=Closable)


class Connecting(AbstractAsyncContextManager[T]):
    """A plane that exists only within `async with`; every other use raises an error that says so."""

    def __init__(self, settings: Settings | None, make: Callable[[Connected], T]) -> None:
        self._settings = settings
        self._make = make
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> T:
        async with AsyncExitStack() as stack:
            plane = self._make(await connected(self._settings or load_settings(), stack))
            stack.push_async_callback(plane.close)
            self._stack = stack.pop_all()
        return plane

    async def __aexit__(self, *raised: Any) -> bool | None:
        return await self._stack.__aexit__(*raised)

    def __await__(self) -> Any:
        raise ConfigError(_HOW)

    def __enter__(self) -> Any:
        raise ConfigError(f"{_HOW} (without async: from broker_plane.sync import Plane)")

    def __exit__(self, *raised: object) -> None: ...

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{_HOW} (there is no {name!r} before that)")


_HOW = "Connect within a block: async with Plane.connect() as plane: ..."


async def connected(settings: Settings, stack: AsyncExitStack) -> Connected:
    """Connect as the settings say; `stack` closes what was opened.

    Raises:
        BrokerUnavailableError, ConfigError, EmbeddedError: no broker can be reached or started; the message says why.
    """
    url = settings.nats_url
    name = parse_asker(settings.puller_name or "a" + secrets.token_hex(8))
    if settings.role != "plane":
        check_role(settings)
    if settings.role == "guest":
        return Connected(settings, None, guest_puller(url, settings, stack), name, settings.bridge_url)
    if url:
        wiring = await _wired(url, settings, stack)
        puller = wiring_puller(wiring, settings, name, stack)
        bridge_url = settings.bridge_url or await _own_bridge(wiring, settings, stack)
        return Connected(settings, wiring, puller, name, bridge_url)
    return await _embedded(settings, name, stack)


async def _embedded(settings: Settings, name: str, stack: AsyncExitStack) -> Connected:
    reviving = Reviving(settings)
    stack.callback(reviving.close)
    attachment = await reviving.attach()
    stack.callback(attachment.close)
    running = attachment.running
    wiring = await _wired(running.nats_url, settings, stack, durability=FSYNC, beside=settings.data_dir)
    wiring.connection.link.lifeline = Lifeline(reviving.alive, reviving.nats_url)
    lifeline = Lifeline(reviving.alive, reviving.asker_url)
    puller = embedded_puller(wiring, running.asker_url, settings, name, stack, lifeline)
    bridge_url = settings.bridge_url or running.bridge_url
    return Connected(settings, wiring, puller, name, bridge_url, wiring.connection.ensure_running)


async def _wired(
    url: str, settings: Settings, stack: AsyncExitStack, *, durability: str = "", beside: Path | None = None
) -> Wiring:
    wiring = await wire(url, settings, durability=durability, beside=beside)
    stack.push_async_callback(wiring.close)
    return wiring


async def _own_bridge(wiring: Wiring, settings: Settings, stack: AsyncExitStack) -> str:
    """Serve a bridge in this process, because the settings name a NATS but no bridge for it (decision 0038)."""
    from broker_plane.runtime.bridging import bridging  # a server that has a bridge elsewhere needs no web framework

    url = await stack.enter_async_context(bridging(wiring, settings, host="127.0.0.1", port=0))
    log.warning(
        "BROKER_PLANE_BRIDGE_URL is not set, so this process serves its bodies itself: a resource_url below %s opens "
        "only while this process lives, and only for processes that have its host:port in BROKER_PLANE_TRUSTED_HOSTS. "
        "The bodies themselves stay in NATS: for URLs that last, run `broker-plane bridge` and set "
        "BROKER_PLANE_BRIDGE_URL to it everywhere; `broker-plane grant BODY_ID` then prints a new one",
        url,
    )
    return url
