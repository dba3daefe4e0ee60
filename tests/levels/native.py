"""Clients of the three foreign protocols, as people write them: what generated code must arrive at."""

from __future__ import annotations

import hmac
import json
import socket
import struct
import zlib
from base64 import b64decode
from collections.abc import Iterable
from time import time
from typing import BinaryIO
from urllib.request import Request, urlopen

from demos.levels_rows import COLUMNS

SECONDS = 20.0


def client_of(protocol: str, port: int, secret: str, api: int) -> bytes:
    """The CSV file, over version `api` of a protocol."""
    match protocol:
        case "x-signed-pages":
            return _csv(_pages(port, secret, api))
        case "x-framed-tcp":
            return _csv(_frames(port, api))
        case _:
            return _events(port, secret, api)


def _csv(rows: Iterable[Iterable[int]]) -> bytes:
    return "".join(f"{line}\n" for line in [COLUMNS, *(",".join(map(str, row)) for row in rows)]).encode()


def signed(port: int, secret: str, path: str, at: int) -> Request:
    signature = hmac.digest(secret.encode(), f"GET\n{path}\n{at}".encode(), "sha256").hex()
    return Request(f"http://127.0.0.1:{port}{path}", headers={"X-Time": str(at), "X-Sign": signature})


def _pages(port: int, secret: str, api: int) -> list[list[int]]:
    rows: list[list[int]] = []
    following: object = "start" if api == 2 else 1
    while following:
        name = "cursor" if api == 2 else "page"
        request = signed(port, secret, f"/gauges/7/readings?{name}={following}", int(time()))
        with urlopen(request, timeout=SECONDS) as response:  # noqa: S310 - ours
            page = json.load(response)
        rows += page["rows"]
        following = page["next"] if api == 2 else (page["page"] + 1) * (page["page"] < page["pages"])
    return rows


def _frames(port: int, api: int) -> list[tuple[int, ...]]:
    with socket.create_connection(("127.0.0.1", port), SECONDS) as connection, connection.makefile("rb") as stream:
        connection.sendall(struct.pack(">2sBB", b"XF", api, 8) + b"gauges/7")
        header = struct.Struct("<2sBBQ" if api == 2 else ">2sBI")
        magic, version, *_, count = header.unpack(stream.read(header.size))
        assert (magic, version) == (b"XF", api)
        records: list[tuple[int, ...]] = []
        while payload := _frame(stream, api):
            records += struct.iter_unpack("<HIi" if api == 2 else ">HIi", payload)
        assert len(records) == count
        assert stream.read() == b""
        return records


def _frame(stream: BinaryIO, api: int) -> bytes:
    if api == 2:
        length = shift = 0
        while True:
            (byte,) = stream.read(1)
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        (crc,) = struct.unpack("<I", stream.read(4))
        payload = stream.read(length)
    else:
        (length,) = struct.unpack(">I", stream.read(4))
        payload = stream.read(length)
        (crc,) = struct.unpack(">I", stream.read(4))
    assert zlib.crc32(payload) == crc
    return payload


def _events(port: int, secret: str, api: int) -> bytes:
    request = Request(f"http://127.0.0.1:{port}/ticker/7", headers={"Authorization": f"Bearer {secret}"})
    with urlopen(request, timeout=SECONDS) as response:  # noqa: S310 - ours
        text = response.read().decode()
    sign = "> " if api == 2 else "|"
    parts: list[str] = []
    for line in text.splitlines():
        if line.startswith("part=" if api == 2 else "#part "):
            parts.append("")
        elif line.startswith(sign):
            parts[-1] += line.removeprefix(sign)
    last = [line for line in text.splitlines() if line.strip(".")][-1]
    assert last == (f"fin={len(parts)}" if api == 2 else f"#fin {len(parts)}")
    return b"".join(b64decode(part) for part in parts)
