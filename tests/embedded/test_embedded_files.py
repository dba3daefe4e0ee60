"""Files of the data directory that somebody damaged: a broker that runs is found again, and a start is not stopped."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from broker_plane import Plane
from broker_plane.config import Settings, load_settings
from broker_plane.embedded import broker
from broker_plane.embedded.disk import why_unwritable
from broker_plane.errors import BrokerPlaneError, EmbeddedError
from broker_plane.files.locks import holder_of
from broker_plane.testing.server import wait_for
from tests.mounts import Mounts

if TYPE_CHECKING:
    from tests.embedded.conftest import Home

Damage = Callable[[Path], object]
DAMAGES: dict[str, Damage] = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:100]),
    "garbage": lambda path: path.write_bytes(b"\x00\xff" * 50),
    "a list": lambda path: path.write_text("[]"),
    "an empty object": lambda path: path.write_text("{}"),
    "null": lambda path: path.write_text("null"),
    "a number": lambda path: path.write_text("7"),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "not utf-8": lambda path: path.write_bytes(b'{"pid": "\xff"}'),
    "gone": lambda path: path.unlink(),
}


@pytest.fixture(params=list(DAMAGES))
def damage(request: pytest.FixtureRequest) -> Damage:
    return DAMAGES[request.param]


@pytest.fixture
def mounts() -> Iterator[Mounts]:
    made = Mounts()
    yield made
    made.close()


def test_a_damaged_state_file_of_a_broker_that_runs_is_written_again(home: Home, damage: Damage) -> None:
    state = home.root / "state.json"
    running = home.attach().running
    damage(state)
    assert broker.find(home.root) == running
    again = home.attach()
    assert (again.started, again.running) == (False, running)


@pytest.mark.parametrize("text", ["", "x", "99999999", "\x00\x00"])
def test_a_damaged_pid_in_the_lock_harms_nobody_and_the_broker_can_be_stopped(home: Home, text: str) -> None:
    running = home.attach().running
    (home.root / "supervisor.lock").write_text(text)
    assert holder_of(home.root / "supervisor.lock") == running.pid
    assert broker.stop(home.root)


def test_no_damaged_files_stop_a_start(home: Home, damage: Damage) -> None:
    home.attach()
    broker.stop(home.root)
    for name in ("kept.json", "retired.json", "nats.conf"):
        path = home.root / name
        path.touch()
        damage(path)
    assert home.attach().started


def test_a_read_only_data_directory_is_one_sentence(home: Home, mounts: Mounts) -> None:
    mounts.tmpfs(home.root.parent, megabytes=48)
    home.attach().close()
    broker.stop(home.root)
    wait_for(lambda: mounts.read_only(home.root.parent), "the supervisor to be gone")
    with pytest.raises(EmbeddedError, match="mount its disk writable, or set BROKER_PLANE_DATA_DIR"):
        home.attach()
    assert why_unwritable(home.root) == "Read-only file system"


@pytest.mark.parametrize("megabytes", [1, 8, 31])
def test_a_disk_that_is_too_small_is_a_sentence_that_says_how_large_it_must_be(
    home: Home, mounts: Mounts, megabytes: int
) -> None:
    mounts.tmpfs(home.root.parent, megabytes=megabytes)
    with pytest.raises(EmbeddedError, match="the broker needs at least 32 MB"):
        home.attach(max_store_bytes=None)


def break_header_length(block: Path, record: int) -> None:
    """As one flipped bit does that nats-server does not survive: in the length of a message's header."""
    raw = bytearray(block.read_bytes())
    headers = [found.start() for found in re.finditer(rb"NATS/1\.0\r\n", raw)]
    raw[headers[record] - 1] ^= 0x80
    block.write_bytes(raw)


@pytest.mark.anyio
@pytest.mark.parametrize("stream", ["KV_bp_grants", "OBJ_bp_local"])
async def test_a_store_that_nats_server_cannot_start_with_is_started_without_the_damaged_file(
    tmp_path: Path, stream: str
) -> None:
    settings = load_settings(data_dir=tmp_path / "data", max_store_bytes=1 << 30)
    used, kept = await published(settings)
    running = broker.find(settings.data_dir)
    assert running
    os.kill(running.pid, signal.SIGKILL)  # and its children with it; after an orderly stop the damage is cut off
    wait_for(lambda: broker.find(settings.data_dir) is None, "the broker to be gone")
    (block,) = settings.data_dir.glob(f"jetstream/**/{stream}/msgs/1.blk")
    break_header_length(block, -1)
    try:
        async with Plane.connect(settings) as plane:
            assert list((settings.data_dir / "damaged").iterdir())
            for grant, code in ((used, "grant_used"), (kept, "body_lost" if stream == "OBJ_bp_local" else "")):
                try:
                    assert await plane.pull(grant) == b"body" * 100
                    found = ""
                except BrokerPlaneError as error:
                    found = error.code
                assert found in ({code, "body_lost"} if stream == "OBJ_bp_local" else {code})
            assert await plane.pull((await plane.publish(b"more")).resource_url) == b"more"
    finally:
        broker.stop(settings.data_dir)


async def published(settings: Settings) -> tuple[str, str]:
    """A used grant and an unlimited one."""
    async with Plane.connect(settings) as plane:
        body = await plane.publish(b"body" * 100, uses="unlimited", ttl=3600)
        ((_, used),) = await plane.grants.mint_many(body.body.id, 1)
        await plane.pull(used)
        return used, body.resource_url
