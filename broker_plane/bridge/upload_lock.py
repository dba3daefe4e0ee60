"""At most one request may write to an upload at a time, on one bridge.

A client that was killed leaves a request behind whose bytes are still arriving. The request that resumes the upload
ends that one first (draft-ietf-httpbis-resumable-upload-12, "Concurrency"); otherwise both would lose what they sent,
because their chunks conflict. Requests on different bridges are kept apart by the upload's compare-and-set.
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


class UploadLock:
    """The requests that are writing, by upload."""

    def __init__(self) -> None:
        self._held: dict[BodyId, _Holder] = {}

    async def interrupt(self, body_id: BodyId) -> bool:
        """End the request that is writing to this upload, once its bytes are stored; returns whether there was one."""
        held = self._held.get(body_id)
        if held is None:
            return False
        held.ended = True
        held.task.cancel()
        await held.done.wait()
        return True

    @contextmanager
    def hold(self, body_id: BodyId) -> Iterator[None]:
        """Let the current task write to the upload in this block.

        Raises:
            ConflictError: another request is writing to it, or has interrupted this one.
        """
        task = asyncio.current_task()
        if task is None or body_id in self._held:
            raise ConflictError("Another request is writing to this upload")
        held = self._held[body_id] = _Holder(task)
        try:
            yield
        except asyncio.CancelledError:
            if not held.ended or task.uncancel() > 0:
                raise
            raise ConflictError("Another request has resumed this upload") from None
        finally:
            del self._held[body_id]
            held.done.set()
