"""`tls://` and a CA file mean TLS: no byte is said before it, on whichever connection, the first time and later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from broker_plane import Plane
from broker_plane.broker.access import NatsAccess
from broker_plane.broker.connecting import connect
from broker_plane.config import load_settings
from broker_plane.errors import BrokerPlaneError, ConfigError
from broker_plane.storage.readiness import durability_of
from broker_plane.subjects.guests import UserPuller, admitted
from broker_plane.testing.processes import until
from tests.brokers.certificates import Authority
from tests.brokers.jwts import Operator
from tests.brokers.listeners import PLAIN_INFO, Listener, listening
from tests.brokers.servers import JETSTREAM, Server, running

pytestmark = pytest.mark.anyio
USER = 'authorization {{ user: weather, password: "S3cret-Pass" }}\n'
SECRET = "weather:S3cret-Pass@"


def tls(files: tuple[Path, Path], more: str = "") -> str:
    named = f'cert_file: "{files[0]}", key_file: "{files[1]}"'
    return f"tls {{{{ {named}{', ' if more else ''}{more} }}}}\n"


@pytest.fixture
async def plain() -> AsyncIterator[Listener]:
    """Says INFO as a server without TLS."""
    async with listening(PLAIN_INFO) as listener:
        yield listener


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("tls")
    with running(root / "s", JETSTREAM + USER + tls(authority.sign("good"))) as server:
        yield server


async def _publish(url: str, **settings: Any) -> None:
    async with Plane.connect(load_settings(nats_url=url, **settings)) as plane:
        await plane.publish(b"a body that nobody is to see")


async def _pull_with_grant(url: str) -> None:
    async with admitted(url, "S3cret-Pass-as-a-grant", timeout=2):
        pass


async def _pull_as_asker(url: str) -> None:
    async with UserPuller(url, "weather", timeout=2).puller_for("bp.pull.x"):
        pass


async def _probe(url: str) -> None:
    await durability_of(url, "S3cret-Pass", timeout=2)


async def _nkey(url: str, operator: Operator, tmp_path: Path) -> None:
    creds = operator.creds(tmp_path / "user.creds")
    await connect(url, timeout=2, access=NatsAccess(creds=str(creds)))


WAYS = {
    "publish": lambda address: _publish(f"tls://{SECRET}{address}"),
    "capitals": lambda address: _publish(f"TLS://{SECRET}{address}"),
    "in a list": lambda address: _publish(f"tls://{SECRET}{address},tls://127.0.0.1:1"),
    "another of the list says so": lambda address: _publish(f"nats://{SECRET}{address},tls://127.0.0.1:1"),
    "a token": lambda address: _publish(f"tls://S3cret-Pass@{address}"),
    "a resource server": lambda address: _publish(
        f"tls://{SECRET}{address}", role="source", owner="weather", bridge_url="http://127.0.0.1:1"
    ),
    "an asker": lambda address: _pull_as_asker(f"tls://{SECRET}{address}"),
    "a grant": lambda address: _pull_with_grant(f"tls://{address}"),
    "the probe": lambda address: _probe(f"tls://{address}"),
}


@pytest.mark.parametrize("way", WAYS)
async def test_nothing_is_said_to_a_server_without_tls(plain: Listener, way: str) -> None:
    with suppress(BrokerPlaneError):
        await WAYS[way](f"127.0.0.1:{plain.port}")
    assert plain.connections
    assert plain.heard == b""


@pytest.mark.parametrize("setting", ["ca", "cert"])
async def test_a_file_for_tls_asks_for_it_without_tls_in_the_address(
    plain: Listener, authority: Authority, setting: str
) -> None:
    cert, key = authority.sign("client")
    access = NatsAccess(ca=str(authority.file)) if setting == "ca" else NatsAccess(cert=str(cert), key=str(key))
    with pytest.raises(ConfigError, match="offers no TLS"):
        await connect(f"nats://{SECRET}127.0.0.1:{plain.port}", timeout=2, access=access)
    assert plain.heard == b""


async def test_a_signature_is_not_sent_either(plain: Listener, operator: Operator, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="offers no TLS"):
        await _nkey(f"tls://127.0.0.1:{plain.port}", operator, tmp_path)
    assert plain.heard == b""


async def test_a_real_server_without_tls_is_refused(tmp_path: Path) -> None:
    with running(tmp_path / "s", JETSTREAM + USER) as server:
        with pytest.raises(ConfigError, match=f"NATS at tls://{server.address} offers no TLS"):
            await _publish(f"tls://{SECRET}{server.address}")
        await _publish(f"nats://{SECRET}{server.address}")


@pytest.mark.parametrize(
    ("more", "host"),
    [
        ("", "localhost"),
        ("handshake_first: true", "127.0.0.1"),
        ("handshake_first: auto", "localhost"),
        ('handshake_first: "300ms"', "127.0.0.1"),
    ],
)
async def test_servers_with_tls_are_published_to(tmp_path: Path, authority: Authority, more: str, host: str) -> None:
    with running(tmp_path / "s", JETSTREAM + USER + tls(authority.sign("good"), more)) as server:
        await _publish(f"tls://{SECRET}{host}:{server.port}", nats_ca=str(authority.file))


@pytest.mark.parametrize("more", ["", "handshake_first: true"])
async def test_a_client_certificate_is_shown(tmp_path: Path, authority: Authority, more: str) -> None:
    verify = f'ca_file: "{authority.file}", verify: true' + (f", {more}" if more else "")
    cert, key = authority.sign("client")
    (tmp_path / "both.pem").write_bytes(cert.read_bytes() + key.read_bytes())
    with running(tmp_path / "s", JETSTREAM + USER + tls(authority.sign("good"), verify)) as server:
        url, ca = f"tls://{SECRET}{server.address}", str(authority.file)
        await _publish(url, nats_ca=ca, nats_cert=str(cert), nats_key=str(key))
        await _publish(url, nats_ca=ca, nats_cert=str(tmp_path / "both.pem"))
        with pytest.raises(ConfigError, match=rf"NATS at tls://{server.address} (wants|does not accept).*NATS_CERT"):
            await _publish(url, nats_ca=ca)


async def test_the_ca_of_the_environment_is_believed(
    encrypted: Server, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    await _publish(f"tls://{SECRET}{encrypted.address}")
    await _publish(f"nats://{SECRET}{encrypted.address}")  # which asks for TLS itself


WRONG = {
    "not trusted": ({}, "", "certificate that is not trusted here"),
    "expired": ({"begins": timedelta(-3), "ends": timedelta(-2)}, "ca", "certificate that has expired"),
    "not yet valid": ({"begins": timedelta(2), "ends": timedelta(3)}, "ca", "certificate that is not valid yet"),
    "another host": ({"host": "n1.example", "address": "127.0.0.9"}, "ca", "certificate for another host than"),
}


@pytest.mark.parametrize("what", WRONG)
@pytest.mark.parametrize(("more", "host"), [("", "localhost"), ("handshake_first: true", "127.0.0.1")])
async def test_a_wrong_certificate_is_named(
    tmp_path: Path, authority: Authority, what: str, more: str, host: str
) -> None:
    signed, ca, said = WRONG[what]
    files = authority.sign("wrong", **signed)  # type: ignore[arg-type]
    with running(tmp_path / "s", JETSTREAM + USER + tls(files, more)) as server:
        url, named = f"tls://{SECRET}{host}:{server.port}", str(authority.file) if ca else ""
        with pytest.raises(ConfigError, match=f"NATS at tls://{host}:{server.port} has a {said}"):
            await _publish(url, nats_ca=named)


async def test_a_server_that_lost_its_tls_gets_nothing_after_a_reconnect(tmp_path: Path, authority: Authority) -> None:
    """The listener stands in the place of the server, as whoever takes over its address would."""
    server = Server(tmp_path / "s", JETSTREAM + USER + tls(authority.sign("good")))
    server.start()
    try:
        async with Plane.connect(
            load_settings(nats_url=f"tls://{SECRET}{server.address}", nats_ca=str(authority.file))
        ) as plane:
            await plane.publish(b"before")
            server.stop()
            listener = Listener(PLAIN_INFO)
            taken = await asyncio.start_server(listener.serve, "127.0.0.1", server.port)

            async def says_why() -> bool:
                with pytest.raises(BrokerPlaneError) as caught:
                    await plane.publish(b"meanwhile")
                return "offers no TLS" in str(caught.value)

            await until(says_why, "the plane to say why")
            taken.close()
            assert listener.connections
            assert listener.heard == b""

            server.config = JETSTREAM + USER
            server.start()
            with pytest.raises(BrokerPlaneError, match="offers no TLS"):
                await plane.publish(b"meanwhile")
            server.stop()
            server.config += tls(authority.sign("good"))
            server.start()

            async def published() -> bool:
                with suppress(BrokerPlaneError):
                    return bool(await plane.publish(b"after"))
                return False

            await until(published, "the plane to be connected again")
    finally:
        server.stop()


async def test_a_renewed_ca_is_read_when_it_connects_again(tmp_path: Path, authority: Authority) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority.file.read_bytes())
    server = Server(tmp_path / "s", JETSTREAM + USER + tls(authority.sign("good")))
    server.start()
    try:
        async with Plane.connect(load_settings(nats_url=f"tls://{SECRET}{server.address}", nats_ca=str(ca))) as plane:
            await plane.publish(b"before")
            server.stop()
            other = Authority(tmp_path, "other")
            ca.write_bytes(other.file.read_bytes())
            server.config = JETSTREAM + USER + tls(other.sign("renewed"))
            server.start()

            async def published() -> bool:
                with suppress(BrokerPlaneError):
                    return bool(await plane.publish(b"after"))
                return False

            await until(published, "the plane to be connected again")
    finally:
        server.stop()
