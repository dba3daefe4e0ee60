"""What generated code may ask of the door: malformed requests, sizes, numbers, times, and what is left afterwards."""

from __future__ import annotations

import asyncio
import gc
import gzip
from typing import Any

import pytest

from broker_plane.levels.door import MAX_OPEN
from broker_plane.sandbox.ports import DoorFailedError, DoorRefusedError, RunLimits
from broker_plane.testing.processes import memory
from tests.levels.doors import all_of, door, get
from tests.levels.endpoints import Asked, endpoint, response, said, tcp
from tests.transfer.servers import gzip_bomb

pytestmark = pytest.mark.anyio
MIB = 1 << 20
PATIENCE = 30
SMALL = RunLimits(output_bytes=1000)

MALFORMED: list[tuple[Any, Any, Any, Any]] = [
    ("GET / HTTP/1.1\r\nX: y", "{url}", {}, b""),
    ("CONNECT", "{url}", {}, b""),
    ("TRACE", "{url}", {}, b""),
    ("", "{url}", {}, b""),
    (5, "{url}", {}, b""),
    ("GET", "{url}/a b", {}, b""),
    ("GET", "{url}/a\r\nX: y", {}, b""),
    ("GET", "{url}/a\tb", {}, b""),
    ("GET", " {url}", {}, b""),
    ("GET", "{url}/ä", {}, b""),
    ("GET", "{url}\\@api.example/", {}, b""),
    ("GET", "http://user:password@127.0.0.1/", {}, b""),
    ("GET", "http://@127.0.0.1/", {}, b""),
    ("GET", "http:///x", {}, b""),
    ("GET", "http://127.0.0.1:99999/", {}, b""),
    ("GET", "http://[::1/", {}, b""),
    ("GET", "file:///etc/passwd", {}, b""),
    ("GET", "ftp://127.0.0.1/", {}, b""),
    ("GET", "//127.0.0.1/", {}, b""),
    ("GET", "{url}/" + "x" * 9000, {}, b""),
    ("GET", b"http://127.0.0.1/", {}, b""),
    ("GET", "{url}", {"X-A": "b\r\nX-B: c"}, b""),
    ("GET", "{url}", {"X-A": "b\x00"}, b""),
    ("GET", "{url}", {"X A": "b"}, b""),
    ("GET", "{url}", {"X-A\r\nX-B": "b"}, b""),
    ("GET", "{url}", {"": "b"}, b""),
    ("GET", "{url}", {"X-A": 5}, b""),
    ("GET", "{url}", {"X-A": "ж"}, b""),
    ("GET", "{url}", {"X-A": "x" * 40_000}, b""),
    ("GET", "{url}", {f"X-{number}": "x" for number in range(65)}, b""),
    ("GET", "{url}", [("X-A", "b")], b""),
    ("POST", "{url}", {}, "text"),
    ("POST", "{url}", {}, bytes(17 * MIB)),
]


@pytest.mark.parametrize(("method", "url", "headers", "body"), MALFORMED)
async def test_a_malformed_request_is_refused_before_anything_is_sent(
    method: Any, url: Any, headers: Any, body: Any
) -> None:
    async with endpoint() as server, door(server.url) as opened:
        if isinstance(url, str):
            url = url.replace("{url}", server.url)
        for call in (opened.fetch, opened.open):
            with pytest.raises(DoorRefusedError):
                await call(method, url, headers, body)
        assert server.connections == 0


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("127.0.0.1/", 80),
        ("127.0.0.1@x", 80),
        ("127.0.0.1 ", 80),
        ("", 80),
        (5, 80),
        ("127.0.0.1", 0),
        ("127.0.0.1", True),
    ],
)
async def test_connect_takes_a_host_and_a_port(host: Any, port: Any) -> None:
    async with door("acme://127.0.0.1:80") as opened:
        with pytest.raises(DoorRefusedError):
            await opened.connect(host, port, False)


async def test_a_response_is_read_up_to_the_limit_and_a_bomb_in_bounded_memory() -> None:
    bodies: Any = (bytes(17 * MIB), []), (gzip_bomb(), [("content-encoding", "gzip")])
    gc.collect()
    before = memory()["VmRSS"]
    for body, headers in bodies:
        async with endpoint(said(body, 200, *headers)) as server, door(server.url, limits=SMALL) as opened:
            with pytest.raises(DoorRefusedError, match="open_url"):
                await get(opened, server.url)
            handle, _, _ = await opened.open("GET", server.url, {}, b"")
            assert len(await opened.receive(handle, 5000)) == 5000
    assert memory()["VmRSS"] - before < 96 * MIB


async def test_a_run_receives_and_sends_no_more_than_its_share() -> None:
    async with endpoint(said(bytes(3 * MIB))) as server, door(server.url, limits=SMALL) as opened:
        with pytest.raises(DoorRefusedError, match="receive 16777216 bytes"):
            for _ in range(20):
                await get(opened, server.url)
        assert len(server.asked) == 6
    async with endpoint(said(bytes(17 * MIB))) as server, door(server.url, limits=SMALL) as opened:
        handle, _, _ = await opened.open("GET", server.url, {}, b"")
        with pytest.raises(DoorRefusedError, match="receive 16777216 bytes"):
            await all_of(opened, handle, MIB)
    async with endpoint(said(b"thanks")) as server, door(server.url, limits=SMALL) as opened:
        await opened.fetch("POST", server.url, {}, bytes(9 * MIB))
        with pytest.raises(DoorRefusedError, match="send 16777216 bytes"):
            await opened.fetch("POST", server.url, {}, bytes(9 * MIB))
        assert len(server.asked) == 1


async def test_a_run_makes_a_limited_number_of_requests_and_has_a_limited_number_of_handles() -> None:
    async with endpoint() as server, door(server.url, limits=RunLimits(requests=3)) as opened:
        for _ in range(3):
            await get(opened, server.url)
        with pytest.raises(DoorRefusedError, match="3 requests"):
            await opened.connect("127.0.0.1", server.port, False)
    async with endpoint() as server, door(server.url) as opened:
        handles = [await opened.connect("127.0.0.1", server.port, False) for _ in range(MAX_OPEN - 1)]
        handles.append((await opened.open("GET", server.url, {}, b""))[0])
        for call in (opened.connect("127.0.0.1", server.port, False), opened.open("GET", server.url, {}, b"")):
            with pytest.raises(DoorRefusedError, match="close one"):
                await call
        assert (await get(opened, server.url)).status == 200
        await opened.close(handles[0])
        await opened.connect("127.0.0.1", server.port, False)


async def drips(asked: Asked, writer: asyncio.StreamWriter) -> None:
    """A byte at a time, for ever."""
    writer.write(b"HTTP/1.1 200 x\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.01)


async def says_nothing(asked: Asked, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def keeps_promising(asked: Asked, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 103 x\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("answer", [drips, says_nothing, keeps_promising])
async def test_no_endpoint_holds_a_run_longer_than_its_time(answer: Any) -> None:
    async with endpoint(answer) as server, door(server.url, limits=RunLimits(seconds=0.3)) as opened:
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(DoorFailedError, match="longer than"):
                await get(opened, server.url)
            with pytest.raises(DoorFailedError, match="longer than 0 s"):
                await get(opened, server.url)


async def test_a_response_that_breaks_off_is_never_taken_for_a_whole_one() -> None:
    async def breaks(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(response(bytes(100))[:-50])
        await writer.drain()
        writer.close()

    async with endpoint(breaks) as server, door(server.url) as opened:
        with pytest.raises(DoorFailedError):
            await get(opened, server.url)
        handle, _, _ = await opened.open("GET", server.url, {}, b"")
        for _ in range(3):
            with pytest.raises(DoorFailedError):
                await all_of(opened, handle)


async def test_a_receive_that_ran_out_of_time_is_no_end_either() -> None:
    async def half(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(response(bytes(100))[:-50])
        await writer.drain()
        await asyncio.sleep(60)

    async with endpoint(half) as server, door(server.url, limits=RunLimits(seconds=0.3)) as opened:
        handle, _, _ = await opened.open("GET", server.url, {}, b"")
        for _ in range(3):
            with pytest.raises(DoorFailedError):
                await all_of(opened, handle)


async def test_headers_are_joined_and_a_compressed_body_is_decompressed() -> None:
    headers = [("X-A", "1"), ("x-a", "2"), ("Set-Cookie", "a=b"), ("content-encoding", "gzip")]
    async with endpoint(said(gzip.compress(b"text"), 200, *headers)) as server, door(server.url) as opened:
        for _ in range(2):
            found = await get(opened, server.url)
        assert found.body == b"text"
        assert dict(found.headers) == {"x-a": "1, 2", "set-cookie": "a=b"}
        assert [asked.header("cookie") for asked in server.asked] == [None, None]
        assert server.asked[0].header("accept-encoding") == "identity"


async def test_a_header_that_code_sets_is_sent_in_latin_1() -> None:
    async with endpoint(said(b"")) as server, door(server.url) as opened:
        await get(opened, server.url, {"X-Name": "caf\xe9 \x80"})
        assert server.asked[0].header("x-name") == "caf\xe9 \x80"


async def test_a_response_is_read_only_and_a_compression_that_nobody_knows_is_a_failure() -> None:
    async with endpoint(said(b"x", 200, ("content-encoding", "secret"))) as server, door(server.url) as opened:
        with pytest.raises(DoorFailedError, match="secret"):
            await get(opened, server.url)
        handle, _, _ = await opened.open("GET", server.url, {}, b"")
        with pytest.raises(DoorRefusedError, match="connect"):
            await opened.send(handle, b"x")
        for wrong in (0, -1, "5", None):
            with pytest.raises(DoorRefusedError):
                await opened.receive(handle, wrong)  # type: ignore[arg-type]


async def test_nothing_is_open_after_a_cancelled_call_and_the_end_of_a_run() -> None:
    ended = asyncio.Queue[int]()

    async def waits(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received = 0
        while piece := await reader.read(65_536):
            received += len(piece)
        ended.put_nowait(received)

    async with tcp(waits) as server:
        url = f"http://127.0.0.1:{server.port}/"
        async with door(url) as opened:
            await opened.connect("127.0.0.1", server.port, False)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await get(opened, url)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await opened.open("GET", url, {}, b"")
        async with asyncio.timeout(PATIENCE):
            assert len([await ended.get() for _ in range(3)]) == 3


async def test_one_connection_serves_the_pages_of_a_run() -> None:
    async with endpoint() as server, door(server.url) as opened:
        for page in range(20):
            await get(opened, f"{server.url}/?page={page}")
        assert server.connections == 1
