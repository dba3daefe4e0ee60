"""What is made with its first use: once, in a thread, and again only if that failed."""

from __future__ import annotations

import asyncio
import threading

import pytest

from broker_plane.plane.first_use import FirstUse

pytestmark = pytest.mark.anyio


class Making:
    """Counts, and waits to be released."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []
        self.release = threading.Event()

    def __call__(self) -> list[int]:
        self.threads.append(threading.current_thread())
        assert self.release.wait(10)
        return [len(self.threads)]

    async def begun(self) -> None:
        async with asyncio.timeout(10):
            while not self.threads:  # noqa: ASYNC110  # an event of asyncio is not set in a thread
                await asyncio.sleep(0.001)


async def test_requests_at_once_wait_for_the_same_value_while_the_event_loop_goes_on() -> None:
    making = Making()
    use = FirstUse(making)
    assert use.made is None and use.read(len)() == 0
    waiting = [asyncio.create_task(use.get()) for _ in range(5)]
    await making.begun()  # it would not return if the event loop were blocked
    making.release.set()
    first, *others = await asyncio.gather(*waiting)
    assert all(each is first for each in others)
    assert (await use.get() is use.now() is first) and use.read(len)() == 1
    assert [each is threading.main_thread() for each in making.threads] == [False]


async def test_a_request_that_is_cancelled_leaves_the_value_to_the_next_one() -> None:
    making = Making()
    use = FirstUse(making)
    cancelled = asyncio.create_task(use.get())
    await making.begun()
    cancelled.cancel()
    making.release.set()
    assert await use.get() == [1]


async def test_a_value_that_could_not_be_made_is_tried_again() -> None:
    answers = iter([None, "made"])

    def make() -> str:
        answer = next(answers)
        if answer is None:
            raise OSError("no file descriptors")
        return answer

    use = FirstUse(make)
    with pytest.raises(OSError, match="descriptors"):
        await use.get()
    assert await use.get() == "made"
