"""fastmcp-tasks, a client of SEP-2663 by others, follows a task of ours through the death of its server.

Its own server loses tasks in a restart (PrefectHQ/fastmcp#3758).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import pytest

from broker_plane.testing.processes import until
from broker_plane.testing.server import NatsServer
from tests.docs.blocks import ROOT, blocks_of
from tests.interaction.task_processes import TaskServer, started
from tests.ports import free_port

from .environments import python_with

pytestmark = pytest.mark.anyio
REQUIREMENTS = ("fastmcp==4.1.4", "fastmcp-tasks==4.1.4")
HERE = Path(__file__).parent
SECONDS = 120


@pytest.fixture(scope="session")
def their_python() -> Path:
    return python_with("fastmcp-tasks", *REQUIREMENTS)


@contextmanager
def process(*words: object, **environment: object) -> Iterator[subprocess.Popen[bytes]]:
    env = {**os.environ, **{name: str(value) for name, value in environment.items()}}
    running = subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE, env=env)
    try:
        yield running
    finally:
        running.kill()
        running.wait(10)
        if running.stdout is not None:
            running.stdout.close()


def served(program: Path, port: int, *words: str, nats_url: str, directory: Path) -> Any:
    """A process with a Python server on that port."""
    return process(
        *(sys.executable, program, port, *words),
        PYTHONPATH=ROOT,
        BROKER_PLANE_NATS_URL=nats_url,
        BROKER_PLANE_DATA_DIR=directory,
        BROKER_PLANE_BRIDGE_URL="http://127.0.0.1:1",
        BROKER_PLANE_TASK_LEASE_SECONDS=1,
    )


async def answering(port: int) -> None:
    async def connects() -> bool:
        try:
            async with await anyio.connect_tcp("127.0.0.1", port):
                return True
        except OSError:
            return False

    await until(connects, "the server to answer")


async def said(running: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert running.stdout is not None
    with anyio.fail_after(SECONDS):
        line = await anyio.to_thread.run_sync(running.stdout.readline, abandon_on_cancel=True)
    parsed: dict[str, Any] = json.loads(line)
    return parsed


async def test_a_task_is_polled_through_kill_9_of_its_server(
    their_python: Path, nats_server: NatsServer, tmp_path: Path
) -> None:
    name, journal, go = f"long-{uuid4().hex[:12]}", tmp_path / "journal", tmp_path / "go"

    def begun() -> list[list[str]]:
        return [line.split() for line in journal.read_text().splitlines()] if journal.exists() else []

    first = TaskServer(name, nats_server.url, tmp_path)
    arguments = json.dumps({"journal": str(journal), "go": str(go), "steps": 4, "hold": 2})
    async with started(first):
        client = (their_python, HERE / "fastmcp_tasks_client.py", first.url, "work", arguments)
        with process(*client) as polling:
            created = await said(polling)
            assert await said(polling) == {"status": "working"}
            await until(lambda: len(begun()) == 3, "the step in the middle to begin")
            first.kill()
            go.touch()
            second = TaskServer(name, nats_server.url, tmp_path, port=first.port)
            async with started(second):
                result = {"key": created["task"], "by": [first.pid] * 2 + [second.pid] * 2}
                assert await said(polling) == {"status": "completed", "result": result}
                assert await said(polling) == {"again": True}
    expected = [(0, first), (1, first), (2, first), (2, second), (3, second)]
    assert begun() == [[str(number), str(server.pid)] for number, server in expected]


@pytest.mark.full
async def test_the_guide_is_right(their_python: Path, nats_server: NatsServer, tmp_path: Path) -> None:
    port = free_port()
    texts = [block.text.replace("8000", str(port)) for block in blocks_of(ROOT / "docs/tasks.md")]
    server = next(text for text in texts if 'PlaneServer("reports")' in text)
    (tmp_path / "reports.py").write_text(server.replace('"reports"', f'"reports-{uuid4().hex[:8]}"'))
    (tmp_path / "watch.py").write_text(next(text for text in texts if "call_tool_task" in text))
    with served(tmp_path / "reports.py", port, nats_url=nats_server.url, directory=tmp_path):
        await answering(port)
        with process(their_python, tmp_path / "watch.py") as watching:
            assert watching.stdout is not None
            with anyio.fail_after(SECONDS):
                printed = await anyio.to_thread.run_sync(watching.stdout.read, abandon_on_cancel=True)
    task_id, status, sent = printed.decode().split(maxsplit=2)
    assert (len(task_id), status) == (24, "working")
    assert sent.strip() == "sent 'Oslo: 4, Rome: 4'"
