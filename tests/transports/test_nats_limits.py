"""What waits for a client that does not read is bounded, and no answer is lost by that."""

from __future__ import annotations

import pytest

from broker_plane.exchange.messages import ExchangeKey
from broker_plane.transports.nats.arrived_lines import ArrivedLines
from broker_plane.transports.nats.call_batches import CallBatches
from broker_plane.transports.nats.returned_callers import ReturnedCallers

pytestmark = pytest.mark.anyio


async def test_notifications_are_dropped_once_too_much_waits_and_answers_are_not() -> None:
    lines = ArrivedLines(10_000)
    for number in range(1000):
        lines.put(b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":%d}}\n' % number)
    lines.put(b'{"jsonrpc":"2.0","id":1,"result":{}}\n')
    found = []
    while not lines.is_empty:
        found.append(await lines.get())
    assert len(found) < 100
    assert b'"id":1' in found[-1]
    lines.put(b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1}}\n')
    assert not lines.is_empty


def test_a_batch_is_finished_when_its_calls_are_and_it_takes_no_more() -> None:
    now = [0.0]
    batches = CallBatches(lambda: now[0])
    first = batches.begin("a")
    assert batches.begin("b") == first
    batches.end(first, "a")
    now[0] = 20.0
    assert batches.finished() == []
    second = batches.begin("c")
    assert second != first
    batches.end(first, "b")
    assert batches.finished() == [first]
    batches.end(second, "c")
    assert batches.finished() == []
    assert batches.finished(everything=True) == [second]


def test_callers_that_came_back_are_kept_for_a_while_and_in_a_bounded_number() -> None:
    now = [0.0]
    callers = ReturnedCallers(lambda: now[0])
    keys = [ExchangeKey("s", "n1", str(number)) for number in range(3)]
    for number in range(20):
        callers.add(keys[0], f"inbox.{number}")
    assert callers.of(keys[0]) == [f"inbox.{number}" for number in range(12, 20)]
    now[0] = 20.0
    callers.add(keys[1], "one")
    assert callers.of(keys[0])
    now[0] = 40.0
    assert callers.of(keys[0])
    now[0] = 52.0
    callers.add(keys[2], "two")
    assert callers.of(keys[0])
    assert callers.of(keys[1]) == []
