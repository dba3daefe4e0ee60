"""A task of a server behind NATS goes on at another instance after kill -9, without a request that asks for it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import anyio
import pytest
from mcp import Client

from broker_plane.config import load_settings
from broker_plane.testing.processes import until
from broker_plane.testing.server import NatsServer
from broker_plane.transports.nats import nats_client

from .tasks import TakesTasks, call, reached

pytestmark = [pytest.mark.anyio, pytest.mark.full]
ROOT = Path(__file__).parents[2]
HELD = 1

SERVER = """
from tests.interaction.task_server import make_server
server = make_server("{name}")
"""


@contextmanager
def serving(program: Path, name: str, nats_url: str) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "BROKER_PLANE_NATS_URL": nats_url,
        "BROKER_PLANE_DATA_DIR": str(program.parent),
        "BROKER_PLANE_BRIDGE_URL": "http://127.0.0.1:1",
        "BROKER_PLANE_TASK_LEASE_SECONDS": "1",
    }
    words = [sys.executable, "-m", "broker_plane.cli.main", "serve", "--nats", name, str(program)]
    running = subprocess.Popen(words, env=environment)
    try:
        yield running
    finally:
        running.kill()
        running.wait(10)


async def test_another_instance_goes_on_with_a_task(nats_server: NatsServer, tmp_path: Path) -> None:
    name, program, journal = f"long-{uuid4().hex[:12]}", tmp_path / "server.py", tmp_path / "journal"
    program.write_text(SERVER.format(name=name))
    settings = load_settings(nats_url=nats_server.url, data_dir=tmp_path)

    def begun() -> list[list[str]]:
        return [line.split() for line in journal.read_text().splitlines()] if journal.exists() else []

    # Pinned to its era: with "auto", the SDK falls back to a handshake while no instance answers yet.
    transport = nats_client(name, settings=settings, wait_seconds=60)
    with serving(program, name, nats_server.url) as first:
        async with Client(transport, extensions=[TakesTasks()], mode="2026-07-28") as client:
            arguments = {"journal": str(journal), "go": str(tmp_path / "go"), "steps": 3, "hold": HELD}
            task_id = (await call(client, "work", **arguments))["taskId"]
            await until(lambda: len(begun()) == HELD + 1, "the held step to begin")
            first.kill()
            await anyio.to_thread.run_sync(first.wait, 10)
            (tmp_path / "go").touch()
            with serving(program, name, nats_server.url) as second:
                await reached(client, task_id, seconds=120)
    assert begun() == [[str(number), str(pid)] for number, pid in enumerate([first.pid] * 2)] + [
        [str(number), str(second.pid)] for number in (1, 2)
    ]
