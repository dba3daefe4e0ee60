"""Tasks between processes of one server, one of which is killed."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import uuid4

import pytest
from mcp import Client

from broker_plane.testing.processes import until
from broker_plane.testing.server import NatsServer

from .task_processes import TaskServer, client_of, started
from .tasks import ask, call, reached

pytestmark = [pytest.mark.anyio, pytest.mark.full]
STEPS, HELD = 4, 2


@pytest.fixture
def name() -> str:
    return f"long-{uuid4().hex[:12]}"


def lines(journal: Path) -> list[list[str]]:
    return [line.split() for line in journal.read_text().splitlines()] if journal.exists() else []


async def begun(client: Client, tmp_path: Path) -> tuple[str, Path]:
    """A task that is at its held step, and the journal of its steps."""
    journal = tmp_path / "journal"
    task = await call(client, "work", journal=str(journal), go=str(tmp_path / "go"), steps=STEPS, hold=HELD)

    async def held() -> bool:
        return len(lines(journal)) == HELD + 1

    await until(held, "the held step to begin")
    return task["taskId"], journal


async def test_another_process_goes_on_after_kill_9_and_repeats_no_step(
    nats_server: NatsServer, tmp_path: Path, name: str
) -> None:
    """One task is in a step when its process dies, and one waits for an answer."""
    first = TaskServer(name, nats_server.url, tmp_path)
    async with started(first), client_of(first) as client:
        asking = (await call(client, "send", to="all"))["taskId"]
        await reached(client, asking, "input_required")
        task_id, journal = await begun(client, tmp_path)
        first.kill()
    (tmp_path / "go").touch()
    second = TaskServer(name, nats_server.url, tmp_path)
    async with started(second), client_of(second) as client:
        assert "approve" in (await ask(client, "get", asking))["inputRequests"]
        answer = {"action": "accept", "content": {"approve": True}}
        await ask(client, "update", asking, inputResponses={"approve": answer})
        answered = await reached(client, asking)
        ended = await reached(client, task_id)
    assert answered["result"]["content"][0]["text"] == f"accept by {second.pid}"
    assert [int(number) for number, _ in lines(journal)] == [0, 1, HELD, HELD, 3]
    assert [int(pid) for _, pid in lines(journal)] == [first.pid] * 3 + [second.pid] * 2
    result = json.loads(ended["result"]["content"][0]["text"])
    assert result == {"key": task_id, "by": [first.pid] * 2 + [second.pid] * 2}
    assert ended["statusMessage"] == "all steps are done"
