"""Roles: what each of the three needs and permits, and over which connection it pulls (docs/accounts.md)."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace

from broker_plane.broker.access import GUEST_URL
from broker_plane.broker.lifeline import Lifeline
from broker_plane.broker.urls import user_of
from broker_plane.config import Settings
from broker_plane.errors import ConfigError, NotPermittedError
from broker_plane.runtime.wiring import Wiring, access_of
from broker_plane.subjects.guests import GrantPuller, UserPuller
from broker_plane.subjects.puller import NatsPuller
from broker_plane.wire.names import parse_asker
from broker_plane.wire.plane_names import Names

NatsWay = NatsPuller | UserPuller | GrantPuller
"""The Puller port over NATS, and the other requests of a grant's holder."""


def check_role(settings: Settings) -> None:
    """Raise ConfigError if a role other than `plane` lacks a setting that it needs."""
    if not settings.nats_url:
        raise ConfigError(
            f"BROKER_PLANE_ROLE={settings.role} needs BROKER_PLANE_NATS_URL; the embedded broker has neither "
            "resource servers nor guests of other users"
        )
    if settings.role == "source" and not settings.bridge_url:
        raise ConfigError(
            "BROKER_PLANE_ROLE=source needs BROKER_PLANE_BRIDGE_URL: it is part of every resource_url, "
            "and a resource server's user may not run a bridge of its own"
        )


def wired(wiring: Wiring | None) -> Wiring:
    """Return the wiring of a process that may publish.

    Raises:
        NotPermittedError: the role is `guest`.
    """
    if wiring is None:
        raise NotPermittedError(
            "This process only pulls (BROKER_PLANE_ROLE=guest); publishing needs a resource server's user"
        )
    return wiring


def user_plane(wiring: Wiring | None, settings: Settings) -> Wiring:
    """Return the wiring for what only the role `plane` may do, so that others get this error and not one of NATS.

    Raises:
        NotPermittedError: it is another role.
    """
    if settings.role != "plane":
        raise NotPermittedError(
            f"BROKER_PLANE_ROLE={settings.role} cannot read what is stored; run this where the role is plane"
        )
    return wired(wiring)


def wiring_puller(wiring: Wiring, settings: Settings, name: str, stack: AsyncExitStack) -> NatsWay:
    """Return how a process that publishes pulls: as the configured guest, or as its role permits."""
    if settings.nats_guest_url or settings.role == "source":
        return guest_puller(settings.nats_guest_url or settings.nats_url, settings, stack)
    return NatsPuller(wiring.connection, name)


def embedded_puller(
    wiring: Wiring,
    asker_url: str,
    settings: Settings,
    name: str,
    stack: AsyncExitStack,
    lifeline: Lifeline,
) -> NatsWay:
    """Pull as the user `asker`, unless the settings have a name of their own, which no user of the server has."""
    if settings.puller_name and not settings.nats_guest_url:
        return NatsPuller(wiring.connection, name)
    if settings.nats_guest_url:
        return guest_puller(settings.nats_guest_url, settings, stack)
    return guest_puller(asker_url, settings, stack, lifeline)


def guest_puller(url: str, settings: Settings, stack: AsyncExitStack, lifeline: Lifeline | None = None) -> NatsWay:
    """Pull in the account GUEST: as the user of `url`, or, if it names none, with each pull's own grant."""
    timeout = settings.request_timeout_seconds
    names = Names(settings.prefix)
    # The credential files belong to the user of `nats_url`; another URL names its own user.
    access = access_of(settings)
    if url != settings.nats_url:
        access = replace(access.without_user(), address_from=GUEST_URL)
    asker = user_of(url) or (settings.puller_name if access.creds or access.nkey else "")
    # The user of a resource server may not pull.
    if not asker or (settings.role == "source" and not settings.nats_guest_url):
        return GrantPuller(url, timeout=timeout, access=access, names=names)
    puller = UserPuller(url, parse_asker(asker), timeout=timeout, access=access, lifeline=lifeline, names=names)
    stack.push_async_callback(puller.close)
    return puller
