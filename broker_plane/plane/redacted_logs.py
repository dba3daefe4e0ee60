"""Keeps grants out of log records, whichever library wrote them: `redact_loggers` puts the redactor before every
handler.
"""

from __future__ import annotations

import logging

from broker_plane.wire.urls import redact

_TRACEBACKS = logging.Formatter()


class _WithoutGrants(logging.Filter):
    """Rewrites the parts of a record, before any formatter sees it; tracebacks too, since errors may repeat their
    input.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if (safe := redact(text)) != text:
            record.msg, record.args = safe, ()
        if record.exc_info and record.exc_info[0] is not None:
            record.exc_text = redact(record.exc_text or _TRACEBACKS.formatException(record.exc_info))
        if record.stack_info:
            record.stack_info = redact(record.stack_info)
        return True


def redact_loggers(*names: str) -> None:
    """Redact the records of these loggers and of the existing loggers below them, from now on. Idempotent.

    A logger's filter does not see records of the loggers below it, so each gets its own. Call this after importing the
    library.
    """
    known = list(logging.root.manager.loggerDict)
    for name in names:
        for each in [name, *(other for other in known if other.startswith(f"{name}."))]:
            found = logging.getLogger(each)
            if not any(isinstance(present, _WithoutGrants) for present in found.filters):
                found.addFilter(_WithoutGrants())


def redacted_logger(name: str) -> logging.Logger:
    """The redacted logger of a module of this package."""
    redact_loggers(name)
    return logging.getLogger(name)
