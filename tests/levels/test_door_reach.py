"""What generated code may reach: three lists, public addresses, pinned names, and no redirect."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any
from urllib.parse import urlsplit

import pytest

from broker_plane.errors import ConfigError
from broker_plane.levels.door import HostDoor
from broker_plane.levels.reach_list import reach_list
from broker_plane.sandbox.ports import DoorFailedError, DoorRefusedError
from tests.levels.doors import LOOPBACK, all_of, described, door, get
from tests.levels.endpoints import endpoint, said, tcp
from tests.transfer.test_refusals import SPELLINGS

pytestmark = pytest.mark.anyio
PUBLIC = "https://api.example/items"


async def every_way(opened: HostDoor, url: str) -> list[str]:
    """Why fetch, open_url and connect (plain and over TLS) refuse a URL or its host."""
    parts = urlsplit(url)
    host, port = parts.netloc.rpartition("@")[2].rpartition(":")[0] or parts.netloc, parts.port or 80
    calls = [
        opened.fetch("GET", url, {}, b""),
        opened.open("POST", url, {}, b"x"),
        opened.connect(host, port, False),
        opened.connect(host, port, True),
        opened.connect(parts.hostname or "", port, False),
    ]
    reasons = []
    for call in calls:
        with pytest.raises(DoorRefusedError) as raised:
            await call
        reasons.append(str(raised.value))
    return reasons


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_no_spelling_of_an_inner_address_is_reached_although_the_descriptor_names_it(spelling: str) -> None:
    async with endpoint() as server:
        url = spelling.format(port=server.port)
        async with door(url, networks=()) as opened:
            await every_way(opened, url)
        assert server.connections == 0


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_no_spelling_of_another_host_is_reached_where_loopback_is_allowed(spelling: str) -> None:
    async with endpoint() as server, endpoint() as own:
        async with door(own.url, networks=LOOPBACK) as opened:
            reasons = await every_way(opened, spelling.format(port=server.port))
        assert server.connections == 0
        assert all("list of hosts" in reason or "user" in reason or "not the name" in reason for reason in reasons)


@pytest.mark.parametrize(
    ("sandbox", "url", "refused"),
    [
        ({}, "https://api.example/other", ""),
        ({}, "http://api.example/", "the descriptor"),  # another port
        ({}, "https://api.example:8443/", "the descriptor"),
        ({}, "https://cdn.example/", "the descriptor"),
        ({}, "https://API.example./", ""),
        ({"allowed_hosts": ["cdn.example"]}, "https://cdn.example/", ""),
        ({"allowed_hosts": ["cdn.example"]}, "https://api.example/", "the descriptor"),
        ({"allowed_hosts": ["cdn.example:8443"]}, "https://cdn.example:8443/", ""),
        ({"allowed_hosts": ["cdn.example:8443"]}, "https://cdn.example/", "the descriptor"),
        ({"allowed_ports": [8443]}, "https://api.example:8443/", ""),
        ({"allowed_ports": [8443]}, "https://api.example/", "the descriptor"),
        ({"allowed_hosts": ["*"]}, "https://api.example/", "the descriptor"),
        ({"allowed_hosts": ["*.example"]}, "https://api.example/", "the descriptor"),
        ({"allowed_hosts": ["https://api.example", "a b", ""]}, "https://api.example/", "the descriptor"),
    ],
)
def test_the_descriptor_s_list(sandbox: dict[str, Any], url: str, refused: str) -> None:
    check(reach_list(described(PUBLIC, sandbox={"runtime": "python", **sandbox})), url, refused)


@pytest.mark.parametrize(
    ("client", "operator", "refused"),
    [
        (None, "*", ""),
        (["api.example"], "api.example:443", ""),
        (["api.example:8443"], "*", "this client"),
        ([], "*", "this client"),
        (None, "other.example", "BROKER_PLANE_LEVELS_HOSTS"),
        (None, "", "BROKER_PLANE_LEVELS_HOSTS"),
        (["other.example"], "api.example", "this client"),
    ],
)
def test_the_client_and_the_operator_narrow_it(client: list[str] | None, operator: str, refused: str) -> None:
    check(reach_list(described(PUBLIC), client=client, operator=operator), PUBLIC, refused)


def check(reach: Any, url: str, refused: str) -> None:
    parts = urlsplit(url)
    host = (parts.hostname or "").removesuffix(".")
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    if not refused:
        reach.check(host, port)
        return
    with pytest.raises(DoorRefusedError, match=refused):
        reach.check(host, port)


@pytest.mark.parametrize("wrong", [["*"], ["https://a.example"], ["a b"]])
def test_a_client_s_list_that_names_no_hosts_is_an_error(wrong: list[str]) -> None:
    with pytest.raises(ConfigError):
        reach_list(described(PUBLIC), client=wrong)


@pytest.mark.parametrize(
    ("written", "host", "port"),
    [
        ("acme://[::1]:9000/x", "::1", 9000),
        ("files.example:9000", "files.example", 9000),
        ("acme://a.example", "a.example", 443),
    ],
)
def test_an_endpoint_of_any_scheme_allows_its_own_place(written: str, host: str, port: int) -> None:
    reach_list(described(written)).check(host, port)


async def test_an_endpoint_without_a_host_allows_nothing() -> None:
    async with door("/var/data/file") as opened:
        await every_way(opened, "http://127.0.0.1:9/x")


class ChangingNames:
    """A resolver whose answers change with every look-up."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.lookups: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[IPv4Address | IPv6Address]:
        self.lookups.append(host)
        return [ip_address(each) for each in self.answers[min(len(self.lookups), len(self.answers)) - 1]]


async def test_a_name_that_moves_during_a_run_is_still_the_address_that_was_checked() -> None:
    names = ChangingNames(["127.0.0.1"], ["169.254.169.254"], ["10.0.0.1"])
    async with endpoint() as server:
        url = f"http://moving.example:{server.port}/"
        async with door(url, resolver=names, networks=("127.0.0.1/32",)) as opened:
            for _ in range(3):
                assert (await get(opened, url)).status == 200
            handle, status, _ = await opened.open("GET", url, {}, b"")
            assert status == 200 and await all_of(opened, handle)
            await opened.connect("MOVING.example.", server.port, False)
        assert names.lookups == ["moving.example"]
        assert {asked.header("host") for asked in server.asked} == {f"moving.example:{server.port}"}


async def test_a_name_that_moves_to_another_server_is_not_followed_there() -> None:
    """Nothing listens at the first address, and no other one is tried."""
    names = ChangingNames(["127.0.0.2"], ["127.0.0.1"])
    async with endpoint() as server:
        url = f"http://moving.example:{server.port}/"
        async with door(url, resolver=names) as opened:
            for _ in range(2):
                with pytest.raises(DoorFailedError):
                    await get(opened, url)
                with pytest.raises(DoorFailedError):
                    await opened.connect("moving.example", server.port, False)
        assert server.connections == 0 and len(names.lookups) == 1


async def test_a_name_with_one_inner_address_among_its_addresses_is_refused() -> None:
    names = ChangingNames(["8.8.8.8", "127.0.0.1"])
    async with endpoint() as server:
        url = f"https://both.example:{server.port}/"
        async with door(url, resolver=names, networks=()) as opened:
            await every_way(opened, url)
        assert server.connections == 0


async def test_the_system_s_answers_are_pinned_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the resolver: the operating system's own look-up moves."""
    asked = []
    genuine = socket.getaddrinfo

    def moving(host: Any, *rest: Any, **more: Any) -> Any:
        if host not in ("moving.example", b"moving.example"):
            return genuine(host, *rest, **more)
        asked.append(host)
        return genuine("127.0.0.1" if len(asked) == 1 else "127.0.0.2", *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", moving)
    async with endpoint() as server, endpoint(host="127.0.0.2", port=server.port) as inner:
        url = f"http://moving.example:{server.port}/"
        async with door(url) as opened:
            for _ in range(3):
                await get(opened, url)
            await opened.connect("moving.example", server.port, False)
        assert len(asked) == 1 and inner.connections == 0 and len(server.asked) == 3


async def test_a_redirect_is_a_response_and_its_target_passes_the_same_lists() -> None:
    async with endpoint() as inner:
        for place in (f"{inner.url}/latest", "http://169.254.169.254/latest/meta-data", "//127.0.0.1:1/"):
            async with endpoint(said(b"moved", 302, ("location", place))) as server, door(server.url) as opened:
                found = await get(opened, server.url + "/first")
                assert (found.status, found.headers["location"], found.body) == (302, place, b"moved")
                with pytest.raises(DoorRefusedError):
                    await get(opened, place)
        assert inner.connections == 0


async def test_plain_text_reaches_no_public_host_and_no_unusual_port_of_one() -> None:
    names = ChangingNames(["8.8.8.8"])
    for url in ("http://api.example/", "https://api.example:9999/"):
        async with door(url, resolver=names) as opened:
            with pytest.raises(DoorRefusedError, match="BROKER_PLANE_TRANSFER_NETWORKS"):
                await get(opened, url)
    async with door("http://api.example/", resolver=names) as opened:
        with pytest.raises(DoorRefusedError):
            await opened.connect("api.example", 80, False)


def test_an_operator_names_an_unusual_port_of_a_public_host_with_the_host() -> None:
    place = ("api.example", 9999)
    descriptor = described("https://api.example:9999/")
    assert reach_list(descriptor, operator="api.example:9999").names_port(*place)
    assert not reach_list(descriptor, operator="api.example").names_port(*place)
    assert not reach_list(descriptor, client=["api.example:9999"]).names_port(*place)


async def test_a_name_that_does_not_resolve_is_a_failure_and_not_a_refusal() -> None:
    async with door("https://nowhere.invalid/") as opened:
        with pytest.raises(DoorFailedError, match="does not resolve"):
            await get(opened, "https://nowhere.invalid/")


async def test_a_connection_reaches_the_descriptor_s_own_port_and_carries_bytes_both_ways() -> None:
    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line.upper())

    async with tcp(shout) as server, door(f"acme://127.0.0.1:{server.port}") as opened:
        handle = await opened.connect("127.0.0.1", server.port, False)
        await opened.send(handle, b"hello\n")
        assert await opened.receive(handle, 3) == b"HEL"
        assert await opened.receive(handle, 100) == b"LO\n"
        await opened.close(handle)
        await opened.close(handle)
        with pytest.raises(DoorRefusedError, match="not open"):
            await opened.send(handle, b"x")
