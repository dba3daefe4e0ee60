"""NATS as others run it: lists, credentials files, NKeys, passwords with any letter in them, leaf nodes."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from time import time
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_plane import Plane
from broker_plane.broker.urls import bare, hosts_of, seeds_of
from broker_plane.config import load_settings
from broker_plane.errors import BrokerPlaneError, ConfigError
from broker_plane.testing.server import eventually
from tests.brokers.certificates import Authority
from tests.brokers.jwts import USER, Key, Operator
from tests.brokers.servers import JETSTREAM, Server, running
from tests.ports import free_port

pytestmark = pytest.mark.anyio
ROWS = [{"city": "Ulm", "rain": 3}]


async def travels(url: str, **settings: Any) -> None:
    """A body is published, and pulled over NATS and over HTTP."""
    async with Plane.connect(load_settings(nats_url=url, **settings)) as plane:
        published = await plane.publish(ROWS, uses=2)
        assert await plane.pull(published.resource_url, via="nats") == ROWS
        assert await plane.pull(published.resource_url, via="http") == ROWS


@pytest.fixture(scope="module")
def with_operator(tmp_path_factory: pytest.TempPathFactory, operator: Operator) -> Iterator[Server]:
    with running(tmp_path_factory.mktemp("jwt") / "s", JETSTREAM + operator.config) as server:
        yield server


async def test_a_credentials_file(with_operator: Server, operator: Operator, tmp_path: Path) -> None:
    await travels(with_operator.address, nats_creds=str(operator.creds(tmp_path / "user.creds")))
    await travels(
        f"nats://{with_operator.address}", nats_creds=str(operator.creds(tmp_path / "a user.creds", time() + 60))
    )


async def test_a_credentials_file_with_windows_lines_in_the_home_directory(
    with_operator: Server, operator: Operator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    creds = operator.creds(tmp_path / "user.creds")
    creds.write_bytes(creds.read_bytes().replace(b"\n", b"\r\n").rstrip())
    await travels(with_operator.address, nats_creds="~/user.creds")


async def test_renewed_credentials_are_used_when_it_connects_again(
    with_operator: Server, operator: Operator, tmp_path: Path
) -> None:
    creds = operator.creds(tmp_path / "user.creds", time() + 60)
    async with Plane.connect(load_settings(nats_url=with_operator.address, nats_creds=str(creds))) as plane:
        operator.creds(creds, time() + 600)
        with_operator.stop()
        with_operator.start()

        async def published() -> bool:
            try:
                return bool(await plane.publish(ROWS))
            except BrokerPlaneError:
                return False

        await eventually(published)


async def test_an_nkey(tmp_path: Path) -> None:
    key = Key(USER)
    (tmp_path / "user.nk").write_text(f"# plane\n{key.seed}\n")
    with running(
        tmp_path / "s", JETSTREAM + f"authorization {{{{ users: [ {{{{ nkey: {key.public} }}}} ] }}}}"
    ) as server:
        await travels(server.address, nats_nkey=str(tmp_path / "user.nk"))


async def test_an_nkey_over_tls(tmp_path: Path, authority: Authority) -> None:
    key = Key(USER)
    (tmp_path / "user.nk").write_text(key.seed)
    cert, own = authority.sign("nkey")
    config = f"authorization {{{{ users: [ {{{{ nkey: {key.public} }}}} ] }}}}\n"
    config += f'tls {{{{ cert_file: "{cert}", key_file: "{own}" }}}}'
    with running(tmp_path / "s", JETSTREAM + config) as server:
        await travels(f"tls://{server.address}", nats_nkey=str(tmp_path / "user.nk"), nats_ca=str(authority.file))


PASSWORDS = [
    "p@ss",
    "a:b",
    "a/b",
    "a#b",
    "a?b",
    "100%",
    "a,b",
    "a b",
    "gr\u00fc\u00df",
    "a[b]",
    "%40",
    "'q'",
    "x&y=z",
    "\\",
]


@pytest.fixture(scope="module")
def with_passwords(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    users = ", ".join(f"{{{{ user: u{number}, password: {_quoted(text)} }}}}" for number, text in enumerate(PASSWORDS))
    config = f"authorization {{{{ users: [ {users} ] }}}}\n"
    with running(tmp_path_factory.mktemp("passwords") / "s", JETSTREAM + config) as server:
        yield server


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\") + '"'


@pytest.mark.parametrize("password", PASSWORDS)
async def test_any_password_can_be_written(with_passwords: Server, password: str) -> None:
    who = f"u{PASSWORDS.index(password)}:{quote(password, safe='')}"
    await travels(f"nats://{who}@{with_passwords.address}")


@pytest.mark.parametrize("password", ["p@ss", "a:b", "a/b", "a#b", "a?b", "100%", "a[b]", "x&y=z"])
async def test_most_need_no_escape(with_passwords: Server, password: str) -> None:
    await travels(f"nats://u{PASSWORDS.index(password)}:{password}@{with_passwords.address}")


@given(user=st.text(st.characters(codec="utf-8"), min_size=1), password=st.text(st.characters(codec="utf-8")))
def test_what_is_escaped_is_read_and_never_shown(user: str, password: str) -> None:
    who = f"{quote(user, safe='')}:{quote(password, safe='')}"
    url = f"tls://{who}@n1.example:4222,n2.example"
    seeds = seeds_of(url)
    assert (seeds.user, seeds.password, seeds.encrypted) == (user, password, True)
    assert hosts_of(url) == "tls://n1.example:4222, nats://n2.example"
    assert "@" not in bare(url)


async def test_a_list_whose_first_servers_are_down(with_passwords: Server) -> None:
    down = [f"127.0.0.1:{free_port()}" for _ in range(3)]
    lists = [
        f"nats://u0:p%40ss@{down[0]},nats://{with_passwords.address}",
        f"{down[0]},{down[1]},u0:p%40ss@{with_passwords.address}",
        f" nats://u0:p%40ss@{down[0]} , nats://u0:p%40ss@{with_passwords.address} ,",
        f"nats://u0:p%40ss@[::1]:{down[2].rpartition(':')[2]},localhost:{with_passwords.port}",
        f"nats://u0:p%40ss@no-such-host.invalid,nats://{with_passwords.address}",
    ]
    for url in lists:
        await travels(url)


async def test_ipv6(tmp_path: Path) -> None:
    server = Server(tmp_path / "s", JETSTREAM)
    server.host = "::1"
    server.start()
    try:
        await travels(f"nats://[::1]:{server.port}")
        await travels(f"[::1]:{server.port}")
    finally:
        server.stop()


async def test_the_second_server_of_the_list_is_used_when_the_first_has_gone(tmp_path: Path) -> None:
    """One store, two addresses: what a plane has learnt at its start is where it connects again."""
    server = Server(tmp_path / "s", JETSTREAM)
    other = free_port()
    server.start()
    try:
        url = f"nats://{server.address},nats://127.0.0.1:{other}"
        async with Plane.connect(load_settings(nats_url=url)) as plane:
            await plane.publish(ROWS)
            server.stop()
            server.port = other
            server.start()

            async def published() -> bool:
                try:
                    return bool(await plane.publish(ROWS))
                except BrokerPlaneError:
                    return False

            await eventually(published)
    finally:
        server.stop()


@pytest.fixture
def hub_and_leaf(tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    """A leaf node without JetStream, of a hub that has it in the domain `hub`."""
    port = free_port()
    config = JETSTREAM.replace("jetstream {{", "jetstream {{ domain: hub,")
    config += f'leafnodes {{{{ host: "127.0.0.1", port: {port} }}}}'
    remote = f'leafnodes {{{{ remotes: [ {{{{ url: "nats://127.0.0.1:{port}" }}}} ] }}}}'
    with running(tmp_path / "hub", config) as hub, running(tmp_path / "leaf", remote) as leaf:
        yield hub, leaf


@contextlib.asynccontextmanager
async def once_joined(leaf: Server, **settings: Any) -> AsyncIterator[Plane]:
    """A plane on the leaf node, as soon as that is connected to its hub."""
    async with contextlib.AsyncExitStack() as stack:
        found: list[Plane] = []

        async def answers() -> bool:
            with contextlib.suppress(ConfigError):
                asked = load_settings(nats_url=leaf.address, nats_domain="hub", **settings)
                found.append(await stack.enter_async_context(Plane.connect(asked)))
            return bool(found)

        await eventually(answers)
        yield found[0]


async def test_a_leaf_node_with_the_domain_of_its_hub(hub_and_leaf: tuple[Server, Server]) -> None:
    hub, leaf = hub_and_leaf
    async with (
        Plane.connect(load_settings(nats_url=hub.address)) as bridge,
        once_joined(leaf, bridge_url=bridge.bridge_url) as plane,
    ):
        for sent in (ROWS, bytes(3_000_000)):
            published = await plane.publish(sent, uses=2)
            assert await plane.pull(published.resource_url, via="nats") == sent
            assert await plane.pull(published.resource_url, via="http") == sent
        await plane.publish(ROWS, feed="rain", key="city")
        assert len(await plane.bodies.list()) == 3
        revoked = await plane.publish(ROWS, uses="unlimited")
        await plane.revoke(revoked.grant)
        with pytest.raises(BrokerPlaneError):
            await plane.pull(revoked.resource_url, via="http")


async def test_a_bridge_in_another_domain_is_refused(hub_and_leaf: tuple[Server, Server]) -> None:
    with pytest.raises(ConfigError, match="run it at the hub"):
        await travels_from(hub_and_leaf[1])


async def travels_from(leaf: Server) -> None:
    async def answers() -> bool:
        try:
            await travels(leaf.address, nats_domain="hub")
        except ConfigError as error:
            if "at the hub" in str(error):
                raise
        return False

    await eventually(answers)
