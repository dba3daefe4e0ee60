"""Durable tasks (SEP-2663): the stored record of one, and what clients see of it. Pure.

A record changes only by the functions of plane/durable_tasks/transitions.py. Times are nats-server's, in unix seconds.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from hashlib import sha256
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from broker_plane.errors import WireError
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

_FORMAT = 1
_ID_BYTES = 18
_ID = re.compile(r"[A-Za-z0-9_-]{24}\Z")
_SERVER = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_HASHED_BYTES = 15
_FIRST_POLL_MS, _LAST_POLL_MS = 500, 30_000
_AGE_PER_POLL = 10

_Time = Annotated[float, Meta(ge=0)]
_Text = Annotated[str, Meta(max_length=4_096)]


class TaskInput(msgspec.Struct, frozen=True, kw_only=True):
    """A question of a task: the server-to-client request, such as `elicitation/create`, and the client's result."""

    request: dict[str, Any]
    answer: dict[str, Any] | None = None


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
    ttl_ms: Annotated[int, Meta(ge=1)]
    """Lifetime from `created` on, in milliseconds."""
    status: Status = "working"
    message: str = ""
    run: Annotated[int, Meta(ge=1)] = 1
    """The number of the work that is queued or under way while the status is `working`."""
    holder: str = ""
    """What identifies the process that runs it; empty while nobody does."""
    deaths: int = 0
    """Processes that ended without a word while they ran it, since a step was last completed."""
    steps: int = 0
    """Completed steps when the current holder began."""
    cancel: bool = False
    """A client asked to cancel it, and its run has not ended yet."""
    inputs: dict[str, TaskInput] = {}
    result: str = ""
    """The name of the value that is its result; empty if it has none."""
    error: dict[str, Any] | None = None
    """The JSON-RPC error of a failed task."""
    format: int = _FORMAT

    @property
    def ended(self) -> bool:
        return self.status in TERMINAL

    @property
    def expires(self) -> float:
        return self.created + self.ttl_ms / 1000

    @property
    def outstanding(self) -> dict[str, dict[str, Any]]:
        """The questions that are not answered yet, by their keys."""
        return {key: each.request for key, each in self.inputs.items() if each.answer is None}

    def pack(self) -> bytes:
        return msgspec.json.encode(self)


def parse_record(raw: bytes) -> TaskRecord:
    """The record of an entry.

    Raises:
        WireError: a later version of broker_plane wrote it, or it is damaged.
    """
    try:
        record = msgspec.json.decode(raw, type=TaskRecord)
    except (msgspec.DecodeError, RecursionError) as error:
        raise WireError("The record of this task cannot be read", reason=str(error)) from error
    if record.format != _FORMAT:
        raise WireError("This task was created by a later version of broker-plane")
    return record


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


def detailed_fields(record: TaskRecord, result: dict[str, Any] | None, now: float) -> dict[str, Any]:
    """The members of `DetailedTask`: `result` is that of a completed task."""
    fields = task_fields(record, now)
    if record.status == "input_required":
        fields["inputRequests"] = record.outstanding
    elif record.status == "completed":
        fields["result"] = result or {}
    elif record.status == "failed":
        fields["error"] = record.error
    return fields


def _instant(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
