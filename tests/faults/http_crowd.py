"""Many HTTP readers in one process, as plain as can be: `python -m tests.faults.http_crowd`.

Says that it is ready, takes one line of input (URLs, and how many bytes a second each reader takes; 0 is all it can),
lets all of them read at once, and says how that ended. What is read is hashed and not kept.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from hashlib import sha256
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

from broker_plane.testing.processes import memory

_PIECE_BYTES = 1 << 16
_CONNECT_TRIES = 50


async def connected(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    for again in range(_CONNECT_TRIES):
        try:
            return await asyncio.open_connection(host, port, limit=_PIECE_BYTES)
        except OSError:
            await asyncio.sleep(0.05 * again)
    return await asyncio.open_connection(host, port, limit=_PIECE_BYTES)


async def read(url: str, rate: float) -> str:
    """The SHA-256 of the body, or what came in its place: a status, `cut`, or the name of an error."""
    parts = urlsplit(url)
    try:
        reader, writer = await connected(str(parts.hostname), int(parts.port or 80))
        head = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept: application/octet-stream\r\n"
        head += "Connection: close\r\n\r\n"
        writer.write(head.encode())
        status, *fields = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        length = next(int(field[15:]) for field in fields if field.lower().startswith("content-length:"))
        digest, received = sha256(), 0
        while piece := await reader.read(_PIECE_BYTES):
            received += len(piece)
            digest.update(piece)
            if rate:
                await asyncio.sleep(len(piece) / rate)
        writer.close()
    except (OSError, EOFError, ValueError, StopIteration) as error:
        return type(error).__name__
    if status.split()[1] != "200":
        return status.split()[1]
    return digest.hexdigest() if received == length else "cut"


async def main(job: dict[str, Any]) -> dict[str, Any]:
    began = perf_counter()
    ends = await asyncio.gather(*(read(url, job["rate"]) for url in job["urls"]))
    return {"ends": Counter(ends), "seconds": perf_counter() - began, "memory": memory()["VmHWM"]}


if __name__ == "__main__":
    print(json.dumps({"ready": True}), flush=True)
    print(json.dumps(asyncio.run(main(json.loads(sys.stdin.readline())))), flush=True)
