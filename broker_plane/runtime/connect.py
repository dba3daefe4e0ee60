"""Plane: publish and pull in one object. `Plane.connect` finds the broker, or starts one of this user's own."""

from __future__ import annotations

import secrets
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any

from broker_plane.broker.lifeline import Lifeline
from broker_plane.broker.urls import bare
from broker_plane.config import Settings, load_settings
from broker_plane.errors import ConfigError
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.runtime.owning import Owning
from broker_plane.runtime.parts import Via
from broker_plane.runtime.publishing import Published, Publishing
from broker_plane.runtime.pulling import Pulling
from broker_plane.runtime.reviving import Reviving
from broker_plane.runtime.roles import check_role, embedded_puller, guest_puller, wiring_puller
from broker_plane.runtime.subscribing import Subscribing
from broker_plane.runtime.transferring import Transferring
from broker_plane.runtime.wiring import Wiring, wire
from broker_plane.storage.readiness import FSYNC
from broker_plane.wire.names import parse_asker

__all__ = ["Plane", "Published", "Via"]

log = redacted_logger(__name__)


class Plane(Publishing, Pulling, Subscribing, Transferring, Owning):
    """Publishes bodies and pulls them with grants, over one connection. Made by `Plane.connect`."""

    @staticmethod
    def connect(settings: Settings | None = None) -> Connecting:
        """A plane for the time of the block: on `BROKER_PLANE_NATS_URL`, else on this user's embedded broker.

        Raises:
            BrokerUnavailableError, ConfigError, EmbeddedError: there is none to be had, and why.
        """
        return Connecting(settings)

    @staticmethod
    def guest(nats_url: str) -> AbstractAsyncContextManager[Plane]:
        """A plane that only pulls, and whose credential at NATS is each pull's own grant: `nats_url` names no user."""
        return Plane.connect(load_settings(nats_url=bare(nats_url), role="guest"))


class Connecting(AbstractAsyncContextManager["Plane"]):
    """A plane that is there within `async with`, and nothing else."""

    def __init__(self, settings: Settings | None) -> None:
        self._settings = settings
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Plane:
        async with AsyncExitStack() as stack:
            plane = await _open(self._settings or load_settings(), stack)
            stack.push_async_callback(plane._http.close)
            self._stack = stack.pop_all()
        return plane

    async def __aexit__(self, *raised: Any) -> bool | None:
        return await self._stack.__aexit__(*raised)

    def __await__(self) -> Any:
        raise ConfigError(_HOW)

    def __enter__(self) -> Any:
        raise ConfigError(_HOW)

    def __exit__(self, *raised: object) -> None: ...

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{_HOW} (there is no {name!r} before that)")


_HOW = "Connect within a block: async with Plane.connect() as plane: ..."


async def _open(settings: Settings, stack: AsyncExitStack) -> Plane:
    url = settings.nats_url
    name = parse_asker(settings.puller_name or "a" + secrets.token_hex(8))
    if settings.role != "plane":
        check_role(settings)
    if settings.role == "guest":
        return Plane(None, settings, settings.bridge_url, nats=guest_puller(url, settings, stack), name=name)
    if url:
        wiring = await _wired(url, settings, stack)
        puller = wiring_puller(wiring, settings, name, stack)
        bridge_url = settings.bridge_url or await _own_bridge(wiring, settings, stack)
        return Plane(wiring, settings, bridge_url, nats=puller, name=name)
    reviving = Reviving(settings)
    attachment = await reviving.attach()
    stack.callback(attachment.close)
    running = attachment.running
    wiring = await _wired(running.nats_url, settings, stack, durability=FSYNC, beside=settings.data_dir)
    wiring.connection.link.lifeline = Lifeline(reviving.alive, reviving.nats_url)
    puller = embedded_puller(
        wiring, running.asker_url, settings, name, stack, Lifeline(reviving.alive, reviving.asker_url)
    )
    plane = Plane(wiring, settings, settings.bridge_url or running.bridge_url, nats=puller, name=name)
    plane._http.before = wiring.connection.ensure_running
    return plane


async def _wired(
    url: str, settings: Settings, stack: AsyncExitStack, *, durability: str = "", beside: Path | None = None
) -> Wiring:
    wiring = await wire(url, settings, durability=durability, beside=beside)
    stack.push_async_callback(wiring.close)
    return wiring


async def _own_bridge(wiring: Wiring, settings: Settings, stack: AsyncExitStack) -> str:
    """A bridge in this process, for a NATS whose bridge nobody named (rulings.md 18)."""
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
