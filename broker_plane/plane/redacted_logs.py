"""No grant is in a log record, whichever library made it: `quiet` puts the redactor before every handler."""

from __future__ import annotations

import logging

from broker_plane.wire.urls import redact

_TRACEBACKS = logging.Formatter()


class _WithoutGrants(logging.Filter):
    """Rewrites what a record is made of, whoever formats it later; tracebacks too, for errors repeat what they got."""

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
    """Redact what these loggers say from now on, and what the loggers under them that exist say.

    A filter of a logger is not asked about records of the loggers under it, so each needs one. Call it after the
    import of the library. A second call changes nothing.
    """
    known = list(logging.root.manager.loggerDict)
    for name in names:
        for each in [name, *(other for other in known if other.startswith(f"{name}."))]:
            found = logging.getLogger(each)
            if not any(isinstance(present, _WithoutGrants) for present in found.filters):
                found.addFilter(_WithoutGrants())


def redacted_logger(name: str) -> logging.Logger:
    """The logger of a module of ours."""
    redact_loggers(name)
    return logging.getLogger(name)
