"""What the processes of these tests do: `python -m tests.faults.actor <verb> <arguments>`.

Every verb works on the broker that its environment names, says JSON lines, and waits for its input to end where the
test is to kill it.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections.abc import AsyncIterator, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import anyio.to_thread

from broker_plane import Plane, Published
from broker_plane.errors import BrokerPlaneError
from broker_plane.storage import putting
from broker_plane.testing.processes import memory
from broker_plane.wire.selector import WHOLE


def say(fields: dict[str, Any]) -> None:
    print(json.dumps(fields), flush=True)


async def wait() -> None:
    await anyio.to_thread.run_sync(sys.stdin.readline)


async def publish(plane: Plane, size: str, uses: str) -> None:
    """Publish random bytes, say where they are, and live on."""
    raw = os.urandom(int(size))
    say(offer(await plane.publish(raw, uses=int(uses) or "unlimited")))
    await wait()


async def put(plane: Plane, ttl: str) -> None:
    """Publish a body that does not end; says how much went out. Its chunks live as long as the body, no longer."""
    putting.CHUNKS_OUTLIVE_SECONDS = 0
    sent = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            yield os.urandom(500_000)
            sent += 500_000
            say({"sent": sent})
            if sent > 5_000_000:
                await wait()

    await plane.publish_pieces(pieces(), ttl=int(ttl))


async def publish_lines(plane: Plane, ttl: str) -> None:
    """Publish 600,000 bytes for each line of input, up to an empty one; say what went out, and the offer."""

    async def pieces() -> AsyncIterator[bytes]:
        say({"sent": 0})
        while (await anyio.to_thread.run_sync(sys.stdin.readline)).strip():
            yield os.urandom(600_000)
            say({"sent": 1})

    try:
        say(offer(await plane.publish_pieces(pieces(), ttl=int(ttl), uses="unlimited")))
    except BrokerPlaneError as error:
        say({"error": error.code})
    await wait()


async def publish_each_line(plane: Plane) -> None:
    """Publish a row for each line of input; says where it is, or what went wrong."""
    say({"ready": True})
    while await anyio.to_thread.run_sync(sys.stdin.readline):
        try:
            say(offer(await plane.publish([{"city": "Ulm", "rain": 3}], uses="unlimited")))
        except BrokerPlaneError as error:
            say({"error": error.code, "message": str(error)})


async def pull_half(plane: Plane, address: str, via: Any) -> None:
    """Pull half of a body, and then hang with the other half on the way."""
    received = 0
    async with plane.pulls.open(address, WHOLE, via) as incoming:
        async for piece in incoming.pieces:
            received += len(piece)
            if received * 2 >= (incoming.size or 0):
                say({"received": received, "size": incoming.size})
                await wait()


async def publish_file(plane: Plane, path: str) -> None:
    """Publish a file, and say what that took."""
    published = await plane.publish(Path(path), uses="unlimited", ttl=3600)
    say(offer(published) | {"memory": memory()["VmHWM"]})


async def publish_rows(plane: Plane, count: str) -> None:
    """Publish so many rows out of a generator, and say what that took."""
    published = await plane.publish(rows(int(count)), uses="unlimited", ttl=3600)
    say(offer(published) | {"memory": memory()["VmHWM"]})


async def pull_to(plane: Plane, address: str, via: Any, path: str) -> None:
    """Pull a body into a file, and say what that took."""
    incoming = await plane.pull_to(address, Path(path), via=via)
    say({"digest": incoming.digest, "memory": memory()["VmHWM"]})


async def iterate(plane: Plane, address: str, via: Any) -> None:
    """Take row after row, and say what that took."""
    count = total = 0
    async for row in plane.iterate(address, via=via):
        count += 1
        total += row["number"]
    say({"rows": count, "total": total, "memory": memory()["VmHWM"]})


async def attach(plane: Plane) -> None:
    """Say which broker this process shares."""
    published = await plane.publish(b"shared", uses=2)
    say({"bridge": plane.bridge_url, "http": published.resource_url, "nats": published.subject})
    await wait()


def rows(count: int) -> Iterator[dict[str, Any]]:
    chance = random.Random(count)
    for number in range(count):
        yield {"number": number, "name": f"row {number}", "key": chance.getrandbits(63), "even": number % 2 == 0}


def offer(published: Published) -> dict[str, Any]:
    body = published.body
    return {"url": published.resource_url, "subject": published.subject, "digest": body.digest, "size": body.size}


def digest_of(raw: bytes) -> str:
    return sha256(raw).hexdigest()


VERBS = {
    verb.__name__: verb
    for verb in (
        publish,
        publish_lines,
        publish_each_line,
        put,
        pull_half,
        publish_file,
        publish_rows,
        pull_to,
        iterate,
        attach,
    )
}


async def main(verb: str, *arguments: str) -> None:
    async with Plane.connect() as plane:
        await VERBS[verb](plane, *arguments)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
