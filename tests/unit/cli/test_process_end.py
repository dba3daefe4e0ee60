"""The end of a command's process."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from broker_plane.cli.process_end import end_with, leave_threads_behind


class EndedAtOnce(Exception):
    """In place of the end of this process."""


@pytest.fixture
def busy_thread() -> Iterator[None]:
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    yield
    over.set()
    thread.join()


@pytest.fixture(autouse=True)
def no_real_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(code: int) -> None:
        raise EndedAtOnce(code)

    monkeypatch.setattr(os, "_exit", end)


def leaving() -> int:
    leave_threads_behind()
    return 3


def test_a_command_that_leaves_its_threads_behind_does_not_wait_for_them(busy_thread: None) -> None:
    with pytest.raises(EndedAtOnce) as ended:
        end_with(leaving)
    assert ended.value.args == (3,)


def test_the_next_command_of_the_process_waits_for_its_threads(busy_thread: None) -> None:
    leave_threads_behind()
    with pytest.raises(SystemExit) as ended:
        end_with(lambda: 0)
    assert ended.value.code == 0
