"""How bytes alone are timed, ours and a peer's by the same code: an HTTP GET, sixty-four clients, a NATS subject."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Any

import httpx2

from tests.bench.measure import Sample, timed

CLIENTS = 64
GETS_A_CLIENT = 8
MANY = 200
"""Small requests in a row, of which one sample is the mean."""


def kept_client() -> httpx2.AsyncClient:
    """The HTTP client that this package pulls with, whose connections stay open."""
    limits = httpx2.Limits(max_connections=CLIENTS, max_keepalive_connections=CLIENTS)
    return httpx2.AsyncClient(trust_env=False, verify=False, timeout=60, limits=limits)  # http only


async def get(client: httpx2.AsyncClient, url: str) -> Sample:
    """The milliseconds of one GET, with the digest of what came."""

    async def whole() -> list[bytes]:
        async with client.stream("GET", url) as response:
            response.raise_for_status()
            return [piece async for piece in response.aiter_raw()]

    ms, pieces = await timed(whole())
    raw = b"".join(pieces)
    return {"ms": ms, "rows": len(raw), "checksum": sha256(raw).hexdigest()}


async def storm(client: httpx2.AsyncClient, url: str) -> Sample:
    """The milliseconds that a GET takes of the server's time: sixty-four clients at once, each some GETs in a row."""
    sizes: set[int] = set()

    async def reader() -> None:
        for _ in range(GETS_A_CLIENT):
            response = await client.get(url)
            response.raise_for_status()
            sizes.add(len(response.content))

    async def all_readers() -> None:
        await asyncio.gather(*(reader() for _ in range(CLIENTS)))

    ms, _ = await timed(all_readers())
    (size,) = sizes
    return {"ms": ms / (CLIENTS * GETS_A_CLIENT), "rows": size, "checksum": ""}


async def many(work: Callable[[], Awaitable[Any]]) -> Sample:
    """The mean milliseconds of `work`, which returns bytes, done many times in a row."""
    sizes: set[int] = set()

    async def all_of_it() -> None:
        for _ in range(MANY):
            sizes.add(len(await work()))

    ms, _ = await timed(all_of_it())
    (size,) = sizes
    return {"ms": ms / MANY, "rows": size, "checksum": ""}


async def once(work: Awaitable[bytes]) -> Sample:
    """The milliseconds of `work`, with the digest of what came."""
    ms, raw = await timed(work)
    return {"ms": ms, "rows": len(raw), "checksum": sha256(raw).hexdigest()}
