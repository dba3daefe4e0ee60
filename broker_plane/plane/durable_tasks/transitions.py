"""How the record of a task changes: each function returns the record after one event. Pure.

    working ──park──> input_required ──answer of the last question──> working (the next run)
       │                    │
       └──finish, cancel────┴──cancel──> completed | failed | cancelled, which never change again

A run writes only while it holds the record: its token is the record's `holder`. A function returns None where it does
not, so that of two processes that run the same task only the later one is heard. The compare-and-set of the record
decides between two writers.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from broker_plane.wire.tasks import MAX_MESSAGE, Status, TaskInput, TaskPart, TaskRecord

MAX_DEATHS = 5
"""A task that ended its process so often, without a step completed in between, is not run again."""

KEPT_MS = 600_000
"""How long a result is kept at least, once it is there, in milliseconds."""


def claimed(record: TaskRecord, run: int, holder: str, steps: int) -> TaskRecord | None:
    """`holder` begins the run. None: that work is done already, or was replaced by a later one.

    `steps` are those that are completed. A holder before it that did not give the task back has died with it.
    """
    if record.status != "working" or record.run != run:
        return None
    deaths = record.deaths
    if record.holder:
        deaths = deaths + 1 if steps == record.steps else 1
    return replace(record, begun=True, holder=holder, deaths=deaths, steps=steps)


def released(record: TaskRecord, holder: str, now: float) -> TaskRecord | None:
    """`holder` gives the run back unfinished. The work is queued still, unless a client has cancelled the task."""
    if not _held(record, holder):
        return None
    return _ended(record, "cancelled", now) if record.cancel else replace(record, holder="")


def with_message(record: TaskRecord, holder: str, text: str, now: float) -> TaskRecord | None:
    """The run says how far it is."""
    if not _held(record, holder):
        return None
    return replace(record, message=_message(text), updated=now)


def parked(record: TaskRecord, holder: str, asked: Mapping[str, TaskPart], now: float) -> TaskRecord | None:
    """The run ends, because it needs the answers to the questions `asked`.

    A question that was asked before keeps its first form: one key never means two questions.
    """
    if not _held(record, holder):
        return None
    if record.cancel:
        return _ended(record, "cancelled", now)
    inputs = {key: TaskInput(request=request) for key, request in asked.items()} | record.inputs
    return replace(record, status="input_required", holder="", deaths=0, inputs=inputs, updated=now)


def answered(record: TaskRecord, answers: Mapping[str, TaskPart], now: float) -> TaskRecord:
    """The client answers. Keys of no outstanding question are ignored; after the last one the next run is due."""
    outstanding = record.outstanding if record.status == "input_required" else {}
    given = {key: answer for key, answer in answers.items() if key in outstanding}
    if not given:
        return record
    inputs = {key: replace(each, answer=given[key]) if key in given else each for key, each in record.inputs.items()}
    if len(given) < len(outstanding):
        return replace(record, inputs=inputs, updated=now)
    return replace(record, inputs=inputs, status="working", run=record.run + 1, updated=now)


def cancelled(record: TaskRecord, now: float) -> TaskRecord:
    """A client wants no more of it: a run that is under way is asked to end, and without one the task has ended."""
    if record.ended or record.cancel:
        return record
    return replace(record, cancel=True) if record.holder else _ended(record, "cancelled", now)


def completed(record: TaskRecord, holder: str, result: str, now: float) -> TaskRecord | None:
    """The run has a result, which is stored under the name `result`."""
    return replace(_ended(record, "completed", now), result=result) if _held(record, holder) else None


def failed(record: TaskRecord, holder: str, error: TaskPart, message: str, now: float) -> TaskRecord | None:
    """The run ended with a JSON-RPC error, which has this message."""
    if not _held(record, holder):
        return None
    return replace(_ended(record, "failed", now), error=error, message=_message(message))


def stopped(record: TaskRecord, holder: str, now: float) -> TaskRecord | None:
    """The run ended because a client asked it to."""
    return _ended(record, "cancelled", now) if _held(record, holder) else None


def _held(record: TaskRecord, holder: str) -> bool:
    return record.status == "working" and bool(holder) and record.holder == holder


def _message(text: str) -> str:
    return text[:MAX_MESSAGE].encode(errors="replace").decode()  # half of a surrogate pair cannot be stored


def _ended(record: TaskRecord, status: Status, now: float) -> TaskRecord:
    """Questions and answers end with the task: nobody reads them any more."""
    least = int((now - record.created) * 1000) + KEPT_MS
    return replace(
        record,
        status=status,
        holder="",
        cancel=False,
        deaths=0,
        inputs={},
        ttl_ms=max(record.ttl_ms, least),
        updated=now,
    )
