"""The port of the store of tasks. The work itself goes through the WorkQueue port of plane/exchanges/ports.py."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from broker_plane.wire.tasks import DamagedTask, TaskRecord

CALL = "call"
"""The value that the call of a task is."""


class TaskStore(Protocol):
    """The records of tasks, changed by compare-and-set, and values beside them, each stored once."""

    async def load(self, server: str, task_id: str) -> tuple[TaskRecord | None, int]:
        """The record and its revision; `(None, 0)` if there is none, or no longer.

        Raises:
            WireError: it is damaged, or a later version wrote it. BrokerUnavailableError.
        """

    async def save(self, record: TaskRecord, revision: int) -> int:
        """Store the record if its revision is still `revision`, and return the new one. It expires with the task.

        Raises:
            ConflictError: the revision has changed. StoreFullError. BrokerUnavailableError: the outcome is unknown.
            TooLargeError: it does not fit into one message of this NATS.
        """

    async def keep(self, record: TaskRecord, name: str, value: bytes) -> bytes:
        """Store a value of any size under a name of A-Z, a-z, 0-9, _, - and dots, unless there is one; return what is
        stored.

        Raises:
            StoreFullError. BrokerUnavailableError: the outcome is unknown; keep it again.
        """

    async def value(self, record: TaskRecord, name: str) -> bytes:
        """A stored value.

        Raises:
            TaskNotFoundError: it is not stored, or no longer. BodyLostError, BrokerUnavailableError.
        """

    async def kept(self, record: TaskRecord, kind: str) -> set[str]:
        """The names of the values that begin with `<kind>.`"""

    async def identify(self, server: str, key: str, task_id: str, ttl_seconds: int) -> str:
        """The id of the task that `key` names: `task_id`, unless it named another one before.

        Raises:
            StoreFullError, BrokerUnavailableError.
        """

    def records(
        self, server: str = "*", task_id: str = "*", after: int = 0
    ) -> AsyncGenerator[tuple[TaskRecord | DamagedTask, int], None]:
        """The records of one server or of all with their revisions, in the order of their last change.

        Those with a revision up to `after` are left out.
        """

    async def work(self, server: str) -> set[tuple[str, int]]:
        """The id of the task and the number of each run that is in the queue, finished or not.

        Raises:
            BrokerUnavailableError.
        """

    def changes(self, server: str) -> AsyncGenerator[str, None]:
        """The id of each task of a server whose record was stored, by any process. Never ends.

        An empty id says that some may have been missed before.
        """
