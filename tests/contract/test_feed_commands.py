"""`broker-plane publish --feed`, `watch FEED`, `feeds` and `dlq`, as programs use them."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from broker_plane import Plane
from broker_plane.config import Settings
from broker_plane.plane.feeds.message import FeedMessage
from broker_plane.plane.feeds.retry_schedule import RetrySchedule
from broker_plane.testing.processes import Actor, until
from tests import forked
from tests.forked import ForkedActor

pytestmark = pytest.mark.anyio


class Shell:
    def __init__(self, settings: Settings) -> None:
        self.environment = {"BROKER_PLANE_NATS_URL": settings.nats_url, "BROKER_PLANE_BRIDGE_URL": "http://127.0.0.1:1"}

    def run(self, *arguments: object, code: int = 0) -> Any:
        ran = forked.run("broker_plane.cli.main", *arguments, "--json", env={**os.environ, **self.environment})
        assert ran.returncode == code, ran.stderr
        return json.loads(ran.stdout) if ran.stdout else ran.stderr

    def start(self, *arguments: object) -> Actor:
        return ForkedActor("broker_plane.cli.main", *arguments, "--json", **self.environment)


@pytest.fixture
def shell(settings: Settings) -> Shell:
    return Shell(settings)


async def test_versions_are_published_listed_and_watched(shell: Shell, tmp_path: Path) -> None:
    feed = f"crm.{uuid4().hex}"
    file = tmp_path / "contacts.csv"
    file.write_text("id,name\n1,Ann\n2,Bob\n")
    first = shell.run("publish", file, "--feed", feed, "--key", "id")
    assert (first["feed"], first["version"], first["rows"]) == (feed, 1, 2)
    watching = shell.start("watch", feed)
    try:
        assert (await watching.said())["version"] == 1
        file.write_text("id,name\n1,Ann\n2,Rob\n")
        assert shell.run("publish", file, "--feed", feed, "--key", "id")["version"] == 2
        seen = await watching.said()
        assert (seen["version"], seen["feed"], seen["key"]) == (2, feed, ["id"])
    finally:
        watching.close()
    assert [listed["version"] for listed in shell.run("feeds", "ls", feed)] == [1, 2]
    assert shell.run("feeds", "sweep") == {"freed": 0}
    assert "deletes it with its version" in shell.run("delete", first["body_id"], code=1)


async def test_a_csv_with_a_header_and_no_rows_removes_all_rows_and_keeps_the_columns(
    shell: Shell, plane: Plane, tmp_path: Path
) -> None:
    feed, file = f"crm.{uuid4().hex}", tmp_path / "contacts.csv"
    file.write_text("id,name\n1,Ann\n")
    shell.run("publish", file, "--feed", feed, "--key", "id")
    file.write_text("id,name\n")
    published = shell.run("publish", file, "--feed", feed, "--key", "id")
    assert (published["version"], published["rows"]) == (2, 0)
    assert [listed["columns"] for listed in shell.run("feeds", "ls", feed)] == [["id", "name"]] * 2
    notice = await plane.feeds.latest(feed)
    assert notice is not None
    assert len((await plane.feeds.changes(notice, 1)).removed) == 1


async def test_a_feed_that_is_not_there_is_an_error(shell: Shell) -> None:
    assert "There is no feed crm.nofeed" in str(shell.run("feeds", "ls", "crm.nofeed", code=1))


async def test_dead_letters_are_listed_and_replayed(shell: Shell, plane: Plane) -> None:
    feed, durable = f"crm.{uuid4().hex}", uuid4().hex
    await plane.publish([{"id": 1}], feed=feed, key="id")
    taken: list[int] = []

    async def handle(message: FeedMessage) -> None:
        if not taken:
            taken.append(0)
            raise ValueError("no such mailbox")
        taken.append(message.version)

    running = asyncio.create_task(plane.on_notice(feed, handle, durable=durable, retries=RetrySchedule(delays=())))
    try:
        await until(lambda: plane.feeds.dead_letters(durable), "a dead letter")
        (letter,) = shell.run("dlq", "ls", "--durable", durable)
        assert (letter["feed"], letter["version"], letter["error"]) == (feed, 1, "ValueError: no such mailbox")
        assert [each["id"] for each in shell.run("dlq", "replay", letter["id"])] == [letter["id"]]
        await until(lambda: taken == [0, 1], "the notice again")
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
