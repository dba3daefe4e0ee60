"""Receivers answer as frameworks and proxies do: compressed, in chunks, in HTTP/1.0, after provisional answers."""

from __future__ import annotations

import asyncio
import gzip
import json
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import pytest
from backports import zstd

from broker_plane import Plane
from broker_plane.client.guard import webhook_guard
from broker_plane.client.post import WebhookPost
from broker_plane.config import Settings, load_settings
from broker_plane.errors import WebhookError

pytestmark = pytest.mark.anyio


class Raw:
    """A receiver that writes the bytes of `form`, a template of a whole answer, for each request."""

    def __init__(self) -> None:
        self.form = "plain"
        self.heads: list[str] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            self.heads.append(head)
            length = int(head.partition("content-length: ")[2].split("\r\n")[0])
            sent = json.loads(await reader.readexactly(length))
            said = json.dumps({"challenge": sent.get("challenge"), "filler": "x" * 300}).encode()
            writer.write(answer(self.form, said))
            await writer.drain()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def chunked(data: bytes, size: int = 7, more: bytes = b"", trailers: bytes = b"") -> bytes:
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    return b"".join(b"%x%s\r\n%s\r\n" % (len(piece), more, piece) for piece in pieces) + b"0\r\n" + trailers + b"\r\n"


Pack = Callable[[bytes], bytes]

CODED: dict[str, tuple[str, Pack]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("x-gzip", gzip.compress),
    "GZip": ("GZip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "deflate without zlib": ("deflate", raw_deflate),
    "zstd": ("zstd", zstd.compress),
    "two members": ("gzip", lambda data: gzip.compress(data[:9]) + gzip.compress(data[9:])),
    "twice": ("gzip, gzip", lambda data: gzip.compress(gzip.compress(data))),
    "deflate and gzip": ("deflate, gzip", lambda data: gzip.compress(zlib.compress(data))),
    "identity and gzip": ("identity, gzip", gzip.compress),
    "identity": ("identity", bytes),
    "none": ("", bytes),
}
FRAMED: dict[str, Pack] = {
    "plain": lambda data: b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(data) + data,
    "without a reason": lambda data: b"HTTP/1.1 200\r\nContent-Length: %d\r\n\r\n" % len(data) + data,
    "with a BOM": lambda data: b"HTTP/1.1 200 OK\r\n\r\n\xef\xbb\xbf" + data,
    "chunks": lambda data: b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunked(data),
    "chunks of a byte": lambda data: b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n" + chunked(data, 1),
    "chunks with extensions": lambda data: (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunked(data, 64, b";a=b", b"x-checksum: 1\r\n")
    ),
    "1.0 to the end": lambda data: b"HTTP/1.0 200 OK\r\n\r\n" + data,
    "1.0 with keep-alive": lambda data: (
        b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: %d\r\n\r\n" % len(data) + data
    ),
    "after 100": lambda data: (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(data) + data
    ),
    "after 102 and 103": lambda data: (
        b"HTTP/1.1 102 Processing\r\n\r\n" * 3
        + b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 201 Created\r\n\r\n"
        + data
    ),
    "1.0 with gzip": lambda data: b"HTTP/1.0 200 OK\r\ncontent-encoding: gzip\r\n\r\n" + gzip.compress(data),
    "chunks of gzip": lambda data: (
        b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n"
        + chunked(gzip.compress(data), 1)
    ),
    "two lines of codings": lambda data: (
        b"HTTP/1.1 200 OK\r\ncontent-encoding: deflate\r\ncontent-encoding: gzip\r\n\r\n"
        + gzip.compress(zlib.compress(data))
    ),
}
BAD: dict[str, Pack] = {
    "br": lambda data: b"HTTP/1.1 200 OK\r\ncontent-encoding: br\r\n\r\n" + b"\x1b\x00\x00" + data,
    "exotic": lambda data: b"HTTP/1.1 200 OK\r\ncontent-encoding: compress, aws-chunked\r\n\r\n" + data,
    "no gzip": lambda data: b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n" + data,
    "many times": lambda data: b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip,gzip,gzip,gzip\r\n\r\n" + data,
    "a bomb": lambda data: b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n" + gzip.compress(bytes(100 << 20)),
    "half of gzip": lambda data: b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n" + gzip.compress(data)[:40],
}


def answer(form: str, said: bytes) -> bytes:
    if form in CODED:
        coding, pack = CODED[form]
        packed = pack(said)
        fields = f"content-encoding: {coding}\r\n" if coding else ""
        return f"HTTP/1.1 200 OK\r\n{fields}content-length: {len(packed)}\r\n\r\n".encode() + packed
    return (FRAMED | BAD)[form](said)


@pytest.fixture
async def receiver() -> AsyncIterator[Raw]:
    raw = Raw()
    server = await asyncio.start_server(raw.serve, "127.0.0.1", 0)
    raw.port = server.sockets[0].getsockname()[1]
    yield raw
    server.close()


@pytest.fixture
async def plane(settings: Settings) -> AsyncIterator[Plane]:
    told = load_settings(nats_url=settings.nats_url, data_dir=settings.data_dir, webhook_networks="127.0.0.0/8")
    async with Plane.connect(told) as connected:
        yield connected


async def test_a_receiver_is_registered_whatever_form_its_answer_has(plane: Plane, receiver: Raw) -> None:
    hooks = plane.webhooks
    for number, receiver.form in enumerate({**CODED, **FRAMED}):
        endpoint, _ = await hooks.add(f"answers.n{number}", receiver.url)
        await hooks.remove(endpoint.id)
    assert all("accept-encoding: identity\r\n" in head for head in receiver.heads)


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ("br", "compressed with 'br', which was not requested"),
        ("exotic", "compressed with 'compress'"),
        ("no gzip", "not valid gzip"),
        ("many times", "has 4 codings"),
        ("a bomb", "answered 200"),
        ("half of gzip", "answered 200"),
    ],
)
async def test_what_cannot_be_read_is_named(plane: Plane, receiver: Raw, form: str, said: str) -> None:
    receiver.form = form
    hooks = plane.webhooks
    with pytest.raises(WebhookError, match=f"failed the verification.*{said}"):
        await hooks.add("answers.bad", receiver.url)
    assert await hooks.list() == []


@pytest.mark.parametrize("form", [*BAD])
async def test_an_event_is_taken_by_its_status_whatever_the_body(receiver: Raw, form: str) -> None:
    post = WebhookPost(webhook_guard(("127.0.0.0/8",)))
    receiver.form = form
    try:
        assert (await post.post(receiver.url, b"{}", {}, 0.0)).accepted
    finally:
        await post.close()


async def test_a_bomb_takes_no_more_memory_than_the_cap(receiver: Raw) -> None:
    post = WebhookPost(webhook_guard(("127.0.0.0/8",)))
    bomb = answer("a bomb", b"")
    BAD["made"] = lambda data: bomb
    receiver.form = "made"
    tracemalloc.start()
    try:
        found = await post.post(receiver.url, b"{}", {}, 0.0)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
        await post.close()
        del BAD["made"]
    assert found.body == bytes(64 << 10)
