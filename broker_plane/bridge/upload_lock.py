"""One request at a time brings bytes for an upload, at one bridge.

A client that was killed leaves a request behind it whose bytes are still on their way. Whoever goes on with the upload
ends that one first (draft-ietf-httpbis-resumable-upload-12, "Concurrency"): else both lose what they sent, because the
chunks of one are in the way of the other's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from broker_plane.errors import ConflictError
from broker_plane.wire.names import BodyId


@dataclass(slots=True)
class _Holder:
    task: asyncio.Task[object]
    ended: bool = False
    done: asyncio.Event = field(default_factory=asyncio.Event)


class Floor:
    """Who brings bytes for which upload."""

    def __init__(self) -> None:
        self._held: dict[BodyId, _Holder] = {}

    async def clear(self, body_id: BodyId) -> bool:
        """Nobody brings bytes for it any more, and what came is acknowledged; returns whether somebody did."""
        held = self._held.get(body_id)
        if held is None:
            return False
        held.ended = True
        held.task.cancel()
        await held.done.wait()
        return True

    @contextmanager
    def hold(self, body_id: BodyId) -> Iterator[None]:
        """The current task brings bytes for it in here.

        Raises:
            ConflictError: another request goes on with it.
        """
        task = asyncio.current_task()
        if task is None or body_id in self._held:
            raise ConflictError("Another request brings bytes for this upload")
        held = self._held[body_id] = _Holder(task)
        try:
            yield
        except asyncio.CancelledError:
            if not held.ended or task.uncancel() > 0:
                raise
            raise ConflictError("Another request goes on with this upload") from None
        finally:
            del self._held[body_id]
            held.done.set()
