"""Log lines of commands on standard error, for people or as JSON, and never with a grant in them.

All loggers write through one handler, which redacts the finished line: it does not matter which library logged it, or
where in it the grant was. Inside other programs this package does not configure logging; there,
`plane/redacted_logs.py` keeps grants out of the log records.
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
"""The attribute of a record (`extra={FIELDS: {…}}`) whose members become members of a JSON line."""


def configure(form: str, level: str) -> None:
    """Log to standard error: our own lines from `level` on, those of libraries from warning on (or `debug`)."""
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


def text_handler(level: str) -> None:
    """Log as text to standard error, unless the program has configured logging."""
    root = logging.getLogger()
    if root.handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Text())
    root.addHandler(handler)
    root.setLevel(level)


class _Redacted(logging.Formatter):
    """A formatter whose lines contain no grants. `plane/redacted_logs.py` redacts the records themselves."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(self._line(record))

    def _line(self, record: logging.LogRecord) -> str:
        raise NotImplementedError


class _Text(_Redacted):
    """One line per record, followed by its traceback."""

    def _line(self, record: logging.LogRecord) -> str:
        line = f"{_when(record)} {record.levelname.lower():7} {record.name}: {_one_line(record.getMessage())}"
        return "\n".join(filter(None, (line, _trace(record))))


class _Json(_Redacted):
    """One JSON object per line: `time`, `level`, `logger`, `message`, and the fields of the event."""

    def _line(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "time": _when(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields |= getattr(record, FIELDS, {})
        if trace := _trace(record):
            fields["trace"] = trace
        # Redact before JSON escapes: behind an escape a grant would not be recognized.
        safe = {name: redact(value) if isinstance(value, str) else value for name, value in fields.items()}
        return json.dumps(safe, ensure_ascii=False, default=str)


def _when(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03}Z"


def _trace(record: logging.LogRecord) -> str:
    text = record.exc_text or ""
    if not text and record.exc_info and record.exc_info[0] is not None:
        text = "".join(traceback.format_exception(*record.exc_info)).rstrip()
    return "\n".join(filter(None, (text, record.stack_info)))


def _one_line(text: str) -> str:
    """Escape line breaks: received text must not look like a separate log line."""
    return text.replace("\r", "\\r").replace("\n", "\\n") if "\n" in text or "\r" in text else text
