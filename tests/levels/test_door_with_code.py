"""The door behind a real sandbox: what code in it gets, and what it does not."""

from __future__ import annotations

from typing import Any

import pytest

from broker_plane.levels.door import HostDoor
from broker_plane.sandbox.monty import MontyRung
from broker_plane.sandbox.ports import Job, RunVerdict
from tests.levels.doors import SECRET, door
from tests.levels.endpoints import Endpoint, endpoint
from tests.tools import need_module

pytestmark = pytest.mark.anyio


class Collected:
    """A sink in memory."""

    def __init__(self) -> None:
        self.content = b""

    async def write(self, piece: bytes) -> None:
        self.content += piece


async def run(opened: HostDoor, source: str, server: Endpoint) -> tuple[RunVerdict, bytes]:
    need_module("pydantic_monty")
    sink = Collected()
    verdict = await MontyRung().run(Job(source=source, inputs={"ENDPOINT": f"{server.url}/items"}), opened, sink)
    return verdict, sink.content


async def test_code_fetches_and_streams_with_a_credential_that_it_never_sees() -> None:
    source = """
first = fetch(ENDPOINT, headers={"X-A": "1", "Authorization": "Bearer guess"})
emit(first["body"])
opened = open_url(ENDPOINT + "?page=2")
while True:
    piece = receive(opened["handle"], 10)
    if not piece:
        break
    emit(piece)
close(opened["handle"])
emit(str(first["headers"]).encode())
"""
    async with endpoint() as server, door(server.url, auth={"type": "bearer", "value": SECRET}) as opened:
        verdict, content = await run(opened, source, server)
    assert verdict.status == "ok", verdict
    assert [asked.header("authorization") for asked in server.asked] == [f"Bearer {SECRET}"] * 2
    assert b"?page=2" in content and SECRET.encode() not in content and content.count(b"*" * len(SECRET)) == 3


REFUSED = [
    "fetch('http://169.254.169.254/latest/meta-data')",
    "fetch(ENDPOINT.replace('127.0.0.1', '127.0.0.2'))",
    "fetch(ENDPOINT.replace('http:', 'file:'))",
    "open_url('http://localhost:1/')",
    "connect('10.0.0.1', 22)",
    "connect('127.0.0.1', 1)",
    "fetch(ENDPOINT, method='CONNECT')",
    "fetch(ENDPOINT, headers={'X': 'a\\r\\nY: b'})",
    "hmac_sha256(b'x')",
]


@pytest.mark.parametrize("call", REFUSED)
async def test_what_the_door_refuses_ends_the_run_unless_code_handles_it(call: str) -> None:
    async with endpoint() as server, door(server.url) as opened:
        verdict, _ = await run(opened, call, server)
        assert verdict.status == "refused", verdict
        handled = f"try:\n    {call}\nexcept PermissionError as error:\n    emit(str(error).encode())\n"
        verdict, content = await run(opened, handled, server)
        assert verdict.status == "ok" and content
        assert server.connections == 0


@pytest.mark.parametrize("shown", ["str(fetch)", "repr(fetch(ENDPOINT))", "repr(globals())", "repr(ENDPOINT)"])
async def test_nothing_that_code_can_look_at_has_the_credential(shown: str) -> None:
    auth: dict[str, Any] = {"type": "query", "query_param": "key", "value": SECRET}
    async with endpoint() as server, door(server.url, auth=auth) as opened:
        verdict, content = await run(opened, f"emit({shown}.encode())", server)
    assert verdict.status in ("ok", "failed", "unsupported")
    assert SECRET.encode() not in content and SECRET not in verdict.detail
