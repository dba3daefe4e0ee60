"""A server on loopback that answers what no server should: each path begins with the name of an answer.

`with hostile() as base:` gives its URL; `<base>/<name>/s2sp/data/<grant>` is answered by ANSWERS[name], and so is every
other path below `<base>/<name>/`. Answers that have no end go on until the reader leaves.
"""

from __future__ import annotations

import socketserver
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count, repeat
from typing import Any

from backports import zstd

from broker_plane.wire.body import ROWS_TYPE

MIB = 1 << 20
ZEROS = bytes(MIB)
DIGEST = "repr-digest: sha-256=:" + "A" * 43 + "=:"
ZSTD_HEAD = bytes.fromhex("28b52ffd0050")
"""RFC 8878, section 3.1.1: a frame with a window of 1 MiB that does not say its size."""

ZSTD_ZEROS = bytes.fromhex("02001000")
"""One block: a zero byte, 131,072 times."""

WAITS_SECONDS = 30.0
"""For one write: a reader that takes nothing for so long has left."""

Pieces = Iterator[bytes]


def head(status: int, *lines: str) -> bytes:
    return "\r\n".join((f"HTTP/1.1 {status} Hostile", *lines, "", "")).encode()


def chunked(pieces: Pieces) -> Pieces:
    for piece in pieces:
        if piece:
            yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


def endless(piece: bytes = ZEROS) -> Pieces:
    yield from repeat(piece)


def squeezed(coding: str) -> Pieces:
    """Zeros without end, compressed as one stream."""
    if coding == "zstd":
        yield ZSTD_HEAD
        yield from endless(ZSTD_ZEROS * 65_536)
    deflating = zlib.compressobj(9, wbits=31 if coding == "gzip" else 15)
    yield deflating.compress(ZEROS) + deflating.flush(zlib.Z_FULL_FLUSH)
    # After a full flush a block depends on nothing before it.
    block = deflating.compress(ZEROS * 8) + deflating.flush(zlib.Z_FULL_FLUSH)
    yield from endless(block * 64)


def empties(coding: str) -> Pieces:
    """Compressed nothing, again and again."""
    if coding == "zstd":
        return endless(zstd.compress(b"") * 4096)
    packer = zlib.compressobj(wbits=31)
    return endless((packer.compress(b"") + packer.flush()) * 4096)


def coded(status: int, coding: str, pieces: Pieces, *lines: str) -> Pieces:
    yield head(status, "transfer-encoding: chunked", f"content-encoding: {coding}", *lines)
    yield from chunked(pieces)


def plain(status: int, pieces: Pieces, *lines: str) -> Pieces:
    yield head(status, "transfer-encoding: chunked", *lines)
    yield from chunked(pieces)


def sized(status: int, length: int | str, pieces: Pieces, *lines: str) -> Pieces:
    yield head(status, f"content-length: {length}", *lines)
    yield from pieces


def until_closed(status: int, pieces: Pieces, *lines: str) -> Pieces:
    yield head(status, "connection: close", *lines)
    yield from pieces


def provisional() -> Pieces:
    yield from endless(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 64)


def headers_without_end(line: bytes) -> Pieces:
    yield b"HTTP/1.1 200 OK\r\n"
    yield from endless(line)


def fields(number: int) -> bytes:
    return b"".join(b"field-%d-%d: x\n" % (number, each) for each in range(1000))


def once(raw: bytes) -> Pieces:
    yield raw


JSON = "content-type: application/json"
EVENTS = "content-type: text/event-stream"
ROWS = f"content-type: {ROWS_TYPE}"
BYTES = "content-type: application/octet-stream"

REFUSALS: dict[str, Callable[[], Pieces]] = {
    "gzip": lambda: coded(500, "gzip", squeezed("gzip"), JSON),
    "zstd": lambda: coded(404, "zstd", squeezed("zstd"), JSON),
    "deflate": lambda: coded(410, "deflate", squeezed("deflate"), JSON),
    "br": lambda: coded(400, "br", endless(), JSON),
    "gzip-gzip": lambda: coded(500, "gzip, gzip", squeezed("gzip"), JSON),
    "gzip-empties": lambda: coded(500, "gzip", empties("gzip"), JSON),
    "zstd-empties": lambda: coded(500, "zstd", empties("zstd"), JSON),
    "not-gzip": lambda: coded(500, "gzip", endless(), JSON),
    "endless": lambda: plain(500, endless(), JSON),
    "endless-until-closed": lambda: until_closed(403, endless(), JSON),
    "length": lambda: sized(500, 10**12, endless(), JSON),
    "length-of-digits": lambda: sized(500, "9" * 4000, endless(), JSON),
    "deep": lambda: plain(500, once(b"[" * 60_000), JSON),
    "many-values": lambda: plain(500, once(b"[" + b"[]," * 20_000 + b"[]]"), JSON),
    "whole-numbers": lambda: plain(500, once(b'{"code": ' + b"9" * 50_000 + b"}"), JSON),
    "code-is-object": lambda: plain(400, once(b'{"code": {}, "detail": []}'), JSON),
    "retry-after": lambda: plain(500, once(b'{"code": "bad_request"}'), JSON, "retry-after: " + "9" * 400),
    "redirect": lambda: sized(302, 10**12, endless(), "location: http://127.0.0.1:9/"),
    "redirect-gzip": lambda: coded(307, "gzip", squeezed("gzip"), "location: /elsewhere"),
    "header-line": lambda: headers_without_end(b"x" * 4096),
    "header-lines": lambda: headers_without_end(b"x-y: z\r\n" * 512),
    "status-line": lambda: endless(b"HTTP/1.1 200 " + b"O" * 4096),
    "not-http": lambda: endless(b"\x00\xff" * 4096),
}
"""Answers to any request: none of them says anything, and all of them say it at length."""

SHORT: dict[str, Callable[[], Pieces]] = {
    "ok-gzip": lambda: coded(200, "gzip", squeezed("gzip"), JSON),
    "ok-zstd": lambda: coded(200, "zstd", squeezed("zstd"), JSON),
    "ok-deflate": lambda: coded(200, "deflate", squeezed("deflate"), JSON),
    "ok-br": lambda: coded(200, "br", endless(), JSON),
    "ok-gzip-empties": lambda: coded(200, "gzip", empties("gzip"), JSON),
    "ok-endless": lambda: plain(200, endless(b'{"count": 1, "columns": [' + b'"a",' * 1000), JSON),
    "ok-until-closed": lambda: until_closed(200, endless(b" " * 4096), JSON),
    "ok-length": lambda: sized(200, 10**12, endless(), JSON),
    "ok-length-of-digits": lambda: sized(200, "9" * 4000, endless(), JSON),
    "ok-deep": lambda: plain(200, once(b"[" * 60_000), JSON),
    "ok-other": lambda: plain(200, once(b'["status"]'), JSON),
    "ok-no-json": lambda: plain(200, once(b"\xff" * 1000), JSON),
}
"""Answers to a request whose answer is short: look, page, confirm, upload."""

BODIES: dict[str, Callable[[], Pieces]] = {
    "body-endless": lambda: plain(200, endless(), BYTES, DIGEST),
    "body-until-closed": lambda: until_closed(200, endless(), BYTES, DIGEST),
    "body-length": lambda: sized(200, 10**15, endless(), BYTES, DIGEST),
    "body-above-memory": lambda: sized(200, 3 << 30, endless(), BYTES, DIGEST),
    "body-length-of-digits": lambda: sized(200, "9" * 4000, endless(), BYTES, DIGEST),
    "body-lies": lambda: sized(200, MIB, endless(), BYTES, DIGEST),
    "body-gzip": lambda: coded(200, "gzip", squeezed("gzip"), BYTES, DIGEST),
    "body-no-digest": lambda: plain(200, endless(), BYTES),
    "rows-garbage": lambda: plain(200, endless(), ROWS, "bp-rows: 5"),
    "rows-uncounted": lambda: plain(200, endless(b"\x93" * MIB), ROWS),
    "rows-counted": lambda: plain(200, endless(), ROWS, "bp-rows: 999999999999"),
    "rows-stored": lambda: plain(200, endless(), ROWS, DIGEST, "bp-rows: 5"),
    "rows-sized": lambda: sized(200, 3 << 30, endless(), ROWS, DIGEST, "bp-rows: 5"),
}
"""Answers to a pull."""

STREAMS: dict[str, Callable[[], Pieces]] = {
    "events-line": lambda: plain(200, endless(b"x" * MIB), EVENTS),
    "events-data": lambda: plain(200, endless(b"data: " + b"x" * 1000 + b"\n"), EVENTS),
    "events-fields": lambda: plain(200, map(fields, count()), EVENTS),
    "events-comments": lambda: plain(200, endless(b": nothing\n" * 400), EVENTS),
    "events-empty": lambda: plain(200, endless(b"data:\n\n" * 400), EVENTS),
    "events-blank": lambda: plain(200, endless(b"\n" * 4000), EVENTS),
    "events-messages": lambda: plain(200, endless(b"data: " + b"x" * 60_000 + b"\n\n"), EVENTS),
    "events-gzip": lambda: coded(200, "gzip", squeezed("gzip"), EVENTS),
}
"""Answers to a transfer of server-sent events."""

RAW: dict[str, Callable[[], Pieces]] = {
    "raw-endless": lambda: plain(200, endless()),
    "raw-until-closed": lambda: until_closed(200, endless()),
    "raw-length": lambda: sized(200, 10**15, endless()),
    "raw-gzip": lambda: plain(200, squeezed("gzip")),
    "raw-zstd": lambda: plain(200, squeezed("zstd")),
    "raw-gzip-empties": lambda: plain(200, empties("gzip")),
    "raw-zstd-empties": lambda: plain(200, empties("zstd")),
}
"""Answers to a transfer of a file."""

ANSWERS = REFUSALS | SHORT | BODIES | STREAMS | RAW


class HostileServer(socketserver.ThreadingTCPServer):
    """`heads` are the heads of the requests that came."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.heads: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, *_: Any) -> None:
        """A reader that leaves is what every answer is for."""


class _Handler(socketserver.BaseRequestHandler):
    server: HostileServer

    def handle(self) -> None:
        self.request.settimeout(WAITS_SECONDS)
        raw = b""
        while b"\r\n\r\n" not in raw:
            piece = self.request.recv(65_536)
            if not piece:
                return
            raw += piece
        asked = raw.partition(b"\r\n\r\n")[0].decode("latin-1")
        self.server.heads.append(asked)
        name = asked.split(" ")[1].split("/")[1]
        with suppress(OSError):
            for piece in ANSWERS[name]():
                self.request.sendall(piece)


@contextmanager
def hostile() -> Iterator[HostileServer]:
    server = HostileServer()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
