"""nats.conf with a bridge on it, a resource server, and two askers: one with a user, one with nothing but a grant."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from broker_plane import Plane
from broker_plane.cli.accounts import USERS, variables_of
from broker_plane.config import Settings, load_settings
from broker_plane.wire.names import asker_inbox, asker_of
from tests.boundary.client import Client
from tests.deploy.running import CONF, Running

Admit = Callable[[str], Awaitable[Client]]
"""`await admit(grant)`: a client that has nothing but this grant."""


class Join(Protocol):
    """`await join("stats")`: a client as this user of nats.conf."""

    def __call__(self, user: str, inbox: str = "") -> Awaitable[Client]: ...


@pytest.fixture(scope="session")
def variables() -> dict[str, str]:
    return variables_of([*USERS])


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory, variables: dict[str, str]) -> Iterator[Running]:
    """nats-server on nats.conf as it is, and no bridge yet."""
    running = Running(CONF, tmp_path_factory.mktemp("boundary"), {**os.environ, **variables})
    yield running
    running.stop()


@pytest.fixture
def plane_settings(broker: Running, variables: dict[str, str], tmp_path: Path) -> Settings:
    return load_settings(
        nats_url=broker.url(),
        data_dir=tmp_path / "plane",
        callout_password=variables["BROKER_PLANE_CALLOUT_PASSWORD"],
        callout_seed=variables["BROKER_PLANE_CALLOUT_SEED"],
    )


@pytest.fixture
async def plane(plane_settings: Settings, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Plane]:
    """The plane with a bridge of its own, which answers pulls and the callout."""
    async with Plane.connect(plane_settings) as connected:
        yield connected


@pytest.fixture
def weather_settings(broker: Running, plane: Plane, tmp_path: Path) -> Settings:
    return load_settings(
        nats_url=broker.url("weather"),
        role="source",
        owner="weather",
        bridge_url=plane.bridge_url,
        data_dir=tmp_path / "weather",
    )


@pytest.fixture
async def weather(weather_settings: Settings) -> AsyncIterator[Plane]:
    """A resource server, with the user that nats.conf gives it."""
    async with Plane.connect(weather_settings) as connected:
        yield connected


@pytest.fixture
async def clients() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def join(broker: Running, clients: AsyncExitStack) -> Join:
    async def joined(user: str, inbox: str = "") -> Client:
        own = inbox or ("_INBOX" if user == "plane" else asker_inbox(user))
        return await clients.enter_async_context(Client(broker.url(user), user, inbox=own))

    return joined


@pytest.fixture
def admit(broker: Running, clients: AsyncExitStack) -> Admit:
    async def admitted(grant: str, **options: Any) -> Client:
        asker = asker_of(grant)
        url = f"{broker.scheme}://{broker.address}"
        return await clients.enter_async_context(Client(url, asker, inbox=asker_inbox(asker), token=grant, **options))

    return admitted
