"""The end: when told to, or when nobody is attached and nothing is stored; never while either is the case."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from broker_plane.embedded import broker
from broker_plane.embedded.idle import IdleWatch, stores_nothing
from broker_plane.files.locks import FileLock, LockWatch

if TYPE_CHECKING:
    from tests.embedded.conftest import Home

IsAlive = Callable[[int], bool]
Until = Callable[[Callable[[], object]], None]


def test_stop_ends_all_three_and_leaves_no_state(home: Home, until: Until, is_alive: IsAlive) -> None:
    running = home.attach().running
    assert broker.stop(home.root)
    assert not any(map(is_alive, (running.nats_pid, running.bridge_pid)))
    until(lambda: not is_alive(running.pid))
    assert not (home.root / "state.json").exists()
    assert broker.find(home.root) is None


def test_stop_where_nothing_runs_says_so(home: Home) -> None:
    assert not broker.stop(home.root)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_supervisor_that_is_told_to_stop_stops_its_children(
    home: Home, until: Until, is_alive: IsAlive, number: signal.Signals
) -> None:
    running = home.attach().running
    os.kill(running.pid, number)
    until(lambda: not any(map(is_alive, (running.pid, running.nats_pid, running.bridge_pid))))
    assert not (home.root / "state.json").exists()


def test_a_bridge_that_does_not_end_is_killed(home: Home, is_alive: IsAlive) -> None:
    # What is ignored stays ignored across an exec.
    stubborn = ["/bin/sh", "-c", 'trap "" TERM; exec "$@"', "sh", *home.bridge]
    running = home.attach(bridge=stubborn).running
    assert broker.stop(home.root)
    assert not any(map(is_alive, (running.nats_pid, running.bridge_pid)))


def test_it_stops_when_nobody_is_attached_and_nothing_is_stored(home: Home, until: Until, is_alive: IsAlive) -> None:
    attachment = home.attach(idle_stop_seconds=1)
    attachment.close()
    until(lambda: broker.find(home.root) is None)
    until(lambda: not any(map(is_alive, (attachment.running.nats_pid, attachment.running.bridge_pid))))


def test_who_attaches_after_an_idle_stop_starts_afresh(home: Home, until: Until) -> None:
    first = home.attach(idle_stop_seconds=1)
    first.close()
    until(lambda: broker.find(home.root) is None)
    # Perhaps while the first one is still on its way out.
    second = home.attach()
    assert second.started
    assert second.running.pid != first.running.pid


def test_the_death_of_an_attached_process_counts_as_leaving(home: Home, until: Until) -> None:
    process = home.attaching_process(idle_stop_seconds=1)
    assert process.stdout
    process.stdout.readline()
    process.kill()
    until(lambda: broker.find(home.root) is None)


# ── the rule itself, with the clock in hand ────────────────────────────────────────────────────────────────


@pytest.fixture
def locks(tmp_path: Path) -> Iterator[tuple[FileLock, FileLock]]:
    """The supervisor's hold on the attached lock, and an attached process's."""
    pair = FileLock(tmp_path / "attached.lock"), FileLock(tmp_path / "attached.lock")
    yield pair
    for lock in pair:
        lock.close()


def test_it_is_not_over_while_somebody_is_attached(locks: tuple[FileLock, FileLock]) -> None:
    watch = IdleWatch(locks[0], seconds=900, now=0)
    assert locks[1].try_shared()
    assert not watch.is_over(5_000, lambda: True)
    locks[1].release()
    assert not watch.is_over(5_899, lambda: True)
    assert watch.is_over(5_999, lambda: True)


def test_it_is_not_over_while_bytes_are_stored(locks: tuple[FileLock, FileLock]) -> None:
    watch = IdleWatch(locks[0], seconds=900, now=0)
    assert not watch.is_over(5_000, lambda: False)
    assert locks[1].try_shared()


def test_it_is_not_over_if_something_was_stored_between_the_two_looks(locks: tuple[FileLock, FileLock]) -> None:
    answers = iter([True, False])
    assert not IdleWatch(locks[0], seconds=900, now=0).is_over(5_000, lambda: next(answers))
    assert locks[1].try_shared()


def test_nobody_attaches_to_a_supervisor_that_has_decided_to_end(locks: tuple[FileLock, FileLock]) -> None:
    assert IdleWatch(locks[0], seconds=900, now=0).is_over(900, lambda: True)
    assert not locks[1].try_shared()


def test_the_bridge_is_not_asked_at_each_call_but_once_an_interval(locks: tuple[FileLock, FileLock]) -> None:
    asked = 0

    def is_empty() -> bool:
        nonlocal asked
        asked += 1
        return False

    watch = IdleWatch(locks[0], seconds=900, now=0)
    for now in range(900, 960):
        assert not watch.is_over(now, is_empty)
    assert asked == 60 / watch.interval


def test_a_bridge_is_asked_what_is_stored_and_no_answer_is_not_nothing(home: Home) -> None:
    running = home.attach().running
    assert stores_nothing(running.bridge_url)
    (home.root / "stored_bytes").write_text("17")
    assert not stores_nothing(running.bridge_url)
    broker.stop(home.root)
    assert not stores_nothing(running.bridge_url)


def test_it_does_not_stop_while_bytes_are_stored_and_stops_once_they_have_gone(home: Home, until: Until) -> None:
    asked = home.root / "asked"
    attachment = home.attach(idle_stop_seconds=1)
    (home.root / "stored_bytes").write_text("17")
    attachment.close()
    # It has been asked three times since: the time was over, and the supervisor went on.
    until(lambda: asked.exists() and asked.stat().st_size >= 3)
    assert broker.find(home.root) is not None
    (home.root / "stored_bytes").write_text("0")
    until(lambda: broker.find(home.root) is None)


def test_a_watch_sees_a_supervisor_end_and_the_next_one_start_on_a_new_file(tmp_path: Path) -> None:
    path = tmp_path / "supervisor.lock"
    watch = LockWatch(path)
    assert not watch.is_held_alone()
    first = FileLock(path)
    assert not watch.is_held_alone()
    assert first.try_exclusive()
    assert watch.is_held_alone()
    first.close()
    assert not watch.is_held_alone()
    path.unlink()
    second = FileLock(path)
    assert second.try_exclusive()
    assert watch.is_held_alone()
    watch.close()
    second.close()
