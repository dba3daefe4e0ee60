"""Retries with back-off: an error itself says whether it is worth a retry, and after how long."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic
from typing import TypeVar

import anyio

from broker_plane.errors import BrokerPlaneError, ConflictError

T = TypeVar("T")
_FIRST_WAIT_SECONDS = 0.05
_LONGEST_WAIT_SECONDS = 1.0
_ATTEMPTS = 64
"""Of a compare-and-set: each time that it fails, another writer has made progress."""


async def retry_while_retryable(
    attempt: Callable[[], Awaitable[T]],
    seconds: float,
    *,
    only: type[BrokerPlaneError] = BrokerPlaneError,
    longest_wait: float = _LONGEST_WAIT_SECONDS,
) -> T:
    """The result of `attempt`, which is retried for up to `seconds` while its error is `retryable` and one of `only`.

    Raises:
        BrokerPlaneError: the last error.
    """
    deadline = monotonic() + seconds
    wait = _FIRST_WAIT_SECONDS
    while True:
        try:
            return await attempt()
        except BrokerPlaneError as error:
            if not error.retryable or not isinstance(error, only) or monotonic() + wait > deadline:
                raise
        await anyio.sleep(wait)
        wait = min(2 * wait, longest_wait)


async def compare_and_set(
    load: Callable[[], Awaitable[tuple[T, int]]],
    change: Callable[[T], T],
    save: Callable[[T, int], Awaitable[object]],
    *,
    busy: str = "Too many writers of this entry at once; try again",
) -> T:
    """Load a value and its revision, change it and save it; start again if another writer was faster.

    `change` has no side effects, because it may run several times. A value that it does not change is not saved.
    Returns the value as it is stored now.

    Raises:
        ConflictError: other writers were faster many times; `busy` is the message.
    """
    for _ in range(_ATTEMPTS):
        before, revision = await load()
        after = change(before)
        if after == before:
            return after
        with suppress(ConflictError):
            await save(after, revision)
            return after
    raise ConflictError(busy, retry_after=1)
