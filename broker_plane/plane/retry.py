"""Retries with back-off: an error itself says whether it is worth a retry, and after how long."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

from broker_plane.errors import BrokerPlaneError

T = TypeVar("T")
_FIRST_WAIT_SECONDS = 0.05
_LONGEST_WAIT_SECONDS = 1.0


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
    deadline = anyio.current_time() + seconds
    wait = _FIRST_WAIT_SECONDS
    while True:
        try:
            return await attempt()
        except BrokerPlaneError as error:
            if not error.retryable or not isinstance(error, only) or anyio.current_time() + wait > deadline:
                raise
        await anyio.sleep(wait)
        wait = min(2 * wait, longest_wait)
