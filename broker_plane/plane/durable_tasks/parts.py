"""The parts of a record that may be large (questions, answers, errors), and the whole of a task as its client sees it.

A large part is stored as a value first; then the record, in one conditional write, has its name.
"""

from __future__ import annotations

from typing import Any

from broker_plane.errors import BodyLostError
from broker_plane.plane.durable_tasks.ports import TaskStore
from broker_plane.wire.exact_json import MALFORMED, dumps, loads
from broker_plane.wire.tasks import TaskPart, TaskRecord, detailed_fields, task_part


async def store_part(store: TaskStore, record: TaskRecord, kind: str, content: Any) -> TaskPart:
    """The part of a JSON value, which is stored on return if it is large. `kind` begins the name of its value.

    Raises:
        StoreFullError. BrokerUnavailableError: store it again.
    """
    text = dumps(content)
    part = task_part(text, kind)
    if part.name:
        await store.keep(record, part.name, text)
    return part


async def content_of(store: TaskStore, record: TaskRecord, part: TaskPart | None) -> Any:
    """The JSON value of a part.

    Raises:
        BodyLostError: it is damaged. As `TaskStore.value`.
    """
    if part is None:
        return None
    return _parsed(await store.value(record, part.name) if part.name else part.text)


async def result_of(store: TaskStore, record: TaskRecord) -> Any:
    """The result of a completed task; None for others. Raises as `content_of`."""
    return _parsed(await store.value(record, record.result)) if record.result else None


async def detailed(store: TaskStore, record: TaskRecord, now: float) -> dict[str, Any]:
    """The members of `DetailedTask`. Raises as `content_of`."""
    requests = {key: await content_of(store, record, part) for key, part in record.outstanding.items()}
    error = await content_of(store, record, record.error)
    return detailed_fields(record, now, requests=requests, result=await result_of(store, record), error=error)


def _parsed(text: str | bytes) -> Any:
    try:
        return loads(text)
    except MALFORMED as error:
        raise BodyLostError("A stored value of this task is damaged", reason=str(error)) from error
