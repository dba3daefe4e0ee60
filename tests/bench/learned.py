"""A body over a protocol that no handler knows, by cached code in the interpreter, and the same bytes over http.

python -m tests.bench.learned SIZE     serve that many bytes to whoever asks, and print the port
"""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

from broker_plane import Plane
from broker_plane.wire.descriptor import Descriptor, parse_descriptor
from tests.bench.lines import ROOT
from tests.bench.measure import Sample, timed
from tests.bench.rows import opaque

CODE = "emit(fetch(ENDPOINT)['body'])\n"
ADDED_MS = 30.0
"""What cached code may cost more than the handler, for 1 MB."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    body = b""

    def log_message(self, *_: Any) -> None:
        """Nobody reads a log."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)


@asynccontextmanager
async def served(size: int) -> AsyncIterator[str]:
    """The URL of a server, in a process of its own, of opaque bytes."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.learned", str(size), cwd=ROOT, stdin=DEVNULL, stdout=PIPE
    )
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{(await process.stdout.readline()).decode().strip()}/body"
    finally:
        process.kill()
        await process.wait()


async def fetched(plane: Plane, url: str, size: int, by: str, output: Path) -> Sample:
    """The time from the descriptor to the verified file, by "code" from the cache or by the "handler" of http."""
    digest = sha256(opaque(size)).hexdigest()
    if by == "handler":
        ms, _ = await timed(plane.transfers.fetch_to(descriptor(url, size, digest, "http"), output))
    else:
        ms = await _by_code(plane, descriptor(url, size, digest, "x-bench"), output)
    return {"ms": ms, "rows": size, "checksum": _digest(output)}


async def _by_code(plane: Plane, described: Descriptor, output: Path) -> float:
    ms, outcome = await timed(plane.levels.run(described, output, provider=_write))
    if outcome.level == "2":  # nothing was in the cache yet
        ms, outcome = await timed(plane.levels.run(described, output, provider=_write))
    if (outcome.level, outcome.rung, outcome.provider_calls) != ("1.5", "monty", 0):
        raise RuntimeError(f"Not by cached code in the interpreter: {outcome}")
    return ms


def _digest(file: Path) -> str:
    return sha256(file.read_bytes()).hexdigest()


async def _write(prompt: str) -> str:
    return CODE


def descriptor(url: str, size: int, digest: str, protocol: str) -> Descriptor:
    return parse_descriptor(
        {
            "$schema": "mcp/transfer-descriptor/v1",
            "transfer_id": str(uuid4()),
            "mode": "fetch",
            "protocol": protocol,
            "endpoint": url,
            "format": "application/octet-stream",
            "size_hint": size,
            "checksum": f"sha256:{digest}",
            "description": {"tier": "high", "text": "GET the endpoint."},
            "sandbox": {"runtime": "python"},
        }
    )


if __name__ == "__main__":
    _Handler.body = opaque(int(sys.argv[1]))
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        print(server.server_port, flush=True)
        server.serve_forever()
