"""What is killed comes back, on the same port and the same store; what was acknowledged is still there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

import nats
import pytest
from nats.aio.client import Client

from broker_plane.embedded import broker
from broker_plane.embedded.idle import stores_nothing
from broker_plane.embedded.processes import birth_of, end_orphans
from broker_plane.embedded.state import Running

if TYPE_CHECKING:
    from tests.embedded.conftest import Home, Runner

IsAlive = Callable[[int], bool]
Until = Callable[[Callable[[], object]], None]


async def connect(url: str) -> Client:
    return await nats.connect(url, connect_timeout=5, max_reconnect_attempts=200, reconnect_time_wait=0.05)


async def keep(url: str, words: list[bytes]) -> None:
    client = await connect(url)
    stream = client.jetstream()
    await stream.add_stream(name="WORDS", subjects=["words"])
    for word in words:
        await stream.publish("words", word)
    await client.close()


async def kept(url: str) -> list[bytes]:
    client = await connect(url)
    stream = client.jetstream()
    info = await stream.stream_info("WORDS")
    words = [(await stream.get_msg("WORDS", seq)).data for seq in range(1, info.state.last_seq + 1)]
    await client.close()
    return [word or b"" for word in words]


WORDS = [b"one", b"two", b"three"]


def test_a_killed_nats_server_comes_back_on_the_same_port_with_what_it_acknowledged(
    home: Home, run: Runner, until: Until
) -> None:
    before = home.attach().running
    run(keep(before.nats_url, WORDS))
    os.kill(before.nats_pid, signal.SIGKILL)
    until(lambda: found(home).nats_pid != before.nats_pid)

    after = found(home)
    assert after.nats_url == before.nats_url
    assert after.bridge_pid == before.bridge_pid
    assert run(kept(after.nats_url)) == WORDS


def test_a_nats_server_that_is_killed_again_and_again_comes_back_again_and_again(home: Home, until: Until) -> None:
    first = home.attach().running
    for _ in range(3):
        before = found(home).nats_pid
        os.kill(before, signal.SIGKILL)
        until(partial(has_another_server, home, before))
    assert found(home).nats_url == first.nats_url


def test_a_killed_bridge_comes_back_on_the_same_port(home: Home, until: Until) -> None:
    before = home.attach().running
    os.kill(before.bridge_pid, signal.SIGKILL)
    until(lambda: found(home).bridge_pid != before.bridge_pid)

    after = found(home)
    assert after.bridge_url == before.bridge_url
    assert after.nats_pid == before.nats_pid
    assert stores_nothing(after.bridge_url)


def test_a_killed_supervisor_leaves_no_orphans_and_the_next_one_has_the_same_store(
    home: Home, run: Runner, until: Until, is_alive: IsAlive
) -> None:
    before = home.attach().running
    run(keep(before.nats_url, WORDS))
    os.kill(before.pid, signal.SIGKILL)
    until(lambda: not any(map(is_alive, (before.pid, before.nats_pid, before.bridge_pid))))

    assert broker.find(home.root) is None
    after = home.attach()
    assert after.started
    assert run(kept(after.running.nats_url)) == WORDS


def test_an_attachment_right_after_the_supervisor_died_gets_a_new_one_with_the_same_store(
    home: Home, run: Runner, until: Until
) -> None:
    before = home.attach().running
    run(keep(before.nats_url, WORDS))
    os.kill(before.pid, signal.SIGKILL)
    until(lambda: broker.find(home.root) is None)  # Its children may still be on their way out.
    after = home.attach().running
    assert run(kept(after.nats_url)) == WORDS


@pytest.fixture
def sleepers() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two processes of nobody's run."""
    wait = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    processes = [subprocess.Popen(wait, stdin=subprocess.PIPE) for _ in range(2)]
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def test_orphans_of_the_previous_run_are_ended_and_nobody_else(
    sleepers: list[subprocess.Popen[bytes]], is_alive: IsAlive
) -> None:
    orphan, stranger = (process.pid for process in sleepers)
    end_orphans({orphan: birth_of(orphan), stranger: birth_of(os.getpid())})
    assert not is_alive(orphan)
    assert is_alive(stranger)


def test_a_stranger_with_the_pid_of_a_child_in_a_stale_state_file_is_left_alone(
    home: Home, sleepers: list[subprocess.Popen[bytes]], is_alive: IsAlive
) -> None:
    home.attach()
    state = json.loads((home.root / "state.json").read_text())
    broker.stop(home.root)
    stranger = sleepers[0]
    (home.root / "state.json").write_text(json.dumps({**state, "nats_pid": stranger.pid}))

    assert home.attach().started
    assert is_alive(stranger.pid)


def has_another_server(home: Home, pid: int) -> bool:
    return found(home).nats_pid != pid


def found(home: Home) -> Running:
    running = broker.find(home.root)
    assert running is not None
    return running
