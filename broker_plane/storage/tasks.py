"""The TaskStore port: records in the bucket `bp_tasks`, and their values beside them, large ones as bodies.

An entry `h.<server>.<task>` is a record, `v.<server>.<task>.<name>` a value, and `k.<server>.<key>` the id that a key
of a client names. nats-server announces each stored record (republish, ADR-28) without its content.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from math import ceil
from secrets import token_bytes

from broker_plane.broker.connection import Connection
from broker_plane.errors import (
    BodyLostError,
    BodyNotFoundError,
    BrokerUnavailableError,
    ConflictError,
    StorageError,
    TaskNotFoundError,
    TooLargeError,
    WireError,
)
from broker_plane.plane.durable_tasks.transitions import KEPT_MS
from broker_plane.plane.ports import Draft, Shape
from broker_plane.storage.bodies import NatsBodyStore
from broker_plane.storage.buckets import NatsBucket
from broker_plane.storage.layout import ensure_tasks
from broker_plane.wire.names import BodyId, body_id, parse_body_id, parse_owner
from broker_plane.wire.plane_names import kv_stream, kv_subject
from broker_plane.wire.tasks import DamagedTask, TaskRecord, parse_record

_INLINE_BYTES = 64 << 10
"""A larger value becomes a body."""

_HERE, _BODY = b"=", b"@"
"""The first byte of a value's entry: the value follows, or the owner and the id of its body."""

_MEDIA_TYPE = "application/vnd.broker-plane.task-value"
_NO_STREAM = "10059"
_HEADER_BYTES = 8192
"""Left in a message for its headers, which count as payload."""

_RECONNECT_SECONDS = 0.5
_MARGIN_SECONDS = 60
"""How much longer than the record its values are kept."""


class NatsTasks:
    """The TaskStore port. Needs the rights of the user `plane`; bodies belong to `owner`."""

    def __init__(self, connection: Connection, bodies: NatsBodyStore, owner: str) -> None:
        self._connection = connection
        self._names = connection.names
        self._bodies = bodies
        self._owner = owner
        self._bucket = NatsBucket(connection, connection.names.tasks_bucket, lambda: ensure_tasks(connection))

    async def load(self, server: str, task_id: str) -> tuple[TaskRecord | None, int]:
        """As `TaskStore.load`."""
        raw, revision = await self._bucket.load(_record(server, task_id))
        return (None, 0) if raw is None else (_parsed(server, task_id, raw), revision)

    async def save(self, record: TaskRecord, revision: int) -> int:
        """As `TaskStore.save`."""
        raw, most = record.pack(), self._connection.max_payload - _HEADER_BYTES
        if len(raw) > most:
            raise TooLargeError(
                f"The state of this task has {len(raw):,} bytes; this NATS stores at most {most:,} in one message. "
                "Raise max_payload of nats-server"
            )
        return await self._bucket.save(_record(record.server, record.id), raw, revision, self._seconds(record.expires))

    async def keep(self, record: TaskRecord, name: str, value: bytes) -> bytes:
        """As `TaskStore.keep`."""
        until = max(record.expires, self._connection.clock.now() + KEPT_MS / 1000) + _MARGIN_SECONDS
        entry = _HERE + value if len(value) <= self._inline_bytes else await self._as_body(record, value, until)
        try:
            await self._bucket.save(_value(record, name), entry, 0, self._seconds(until))
        except ConflictError:
            return await self.value(record, name)
        return value

    async def value(self, record: TaskRecord, name: str) -> bytes:
        """As `TaskStore.value`."""
        entry, _ = await self._bucket.load(_value(record, name))
        if entry is None:
            raise TaskNotFoundError("What this task had stored is gone: it has expired. Call the tool again")
        if entry[:1] == _HERE:
            return entry[1:]
        owner, _, body = entry[1:].decode("ascii", "replace").partition(" ")
        try:
            return await self._body(parse_owner(owner), parse_body_id(body))
        except WireError as error:
            raise BodyLostError("A stored value of this task is damaged", reason=name) from error

    async def kept(self, record: TaskRecord, kind: str) -> set[str]:
        """As `TaskStore.kept`."""
        begin = kv_subject(self._names.tasks_bucket, _value(record, ""))
        stream = kv_stream(self._names.tasks_bucket)
        found = await self._connection.retrying_api(f"STREAM.INFO.{stream}", {"subjects_filter": f"{begin}{kind}.*"})
        return {subject.removeprefix(begin) for subject in found["state"].get("subjects") or ()}

    async def identify(self, server: str, key: str, task_id: str, ttl_seconds: int) -> str:
        """As `TaskStore.identify`."""
        name = f"k.{server}.{key}"
        with suppress(ConflictError):
            await self._bucket.save(name, task_id.encode(), 0, ttl_seconds)
            return task_id
        known, _ = await self._bucket.load(name)
        return known.decode() if known else task_id

    async def records(
        self, server: str = "*", task_id: str = "*", after: int = 0
    ) -> AsyncGenerator[tuple[TaskRecord | DamagedTask, int], None]:
        """As `TaskStore.records`."""
        async with aclosing(self._bucket.entries_after(_record(server, task_id), after)) as entries:
            async for name, raw, revision in entries:
                _, of_server, own_id = name.split(".")
                try:
                    yield _parsed(of_server, own_id, raw), revision
                except WireError as error:
                    yield DamagedTask(of_server, own_id, str(error)), revision

    async def work(self, server: str) -> set[tuple[str, int]]:
        """As `TaskStore.work`."""
        names = self._names
        found: set[tuple[str, int]] = set()
        pattern, total, read = names.task_work_subject(server, "*", "*"), 1, 0
        while read < total:
            try:
                info = await self._connection.retrying_api(
                    f"STREAM.INFO.{names.task_work_stream}", {"subjects_filter": pattern, "offset": read}
                )
            except StorageError as error:
                if _NO_STREAM in error.reason:
                    return set()
                raise
            subjects = info["state"].get("subjects") or {}
            total, read = (info.get("total") or 0, read + len(subjects)) if subjects else (0, 0)
            for subject in subjects:
                _, task_id, run = subject.rsplit(".", 2)
                if run.isdecimal():
                    found.add((task_id, int(run)))
        return found

    async def changes(self, server: str) -> AsyncGenerator[str, None]:
        """As `TaskStore.changes`."""
        await ensure_tasks(self._connection)
        while True:
            try:
                await self._connection.wait_connected()
                async with self._connection.subscribe(self._names.task_changed_subject(server, "*")) as announced:
                    await self._connection.api("INFO")  # answered once the subscription is established
                    yield ""
                    while True:
                        yield (await announced.next(None)).subject.rpartition(".")[2]
            except BrokerUnavailableError:
                await asyncio.sleep(_RECONNECT_SECONDS)

    @property
    def _inline_bytes(self) -> int:
        return min(_INLINE_BYTES, self._connection.max_payload // 2)

    def _seconds(self, until: float) -> int:
        return max(1, ceil(until - self._connection.clock.now()))

    async def _as_body(self, record: TaskRecord, value: bytes, until: float) -> bytes:
        """The entry of a value that is stored as a body, to which there is no grant."""
        draft = Draft(
            id=body_id(token_bytes(16)),
            owner=self._owner,
            kind="bytes",
            media_type=_MEDIA_TYPE,
            name=f"task {record.id}",
            created=self._connection.clock.now(),
            expires=ceil(until),
        )
        async with self._bodies.writer(draft) as writer:
            await writer.write(value)
            body = await writer.commit(Shape())
        return _BODY + f"{body.owner} {body.id}".encode()

    async def _body(self, owner: str, body: BodyId) -> bytes:
        try:
            info = await self._bodies.info(owner, body)
        except BodyNotFoundError as error:
            raise TaskNotFoundError("A large value of this task was deleted. Call the tool again") from error
        async with aclosing(self._bodies.read(info)) as pieces:
            return b"".join([piece async for piece in pieces])


def _record(server: str, task_id: str) -> str:
    return f"h.{server}.{task_id}"


def _parsed(server: str, task_id: str, raw: bytes) -> TaskRecord:
    """Raises WireError, also for the record of another task: its changes would go astray."""
    record = parse_record(raw)
    if (record.server, record.id) != (server, task_id):
        raise WireError("The record of another task is stored under the id of this one")
    return record


def _value(record: TaskRecord, name: str) -> str:
    return f"v.{record.server}.{record.id}.{name}"
