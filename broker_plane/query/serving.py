"""The worker's loop: a forked child for each query (`duckdb_worker.py`)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import orjson

from broker_plane.errors import BrokerPlaneError, QueryFailedError
from broker_plane.query.decoded_frames import DecodedFrames
from broker_plane.query.duckdb_query import DuckDbQuery, out_of_memory
from broker_plane.query.limits import QueryLimits
from broker_plane.query.messages import (
    BYTES,
    DONE,
    END,
    ERROR,
    FRAME,
    MOST_ANSWER_BYTES,
    NEEDS,
    READY,
    STATEMENT,
    read_message,
    write_message,
)
from broker_plane.query.process_limits import begin_deadline, confine, die_with

BROKEN, ENDED, UNREAD = 70, 72, 73
"""Exit codes: a failure, the bridge has closed the pipe, bytes of a failed query are left in the pipe."""

_IN, _OUT = 0, 1


def serve(parent: int, limits: Mapping[str, Any]) -> int:
    """Fork a child for each query; returns the exit code of the first one that did not end well."""
    die_with(parent)
    holder, allowed = os.getpid(), QueryLimits(**limits)
    while True:
        child = os.fork()
        if not child:
            code = BROKEN
            try:
                die_with(holder)
                code = _serve_one(allowed)
            finally:
                os._exit(code)  # no destructor of a library runs, and no buffer of the parent is flushed
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code:
            return code if code > 0 else 128 - code


def _serve_one(limits: QueryLimits) -> int:
    query = DuckDbQuery.prepared(limits)
    confine(limits)
    write_message(_OUT, READY)
    try:
        kind, payload = read_message(_IN)
    except EOFError:
        return ENDED
    if kind != STATEMENT:
        return BROKEN
    begin_deadline(limits)
    conversation = _Conversation(query, limits)
    try:
        conversation.answer(orjson.loads(payload))
    except BrokerPlaneError as error:
        _send_error(error)
    except MemoryError:
        _send_error(out_of_memory())
    except EOFError:
        return ENDED
    return UNREAD if conversation.unread else 0


class _Conversation:
    """The messages of one query."""

    def __init__(self, query: DuckDbQuery, limits: QueryLimits) -> None:
        self.unread = False
        """Whether the bridge sends, or may send, what was not read."""
        self._query = query
        self._limits = limits

    def answer(self, fields: Mapping[str, Any]) -> None:
        needed = self._query.needs(fields["sql"], fields["tables"])
        write_message(_OUT, NEEDS, orjson.dumps(needed))
        self.unread = True
        self._query.load({name: self._table(columns) for name, columns in needed.items()})
        self.unread = False
        for piece in self._query.result(fields["sql"]):
            for begin in range(0, len(piece), MOST_ANSWER_BYTES):
                write_message(_OUT, BYTES, piece[begin : begin + MOST_ANSWER_BYTES])
        write_message(_OUT, DONE)

    def _table(self, columns: list[str]) -> Any:
        decoded = DecodedFrames(columns, self._limits.memory_bytes)
        while True:
            kind, payload = read_message(_IN)
            if kind == END:
                return decoded.table()
            if kind != FRAME:
                raise QueryFailedError("The bridge sent something else than a table")
            decoded.add(payload)


def _send_error(error: BrokerPlaneError) -> None:
    write_message(_OUT, ERROR, orjson.dumps({"code": error.code, "message": str(error)}))
