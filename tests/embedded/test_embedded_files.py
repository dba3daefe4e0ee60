"""Files of the data directory that somebody damaged: a broker that runs is found again, and a start is not stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from broker_plane.embedded import broker
from broker_plane.embedded.disk import why_unwritable
from broker_plane.embedded.locks import holder_of
from broker_plane.errors import EmbeddedError
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
    with pytest.raises(EmbeddedError, match="the broker needs 32 MB at least"):
        home.attach(store_bytes=0)
