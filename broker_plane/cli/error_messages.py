"""Describe any error in one sentence for people. Imports no console, because bridges use it as well."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

from broker_plane.errors import BrokerPlaneError, ConfigError, PullError, StorageError, TransferError, UploadError

USAGE = 2
"""Exit code of wrong usage and wrong settings."""


_ON_COMMAND_LINE = re.compile(r"Call the resource tool again with uses=(\d+) or more, .*", re.DOTALL).sub
"""The advice for a used grant is for models, as it comes from a bridge."""


def exit_code(error: BaseException) -> int:
    """The exit code of a command that ended with `error`."""
    return USAGE if isinstance(error, ConfigError) and error.in_settings else 1


def explained(error: BaseException, at: str = "") -> tuple[str, str]:
    """(code, sentence) for any error; `at` is the URL that the command was given."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, BrokerPlaneError):
        said = _ON_COMMAND_LINE(r"Use publish --uses \1 or grant --uses \1", str(error))
        return error.code, said + _where(error, at)
    if isinstance(error, OSError) and error.strerror:
        named = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        return "os_error", f"{named}{error.strerror}"
    if isinstance(error, UnicodeError):
        return "bad_text", f"The text is not valid UTF-8: {error}"
    message = " ".join(str(error).split()) or "no message"
    return "internal", (
        f"Unexpected error in broker-plane ({type(error).__name__}: {message}). "
        "Set BROKER_PLANE_LOG_LEVEL=debug to see where it was raised"
    )


def _where(error: BrokerPlaneError, at: str) -> str:
    """The address of the bridge or of NATS, if their error does not already name it."""
    from broker_plane.broker.urls import hosts_of  # a start without errors need not import it

    bridge = urlsplit(at).netloc.rpartition("@")[2] if at.startswith(("http://", "https://")) else ""
    if bridge and (isinstance(error, PullError | TransferError | UploadError) or "bridge" in str(error)):
        return "" if bridge in str(error) else f" (the bridge is {bridge})"
    hosts = hosts_of(os.environ.get("BROKER_PLANE_NATS_URL", "").strip()) if isinstance(error, StorageError) else ""
    return f" (NATS is {hosts})" if hosts and not any(host in str(error) for host in hosts.split(", ")) else ""
