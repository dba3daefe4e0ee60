"""Durable tasks (SEP-2663): the stored record of one, and what clients see of it. Pure.

A record changes only by the functions of plane/durable_tasks/transitions.py. Times are nats-server's, in unix seconds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from broker_plane.errors import WireError
from broker_plane.wire.exact_json import MALFORMED, loads
from broker_plane.wire.names import argument_id, encode_id

TASKS: Final = "io.modelcontextprotocol/tasks"
"""The identifier of the extension."""

Status = Literal["working", "input_required", "completed", "failed", "cancelled"]
TERMINAL: Final = frozenset({"completed", "failed", "cancelled"})
"""States that never change again."""

MAX_INPUTS = 64
"""Questions that one task may ask in its life."""

MAX_KEY = 128
"""Maximum length of the key of a question and of the name of a step, in characters."""

MAX_INPUT_BYTES = 64 << 10
"""Maximum size of one question, and of one answer, as JSON."""

MAX_MESSAGE = 1_000
"""Maximum length of a status message, in characters; the rest is cut off."""

MAX_PART_BYTES = 2 << 10
"""A larger question, answer or error is a value beside the record, so that no record outgrows a message of NATS."""

_DAMAGED = "The record of this task is damaged"
_LATER = "A later version of broker-plane created this task"
_FORMAT = 1
_ID_BYTES = 18
_ID = re.compile(r"[A-Za-z0-9_-]{24}\Z")
_SERVER = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_HASHED_BYTES = 15
_FIRST_POLL_MS, _LAST_POLL_MS = 500, 30_000
_AGE_PER_POLL = 10

_PART_BYTES = 16
_LAST_TIME = 32_503_680_000
"""The year 3000: Python cannot write the times that nonsense may lead to."""

_LONGEST_MS = 400 * 86_400_000

_Time = Annotated[float, Meta(ge=0, le=_LAST_TIME)]
_Text = Annotated[str, Meta(max_length=4_096)]
_Count = Annotated[int, Meta(ge=0, le=1 << 53)]
_ValueName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{0,80}\Z")]


class TaskPart(msgspec.Struct, frozen=True, kw_only=True):
    """A JSON text that belongs to a record: in it, or, if it is large, in the value of this name beside it."""

    text: str = ""
    name: _ValueName = ""


class TaskInput(msgspec.Struct, frozen=True, kw_only=True):
    """A question of a task: the server-to-client request, such as `elicitation/create`, and the client's result."""

    request: TaskPart
    answer: TaskPart | None = None


class TaskRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One task, as it is stored. Everything large is beside it: the call, the results of steps, and the result."""

    id: Annotated[str, Meta(pattern=_ID.pattern)]
    server: Annotated[str, Meta(pattern=_SERVER.pattern)]
    """The server's name as a subject token: see `server_token`."""
    tool: _Text
    client: _Text = ""
    """The client and the subject of the access token that created it; only they may use it. Empty: there was none."""
    created: _Time
    updated: _Time
    ttl_ms: Annotated[int, Meta(ge=1, le=_LONGEST_MS)]
    """Lifetime from `created` on, in milliseconds."""
    status: Status = "working"
    message: _Text = ""
    run: Annotated[int, Meta(ge=1, le=1 << 53)] = 1
    """The number of the work that is queued or under way while the status is `working`."""
    begun: bool = False
    """A process has begun to run it at some time, so it may have completed steps."""
    holder: _Text = ""
    """What identifies the process that runs it; empty while nobody does."""
    deaths: _Count = 0
    """Processes that ended without a word while they ran it, since a step was last completed."""
    steps: _Count = 0
    """Completed steps when the current holder began."""
    cancel: bool = False
    """A client asked to cancel it, and its run has not ended yet."""
    inputs: dict[str, TaskInput] = {}
    """The questions by their keys, until the task has ended."""
    result: _ValueName = ""
    """The name of the value that is its result; empty if it has none."""
    error: TaskPart | None = None
    """The JSON-RPC error of a failed task."""
    format: int = _FORMAT

    @property
    def ended(self) -> bool:
        return self.status in TERMINAL

    @property
    def expires(self) -> float:
        return self.created + self.ttl_ms / 1000

    @property
    def outstanding(self) -> dict[str, TaskPart]:
        """The questions that are not answered yet, by their keys."""
        return {key: each.request for key, each in self.inputs.items() if each.answer is None}

    def pack(self) -> bytes:
        return msgspec.json.encode(self)


@dataclass(frozen=True, slots=True)
class DamagedTask:
    """A record that cannot be used. `reason` is a sentence that says why."""

    server: str
    id: str
    reason: str


def parse_record(raw: bytes) -> TaskRecord:
    """The record of an entry.

    Raises:
        WireError: a later version of broker_plane wrote it, or it is damaged.
    """
    try:
        record = msgspec.json.decode(raw, type=TaskRecord)
    except (*MALFORMED, msgspec.ValidationError) as error:
        raise WireError(_LATER if _is_later(raw) else _DAMAGED, reason=str(error)) from error
    if record.format != _FORMAT:
        raise WireError(_LATER)
    return record


def _is_later(raw: bytes) -> bool:
    try:
        found = loads(raw)
    except MALFORMED:
        return False
    return isinstance(found, dict) and found.get("format", _FORMAT) != _FORMAT


def task_part(content: bytes, kind: str) -> TaskPart:
    """How a JSON text belongs to a record. A large one gets a name of `kind` and its digest, and is to be stored."""
    if len(content) <= MAX_PART_BYTES:
        return TaskPart(text=content.decode())
    return TaskPart(name=f"{kind}.{encode_id(sha256(content).digest()[:_PART_BYTES])}")


def task_id(raw: bytes) -> str:
    """The id of 18 random bytes: whoever knows it may use a task that was created without an access token."""
    if len(raw) != _ID_BYTES:
        raise ValueError(f"A task id has {_ID_BYTES} random bytes")
    return argument_id(raw)


def is_task_id(text: str) -> bool:
    return _ID.match(text) is not None


def server_token(name: str) -> str:
    """A server's name as one subject token: the name itself, or a digest of one with other characters than A-Z, a-z,
    0-9, _ and -.
    """
    return name if _SERVER.match(name) else f"x-{encode_id(sha256(name.encode()).digest()[:_HASHED_BYTES])}"


def poll_interval_ms(record: TaskRecord, now: float) -> int:
    """How long a client should wait before it asks again: a tenth of the task's age, 0.5 to 30 seconds."""
    return int(min(max((now - record.created) * 1000 / _AGE_PER_POLL, _FIRST_POLL_MS), _LAST_POLL_MS))


def task_fields(record: TaskRecord, now: float) -> dict[str, Any]:
    """The members of `Task`, as in the result that creates it."""
    fields: dict[str, Any] = {
        "taskId": record.id,
        "status": record.status,
        "createdAt": _instant(record.created),
        "lastUpdatedAt": _instant(record.updated),
        "ttlMs": record.ttl_ms,
    }
    if record.message:
        fields["statusMessage"] = record.message
    if not record.ended:
        fields["pollIntervalMs"] = poll_interval_ms(record, now)
    return fields


def detailed_fields(
    record: TaskRecord,
    now: float,
    *,
    requests: Mapping[str, Any] | None = None,
    result: Any = None,
    error: Any = None,
) -> dict[str, Any]:
    """The members of `DetailedTask`: open questions, the result of a completed task, or the error of a failed one."""
    fields = task_fields(record, now)
    if record.status == "input_required":
        fields["inputRequests"] = dict(requests or {})
    elif record.status == "completed":
        fields["result"] = result or {}
    elif record.status == "failed":
        fields["error"] = error
    return fields


def _instant(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
