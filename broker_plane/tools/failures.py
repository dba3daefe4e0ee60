"""What a failed tool call says: to the model one sentence, to the log one traceback."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath
from types import TracebackType

from broker_plane.errors import BrokerPlaneError
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.tools.frameworks import Framework
from broker_plane.wire.urls import redact

log = redacted_logger(__name__)

MAX_CHARACTERS = 1_000
"""Characters of an author's error that a model gets."""

_USERINFO = re.compile(r"(?<=://)[^\s/@]+@")
_OURS = ("broker_plane.", "anyio.", "concurrent.", "asyncio.", "threading")


@contextmanager
def as_tool_errors(tool: str, framework: Framework) -> Iterator[None]:
    """Raise errors of the block as the framework's tool errors, whose text the model reads.

    An author's exception is logged here, once: frameworks log a tool error without a traceback.
    """
    try:
        yield
    except BrokerPlaneError as error:
        raise framework.error(str(error)) from error
    except framework.passed:
        raise
    except Exception as error:
        log_failure(tool, error)
        raise framework.error(sentence_of(error)) from error


def sentence_of(error: Exception) -> str:
    """Type and text of an author's exception, of at most 1,000 characters.

    Grants, users and passwords in URLs, and the directories of a file that could not be opened are left out.
    """
    text = _USERINFO.sub("…@", redact(str(error).strip()))
    for path in (getattr(error, "filename", None), getattr(error, "filename2", None)):
        if isinstance(path, (str, PurePath)):
            text = text.replace(str(path), PurePath(path).name)
    said = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return said if len(said) <= MAX_CHARACTERS else f"{said[: MAX_CHARACTERS - 1]}…"


def log_failure(tool: str, error: Exception) -> None:
    """Log the traceback from the author's code on, in Python's own form."""
    _spare_rich_handlers()
    log.error("The tool %s raised %s", tool, type(error).__name__, exc_info=(type(error), error, _authors(error)))


def _authors(error: Exception) -> TracebackType | None:
    """The traceback without our frames and those of the event loop before the author's first one."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith(_OURS):
        trace = trace.tb_next
    return trace or error.__traceback__


def _spare_rich_handlers() -> None:
    """Write to standard error ourselves where the SDK made the root logger draw tracebacks in narrow boxes."""
    if log.propagate and any(type(handler).__name__ == "RichHandler" for handler in logging.getLogger().handlers):
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
        log.addHandler(handler)
        log.propagate = False
