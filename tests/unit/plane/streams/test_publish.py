"""Publishing a stream: numbers, retries, the end, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from broker_plane.errors import BrokerUnavailableError, ConflictError, TooLargeError, WireError
from broker_plane.plane.streams.publish import StreamPublisher
from broker_plane.wire.names import body_id
from broker_plane.wire.streams import MAX_ITEM_BYTES, StreamInfo, StreamItem

pytestmark = pytest.mark.anyio


class Log:
    """The part of StreamLog that a publisher uses; fails with each of `failures` before it stores."""

    def __init__(self, *failures: Exception) -> None:
        self.items: list[StreamItem] = []
        self._failures = list(failures)

    async def append(self, stream: StreamInfo, item: StreamItem) -> None:
        if self._failures:
            raise self._failures.pop(0)
        self.items.append(item)


def publisher(log: Log, kind: Any = "rows") -> StreamPublisher:
    stream = StreamInfo(
        id=body_id(b"s" * 16),
        owner="local",
        kind=kind,
        media_type="application/x-ndjson",
        buffer_size=8,
        end_signal="[DONE]",
        expires=1,
    )
    found: Any = log
    return StreamPublisher(stream, found)


async def test_items_are_numbered_from_one_and_the_end_is_the_last() -> None:
    log = Log()
    sending = publisher(log)
    assert [await sending.send({"n": number}) for number in range(3)] == [1, 2, 3]
    await sending.end()
    await sending.end()
    assert log.items == [StreamItem(n, b'{"n":%d}' % (n - 1)) for n in (1, 2, 3)] + [StreamItem(4, b"", end=True)]
    with pytest.raises(WireError, match="ended"):
        await sending.send({"n": 4})


async def test_an_append_of_unknown_outcome_is_repeated_under_the_same_number() -> None:
    log = Log(BrokerUnavailableError("unavailable"), BrokerUnavailableError("unavailable"))
    assert await publisher(log).send({}) == 1
    assert [item.number for item in log.items] == [1]


async def test_an_item_that_was_not_stored_leaves_its_number_free() -> None:
    failure = ConflictError("another publisher")
    failure.retryable = False
    log = Log(failure)
    sending = publisher(log)
    with pytest.raises(ConflictError):
        await sending.send({"n": 1})
    assert await sending.send({"n": 2}) == 1


@pytest.mark.parametrize(
    ("kind", "item"), [("rows", b"chunk"), ("rows", bytearray()), ("bytes", {"n": 1}), ("rows", memoryview(b""))]
)
async def test_a_stream_is_of_rows_or_of_bytes(kind: str, item: Any) -> None:
    with pytest.raises(WireError, match=f"stream of {kind}"):
        await publisher(Log(), kind).send(item)


async def test_a_chunk_has_a_maximum_size() -> None:
    log = Log()
    assert await publisher(log, "bytes").send(bytes(MAX_ITEM_BYTES)) == 1
    with pytest.raises(TooLargeError, match="split it"):
        await publisher(log, "bytes").send(bytes(MAX_ITEM_BYTES + 1))
