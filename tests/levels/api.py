"""An API on loopback that no handler knows, and what carries out descriptors of it with code."""

from __future__ import annotations

import hashlib
import json
import math
import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

from broker_plane.broker.connection import Connection
from broker_plane.levels.code_cache import BucketCodeCache
from broker_plane.levels.code_runs import CodeRunner
from broker_plane.levels.door import HostDoor
from broker_plane.levels.learned import LearnedTransfers
from broker_plane.levels.ports import CodeEntry, Generated, Provider, RunFailure, RunRecord
from broker_plane.levels.reach_list import reach_list
from broker_plane.levels.run_log import BucketRunLog
from broker_plane.sandbox.ladder import Ladder
from broker_plane.sandbox.ports import Door, RunLimits
from broker_plane.storage.buckets import NatsBucket
from broker_plane.wire.descriptor import Description, Descriptor, parse_descriptor

BODY = random.Random(16).randbytes(400_000)
TOKEN = "tok-0123456789-abcdef"
PAGE = 150_000

GOOD = """\
page = 0
while True:
    answer = fetch(ENDPOINT + "&page=" + str(page))
    if answer["status"] != 200:
        raise ValueError("status " + str(answer["status"]) + " from " + ENDPOINT)
    if not answer["body"]:
        break
    emit(answer["body"])
    page += 1
"""
GOOD_2 = GOOD.replace("&page=", "&p=")
"""Code for version 2 of the API."""
RAISES = 'raise ValueError("there is no such page")\n'
SHORT = 'emit(b"not the body")\n'
SILENT = "x = 1\n"
OTHER_HOST = 'fetch("https://other.example/rows")\n'


class PagedApi(ThreadingHTTPServer):
    """BODY in pages below /v1/items/<id>: `page=<n>` in version 1, `p=<n>` in version 2."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.version = 1
        self.asked: list[str] = []
        self.gate = threading.Event()
        self.gate.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def describe(self, path: str = "/v1/items/17?view=all", **fields: Any) -> Descriptor:
        return describe(**({"endpoint": self.url + path} | fields))


class _Handler(BaseHTTPRequestHandler):
    server: PagedApi

    def log_message(self, *_: Any) -> None:
        """Tests read no log."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.server.gate.wait(30)
        query = dict(part.partition("=")[::2] for part in self.path.partition("?")[2].split("&"))
        page = query.get("page" if self.server.version == 1 else "p")
        if self.headers.get("authorization") != f"Bearer {TOKEN}" or page is None:
            self._send(400, f"bad request {self.headers.get('authorization')}".encode())
        else:
            self._send(200, BODY[int(page) * PAGE : (int(page) + 1) * PAGE])

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def paged_api() -> Iterator[PagedApi]:
    server = PagedApi()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def describe(endpoint: str, **fields: Any) -> Descriptor:
    """A Level 2 descriptor of BODY; a field that is None is left out."""
    said = {
        "$schema": "mcp/transfer-descriptor/v1",
        "transfer_id": str(uuid4()),
        "mode": "fetch",
        "protocol": "x-paged",
        "endpoint": endpoint,
        "format": "application/octet-stream",
        "auth": {"type": "bearer", "value": TOKEN},
        "size_hint": len(BODY),
        "checksum": "sha256:" + hashlib.sha256(BODY).hexdigest(),
        "description": {"tier": "high", "text": "Pages of bytes: page=0, 1, … until one is empty."},
        "sandbox": {"runtime": "python", "timeout_ms": 20_000},
    } | fields
    return parse_descriptor({name: value for name, value in said.items() if value is not None})


class Writer:
    """A provider of prepared code, one source for each call; `failures` and `tiers` are what its prompts said."""

    name = "scripted"

    def __init__(self, *sources: str) -> None:
        self.sources = list(sources)
        self.calls = 0
        self.prompts: list[dict[str, Any]] = []

    async def generate(self, prompt: str) -> Generated:
        self.prompts.append(json.loads(prompt) if prompt.startswith("{") else {"prompt": prompt})
        self.calls += 1
        return Generated(self.sources[self.calls - 1], 100, 10)


def prompt(descriptor: Descriptor, description: Description, failure: RunFailure | None) -> str:
    """What a test wants to know of a prompt."""
    failed = None if failure is None else {"status": failure.status, "detail": failure.detail}
    return json.dumps({"tier": description.tier, "text": description.text, "failure": failed})


def open_door(descriptor: Descriptor, limits: RunLimits) -> Door:
    return HostDoor(descriptor, limits, reach=reach_list(descriptor), networks=["127.0.0.1/32"])


@dataclass(frozen=True, slots=True)
class Plant:
    """The cache and the log of one plane, in buckets of their own."""

    cache: BucketCodeCache
    log: BucketRunLog
    code: NatsBucket
    runs: NatsBucket

    def transfers(
        self, provider: Provider | None, *, unsized: int = 1 << 20, generation_seconds: float = math.inf
    ) -> LearnedTransfers:
        return LearnedTransfers(
            CodeRunner(Ladder(), open_door, self.log, max_seconds=30, now=time.time),
            self.cache,
            prompt=prompt,
            provider=provider,
            sized=64 << 20,
            unsized=unsized,
            now=time.time,
            generation_seconds=generation_seconds,
        )

    async def records(self) -> list[RunRecord]:
        return [record async for record in self.log.read()]

    async def statuses(self) -> Sequence[tuple[str, str]]:
        return [(record.level, record.status) for record in await self.records()]


def entry(key: str, source: str, made_at: float = 1.0) -> CodeEntry:
    """Code for the cache."""
    return CodeEntry(
        key=key,
        protocol="x-paged",
        endpoint="http://127.0.0.1:1",
        source=source,
        provider="scripted",
        rung="monty",
        made_at=made_at,
    )


def plant(connection: Connection, name: str, *, claim_seconds: int = 10) -> Plant:
    code, runs = NatsBucket(connection, f"{name}_code"), NatsBucket(connection, f"{name}_runs")
    cache = BucketCodeCache(code, ttl_seconds=3600, claim_seconds=claim_seconds)
    return Plant(cache, BucketRunLog(runs, now=time.time), code, runs)
