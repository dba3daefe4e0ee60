"""Warn a process whose settings differ from those of the running embedded broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker_plane.embedded.bridge_settings import other
from broker_plane.plane.redacted_logs import redacted_logger

if TYPE_CHECKING:
    from broker_plane.config import Settings
    from broker_plane.embedded.broker import Attachment

log = redacted_logger(__name__)
_warned: set[tuple[str, str]] = set()
"""Data directories and settings that this process has already been warned of."""


def warn_of_others(attachment: Attachment, settings: Settings) -> None:
    """Log once per process that the running broker was started with other settings."""
    if attachment.started:
        return
    names = ", ".join(other(attachment.running.obeyed, settings))
    if not names or (str(settings.data_dir), names) in _warned:
        return
    _warned.add((str(settings.data_dir), names))
    log.warning(
        "The running broker and bridge were started with other values of %s, and keep using them. Stop them with "
        "`broker-plane down`; the next start uses the values of this process",
        names,
    )
