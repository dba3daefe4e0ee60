"""The broker that runs was started by somebody else, with settings of theirs: who comes later is told so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker_plane.embedded.bridge_settings import other
from broker_plane.plane.redacted_logs import quiet_logger

if TYPE_CHECKING:
    from broker_plane.config import Settings
    from broker_plane.embedded.broker import Attachment

log = quiet_logger(__name__)
_said: set[tuple[str, str]] = set()
"""Per data directory and settings: once a process."""


def warn_of_others(attachment: Attachment, settings: Settings) -> None:
    """Say once a process that the broker that runs was started with other settings than these."""
    if attachment.started:
        return
    names = ", ".join(other(attachment.running.obeyed, settings))
    if not names or (str(settings.data_dir), names) in _said:
        return
    _said.add((str(settings.data_dir), names))
    log.warning(
        "The broker and bridge that run here were started with other values of %s, and go on with those: "
        "`broker-plane down` stops them, and the next start takes the values of this process",
        names,
    )
