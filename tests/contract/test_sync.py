"""The synchronous facade: verbs, parts, iterators and blocks, in a thread's loop of its own, over a real broker."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from broker_plane import Plane as AsyncPlane
from broker_plane import Settings
from broker_plane.errors import ConfigError, GrantUsedError, MergeError, NotPermittedError
from broker_plane.sync import Plane

ROWS = [{"event": "rain", "n": number} for number in range(600)]
WAITING = """
from broker_plane.sync import Plane
with Plane.connect() as plane:
    plane.publish([{{"id": 1}}], feed="sync.ctrl_c", key="id")
    for message in plane.subscribe("sync.ctrl_c", durable="waiting", since="first"):
        print(message.version, flush=True)
"""


@pytest.fixture
def plane(settings: Settings) -> Iterator[Plane]:
    with Plane.connect(settings) as connected:
        yield connected


def test_every_verb_and_part_of_the_plane_is_here() -> None:
    mine, theirs = ({name for name in dir(each) if not name.startswith("_")} for each in (Plane, AsyncPlane))
    assert theirs - mine == {"close", "wiring", "durability", "offers_subjects"}  # the last two are attributes
    for name in ("publish", "pull", "pull_table", "pull_to", "preview", "revoke", "upload", "narrow"):
        assert inspect.signature(getattr(Plane, name)) == inspect.signature(getattr(AsyncPlane, name))


def test_rows_go_through_it(plane: Plane, tmp_path: Path) -> None:
    published = plane.publish(ROWS, abstract=["event"], uses="unlimited")
    assert published.abstract[0] == {"_row_id": 0, "event": "rain"}
    assert plane.pull(published.resource_url) == ROWS
    assert list(plane.iterate(published.resource_url)) == ROWS
    assert plane.pull(published.resource_url, validate=lambda body: body.ids[-1]) == 599
    assert plane.preview(published.resource_url, where="n < 2").count == 2
    narrowed = plane.narrow(published.resource_url, columns=["n"], first=1)
    assert plane.pull(narrowed.resource_url) == [{"n": 0}]
    plane.pull_to(published.resource_url, tmp_path / "rows")
    assert (tmp_path / "rows").stat().st_size == published.body.size


def test_pieces_and_uploads_go_through_it(plane: Plane) -> None:
    published = plane.publish_pieces(iter([b"one ", b"two"]), media_type="text/plain")
    assert plane.pull(published.resource_url) == b"one two"
    grant = plane.uploads.grant(max_bytes=100)
    uploaded = plane.upload(grant.upload_url, b"content")
    assert plane.pull(uploaded.resource_url) == b"content"


def test_parts_for_operators_block_as_well(plane: Plane) -> None:
    for part in (plane.tasks, plane.mcp_servers, plane.exchanges):
        assert isinstance(part.list(), list)


def test_parts_block_as_well(plane: Plane) -> None:
    published = plane.publish(ROWS[:2])
    assert plane.grants.body_of(published.grant).rows == 2
    made = plane.grants.mint_many(published.body.id, ["alice", "bob"])
    assert [name for name, _ in made] == ["alice", "bob"]
    assert published.body.id in {body.id for body in plane.bodies.list()}
    assert plane.keys.vouched(published.grant, plane.keys.vouch(published.grant, "yes"), "yes")
    plane.revoke(published.grant)
    assert plane.health.guest_access_problem() or plane.offers_subjects


def test_errors_are_those_of_the_plane(plane: Plane) -> None:
    published = plane.publish(ROWS[:1])

    def refuses(body: object) -> None:
        raise MergeError("not what was expected")

    with pytest.raises(MergeError):
        plane.pull(published.resource_url, validate=refuses)
    plane.pull(published.resource_url)  # the failed delivery spent no use
    with pytest.raises(GrantUsedError):
        plane.pull(published.resource_url)


def test_a_feed_is_read_message_by_message_and_acknowledged(plane: Plane) -> None:
    for number in (1, 2, 3):
        plane.publish([{"id": 1, "n": number}], feed="sync.feed", key="id")
    seen = []
    for message in plane.subscribe("sync.feed", durable="one", since="first"):
        seen.append((message.version, message.rows()[0]["n"]))
        with message.once("mail") as effect:
            effect.value = "sent"
        if len(seen) == 2:
            break
    assert seen == [(1, 1), (2, 2)]
    again = plane.subscribe("sync.feed", durable="one", since="first")
    assert next(again).version == 2  # the loop left before it was acknowledged
    again.close()
    assert [notice.version for notice in plane.feeds.versions("sync.feed")] == [1, 2, 3]


def test_a_stream_is_sent_and_followed(plane: Plane) -> None:
    with plane.streams.publish() as stream:
        stream.send({"a": 1})
        stream.send({"a": 2})
        subject = f"bp.pull.{stream.grant}"
        items = plane.pulls.follow(subject)
        assert [next(items), next(items)] == [(1, {"a": 1}), (2, {"a": 2})]
        items.close()


@pytest.mark.anyio
async def test_it_works_inside_a_running_loop(settings: Settings) -> None:
    assert asyncio.get_running_loop().is_running()
    with Plane.connect(settings) as plane:
        assert plane.pull(plane.publish(b"bytes").resource_url) == b"bytes"


def test_threads_may_share_it(plane: Plane) -> None:
    url = plane.publish(ROWS, uses="unlimited").resource_url
    found: list[int] = []
    threads = [Thread(target=lambda: found.append(len(plane.pull(url)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [len(ROWS)] * 4


def test_a_part_that_a_guest_lacks_says_so(settings: Settings, plane: Plane) -> None:
    with Plane.guest(settings.nats_url) as guest, pytest.raises(NotPermittedError):
        guest.bodies.list()


def test_with_without_async_names_this_facade(settings: Settings) -> None:
    with pytest.raises(ConfigError, match=r"from broker_plane\.sync import Plane"), AsyncPlane.connect(settings):
        pass


def test_ctrl_c_ends_a_loop_that_waits(settings: Settings, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "BROKER_PLANE_NATS_URL": settings.nats_url,
        "BROKER_PLANE_DATA_DIR": str(tmp_path / "data"),
    }
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING.format()],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None and process.stdout.readline() == "1\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode in (-signal.SIGINT, 130, 1)
    assert errors.strip().endswith("KeyboardInterrupt")
    assert "was never" not in errors and "Task exception" not in errors


def test_a_generator_that_is_left_half_way_does_not_keep_the_plane_open(settings: Settings) -> None:
    left: list[Any] = []

    def leave() -> None:
        with Plane.connect(settings) as plane:
            rows = plane.iterate(plane.publish(ROWS, uses="unlimited").resource_url)
            left.extend([rows, next(rows)])

    thread = Thread(target=leave, daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    assert left[1] == ROWS[0]
    with pytest.raises(RuntimeError):
        list(left[0])
