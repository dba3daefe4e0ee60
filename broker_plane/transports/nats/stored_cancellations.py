"""Cancellations of durable calls: each takes the place of its request in the stream.

So they need no right that the request did not need, and an instance that claims the call later gets the cancellation
instead of the request.
"""

from __future__ import annotations

import asyncio

from broker_plane.broker.conditional import EXPECTED
from broker_plane.broker.connection import Connection
from broker_plane.broker.errors import NO_RESPONDERS
from broker_plane.errors import BrokerPlaneError, BrokerUnavailableError
from broker_plane.exchange.headers import CANCELLED
from broker_plane.plane.exchanges.limits import DEFAULT_SECONDS
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.transports.nats.durable_call import DurableCall, why_not_stored
from broker_plane.transports.nats.wire_form import METHOD
from broker_plane.wire.exact_json import dumps

log = redacted_logger(__name__)

_PAUSE_SECONDS = 1.0
_ACKNOWLEDGED_SECONDS = 5.0
_CLOSE_SECONDS = 2.0


class StoredCancellations:
    """The cancellations of one client."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._now = asyncio.get_running_loop().time
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, call: DurableCall) -> None:
        """Store the cancellation of a call, as soon as the broker can be reached."""
        task = asyncio.create_task(self._replace(call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Wait for a moment until all are stored."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=_CLOSE_SECONDS)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _replace(self, call: DurableCall) -> None:
        # Another caller may have stored another request under this key, which must stay.
        if call.keyed and not await _has_stored(call):
            return
        line = dumps({"jsonrpc": "2.0", "id": call.id, "method": call.headers[METHOD]})
        headers = {name: value for name, value in call.headers.items() if name != EXPECTED} | {CANCELLED: "1"}
        until = self._now() + DEFAULT_SECONDS
        while self._now() < until:
            try:
                await self._connection.store(call.subject, line, headers)
                return
            except BrokerUnavailableError as error:
                if error.reason == NO_RESPONDERS:  # there is no stream, so no request is stored either
                    return
            except BrokerPlaneError as error:
                log.warning("A cancellation was not stored: %s", error)
                return
            await asyncio.sleep(_PAUSE_SECONDS)


async def _has_stored(call: DurableCall) -> bool:
    """Whether the stored request is known to be that of this call."""
    answer = call.answer
    if answer is None:
        return call.acknowledged
    await asyncio.wait({answer}, timeout=_ACKNOWLEDGED_SECONDS)
    return answer.done() and not answer.cancelled() and why_not_stored(answer) is None
