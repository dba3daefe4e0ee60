"""Detects dropped writes: a stream that failed to write to its disk answers no write until a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import orjson

from broker_plane.broker.messages import Message
from broker_plane.broker.requests import Answer, Requests
from broker_plane.errors import BrokerUnavailableError, DiskFullError
from broker_plane.plane.tasks import settled

_PROBE_AFTER_SECONDS = 0.5
"""A write without an answer for this long is investigated; most take a millisecond."""

_PROBE = {"Nats-Expected-Stream": "-"}
"""Headers that every stream refuses, so that a probe stores nothing."""


class DroppedWrites:
    """Fails those writes of a connection that will never be answered."""

    def __init__(
        self,
        requests: Requests,
        request: Callable[[str, bytes, dict[str, str]], Awaitable[Message]],
        is_replicated: Callable[[str], Awaitable[bool]],
        timeout: float,
    ) -> None:
        """`request` sends a request on that connection; `is_replicated` says whether a stream has several replicas."""
        self._requests = requests
        self._request = request
        self._is_replicated = is_replicated
        self._timeout = timeout
        self._probed: set[tuple[str, ...]] = set()

    async def wait(self, answer: Answer, seconds: float) -> None:
        """Wait up to `seconds` until the write is answered. It fails as soon as it is known to be dropped."""
        soon = min(_PROBE_AFTER_SECONDS, self._timeout)
        deadline = asyncio.get_running_loop().time() + seconds
        while not await settled(answer, soon) and asyncio.get_running_loop().time() < deadline:
            await self._fail_dropped(answer)

    async def _fail_dropped(self, answer: Answer) -> None:
        """Fail what a stream dropped.

        A stream handles its messages in order. If it refuses a message that it would never store, it has dropped the
        earlier ones that it did not answer. (A stream with replicas refuses before it asks them: that proves nothing.)
        """
        subject = self._requests.subject_of(answer)
        stream = _stream_of(subject)
        if stream in self._probed:  # the probe of another write answers for this one, too
            return
        self._probed.add(stream)
        try:
            await self._probe(answer, subject)
        finally:
            self._probed.discard(stream)

    async def _probe(self, answer: Answer, subject: str) -> None:
        before = self._requests.sent
        with suppress(BrokerUnavailableError):
            refusal = orjson.loads((await self._request(subject, b"", _PROBE)).data)
            if answer.done() or await self._is_replicated(str(refusal.get("stream", ""))):
                return
            stream = _stream_of(subject)
            error = DiskFullError("writes are dropped")
            self._requests.fail_before(before, lambda other: _stream_of(other) == stream, error)


def _stream_of(subject: str) -> tuple[str, ...]:
    """Identifies the stream of a subject: streams of the plane differ in the first two tokens."""
    return tuple(subject.split(".")[:2])
