"""The bounds on a request's head and the ends of a delivery, seen by readers on raw sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from broker_plane.web.delivery import Outcome
from broker_plane.web.protocol import Limits, Tracking
from broker_plane.web.server import HttpServer
from tests.bridge.conftest import Dial
from tests.bridge.wire import Answer, eventually

pytestmark = pytest.mark.anyio

MB = 1 << 20
SMALL, LARGE, HUGE = 1_000, 5 * MB, 32 * MB


@asynccontextmanager
async def serving(answer: Answer, **limits: float) -> AsyncIterator[int]:
    values = {"head_seconds": 60.0, "silence_seconds": 60.0, **limits}
    async with HttpServer(answer, tracking=Tracking(limits=Limits(**values)), stop_seconds=1) as server:  # type: ignore[arg-type]
        yield server.port


# ── the head ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("sent", [b"", b"G", b"GET / HTTP/1.1\r\nhost: x\r\na: ", b"\r\n\r\n"])
async def test_a_head_that_does_not_come_ends_the_connection(sent: bytes, dial: Dial) -> None:
    async with serving(Answer(SMALL), head_seconds=0.3) as port:
        reader = await dial(port)
        await reader.send(sent)
        answer = await reader.read_to_end()
        assert answer.startswith(b"HTTP/1.1 408 ") if sent else answer == b""


async def test_a_head_that_drips_ends_the_connection(dial: Dial) -> None:
    async with serving(Answer(SMALL), head_seconds=0.3) as port:
        reader = await dial(port)

        async def drip() -> None:
            await reader.send(b"GET / HTTP/1.1\r\n")
            while True:
                await reader.send(b"a: b\r\n")
                await asyncio.sleep(0.02)

        dripping = asyncio.ensure_future(drip())
        answer = await reader.read_to_end()
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)
        assert answer.startswith(b"HTTP/1.1 408 ") or answer == b""


async def test_the_head_of_a_further_request_has_the_same_deadline(dial: Dial) -> None:
    async with serving(Answer(SMALL), head_seconds=0.3) as port:
        reader = await dial(port)
        await reader.get()
        await reader.read_head()
        await reader.read(SMALL)
        await reader.send(b"GET / HT")
        assert (await reader.read_to_end()).startswith(b"HTTP/1.1 408 ")


async def test_a_body_that_nobody_reads_does_not_hold_the_connection(dial: Dial) -> None:
    async with serving(Answer(SMALL), head_seconds=0.3) as port:
        reader = await dial(port)
        await reader.send(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n12345")
        assert (await reader.read_to_end()).startswith(b"HTTP/1.1 200 ")


async def test_an_idle_connection_is_not_a_late_head(dial: Dial) -> None:
    async with serving(Answer(SMALL), head_seconds=0.1) as port:
        reader = await dial(port)
        for _ in range(2):
            await reader.get()
            await reader.read_head()
            await reader.read(SMALL)
            # Another connection is refused for its late head while this one idles.
            other = await dial(port)
            assert await other.read_to_end() == b""


@pytest.mark.parametrize(
    "head",
    [b"GET /" + b"a" * 40_000, b"GET / HTTP/1.1\r\nx: " + b"a" * 40_000, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 10_000],
    ids=["url", "value", "fields"],
)
@pytest.mark.parametrize("at_once", [True, False])
async def test_a_head_that_is_too_large_is_431(head: bytes, at_once: bool, dial: Dial) -> None:
    async with serving(Answer(SMALL)) as port:
        reader = await dial(port)
        whole = head + (b" HTTP/1.1\r\n\r\n" if b"\r\n" not in head else b"\r\n\r\n")
        await reader.send(whole if at_once else head)
        assert (await reader.read_to_end()).startswith(b"HTTP/1.1 431 ")
        fresh = await dial(port)
        await fresh.get()
        assert (await fresh.read_head()).startswith(b"HTTP/1.1 200 ")


async def test_garbage_is_400_with_a_problem(dial: Dial) -> None:
    async with serving(Answer(SMALL)) as port:
        reader = await dial(port)
        await reader.send(b"\x16\x03\x01 garbage\r\n\r\n")
        answer = await reader.read_to_end()
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b"application/problem+json" in answer


async def test_garbage_behind_a_request_never_stands_inside_its_answer(dial: Dial) -> None:
    answer = Answer(LARGE)
    async with serving(answer) as port:
        reader = await dial(port)
        await reader.get()
        await reader.read_head()
        await reader.send(b"garbage\r\n\r\n")
        body = await reader.read_to_end()
        assert set(body) <= {0}
        assert len(body) < LARGE
        await answer.until(lambda: answer.deliveries[0].decided)
        assert answer.deliveries[0].decided is Outcome.BROKEN


# ── the end ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("headers", ["", "connection: close\r\n"])
async def test_fin_after_everything_was_read_is_complete(size: int, headers: str, dial: Dial) -> None:
    answer = Answer(size)
    async with serving(answer) as port:
        reader = await dial(port)
        await reader.get(headers=headers)
        await reader.read_head()
        assert len(await reader.read(size)) == size
        reader.close()
        await answer.until(lambda: answer.deliveries[0].decided)
        assert answer.deliveries[0].decided is Outcome.COMPLETE
        assert answer.deliveries[0].fraction == 1.0


@pytest.mark.parametrize("headers", ["", "connection: close\r\n"])
@pytest.mark.parametrize("piece", [65_536, LARGE])
async def test_a_reset_at_half_is_broken(piece: int, headers: str, dial: Dial) -> None:
    answer = Answer(LARGE, piece)
    async with serving(answer) as port:
        reader = await dial(port)
        await reader.get(headers=headers)
        await reader.read_head()
        await reader.read(LARGE // 2)
        reader.reset()
        await answer.until(lambda: answer.deliveries[0].decided)
        assert answer.deliveries[0].decided is Outcome.BROKEN
        assert answer.deliveries[0].fraction < 1.0


@pytest.mark.parametrize("headers", ["", "connection: close\r\n"])
async def test_a_close_at_half_with_nothing_unread_is_broken(headers: str, dial: Dial) -> None:
    """The kernel of such a reader sends FIN, and resets only when the bytes arrive that are still to come."""
    answer = Answer(HUGE, HUGE)
    async with serving(answer) as port:
        reader = await dial(port)
        await reader.get(headers=headers)
        await reader.read_head()
        got = len(await reader.read(HUGE // 4))
        # All in one go: while the loop does not run, nothing new goes from the server's transport to its kernel.
        got += reader.take_all()
        reader.close()
        assert got < HUGE
        await answer.until(lambda: answer.deliveries[0].decided)
        assert answer.deliveries[0].decided is Outcome.BROKEN
        assert answer.deliveries[0].fraction < 1.0


async def test_a_reset_after_everything_was_acknowledged_and_not_read_is_broken(dial: Dial) -> None:
    answer = Answer(SMALL)
    async with serving(answer) as port:
        reader = await dial(port)
        await reader.get()
        await reader.read_head()
        await reader.read(SMALL // 2)
        reader.close()
        await answer.until(lambda: answer.deliveries[0].decided)
        assert answer.deliveries[0].decided is Outcome.BROKEN


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_the_next_request_on_the_connection_is_complete(size: int, dial: Dial) -> None:
    answer = Answer(size)
    async with serving(answer) as port:
        reader = await dial(port)
        await reader.get()
        await reader.read_head()
        await reader.read(size)
        assert answer.deliveries[0].decided is None
        await reader.get()
        await answer.until(lambda: len(answer.deliveries) == 2)
        assert answer.deliveries[0].decided is Outcome.COMPLETE
        assert answer.deliveries[1].decided is None
        assert answer.deliveries[0].connection == answer.deliveries[1].connection


async def test_a_request_that_was_pipelined_says_nothing_of_the_answer_before(dial: Dial) -> None:
    answer = Answer(LARGE)
    async with serving(answer) as port:
        reader = await dial(port)
        await reader.get()
        await reader.get()
        await reader.read_head()
        await reader.read(LARGE // 2)
        reader.reset()
        await answer.until(lambda: answer.deliveries[0].decided)
        assert answer.deliveries[0].decided is Outcome.BROKEN


async def test_silence_after_everything_was_taken_is_complete(dial: Dial) -> None:
    answer = Answer(SMALL)
    async with serving(answer, silence_seconds=0.2) as port:
        reader = await dial(port)
        await reader.get()
        await reader.read_head()
        await reader.read(SMALL)
        await answer.until(lambda: answer.deliveries[0].decided)
        assert answer.deliveries[0].decided is Outcome.COMPLETE


@pytest.mark.parametrize("piece", [65_536, LARGE])
async def test_a_reader_that_hangs_is_broken(piece: int, dial: Dial) -> None:
    answer = Answer(LARGE, piece)
    async with serving(answer, silence_seconds=0.2) as port:
        reader = await dial(port)
        await reader.get()
        await reader.read_head()
        await answer.until(lambda: answer.deliveries[0].decided)
        assert answer.deliveries[0].decided is Outcome.BROKEN


async def test_a_reader_that_hangs_at_an_answer_nobody_asks_about_is_cut_too(dial: Dial) -> None:
    answer = Answer(LARGE, arm=False)
    async with serving(answer, silence_seconds=0.2) as port:
        reader = await dial(port)
        await reader.get()
        await reader.read_head()
        await eventually(lambda: answer.deliveries[0].decided)
        assert answer.deliveries[0].decided is Outcome.BROKEN


async def test_a_slow_reader_is_waited_for(dial: Dial) -> None:
    answer = Answer(LARGE, LARGE)
    async with serving(answer, silence_seconds=0.3) as port:
        reader = await dial(port)
        await reader.get()
        await reader.read_head()
        got = 0
        while got < LARGE:
            got += len(await reader.read(LARGE // 20))
            await asyncio.sleep(0.05)
        reader.close()
        await answer.until(lambda: answer.deliveries[0].decided)
        assert answer.deliveries[0].decided is Outcome.COMPLETE


@pytest.mark.parametrize("size", [SMALL, LARGE])
async def test_a_reader_that_closed_only_its_own_direction_gets_everything(size: int, dial: Dial) -> None:
    answer = Answer(size)
    async with serving(answer) as port:
        reader = await dial(port)
        await reader.get()
        reader.socket.shutdown(1)
        await reader.read_head()
        assert len(await reader.read_to_end()) == size
        await answer.until(lambda: answer.deliveries[0].decided)
        assert answer.deliveries[0].decided is Outcome.COMPLETE


async def test_a_server_that_stops_counts_what_was_acknowledged(dial: Dial) -> None:
    answer = Answer(SMALL)
    async with serving(answer) as port:
        reader = await dial(port)
        await reader.get()
        await reader.read_head()
        await reader.read(SMALL)
    assert answer.deliveries[0].decided is Outcome.COMPLETE
    reader.close()
