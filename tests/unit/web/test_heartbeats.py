"""The next item, a heartbeat, or the end because the client leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import pytest

from broker_plane.web.heartbeats import departure, first_of, items_or_heartbeats

pytestmark = pytest.mark.anyio


async def numbers(count: int, then: asyncio.Event | None = None) -> AsyncGenerator[int, None]:
    for number in range(count):
        yield number
    if then is not None:
        await then.wait()
        raise ValueError("broken")


async def collected(items: AsyncGenerator[int, None], seconds: float, **options: Any) -> list[int | None]:
    async with aclosing(items), aclosing(items_or_heartbeats(items, seconds, **options)) as following:
        return [each async for each in following]


async def test_items_come_in_order_and_their_end_is_the_end() -> None:
    assert await collected(numbers(3), 60) == [0, 1, 2]


async def test_silence_is_a_heartbeat_and_the_item_after_it_is_not_lost() -> None:
    silence = asyncio.Event()

    async def late() -> AsyncGenerator[int, None]:
        yield 1
        await silence.wait()
        yield 2

    found: list[int | None] = []
    async with aclosing(late()) as items, aclosing(items_or_heartbeats(items, 0.001)) as following:
        async for each in following:
            found.append(each)
            if found.count(None) == 2:
                silence.set()
    assert [each for each in found if each is not None] == [1, 2]
    assert found[:3] == [1, None, None]


async def test_leaving_ends_it_and_the_items_are_not_closed() -> None:
    leaving: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    never = asyncio.Event()
    async with aclosing(numbers(1, never)) as items, aclosing(items_or_heartbeats(items, 60, leaving)) as following:
        assert await anext(following) == 0
        leaving.set_result(None)
        with pytest.raises(StopAsyncIteration):
            await anext(following)


async def test_an_error_of_the_items_is_raised() -> None:
    broken = asyncio.Event()
    broken.set()
    with pytest.raises(ValueError, match="broken"):
        await collected(numbers(2, broken), 60)


async def test_a_departure_is_the_disconnect_and_no_rest_of_the_request() -> None:
    messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    messages.put_nowait({"type": "http.request"})
    async with departure(messages.get, asyncio.Event()) as leaving:
        await asyncio.sleep(0)
        assert not leaving.done()
        messages.put_nowait({"type": "http.disconnect"})
        await leaving


async def test_a_departure_is_the_end_of_the_bridge_too() -> None:
    closing = asyncio.Event()
    async with departure(asyncio.Queue[dict[str, Any]]().get, closing) as leaving:
        closing.set()
        await leaving


async def test_the_first_of_several_ends_them_all() -> None:
    done, other = (asyncio.get_running_loop().create_future() for _ in range(2))
    async with first_of(done, other) as first:
        done.set_result(None)
        await first
    assert other.cancelled()
