"""The log lines of commands: on standard error, for people or as JSON, and never with a grant in them.

Every line of every logger goes through one handler, and what that writes is redacted after it was put together: so it
does not matter which library said it, or where in it the grant stood. A library inside somebody else's program sets up
no logging; there, `plane/redacted_logs.py` keeps grants out of the records.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from typing import Any

from broker_plane.wire.urls import redact

LEVELS = ("debug", "info", "warning", "error")
OURS = "broker_plane"
FIELDS = "fields"
"""The attribute of a record (`extra={FIELDS: {…}}`) whose members stand in a JSON line by themselves."""


def configure(form: str, level: str) -> None:
    """Log to standard error from now on: our own lines from `level`, those of libraries from warning or `debug`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Text())
    root = logging.getLogger()
    for old in list(root.handlers):
        if isinstance(old.formatter, _Redacted):
            root.removeHandler(old)
    root.addHandler(handler)
    number = getattr(logging, level.upper())
    root.setLevel(number if level in ("debug", "error") else logging.WARNING)
    logging.getLogger(OURS).setLevel(number)
    logging.captureWarnings(True)


class _Redacted(logging.Formatter):
    """A formatter whose lines are safe. What a record itself holds is left to `plane/redacted_logs.py`."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(self._line(record))

    def _line(self, record: logging.LogRecord) -> str:
        raise NotImplementedError


class _Text(_Redacted):
    """One line each; a traceback follows it."""

    def _line(self, record: logging.LogRecord) -> str:
        line = f"{_when(record)} {record.levelname.lower():7} {record.name}: {_one_line(record.getMessage())}"
        return "\n".join(filter(None, (line, _trace(record))))


class _Json(_Redacted):
    """One object a line (`time`, `level`, `logger`, `message`, and what the event has of its own)."""

    def _line(self, record: logging.LogRecord) -> str:
        said: dict[str, Any] = {
            "time": _when(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        said |= getattr(record, FIELDS, {})
        if trace := _trace(record):
            said["trace"] = trace
        # A grant behind an escape would not be seen for what it is.
        safe = {name: redact(value) if isinstance(value, str) else value for name, value in said.items()}
        return json.dumps(safe, ensure_ascii=False, default=str)


def _when(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03}Z"


def _trace(record: logging.LogRecord) -> str:
    text = record.exc_text or ""
    if not text and record.exc_info and record.exc_info[0] is not None:
        text = "".join(traceback.format_exception(*record.exc_info)).rstrip()
    return "\n".join(filter(None, (text, record.stack_info)))


def _one_line(text: str) -> str:
    """A line break in what somebody sent must not look like a line of its own."""
    return text.replace("\r", "\\r").replace("\n", "\\n") if "\n" in text or "\r" in text else text
