"""A request is answered for a host that the bridge is known by, and a write of a foreign page is refused."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_plane import Plane
from broker_plane.config import load_settings
from broker_plane.errors import BrokerPlaneError, ConfigError
from broker_plane.plane.bodies.publish import PublishOrder
from broker_plane.runtime.bridging import bridging
from broker_plane.runtime.wiring import Wiring, wire
from broker_plane.testing.server import NatsServer
from broker_plane.web.guard import Guard, guard_of, parse_authority, parse_origin
from broker_plane.wire.grant import grant_of
from tests.bridge.wire import PATIENCE
from tests.ports import free_port

UPGRADE = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {}\r\n".format(
    "dGhlIHNhbXBsZSBub25jZQ=="
)
PLAIN = ("/metrics", "/readyz", "/healthz", "/s2sp/health", "/openapi.yaml", "/asyncapi.yaml", "/nowhere")
UNKNOWN = (
    *("evil.example", "evil.example:{port}", "127.0.0.1.evil.example", "localhost.evil.example", "evil.localhost"),
    *("192.0.2.1:{port}", "[2001:db8::1]:{port}", "xn--bcher-kva.example", "2130706433", "127.1:{port}", "0x7f.0.0.1"),
    *("0.0.0.0:{port}", "127.0.0.2", "EVIL.EXAMPLE", "evil.example.", "a_b"),
)
MALFORMED = ("", " ", "127.0.0.1 evil", "evil@127.0.0.1", "127.0.0.1,evil", "[::1", "::1", "127.0.0.1:99999")
KNOWN = ("127.0.0.1:{port}", "127.0.0.1", "localhost:{port}", "LocalHost", "localhost.", "[::1]:{port}", "127.0.0.1:1")
TARGETS = (
    ("http://127.0.0.1:{port}/readyz", "127.0.0.1:{port}", 200),
    ("HTTP://LOCALHOST:{port}/readyz", "localhost:{port}", 200),
    ("http://evil.example/readyz", "127.0.0.1:{port}", 421),
    ("http://127.0.0.1:{port}/readyz", "evil.example", 421),
    ("http://evil@127.0.0.1:{port}/readyz", "127.0.0.1:{port}", 400),
    ("http://evil.example?/readyz", "127.0.0.1:{port}", 400),
    ("//evil.example/readyz", "127.0.0.1:{port}", 404),
    ("*", "127.0.0.1:{port}", 400),
)
FOREIGN = (
    *("null", "https://evil.example", "http://127.0.0.1", "http://localhost:{port}", "http://127.0.0.1:1"),
    *("", "http://127.0.0.1:{port}/", "http://127.0.0.1:{port}, http://evil", "file://", "127.0.0.1:{port}"),
    *("http://127.0.0.1:{port}@evil.example", "ftp://127.0.0.1:{port}"),
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def port(plane: Plane) -> int:
    return urlsplit(plane.bridge_url).port or 0


@asynccontextmanager
async def serving(nats_server: NatsServer, **named: str) -> AsyncIterator[tuple[Wiring, int]]:
    """A bridge with these settings, as `broker-plane bridge` runs it; yields its port."""
    settings = load_settings(nats_url=nats_server.url, **named)
    wiring, port = await wire(settings.nats_url, settings), free_port()
    try:
        async with bridging(wiring, settings, host="127.0.0.1", port=port):
            yield wiring, port
    finally:
        await wiring.close()


async def data_path(wiring: Wiring) -> str:
    published = await wiring.publisher.publish([{"a": 1}], PublishOrder(ttl=60, uses=0))
    return f"/s2sp/data/{published.grant}"


async def head(port: int, request: str) -> tuple[int, bytes]:
    """Status and first bytes of the answer to a request as it is written here."""
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(request.encode("latin-1"))
            line = await reader.readline()
            return int(line.split()[1]), await reader.read(4096)
        finally:
            writer.close()


async def status(port: int, request: str) -> int:
    return (await head(port, request))[0]


async def foreign(port: int, request: str) -> bool:
    """Whether it was refused for its origin."""
    number, said = await head(port, request)
    return number == 403 and b'"foreign_origin"' in said


def asked(method: str, path: str, *fields: str, version: str = "1.1") -> str:
    length = "" if method in ("GET", "HEAD") else "Content-Length: 0\r\n"
    return f"{method} {path} HTTP/{version}\r\n" + "".join(f"{field}\r\n" for field in fields) + length + "\r\n"


async def routes(plane: Plane) -> list[tuple[str, str, str]]:
    """(method, path, further fields) of every route that holds a grant."""
    published = await plane.publish([{"a": 1}], uses="unlimited")
    data = f"/s2sp/data/{grant_of(published.resource_url)}"
    uploading = await plane.uploads.grant(ttl=60)
    feed = f"/v1/feeds/{published.grant}"
    upload = urlsplit(uploading.upload_url).path
    gets = [("GET", path, "") for path in (*PLAIN, data, feed, f"/v1/streams/{published.grant}")]
    writes = [("POST", f"{data}/{verb}", "") for verb in ("confirm", "page", "look")]
    writes += [("POST", data, ""), ("POST", f"{feed}/taken", "")]
    writes += [(method, upload, "") for method in ("PUT", "POST", "PATCH", "DELETE")]
    sockets = [("GET", path, UPGRADE) for path in (feed, f"/v1/streams/{published.grant}")]
    return [*gets, *writes, *sockets]


@pytest.mark.anyio
async def test_an_unknown_host_is_refused_on_every_route(plane: Plane, port: int) -> None:
    for method, path, more in await routes(plane):
        request = asked(method, path, "Host: evil.example", *more.splitlines())
        assert await status(port, request) == 421, (method, path, more)


@pytest.mark.anyio
async def test_which_hosts_are_known(port: int) -> None:
    for host in UNKNOWN:
        assert await status(port, asked("GET", "/metrics", f"Host: {host.format(port=port)}")) == 421, host
    for host in MALFORMED:
        assert await status(port, asked("GET", "/metrics", f"Host: {host}")) == 400, host
    for host in KNOWN:
        assert await status(port, asked("GET", "/metrics", f"Host: {host.format(port=port)}")) == 200, host


@pytest.mark.anyio
async def test_there_is_exactly_one_host(port: int) -> None:
    good = f"Host: 127.0.0.1:{port}"
    assert await status(port, asked("GET", "/readyz")) == 400
    assert await status(port, asked("GET", "/readyz", good, good)) == 400
    assert await status(port, asked("GET", "/readyz", good, "host: evil.example")) == 400
    assert await status(port, asked("GET", "/readyz", version="1.0")) == 200  # a health check of this machine
    assert await status(port, asked("GET", "/readyz", "Host: evil.example", version="1.0")) == 421


@pytest.mark.anyio
async def test_a_target_in_absolute_form_names_a_known_host_too(port: int) -> None:
    for target, host, expected in TARGETS:
        request = asked("GET", target.format(port=port), f"Host: {host.format(port=port)}")
        assert await status(port, request) == expected, (target, host)


@pytest.mark.anyio
async def test_a_foreign_page_neither_writes_nor_opens_a_socket(plane: Plane, port: int) -> None:
    host = f"Host: 127.0.0.1:{port}"
    for method, path, more in await routes(plane):
        for origin in ("https://evil.example", "null"):
            request = asked(method, path, host, f"Origin: {origin}", *more.splitlines())
            assert await foreign(port, request) == (method != "GET" or bool(more)), (method, path)
        for fields in ([], [f"Origin: http://127.0.0.1:{port}"]):  # no browser, and a page of the bridge itself
            assert not await foreign(port, asked(method, path, host, *fields, *more.splitlines())), (method, path)


@pytest.mark.anyio
async def test_a_page_of_the_bridge_itself_opens_a_socket(plane: Plane, port: int, feed: str) -> None:
    await plane.publish([{"a": 1}], feed=feed, key="a")
    path = urlsplit((await plane.feeds.grant(feed)).resource_url).path
    upgrade = [f"Host: 127.0.0.1:{port}", *UPGRADE.splitlines()]
    assert await status(port, asked("GET", path, *upgrade)) == 101
    assert await status(port, asked("GET", path, *upgrade, f"Origin: http://127.0.0.1:{port}")) == 101
    assert await foreign(port, asked("GET", path, *upgrade, "Origin: http://localhost:3000"))


@pytest.mark.anyio
async def test_which_origins_are_foreign(plane: Plane, port: int) -> None:
    published = await plane.publish([{"a": 1}], uses="unlimited")
    for origin in FOREIGN:
        fields = (f"Host: 127.0.0.1:{port}", f"Origin: {origin.format(port=port)}")
        assert await status(port, asked("POST", f"/s2sp/data/{published.grant}", *fields)) == 403, origin
    twice = (f"Host: 127.0.0.1:{port}", *[f"Origin: http://127.0.0.1:{port}"] * 2)
    assert await status(port, asked("POST", f"/s2sp/data/{published.grant}", *twice)) == 403


@pytest.mark.anyio
async def test_settings_name_further_hosts(nats_server: NatsServer) -> None:
    hosts = "bücher.example, Bodies.example:8443, 192.0.2.7"
    async with serving(nats_server, bridge_hosts=hosts, bridge_url="https://bridge.example/") as (wiring, port):
        for host in ("xn--bcher-kva.example:9", "bodies.example:8443", "192.0.2.7:80", "BRIDGE.example.", "localhost"):
            assert await status(port, asked("GET", "/metrics", f"Host: {host}")) == 200, host
        for host in ("bodies.example", "bodies.example:8444", "192.0.2.8", "x.bridge.example"):
            assert await status(port, asked("GET", "/metrics", f"Host: {host}")) == 421, host
        path = await data_path(wiring)
        for origin, expected in (("https://bridge.example", 200), ("https://bridge.example:8", 403)):
            # As behind a proxy that names its upstream in Host.
            assert await status(port, asked("POST", path, "Host: 127.0.0.1", f"Origin: {origin}")) == expected


@pytest.mark.anyio
async def test_a_star_leaves_the_check_of_hosts_to_a_proxy(nats_server: NatsServer) -> None:
    async with serving(nats_server, bridge_hosts="*") as (wiring, port):
        assert await status(port, asked("GET", "/metrics", "Host: anything.example")) == 200
        assert await status(port, asked("GET", "/metrics", "Host: a", "Host: b")) == 400
        path = await data_path(wiring)
        fields = ("Host: anything.example", "Origin: https://evil.example")
        assert await status(port, asked("POST", path, *fields)) == 403


@pytest.mark.parametrize("entry", ["http://a", "a b", "*.a.example", "[::1", "a:99999", "a/b", "user@a"])
def test_an_entry_that_is_no_host_is_a_setting_to_change(entry: str) -> None:
    with pytest.raises(ConfigError, match="BROKER_PLANE_BRIDGE_HOSTS"):
        guard_of(entry)


def test_the_address_of_the_connection_is_known_and_the_bound_name() -> None:
    scope = {"type": "http", "method": "GET", "http_version": "1.1", "client": ("10.0.0.9", 1)}
    for server, host in (("10.0.0.5", "10.0.0.5:8787"), ("::ffff:10.0.0.5", "10.0.0.5"), ("fe80::1", "[FE80:0::1]:1")):
        guard_of("", bound="0.0.0.0").check(scope | {"server": (server, 8787), "headers": [(b"host", host.encode())]})  # noqa: S104
    guard_of("", bound="nas.local").check(scope | {"server": ("10.0.0.5", 1), "headers": [(b"host", b"NAS.local.")]})
    for fields in ([], [(b"host", b"10.0.0.6")]):  # from another machine HTTP/1.0 needs a Host, too
        with pytest.raises(BrokerPlaneError):
            guard_of("").check(scope | {"http_version": "1.0", "server": ("10.0.0.5", 1), "headers": fields})


@given(st.text(max_size=60), st.sampled_from(["1.1", "1.0"]))
def test_no_other_text_is_a_known_host(text: str, version: str) -> None:
    scope = {"type": "http", "method": "GET", "http_version": version, "client": ("10.0.0.9", 1)}
    raw = text.encode("utf-8", "surrogatepass")
    known = parse_authority(raw.decode("latin-1"))
    request = scope | {"server": ("127.0.0.1", 80), "headers": [(b"host", raw)]}
    if known is not None and known.host in ("localhost", "127.0.0.1", "::1"):
        Guard().check(request)
    else:
        with pytest.raises(BrokerPlaneError):
            Guard().check(request)
    origin = parse_origin(text)
    assert origin is None or (origin.host and "://" in text)
