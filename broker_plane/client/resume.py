"""Reading one body over several connections: what both HTTP clients do when a connection breaks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import anyio
import httpx2

from broker_plane.errors import BrokerPlaneError

MAX_BREAKS = 20
"""Breaks in a row, without a byte received between them."""

_FIRST_WAIT_SECONDS = 0.02
_LONGEST_WAIT_SECONDS = 1.0


async def across_breaks(
    connect: Callable[[], AsyncGenerator[bytes, None]],
    failure: Callable[[httpx2.TransportError, int], BrokerPlaneError | None],
) -> AsyncGenerator[bytes, None]:
    """The pieces of as many connections as needed; each `connect()` continues where the one before broke off.

    After a break, `failure(error, breaks in a row)` decides: an error ends the transfer, None resumes it after a
    back-off.
    """
    breaks = 0
    while True:
        try:
            async with aclosing(connect()) as pieces:
                async for piece in pieces:
                    breaks = 0
                    yield piece
            return
        except httpx2.TransportError as error:
            breaks += 1
            if (final := failure(error, breaks)) is not None:
                raise final from error
        await anyio.sleep(min(_LONGEST_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 2**breaks))
