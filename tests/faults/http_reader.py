"""Plain HTTP requests to a bridge, as any client makes them: what it answers, without a patience of ours before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection
from urllib.parse import urlsplit

import anyio.to_thread


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers by lower-case name, and the first megabyte of the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


async def get(url: str) -> Answer:
    """GET it, on a connection of its own."""
    return await anyio.to_thread.run_sync(_get, url)


def _get(url: str) -> Answer:
    parts = urlsplit(url)
    connection = HTTPConnection(parts.netloc, timeout=30)
    try:
        connection.request("GET", parts.path)
        response = connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, response.read(1 << 20))
    finally:
        connection.close()
