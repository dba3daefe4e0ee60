"""The buffer of sync mode: a handle gives its body once, in time, and within limits."""

from __future__ import annotations

import pytest

from broker_plane.agent.buffer import Buffer, is_handle
from broker_plane.errors import BufferFullError, StaleHandleError

ROWS = [{"_row_id": 0, "text": "x" * 100}]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_handle_gives_its_body_once() -> None:
    buffer = Buffer()
    handle = buffer.put(ROWS)
    assert is_handle(handle)
    assert buffer.peek(handle) == buffer.take(handle) == ROWS
    with pytest.raises(StaleHandleError):
        buffer.take(handle)
    assert (len(buffer), buffer.size) == (0, 0)


def test_a_handle_of_nobody_is_an_error() -> None:
    with pytest.raises(StaleHandleError):
        Buffer().take("ddi://never")


def test_a_body_is_gone_when_its_time_is_over() -> None:
    clock = Clock()
    buffer = Buffer(ttl=10, clock=clock)
    handle = buffer.put(ROWS)
    clock.now = 9.9
    assert handle in buffer
    clock.now = 10
    assert handle not in buffer
    assert buffer.size == 0
    with pytest.raises(StaleHandleError):
        buffer.take(handle)


def test_what_does_not_fit_is_refused_and_what_waits_stays() -> None:
    buffer = Buffer(max_bytes=200)
    handle = buffer.put(ROWS)
    with pytest.raises(BufferFullError):
        buffer.put(ROWS)
    assert buffer.take(handle) == ROWS
    assert buffer.put(ROWS)


def test_there_are_at_most_so_many() -> None:
    buffer = Buffer(max_count=2)
    buffer.put(1)
    buffer.put(2)
    with pytest.raises(BufferFullError):
        buffer.put(3)


def test_a_snapshot_comes_back_in_another_buffer() -> None:
    buffer, other = Buffer(), Buffer()
    handle = buffer.put(ROWS)
    other.restore(buffer.snapshot())
    buffer.clear()
    assert other.take(handle) == ROWS
